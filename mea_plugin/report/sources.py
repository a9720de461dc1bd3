"""Finding and reading results: evaluations, the extractions around them, and flatness measurements."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mea_plugin.core.errors import InputError
from mea_plugin.core.files import read_bytes, read_json
from mea_plugin.core.folders import OutsideError, inside
from mea_plugin.core.options import load_options
from mea_plugin.core.paths import expanded
from mea_plugin.core.records import read_record, tell_once
from mea_plugin.report.content import AGAIN, EVALUATION, FLATNESS, FORMATS, UNSEALED, check_content, printable

__all__ = ['Extraction', 'Results', 'Source', 'read_results']


_LARGEST_CONFIG = 1 << 20  # bytes
_UNREADABLE = (ValueError, TypeError, SyntaxError, MemoryError, RecursionError)  # what Python raises for odd code


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
        given = expanded(given)
        for path in _find(given):
            inside(given if given.is_dir() else given.parent, path, where=path, do='Give the folder that it leads to')
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
    name = path.name
    try:
        content = read_record(
            path,
            format=FORMATS[name],
            unsealed=UNSEALED[name],
            check=lambda content: check_content(content, path),
            tell=tell_once,
            do=AGAIN[name],
        )
        return dict(printable(content, path))
    except FileNotFoundError:
        raise InputError('is gone', where=path, do='Check the path') from None


def _extraction(path: Path, evaluation: dict[str, Any]) -> Extraction | None:
    """The extraction that an evaluation ends, told by its folders."""
    folder = path.parent.parent
    if path.parent.name != 'evaluation' or not any((folder / name).is_dir() for name in ('queries', 'surrogates')):
        return None
    manifest = _manifest(folder)
    pairs = manifest.get('pairs')
    complete = manifest.get('complete') is True and isinstance(pairs, list)
    options = manifest.get('options')
    surrogates = [model['name'] for model in evaluation['models'] if model['role'] == 'surrogate']
    trained = {name: _trained_with(folder, name) for name in surrogates}
    return Extraction(
        folder,
        len(pairs) if complete and pairs is not None else None,
        options if isinstance(options, dict) else {},
        {name: found for name, found in trained.items() if found},
    )


def _manifest(folder: Path) -> dict[str, Any]:
    """What the query set says of itself."""
    path = folder / 'queries' / 'manifest.json'
    try:
        manifest = read_json(inside(folder, path, where=path))
    except OutsideError as error:
        tell_once(f'left out of the report: {error}')
        return {}
    return manifest if isinstance(manifest, dict) else {}


def _trained_with(folder: Path, name: str) -> dict[str, Any]:
    """A surrogate's training options, from the file that the extraction wrote; an MMagic config is not run."""
    surrogates = folder / 'surrogates'
    try:
        yml = inside(surrogates, f'{name}.yml', where=surrogates)
        if yml.is_file():
            return load_options(yml, within=folder)
        text = read_bytes(inside(surrogates, f'{name}.py', where=surrogates), _LARGEST_CONFIG)
        tree = ast.parse(text.decode('utf-8'))
    except OutsideError as error:
        tell_once(f'left out of the report: {error}')
        return {}
    except (OSError, *_UNREADABLE):
        return {}
    values = {}
    for line in tree.body:
        if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name):
            values[line.targets[0].id] = _value(line.value)
    return values


def _value(node: ast.expr) -> Any:
    """What a config gives to a name: a plain value, or the text of an expression."""
    with contextlib.suppress(*_UNREADABLE):
        return ast.literal_eval(node)
    with contextlib.suppress(*_UNREADABLE):
        return ast.unparse(node)
    return '...'
