"""A whole evaluation from its options: build the models, measure, write the table, the pictures and the JSON."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mea_plugin.core.errors import InputError
from mea_plugin.core.files import write_text
from mea_plugin.core.images import write_png
from mea_plugin.core.paths import expanded
from mea_plugin.core.provenance import provenance
from mea_plugin.core.records import write_record
from mea_plugin.evaluation.crops import PanelRow
from mea_plugin.evaluation.document import document, summary
from mea_plugin.evaluation.evaluate import VICTIM, SavedImages, evaluate
from mea_plugin.evaluation.options import EvaluateFile, parse_test_sets
from mea_plugin.evaluation.panel import draw_panel
from mea_plugin.evaluation.pictures import FOLDER, RESULT, check_pictures, results_in
from mea_plugin.evaluation.results import EvaluationResult
from mea_plugin.evaluation.sets import check_folders
from mea_plugin.query.recorded import RecordedVictim
from mea_plugin.victims import Victim, build_victim
from mea_plugin.victims.remote import RemoteVictim

__all__ = ['Evaluation', 'EvaluationPaths', 'evaluate_from_options']


@dataclass(frozen=True)
class EvaluationPaths:
    """The files that an evaluation wrote.

    Attributes:
        json: Everything.
        markdown: Tables, also per image.
        panel: The side-by-side picture.
        pictures: Whole images, where some were saved.
    """

    json: Path
    markdown: Path
    panel: Path
    pictures: list[Path] = field(default_factory=list)


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found, the tables of means and differences as Markdown, and the files it wrote."""

    result: EvaluationResult
    table: str
    paths: EvaluationPaths


def evaluate_from_options(
    options: Mapping[str, Any], output: str | Path, *, where: str = '', command: Sequence[str] = ()
) -> Evaluation:
    """Run the evaluation that options describe and write ``evaluation.json``, ``evaluation.md``, ``evaluation.png``.

    Args:
        options: See docs/evaluation.md; folders are relative to the current one. Without ``baselines``, bicubic
            interpolation is one wherever the scale is above 1; it takes its scale from the other models.
        output: Folder of the files. They are written at the end, the JSON last.
        where: The option file, for errors.
        command: What was typed, for the JSON.

    Raises:
        InputError: An option, a model or an image cannot be used; nothing is written then.
    """
    import torch

    prefix = f'{where}: ' if where else ''
    output = expanded(output)
    plain = _plain(options)
    if _text(found := json.dumps(plain, ensure_ascii=False)) != found:
        raise InputError('half a surrogate pair is no text', where=where or 'options', do=r'Replace \uD800 to \uDFFF')
    file = EvaluateFile.parse_document({**options, 'name': options.get('name') or output.name}, where)
    _check_output(output)
    test_sets = parse_test_sets(file.test_sets, f'{prefix}test_sets')
    check_folders(test_sets, prefix=prefix)  # again with all that models decide, but not after a download of weights
    metrics = file.find_metrics(prefix)
    victim = _build_victim(file.victim, f'{prefix}victim', output)
    surrogates = _build(file.surrogates, f'{prefix}surrogates', None)
    scale = _scale(file.scale, [victim, *surrogates.values()], f'{prefix}scale')
    usual = {'bicubic': {'type': 'bicubic'}} if scale and scale > 1 else {}
    baselines = _build(usual if file.baselines is None else file.baselines, f'{prefix}baselines', scale)
    most = None if file.save_images == 'all' else file.save_images
    if most != 0:
        check_pictures(output)
    with results_in(output) as folder:
        result, rows = evaluate(
            victim,
            surrogates,
            test_sets,
            baselines=baselines,
            metrics=metrics,
            seeds=file.seeds,
            ceiling=file.ceiling,
            name=file.name,
            panel_images=file.panel.images,
            save=None if most == 0 else SavedImages(folder / FOLDER, most),
            cache=output / 'features',
            where=where,
        )
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
        run = provenance([_text(word) for word in command], plain, device)
        return _write(result, rows, output, folder, run)


def _write(
    result: EvaluationResult, rows: Sequence[PanelRow], output: Path, folder: Path, run: dict[str, Any]
) -> Evaluation:
    """Write what ends up in ``output`` into ``folder``."""
    pictures = [path for one in result.pictures for path in (one.query, one.truth, *one.answers.values()) if path]
    paths = EvaluationPaths(
        json=output / RESULT,
        markdown=output / 'evaluation.md',
        panel=output / 'evaluation.png',
        pictures=[output / picture for picture in pictures],
    )
    shown = [model.name for model in result.models if model.role != 'ceiling']
    victim = VICTIM if VICTIM in shown else None
    write_png(folder / paths.panel.name, draw_panel(rows, shown, victim, result.protocol))
    found = result.to_json()
    table = summary(found)
    write_text(folder / paths.markdown.name, document(found, paths.panel.name))
    head = {key: found.pop(key) for key in ('format', 'name')}
    write_record(folder / paths.json.name, {**head, **run, **found})
    return Evaluation(result, table, paths)


def _check_output(folder: Path) -> None:
    """Find out before the work, without leaving an empty folder, whether the results can be written."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        reason = 'cannot be written' if there.is_dir() else 'is a file'
        raise InputError(f'{there} {reason}', where='output', do='Give another folder with --output')


def _build_victim(options: dict[str, Any] | None, where: str, output: Path) -> Victim | None:
    if options is None:
        return None
    victim = build_victim(options, where=where)
    if isinstance(victim, RemoteVictim):  # each answer may cost: it is kept, and asked for once
        return RecordedVictim(victim, output / 'ledger')
    return victim


def _build(section: Mapping[str, dict[str, Any]], where: str, scale: int | None) -> dict[str, Victim]:
    models = {}
    for name, options in section.items():
        known = {'scale': scale} if options.get('type') == 'bicubic' and scale else {}
        models[name] = build_victim({**known, **options}, where=f'{where}.{name}')
    return models


def _scale(value: int | None, models: Sequence[Victim | None], where: str) -> int | None:
    """The scale of the models; the option's where there is none that has one."""
    found = next((model.scale for model in models if model), None)
    if value is None:
        return found
    if found is not None and found != value:
        raise InputError(f'the scale is {value}, that of the models {found}', where=where, do='Remove it')
    return value


def _plain(value: Any) -> Any:
    """Options as JSON holds them: what an option file cannot say, such as a path, becomes text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(content) for key, content in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(content) for content in value]
    return value if value is None or isinstance(value, str | bool | int | float) else str(value)


def _text(value: str) -> str:
    """What UTF-8 can hold: a command's bytes need not be text."""
    return value.encode(errors='replace').decode()
