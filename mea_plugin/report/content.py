"""The content of evaluation.json and flatness.json, as far as the page reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import NotRequired, TypedDict

from mea_plugin.core.errors import InputError
from mea_plugin.core.schema import first_error
from mea_plugin.evaluation.results import Kind
from mea_plugin.evaluation.statistics import Verdict

__all__ = ['AGAIN', 'EVALUATION', 'FLATNESS', 'FORMATS', 'UNSEALED', 'check_content']

EVALUATION, FLATNESS = 'evaluation.json', 'flatness.json'
FORMATS = {EVALUATION: 3, FLATNESS: 2}
UNSEALED = {EVALUATION: 2, FLATNESS: 1}  # the last ones without a checksum
AGAIN = {EVALUATION: 'Run tools/evaluate.py again', FLATNESS: 'Run tools/flatness.py again'}

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
    digits: int
    better: Literal['higher', 'lower']
    kind: str
    protocol: str
    missing: str


class _Protocol(TypedDict):
    scale: int
    border: int
    metrics: dict[str, _Metric]


class _Model(TypedDict):
    name: str
    role: Role
    title: str
    fingerprint: str


class _Scores(TypedDict):
    mean: dict[str, float | None]
    interval: dict[str, Interval | None]
    identical: dict[str, int]
    undefined: dict[str, int]
    images: dict[str, dict[str, float | None]]


class _Difference(TypedDict):
    kind: Kind
    metric: str
    first: str
    second: str
    over: str
    count: int
    seeds: int
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
    count: int
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
    residual: float | None


class _Trace(TypedDict):
    value: float | None
    standard_error: float | None


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
    samples: int
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
