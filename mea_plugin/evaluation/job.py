"""A whole evaluation from its options: build the models, measure, write the table, the picture and the JSON."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mea_plugin.errors import InputError
from mea_plugin.evaluation.evaluate import VICTIM, evaluate
from mea_plugin.evaluation.pairs import EvaluationSet
from mea_plugin.evaluation.panel import draw_panel
from mea_plugin.evaluation.results import EvaluationResult
from mea_plugin.evaluation.table import image_tables, mean_tables
from mea_plugin.files import write_json, write_text
from mea_plugin.images import write_png
from mea_plugin.options import check_keys, check_section, require
from mea_plugin.query.recorded import RecordedVictim
from mea_plugin.victims import Victim, build_victim
from mea_plugin.victims.remote import RemoteVictim

__all__ = ['Evaluation', 'EvaluationPaths', 'evaluate_from_options']

_KEYS = ('name', 'output', 'victim', 'surrogates', 'baselines', 'test_sets', 'panel')


@dataclass(frozen=True)
class EvaluationPaths:
    """The files that an evaluation wrote."""

    json: Path
    markdown: Path
    panel: Path


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found, the table of means as Markdown, and the files it wrote."""

    result: EvaluationResult
    table: str
    paths: EvaluationPaths


def evaluate_from_options(options: Mapping[str, Any], output: str | Path, *, where: str = '') -> Evaluation:
    """Run the evaluation that options describe and write ``evaluation.json``, ``evaluation.md``, ``evaluation.png``.

    Args:
        options: ``victim`` (options of :func:`~mea_plugin.victims.build_victim`), ``surrogates`` and ``baselines`` (the
            same, by name), ``test_sets`` (a list of ``name``, ``lq`` and optionally ``gt``; folders relative to the
            current one), and optionally ``name`` and ``panel: {images: ...}`` (a number or a list of names). Without
            ``baselines``, bicubic interpolation is one wherever the scale is above 1; it takes its scale from the
            victim.
        output: Folder of the files. They are written at the end, the JSON last.
        where: The option file, for errors.

    Raises:
        InputError: An option, a model or an image cannot be used; nothing is written then.
    """
    prefix = f'{where}: ' if where else ''
    check_keys(options, _KEYS, where or 'options')
    output = _check_output(Path(output).expanduser())
    test_sets = _test_sets(options, prefix)
    panel_images = _panel_images(options.get('panel'), prefix)
    sections = {key: _section(options.get(key), f'{prefix}{key}') for key in ('surrogates', 'baselines')}
    victim = build_victim(_section(require(options, 'victim', where), f'{prefix}victim'), where=f'{prefix}victim')
    if isinstance(victim, RemoteVictim):  # each answer may cost: it is kept, and asked for once
        victim = RecordedVictim(victim, output / 'ledger')
    if options.get('baselines') is None and victim.scale > 1:
        sections['baselines'] = {'bicubic': {'type': 'bicubic'}}
    surrogates, baselines = (_build(section, key, victim.scale, prefix) for key, section in sections.items())
    result, rows = evaluate(
        victim,
        surrogates,
        test_sets,
        baselines=baselines,
        name=str(options.get('name') or output.name),
        panel_images=panel_images,
        where=where,
    )
    table = mean_tables(result)
    paths = EvaluationPaths(*(output / f'evaluation.{suffix}' for suffix in ('json', 'md', 'png')))
    write_png(paths.panel, draw_panel(rows, [model.name for model in result.models], VICTIM, result.protocol))
    write_text(paths.markdown, _report(result, table, paths.panel.name))
    write_json(paths.json, result.to_json())
    return Evaluation(result, table, paths)


def _report(result: EvaluationResult, table: str, picture: str) -> str:
    models = ''.join(f'- {m.name} ({m.role}): {m.title}, fingerprint {m.fingerprint[:16]}\n' for m in result.models)
    return (
        f'# {result.name}\n\n{table}\n![answers side by side]({picture})\n\n'
        f'## Models\n\n{models}\n## Per image\n\n{image_tables(result)}'
    )


def _check_output(folder: Path) -> Path:
    """Find out before the work, without leaving an empty folder, whether the results can be written."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        reason = 'cannot be written' if there.is_dir() else 'is a file'
        raise InputError(f'{there} {reason}', where='output', do='Give another folder with --output')
    return folder


def _section(value: Any, where: str) -> dict[str, Any]:
    """A section's content; nothing is an empty section."""
    return {} if value is None else {str(key): content for key, content in check_section(value, where).items()}


def _build(section: Mapping[str, Any], key: str, scale: int, prefix: str) -> dict[str, Victim]:
    models = {}
    for name, value in section.items():
        where = f'{prefix}{key}.{name}'
        options = _section(value, where)
        if options.get('type') == 'bicubic':
            options.setdefault('scale', scale)
        models[name] = build_victim(options, where=where)
    return models


def _test_sets(options: Mapping[str, Any], prefix: str) -> list[EvaluationSet]:
    where = f'{prefix}test_sets'
    sets = options.get('test_sets')
    if not isinstance(sets, list) or not sets:
        raise InputError(
            f'expected a list of test sets, got {sets!r}', where=where, do='Write - {name: ..., lq: FOLDER, gt: FOLDER}'
        )
    checked = []
    for index, one in enumerate(sets):
        check_keys(one, ('name', 'lq', 'gt'), f'{where}[{index}]')
        name, lq = (str(require(one, key, f'{where}[{index}]')) for key in ('name', 'lq'))
        gt = one.get('gt')
        checked.append(EvaluationSet(name, Path(lq), None if gt is None else Path(str(gt))))
    return checked


def _panel_images(panel: Any, prefix: str) -> int | list[str]:
    where = f'{prefix}panel'
    if panel is None:
        return 4
    check_keys(panel, ('images',), where)
    images = panel.get('images', 4)
    if isinstance(images, list) and images:
        return [str(name) for name in images]
    if isinstance(images, bool) or not isinstance(images, int) or images < 1:
        raise InputError(
            f'images is {images!r}', where=where, do='Give a number of images from 1 on, or a list of their names'
        )
    return images
