"""The finished cells of a study, by configuration."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mea_plugin.study.grid import Cell
from mea_plugin.study.options import Comparison

__all__ = ['CONFIGURATION', 'Configuration', 'Results', 'configuration_of', 'values_of']

CONFIGURATION = ('victim', 'surrogate', 'queries', 'budget', 'defence')
"""The axes of a configuration: what methods are compared at."""

Configuration = tuple[str, str, str, int, str]


def values_of(record: Mapping[str, Any], metric: str, kind: str = 'fidelity') -> np.ndarray:
    """One value per image, over all test sets: float64 ``(images,)``, NaN where there is none."""
    values = [value for one in record['test_sets'].values() for value in one[kind][metric]]
    return np.array([math.nan if value is None else value for value in values], np.float64)


def configuration_of(cell: Cell) -> Configuration:
    """A cell without method and seed."""
    return cell.victim, cell.surrogate, cell.queries, cell.budget, cell.defence


@dataclass(frozen=True)
class Results:
    """The finished cells of a study.

    Attributes:
        records: By cell.
        wanted: All cells that the study has.
    """

    records: Mapping[Cell, Mapping[str, Any]]
    wanted: Sequence[Cell]

    @property
    def configurations(self) -> list[Configuration]:
        """In the order of the option file."""
        return list(dict.fromkeys(configuration_of(cell) for cell in sorted_by_seed(self.wanted)))

    def methods(self, configuration: Configuration) -> list[str]:
        """Those that the study wants there."""
        return list(dict.fromkeys(one.method for one in self.wanted if configuration_of(one) == configuration))

    def seeds(self, configuration: Configuration, method: str) -> dict[int, Mapping[str, Any]]:
        """The finished records of one method, by seed."""
        return {
            cell.seed: self.records[cell]
            for cell in self.wanted
            if cell in self.records and cell.method == method and configuration_of(cell) == configuration
        }

    def wanted_seeds(self, configuration: Configuration, comparison: Comparison) -> int:
        """How many seeds both methods of a comparison have there once everything is finished."""
        one, other = (
            {cell.seed for cell in self.wanted if cell.method == name and configuration_of(cell) == configuration}
            for name in (comparison.method, comparison.against)
        )
        return len(one & other)

    def matrix(self, configuration: Configuration, method: str, metric: str, seeds: Iterable[int]) -> np.ndarray:
        """Fidelity, ``(seeds, images)``."""
        found = self.seeds(configuration, method)
        return np.stack([values_of(found[seed], metric) for seed in seeds])


def sorted_by_seed(cells: Iterable[Cell]) -> list[Cell]:
    """The first seed's cells have every configuration, unless some are excluded by seed."""
    return sorted(cells, key=lambda cell: cell.seed)
