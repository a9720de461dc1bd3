"""Whether one model is better than another on the same images, and what "better" rests on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from mea_plugin.evaluation.statistics import PairedDifference, holm, paired_difference
from mea_plugin.metrics.metric import Metric

__all__ = ['Difference', 'compare_models', 'compared_pairs']

_DIGITS = 6
_LEVEL = 0.05

Values = Mapping[str, Mapping[str, Sequence[float]]]
"""One value per image, by model and metric."""


@dataclass(frozen=True)
class Difference:
    """``first - second`` in one metric on one test set.

    Attributes:
        kind: ``fidelity``, ``quality`` or ``own``.
        metric: Its name.
        first: A model, or a group of seeds.
        second: The one that it is compared with.
        over: ``images``, or ``seeds and images``.
        found: Mean, interval, p-value and verdict.
        p_holm: The p-value, corrected for all comparisons of the same kind on the same test set.
    """

    kind: str
    metric: str
    first: str
    second: str
    over: str
    found: PairedDifference
    p_holm: float = math.nan

    @property
    def verdict(self) -> str:
        """That of the first: ``better`` or ``worse`` where the interval excludes 0 and ``p_holm`` is at most 0.05."""
        return self.found.verdict if self.p_holm <= _LEVEL else 'undecided'

    def to_json(self) -> dict[str, Any]:
        """As it stands in evaluation.json; what is not a number is null."""
        found = self.found
        return {
            'kind': self.kind,
            'metric': self.metric,
            'first': self.first,
            'second': self.second,
            'over': self.over,
            'count': found.count,
            'seeds': found.seeds,
            'mean': _number(found.mean),
            'interval': None if found.bounds is None else [round(bound, _DIGITS) for bound in found.bounds],
            'p': _number(found.p),
            'p_holm': _number(self.p_holm),
            'verdict': self.verdict,
        }


def compared_pairs(
    surrogates: Sequence[str], baselines: Sequence[str], victim: str | None, seeds: Mapping[str, Sequence[str]]
) -> list[tuple[str, str]]:
    """Who is compared with whom: what the reader came for, and no more, since every comparison costs certainty.

    Surrogates with each other, those of a group of seeds as one; a single one with the baselines; without any, the
    victim with the baselines, or the baselines with each other.

    Returns:
        Pairs of names, the later one first: it is the one that may be better.
    """
    grouped = {name for names in seeds.values() for name in names}
    rivals = [name for name in surrogates if name not in grouped]
    rivals += seeds
    if not rivals and victim is not None:
        rivals = [victim]
    if len(rivals) > 1:
        return [(second, first) for first, second in combinations(rivals, 2)]
    if rivals:
        return [(rivals[0], baseline) for baseline in baselines]
    return [(second, first) for first, second in combinations(baselines, 2)]


def compare_models(
    kind: str,
    values: Values,
    metrics: Sequence[Metric],
    pairs: Sequence[tuple[str, str]],
    seeds: Mapping[str, Sequence[str]],
) -> list[Difference]:
    """Compare models in every metric that has a value per image.

    Args:
        kind: Of the values.
        values: Of every model.
        metrics: To compare in.
        pairs: See :func:`compared_pairs`; a pair of which one has no values is left out.
        seeds: Names of models by group.
    """
    found = []
    for metric in metrics:
        for first, second in pairs:
            members = [seeds.get(name, (name,)) for name in (first, second)]
            if any(metric.name not in values.get(name, {}) for names in members for name in names):
                continue
            rows = [np.array([values[name][metric.name] for name in names]) for names in members]
            over = 'seeds and images' if any(len(row) > 1 for row in rows) else 'images'
            arguments = [row if len(row) > 1 else row[0] for row in rows]
            difference = paired_difference(arguments[0], arguments[1], better=metric.better)
            found.append(Difference(kind, metric.name, first, second, over, difference))
    corrected = holm([one.found.p for one in found])
    return [replace(one, p_holm=p) for one, p in zip(found, corrected, strict=True)]


def _number(value: float) -> float | None:
    return round(value, _DIGITS) if math.isfinite(value) else None
