"""What an evaluation found, and the protocol it was found under; the JSON is made from these alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mea_plugin.evaluation.benchmark_sets import BenchmarkCheck
from mea_plugin.evaluation.differences import Difference
from mea_plugin.evaluation.pictures import SavedPictures
from mea_plugin.evaluation.statistics import mean_interval
from mea_plugin.metrics.metric import Metric

__all__ = [
    *('FORMAT', 'KINDS', 'Comparison', 'EvaluatedModel', 'EvaluationResult', 'Kind', 'Mean', 'Protocol', 'SetResult'),
]

FORMAT = 3
"""Of evaluation.json; that before had no checksum."""

Kind = Literal['fidelity', 'quality', 'own']
KINDS: tuple[Kind, ...] = ('fidelity', 'quality', 'own')

_DIGITS = 6  # of a decibel and of SSIM: more would differ from one machine to the next


@dataclass(frozen=True)
class Protocol:
    """How images are compared: the scale, how many pixels are cut at each edge, and by which metrics."""

    scale: int
    metrics: tuple[Metric, ...] = ()

    @property
    def border(self) -> int:
        """By custom the scale; nothing is cut where the size stays (scale 1)."""
        return self.scale if self.scale > 1 else 0

    def to_json(self) -> dict[str, Any]:
        """Every setting that the numbers depend on."""
        keys = ('title', 'unit', 'digits', 'better', 'kind', 'protocol', 'missing')
        return {
            'scale': self.scale,
            'border': self.border,
            'metrics': {metric.name: {key: getattr(metric, key) for key in keys} for metric in self.metrics},
        }


@dataclass(frozen=True)
class EvaluatedModel:
    """One row of the tables.

    Attributes:
        name: How the option file calls it.
        role: ``baseline``, ``victim``, ``surrogate`` or ``ceiling``.
        title: How the model calls itself.
        fingerprint: The stable hash of what answers.
    """

    name: str
    role: str
    title: str
    fingerprint: str


@dataclass(frozen=True)
class Mean:
    """A mean over images, or the one value of a whole set.

    Attributes:
        value: Mean over the images on which it is finite; ``inf`` where all equal their reference, NaN where it is
            defined for none.
        interval: Of 95 % confidence; None where there is none.
        identical: How many images are left out because they equal their reference.
        undefined: How many are left out because the metric is not defined for them.
    """

    value: float
    interval: tuple[float, float] | None = None
    identical: int = 0
    undefined: int = 0


@dataclass(frozen=True)
class Comparison:
    """One model against one reference on a test set.

    Attributes:
        images: Value by image and metric.
        sets: Value of metrics of the whole set, by metric.
        means: Made of both: by metric.
    """

    images: dict[str, dict[str, float]]
    sets: dict[str, float] = field(default_factory=dict)
    means: dict[str, Mean] = field(init=False)

    def __post_init__(self) -> None:
        names = list(next(iter(self.images.values()), {}))
        means = {name: _mean([values[name] for values in self.images.values()]) for name in names}
        means.update({name: Mean(value) for name, value in self.sets.items()})
        object.__setattr__(self, 'means', means)

    def values(self, metric: str) -> list[float]:
        """One value per image."""
        return [values[metric] for values in self.images.values()]

    def to_json(self) -> dict[str, Any]:
        """Means and their intervals, and every image."""
        paired = {name: mean for name, mean in self.means.items() if name not in self.sets}
        return {
            'mean': {name: number(mean.value) for name, mean in self.means.items()},
            'interval': {name: numbers(mean.interval) for name, mean in paired.items()},
            'identical': {name: mean.identical for name, mean in paired.items()},
            'undefined': {name: mean.undefined for name, mean in paired.items()},
            'images': {
                image: {name: number(value) for name, value in values.items()} for image, values in self.images.items()
            },
        }


@dataclass(frozen=True)
class SetResult:
    """One test set.

    Attributes:
        name: How tables call it.
        count: How many images.
        fingerprint: A hash of its names and pixels.
        benchmark: Whether it is the benchmark that it is called after, where it is called after one.
        fidelity: Every other model against the victim.
        quality: Every model against the ground truth; metrics of whole sets against the target's images.
        own: What is measured on a model's answers alone.
        differences: Whether one model is better than another.
        notes: What the reader of metrics of whole sets has to know.
    """

    name: str
    count: int
    fingerprint: str
    benchmark: BenchmarkCheck | None = None
    fidelity: dict[str, Comparison] = field(default_factory=dict)
    quality: dict[str, Comparison] = field(default_factory=dict)
    own: dict[str, Comparison] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def comparisons(self, kind: Kind) -> dict[str, Comparison]:
        """By model."""
        found: dict[str, Comparison] = getattr(self, kind)
        return found

    def to_json(self) -> dict[str, Any]:
        """The set's identity and its scores."""
        return {
            'name': self.name,
            'count': self.count,
            'fingerprint': self.fingerprint,
            'benchmark': self.benchmark.to_json() if self.benchmark else None,
            **{kind: {name: one.to_json() for name, one in self.comparisons(kind).items()} for kind in KINDS},
            'differences': [difference.to_json() for difference in self.differences],
            'notes': list(self.notes),
        }


@dataclass(frozen=True)
class EvaluationResult:
    """All that was measured.

    Attributes:
        name: What the evaluation is called.
        protocol: Under which.
        models: In the order of tables.
        sets: In the order of the option file.
        seeds: Names of models by group: the same training with several seeds.
        pictures: What was saved of which image.
    """

    name: str
    protocol: Protocol
    models: list[EvaluatedModel]
    sets: list[SetResult]
    seeds: Mapping[str, Sequence[str]] = field(default_factory=dict)
    pictures: list[SavedPictures] = field(default_factory=list)

    @property
    def surrogates(self) -> list[str]:
        """The names of the surrogates, in the order given."""
        return [model.name for model in self.models if model.role == 'surrogate']

    @property
    def metrics(self) -> dict[str, Metric]:
        """The metrics by name."""
        return {metric.name: metric for metric in self.protocol.metrics}

    def to_json(self) -> dict[str, Any]:
        """Plain values; nothing in it depends on the machine."""
        return {
            'format': FORMAT,
            'name': self.name,
            'protocol': self.protocol.to_json(),
            'models': [vars(model) for model in self.models],
            'seeds': {group: list(names) for group, names in self.seeds.items()},
            'test_sets': [test_set.to_json() for test_set in self.sets],
            'pictures': [picture.to_json() for picture in self.pictures],
        }


def _mean(values: Sequence[float]) -> Mean:
    identical = sum(math.isinf(value) for value in values)
    undefined = sum(math.isnan(value) for value in values)
    if identical + undefined == len(values):
        return Mean(math.inf if identical else math.nan, None, identical, undefined)
    interval = mean_interval(values)
    return Mean(interval.mean, interval.bounds, identical, undefined)


def number(value: float) -> float | None:
    """For JSON, which knows no infinity and no NaN: null stands for both."""
    return round(value, _DIGITS) if math.isfinite(value) else None


def numbers(interval: tuple[float, float] | None) -> list[float] | None:
    """An interval for JSON."""
    return None if interval is None else [round(value, _DIGITS) for value in interval]
