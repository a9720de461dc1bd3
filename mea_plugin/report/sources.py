"""Finding and reading results: evaluations, the extractions around them, and flatness measurements."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from mea_plugin.core.errors import InputError
from mea_plugin.core.files import read_json
from mea_plugin.core.options import load_options

__all__ = ['Extraction', 'Results', 'Source', 'read_results']

EVALUATION, FLATNESS = 'evaluation.json', 'flatness.json'
_FORMATS = {EVALUATION: 2, FLATNESS: 1}
_AGAIN = {EVALUATION: 'Run tools/evaluate.py again', FLATNESS: 'Run tools/flatness.py again'}


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
                results.sources.append(Source(path, content, _extraction(path)))
    return results


def _find(given: Path) -> list[Path]:
    """The files of one argument."""
    if given.is_file():
        if given.name in _FORMATS:
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
        raise InputError('is no valid JSON', where=path, do=_AGAIN[path.name]) from None
    wanted = _FORMATS[path.name]
    found = content.get('format', 1) if isinstance(content, dict) else None
    if found != wanted:
        what = f'is of format {found!r}, not {wanted}' if found is not None else 'holds no result'
        raise InputError(what, where=path, do=_AGAIN[path.name])
    _check(content, _SHAPES[path.name], path, '')
    if path.name == EVALUATION:
        _check_names(content, path)
    return content


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f'{name} is not JSON')


# What the page reads. A list of one shape stands for any number of them, {str: shape} for any keys, a tuple for
# alternatives; a key with a question mark may be missing, and other keys may be there.
_NUMBER = (int, float, type(None))
_SCORES = {
    'mean': {str: _NUMBER},
    'interval': {str: ([(int, float)], type(None))},
    'identical': {str: int},
    'undefined': {str: int},
    'images': {str: {str: _NUMBER}},
}
_DIFFERENCE = {
    **dict.fromkeys(('kind', 'metric', 'first', 'second', 'over', 'verdict'), str),
    **dict.fromkeys(('mean', 'p', 'p_holm'), _NUMBER),
    'interval': ([(int, float)], type(None)),
    **{'count': int, 'seeds': int},
}
_POINT = {
    **{'checkpoint': str, 'iteration': (int, type(None)), 'fingerprint': str, 'loss': _NUMBER},
    'sharpness': {str: _NUMBER},
    'top_eigenvalue': (dict.fromkeys(('value', 'residual'), _NUMBER), type(None)),
    'trace': (dict.fromkeys(('value', 'standard_error'), _NUMBER), type(None)),
}
_LANDSCAPE = {
    'line': ({'steps': [(int, float)], 'loss': [_NUMBER]}, type(None)),
    'plane': ({'x': [(int, float)], 'y': [(int, float)], 'loss': [[_NUMBER]]}, type(None)),
}
_METRIC = {**dict.fromkeys(('title', 'unit', 'better', 'kind', 'protocol', 'missing'), str), 'digits': int}
_BENCHMARK = {'name': str, 'is_real': bool, 'notes': [str]}
_SHAPES: dict[str, Any] = {
    EVALUATION: {
        'name': str,
        'command': [str],
        'options': dict,
        'packages': {str: str},
        'machine': dict,
        'protocol': {
            **{'scale': int, 'border': int},
            'metrics': {str: _METRIC},
        },
        'seeds': {str: [str]},
        'models': [dict.fromkeys(('name', 'role', 'title', 'fingerprint'), str)],
        'test_sets': [
            {
                **{'name': str, 'count': int, 'fingerprint': str, 'benchmark': (_BENCHMARK, type(None))},
                **{'fidelity': {str: _SCORES}, 'quality': {str: _SCORES}, 'own': {str: _SCORES}},
                'differences': [_DIFFERENCE],
                'notes?': [str],
            }
        ],
        'pictures': [{'set': str, 'image': str, 'query': str, 'truth': (str, type(None)), 'answers': {str: str}}],
    },
    FLATNESS: {
        **{'name': str, 'command': [str], 'options': dict, 'packages': {str: str}, 'machine': dict},
        **{'loss': str, 'samples': int},
        'trajectories': {str: [_POINT]},
        'landscapes': {str: _LANDSCAPE},
    },
}


def _check(value: Any, shape: Any, path: Path, at: str) -> None:
    """Refuse a value of another shape, naming its place."""
    if isinstance(shape, tuple):
        kinds = tuple(one for one in shape if isinstance(one, type))
        nested = [one for one in shape if not isinstance(one, type)]
        if nested and not isinstance(value, kinds):
            _check(value, nested[0], path, at)
            return
        right = isinstance(value, kinds) and not isinstance(value, bool)
    elif isinstance(shape, list):
        right = isinstance(value, list)
        for index, one in enumerate(value if right else ()):
            _check(one, shape[0], path, f'{at}[{index}]')
    elif isinstance(shape, Mapping):
        right = isinstance(value, dict)
        if right:
            _check_keys(value, shape, path, at)
    else:
        right = isinstance(value, shape) and not (isinstance(value, bool) and shape is int)
    if not right:
        raise InputError(f'{at or "the whole"} is not as expected', where=path, do=_AGAIN[path.name])


def _check_keys(value: dict[str, Any], shape: Mapping[Any, Any], path: Path, at: str) -> None:
    if str in shape:
        for key, one in value.items():
            _check(one, shape[str], path, f'{at}.{key}')
        return
    for name, inner in shape.items():
        key = name.removesuffix('?')
        if key not in value:
            if key != name:
                continue
            raise InputError(f'{at}.{key} is missing'.removeprefix('.'), where=path, do=_AGAIN[path.name])
        _check(value[key], inner, path, f'{at}.{key}'.removeprefix('.'))


def _check_names(evaluation: dict[str, Any], path: Path) -> None:
    """Refuse scores, differences and pictures of what the file does not list."""
    models = {model['name'] for model in evaluation['models']}
    metrics = set(evaluation['protocol']['metrics'])
    sets = {one['name'] for one in evaluation['test_sets']}
    scores = [one[kind] for one in evaluation['test_sets'] for kind in ('fidelity', 'quality', 'own')]
    used = {name for one in scores for name in one}
    used |= {name for picture in evaluation['pictures'] for name in picture['answers']}
    used |= {name for members in evaluation['seeds'].values() for name in members}
    strange = sorted(used - models) + sorted({picture['set'] for picture in evaluation['pictures']} - sets)
    differences = {one['metric'] for test_set in evaluation['test_sets'] for one in test_set['differences']}
    strange += sorted(differences - metrics)
    if strange:
        what = f"'{strange[0]}' is no model, metric or test set of it"
        raise InputError(what, where=path, do=_AGAIN[EVALUATION])


def _extraction(path: Path) -> Extraction | None:
    """The extraction that an evaluation ends, told by its folders."""
    folder = path.parent.parent
    if path.parent.name != 'evaluation' or not any((folder / name).is_dir() for name in ('queries', 'surrogates')):
        return None
    manifest = read_json(folder / 'queries' / 'manifest.json')
    manifest = manifest if isinstance(manifest, dict) else {}
    pairs = manifest.get('pairs')
    complete = manifest.get('complete') is True and isinstance(pairs, list)
    options = manifest.get('options')
    trained = {model['name']: _trained_with(folder / 'surrogates' / model['name']) for model in _surrogates(path)}
    return Extraction(
        folder,
        len(pairs) if complete and pairs is not None else None,
        options if isinstance(options, dict) else {},
        {name: found for name, found in trained.items() if found},
    )


def _surrogates(path: Path) -> list[dict[str, Any]]:
    return [model for model in (read_json(path) or {}).get('models', []) if model['role'] == 'surrogate']


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
