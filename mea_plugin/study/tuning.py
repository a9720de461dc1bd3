"""Which trial of each method is taken: the best on the validation sets, which no table uses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mea_plugin.metrics.metric import Metric
from mea_plugin.study.grid import Cell
from mea_plugin.study.options import StudyFile

__all__ = ['Choice', 'choose_trials', 'mean_fidelity']


@dataclass(frozen=True)
class Choice:
    """What tuning has found for one surrogate and one method.

    Attributes:
        surrogate: Its name.
        method: Its name.
        trial: The one taken.
        means: Of the first metric by trial, over victims, queries, budgets, seeds and images; None where a cell failed.
    """

    surrogate: str
    method: str
    trial: str
    means: dict[str, float | None]


def choose_trials(
    study: StudyFile, cells: Sequence[Cell], records: Mapping[Cell, Mapping[str, Any]], metric: Metric
) -> dict[tuple[str, str], Choice]:
    """Take the trial with the best mean; of equal ones the first in the file.

    Args:
        study: Its options.
        cells: All trials.
        records: Those that are finished.
        metric: The one that decides.

    Returns:
        By surrogate and method; one of which every trial has failed is missing.
    """
    values: dict[tuple[str, str], dict[str, list[float]]] = {}
    for cell in cells:
        trials = values.setdefault((cell.surrogate, cell.method), {})
        record = records.get(cell)
        trials.setdefault(str(cell.trial), []).append(
            math.nan if record is None else mean_fidelity(record, metric.name)
        )
    choices = {}
    sign = 1 if metric.better == 'higher' else -1
    for (surrogate, method), trials in values.items():
        means = {trial: float(np.mean(found)) for trial, found in trials.items()}
        finite = {trial: mean for trial, mean in means.items() if math.isfinite(mean)}
        if finite:
            best = max(finite, key=lambda trial: sign * finite[trial])
            noted = {trial: mean if math.isfinite(mean) else None for trial, mean in means.items()}
            choices[surrogate, method] = Choice(surrogate, method, best, noted)
    return choices


def mean_fidelity(record: Mapping[str, Any], metric: str) -> float:
    """The mean over all images of all test sets; NaN if one has no value."""
    values = [value for one in record['test_sets'].values() for value in one['fidelity'][metric]]
    return float(np.mean([math.nan if value is None else value for value in values]))
