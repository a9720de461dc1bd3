"""Finding and reading results: evaluations, the extractions around them, and flatness measurements."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from mea_plugin.core.errors import InputError
from mea_plugin.core.files import read_json
from mea_plugin.core.options import load_options
from mea_plugin.report.content import AGAIN, EVALUATION, FLATNESS, FORMATS, check_content

__all__ = ['Extraction', 'Results', 'Source', 'read_results']


@dataclass(frozen=True)
class Extraction:
    """The run that an evaluation is the last step of.

    Attributes:
        folder: The extraction's folder.
        queries: How many pairs its query set holds; None where there is none, or it is incomplete.
        description: The query set's options, as its manifest has them.
        surrogates: What each surrogate was trained with, by name.
    """

    folder: Path
    queries: int | None
    description: dict[str, Any]
    surrogates: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Source:
    """One evaluation.

    Attributes:
        path: Its ``evaluation.json``.
        evaluation: The content, checked.
        extraction: The extraction around it, if any.
    """

    path: Path
    evaluation: dict[str, Any]
    extraction: Extraction | None = None

    @property
    def name(self) -> str:
        """What it is called."""
        return str(self.evaluation['name'])


@dataclass(frozen=True)
class Results:
    """All that was found, in the order given."""

    sources: list[Source] = field(default_factory=list)
    flatness: list[dict[str, Any]] = field(default_factory=list)


def read_results(paths: Sequence[str | Path]) -> Results:
    """Read results.

    Args:
        paths: Each an ``evaluation.json`` or ``flatness.json``, a folder that holds one or both, or an extraction's
            folder, which holds them in ``evaluation/`` and ``flatness/``.

    Raises:
        InputError: There is nothing of the kind, or it is damaged or of another format.
    """
    results = Results()
    seen: set[Path] = set()
    for given in paths:
        for path in _find(Path(given).expanduser()):
            if path.resolve() in seen:
                continue
            seen.add(path.resolve())
            content = _read(path)
            if path.name == FLATNESS:
                results.flatness.append(content)
            else:
                results.sources.append(Source(path, content, _extraction(path, content)))
    return results


def _find(given: Path) -> list[Path]:
    """The files of one argument."""
    if given.is_file():
        if given.name in FORMATS:
            return [given]
        raise InputError('is no result', where=given, do=f'Give a folder with {EVALUATION} or {FLATNESS}')
    if not given.is_dir():
        raise InputError('no such folder', where=given, do='Check the path')
    places = (
        *(given / EVALUATION, given / 'evaluation' / EVALUATION),
        *(given / FLATNESS, given / 'flatness' / FLATNESS, given / 'evaluation' / FLATNESS),
    )
    found = [path for path in places if path.is_file()]
    if not found:
        do = 'Give the folder of an evaluation (tools/evaluate.py), an extraction or a flatness measurement'
        raise InputError(f'there is no {EVALUATION} and no {FLATNESS}', where=given, do=do)
    return found


def _read(path: Path) -> dict[str, Any]:
    """A result's content, checked as far as the page reads it."""
    try:
        content = json.loads(path.read_text(encoding='utf-8'), parse_constant=_refuse_constant)
    except OSError as error:
        raise InputError(f'cannot be read ({error.strerror})', where=path, do='Check the rights to it') from None
    except (ValueError, RecursionError):
        raise InputError('is no valid JSON', where=path, do=AGAIN[path.name]) from None
    wanted = FORMATS[path.name]
    found = content.get('format', 1) if isinstance(content, dict) else None
    if found != wanted:
        what = f'is of format {found!r}, not {wanted}' if found is not None else 'holds no result'
        raise InputError(what, where=path, do=AGAIN[path.name])
    check_content(content, path)
    return dict(content)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f'{name} is not JSON')


def _extraction(path: Path, evaluation: dict[str, Any]) -> Extraction | None:
    """The extraction that an evaluation ends, told by its folders."""
    folder = path.parent.parent
    if path.parent.name != 'evaluation' or not any((folder / name).is_dir() for name in ('queries', 'surrogates')):
        return None
    manifest = read_json(folder / 'queries' / 'manifest.json')
    manifest = manifest if isinstance(manifest, dict) else {}
    pairs = manifest.get('pairs')
    complete = manifest.get('complete') is True and isinstance(pairs, list)
    options = manifest.get('options')
    surrogates = [model['name'] for model in evaluation['models'] if model['role'] == 'surrogate']
    trained = {name: _trained_with(folder / 'surrogates' / name) for name in surrogates}
    return Extraction(
        folder,
        len(pairs) if complete and pairs is not None else None,
        options if isinstance(options, dict) else {},
        {name: found for name, found in trained.items() if found},
    )


def _trained_with(stem: Path) -> dict[str, Any]:
    """A surrogate's training options, from the file that the extraction wrote; an MMagic config is not run."""
    if Path(stem.name).name != stem.name:
        return {}
    yml, config = (stem.parent / f'{stem.name}{suffix}' for suffix in ('.yml', '.py'))
    if yml.is_file():
        return load_options(yml)
    try:
        tree = ast.parse(config.read_text(encoding='utf-8'))
    except (OSError, ValueError, SyntaxError, RecursionError):
        return {}
    values = {}
    for line in tree.body:
        if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name):
            try:
                values[line.targets[0].id] = ast.literal_eval(line.value)
            except ValueError:
                values[line.targets[0].id] = ast.unparse(line.value)
    return values
