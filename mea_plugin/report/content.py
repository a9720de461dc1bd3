"""The content of evaluation.json and flatness.json, as far as the page reads it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import NotRequired, TypedDict

from mea_plugin.core.errors import InputError, shortened
from mea_plugin.core.schema import first_error
from mea_plugin.evaluation.results import Kind
from mea_plugin.evaluation.statistics import Verdict

__all__ = ['AGAIN', 'EVALUATION', 'FLATNESS', 'FORMATS', 'UNSEALED', 'check_content', 'printable']

EVALUATION, FLATNESS = 'evaluation.json', 'flatness.json'
FORMATS = {EVALUATION: 3, FLATNESS: 2}
UNSEALED = {EVALUATION: 2, FLATNESS: 1}  # the last ones without a checksum
AGAIN = {EVALUATION: 'Run tools/evaluate.py again', FLATNESS: 'Run tools/flatness.py again'}

_MOST_DIGITS = 12
_LARGEST = 1e30
_FARTHEST = 1e6  # in units of each filter
_NO_TEXT = re.compile('[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]')  # nor would XML take it
_Count = Annotated[int, Field(ge=0, le=10**12)]
Interval = Annotated[list[float], Field(min_length=2, max_length=2)]
Role = Literal['baseline', 'victim', 'surrogate', 'ceiling']


class _Run(TypedDict):
    name: str
    command: list[str]
    options: dict[str, Any]
    packages: dict[str, str]
    machine: dict[str, Any]


class _Metric(TypedDict):
    title: str
    unit: str
    digits: Annotated[int, Field(ge=0, le=_MOST_DIGITS)]
    better: Literal['higher', 'lower']
    kind: str
    protocol: str
    missing: str


class _Protocol(TypedDict):
    scale: _Count
    border: _Count
    metrics: dict[str, _Metric]


class _Model(TypedDict):
    name: str
    role: Role
    title: str
    fingerprint: str


class _Scores(TypedDict):
    mean: dict[str, float | None]
    interval: dict[str, Interval | None]
    identical: dict[str, _Count]
    undefined: dict[str, _Count]
    images: dict[str, dict[str, float | None]]


class _Difference(TypedDict):
    kind: Kind
    metric: str
    first: str
    second: str
    over: str
    count: _Count
    seeds: _Count
    mean: float | None
    interval: Interval | None
    p: float | None
    p_holm: float | None
    verdict: Verdict


class _Benchmark(TypedDict):
    name: str
    is_real: bool
    notes: list[str]


class _TestSet(TypedDict):
    name: str
    count: _Count
    fingerprint: str
    benchmark: _Benchmark | None
    fidelity: dict[str, _Scores]
    quality: dict[str, _Scores]
    own: dict[str, _Scores]
    differences: list[_Difference]
    notes: NotRequired[list[str]]


class _Pictures(TypedDict):
    set: str
    image: str
    query: str
    truth: str | None
    answers: dict[str, str]


class _Evaluation(_Run):
    protocol: _Protocol
    seeds: dict[str, list[str]]
    models: list[_Model]
    test_sets: list[_TestSet]
    pictures: list[_Pictures]


class _Eigenvalue(TypedDict):
    value: float | None
    residual: Annotated[float, Field(ge=0)] | None


class _Trace(TypedDict):
    value: float | None
    standard_error: Annotated[float, Field(ge=0)] | None


class _Point(TypedDict):
    checkpoint: str
    iteration: int | None
    fingerprint: str
    loss: float | None
    sharpness: dict[str, float | None]
    top_eigenvalue: _Eigenvalue | None
    trace: _Trace | None


class _Line(TypedDict):
    steps: list[float]
    loss: list[float | None]


class _Plane(TypedDict):
    x: list[float]
    y: list[float]
    loss: list[list[float | None]]


class _Landscape(TypedDict):
    line: _Line | None
    plane: _Plane | None


class _Flatness(_Run):
    loss: str
    samples: _Count
    trajectories: dict[str, list[_Point]]
    landscapes: dict[str, _Landscape]


_ADAPTERS: dict[str, TypeAdapter[Any]] = {EVALUATION: TypeAdapter(_Evaluation), FLATNESS: TypeAdapter(_Flatness)}


def check_content(content: Any, path: Path) -> None:
    """Refuse a result that the page cannot show.

    Args:
        content: Of the file.
        path: The file, called :data:`EVALUATION` or :data:`FLATNESS`.

    Raises:
        InputError: A key is missing, a value of another kind, or a name not one of those that the file lists.
    """
    try:
        _ADAPTERS[path.name].validate_python(content, strict=True)
    except ValidationError as error:
        found = first_error(error, content, str(path))
        raise InputError(found.what, where=found.where, do=AGAIN[path.name]) from None
    if path.name == EVALUATION:
        _check_names(content, path)
    else:
        _check_landscapes(content, path)


def printable(value: Any, path: Path) -> Any:
    """A copy of JSON in which every text can be shown: other characters are replaced.

    Raises:
        InputError: A number is far beyond what is ever measured; no figure could show it.
    """
    if isinstance(value, dict):
        return {_shown(key): printable(one, path) for key, one in value.items()}
    if isinstance(value, list):
        return [printable(one, path) for one in value]
    if isinstance(value, int | float) and abs(value) > _LARGEST:
        raise InputError(f'the number {shortened(value)} is too large', where=path, do=AGAIN[path.name])
    return _shown(value) if isinstance(value, str) else value


def _shown(text: str) -> str:
    if text.isprintable():
        return text
    return _NO_TEXT.sub('\ufffd', text)


def _check_landscapes(measured: _Flatness, path: Path) -> None:
    """Refuse a line or plane whose losses are not one for each place, or whose places do not rise."""
    for name, landscape in measured['landscapes'].items():
        line, plane = landscape['line'], landscape['plane']
        axes = [*([line['steps']] if line else []), *([plane['x'], plane['y']] if plane else [])]
        fits = all(axis == sorted(set(axis)) and axis and max(map(abs, axis)) <= _FARTHEST for axis in axes)
        if line:
            fits = fits and len(line['loss']) == len(line['steps'])
        if plane:
            fits = fits and [len(row) for row in plane['loss']] == [len(plane['x'])] * len(plane['y'])
        if not fits:
            where = f'{path}: landscapes.{name}'
            raise InputError('its losses and their places do not fit together', where=where, do=AGAIN[FLATNESS])


def _check_names(evaluation: _Evaluation, path: Path) -> None:
    """Refuse scores, differences and pictures of what the file does not list."""
    sets, seeds, pictures = evaluation['test_sets'], evaluation['seeds'], evaluation['pictures']
    models = {model['name'] for model in evaluation['models']}
    differences = [difference for one in sets for difference in one['differences']]
    pairs = [
        *(
            (name, models)
            for one in sets
            for scores in (one['fidelity'], one['quality'], one['own'])
            for name in scores
        ),
        *((name, models) for picture in pictures for name in picture['answers']),
        *((name, models) for members in seeds.values() for name in members),
        *((picture['set'], {one['name'] for one in sets}) for picture in pictures),
        *((one['metric'], set(evaluation['protocol']['metrics'])) for one in differences),
        *((name, models | set(seeds)) for one in differences for name in (one['first'], one['second'])),
    ]
    strange = next((name for name, known in pairs if name not in known), None)
    if strange is not None:
        raise InputError(f"'{strange}' is no model, metric or test set of it", where=path, do=AGAIN[EVALUATION])
