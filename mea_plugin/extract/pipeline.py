"""The steps of an extraction in their order, each left out when its result is there and up to date."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mea_plugin.core.files import hash_file, write_text
from mea_plugin.core.images import list_images
from mea_plugin.data.sources import image_references
from mea_plugin.evaluation import evaluate_from_options
from mea_plugin.extract.options import ExtractionOptions
from mea_plugin.extract.record import Record
from mea_plugin.extract.test_sets import prepare_test_sets
from mea_plugin.extract.training import train_surrogate
from mea_plugin.query import run_queries
from mea_plugin.query_sets import QuerySet
from mea_plugin.victims import Victim, build_victim

__all__ = ['ExtractionResult', 'extract']


@dataclass(frozen=True)
class ExtractionResult:
    """What an extraction ends with.

    Attributes:
        table: Fidelity and task quality, as Markdown.
        table_path: The file that holds it.
        picture_path: The side-by-side PNG.
    """

    table: str
    table_path: Path
    picture_path: Path


def extract(options: ExtractionOptions, *, command: Sequence[str] = ()) -> ExtractionResult:
    """Query the victim, train the surrogates, evaluate them.

    Args:
        options: From :func:`~mea_plugin.extract.options.load_extraction`.
        command: What was typed, for the evaluation's JSON.

    Returns:
        The table and the picture.

    Raises:
        InputError: Something in the options or the images cannot be used.
    """
    victim = build_victim(options.file.victim, where=f'{options.where}: victim')
    for surrogate in options.surrogates:
        surrogate.check(victim.scale, f'{options.where}: surrogates.{surrogate.name}')
    file, where = options.file, f'{options.where}: evaluation.test_sets'
    test_sets = prepare_test_sets(file.evaluation.test_sets, file.output / 'test_sets', victim.scale, where=where)
    queries = _query(options, victim)
    weights = {}
    for surrogate in options.surrogates:
        start = time.monotonic()
        trained = train_surrogate(surrogate, queries, options.file.output)
        weights[surrogate.name] = trained.weights
        _report(f'train {surrogate.name}', str(trained.weights), None if trained.was_there else start)
    return _evaluate(options, victim, weights, test_sets, command)


def _query(options: ExtractionOptions, victim: Victim) -> QuerySet:
    start = time.monotonic()
    images = image_references(options.file.queries.images, where=f'{options.where}: queries.images')
    folder = options.file.output / 'queries'
    before = QuerySet(folder).manifest()
    noted = options.file.noted()
    queries = run_queries(
        victim, images, folder, **options.file.queries.settings(), move_other_aside=True, options=noted
    )
    after = queries.manifest()
    assert after is not None
    _report('query', f'{len(after["pairs"])} pairs in {folder}', None if after == before else start)
    return queries


def _evaluate(
    options: ExtractionOptions,
    victim: Victim,
    weights: dict[str, Path],
    test_sets: list[dict[str, Any]],
    command: Sequence[str],
) -> ExtractionResult:
    start = time.monotonic()
    folder = options.file.output / 'evaluation'
    surrogates = {surrogate.name: surrogate.as_victim(options.file.output) for surrogate in options.surrogates}
    rest = {key: value for key, value in options.evaluation.items() if key != 'test_sets'}
    evaluation = {'name': options.file.name, 'surrogates': surrogates, 'test_sets': test_sets, **rest}
    folders = [entry[key] for entry in test_sets for key in ('lq', 'gt', 'target') if key in entry]
    images = [path for folder in folders for path in list_images(folder)]
    inputs = {
        'evaluation': evaluation,
        'metrics': options.metrics,
        'victim': victim.fingerprint,
        'weights': {name: hash_file(path) for name, path in weights.items()},
        'images': {str(path): hash_file(path) for path in images},
    }
    record = Record(folder / 'record.json', inputs)
    table, picture = folder / 'table.md', folder / 'evaluation.png'
    if record.is_current():
        _report('evaluate', str(folder), None)
    else:
        record.begin()
        found = evaluate_from_options(
            {**evaluation, 'victim': options.file.victim}, folder, where=options.where, command=command
        )
        write_text(table, found.table)
        record.finish([table, picture, found.paths.json, found.paths.markdown, *found.paths.pictures])
        _report('evaluate', str(folder), start)
    return ExtractionResult(table.read_text(), table, picture)


def _report(step: str, what: str, start: float | None) -> None:
    took = 'up to date' if start is None else f'{time.monotonic() - start:.0f} s'
    print(f'[{step}] {what} ({took})', flush=True)
