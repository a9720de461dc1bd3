"""What a surrogate costs: fidelity by the number of queries, at a price per query."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mea_plugin.evaluation.table import Cell, Column, Table
from mea_plugin.report.figures import Point, Reference
from mea_plugin.report.sources import Source

__all__ = ['BudgetCurves', 'budget_curves', 'calculator_data', 'price_tables', 'queries_for']

_LEVELS = 5  # fidelities between the lowest and the highest that a table has rows for


@dataclass(frozen=True)
class BudgetCurves:
    """The first metric's fidelity on one test set over the number of queries.

    Attributes:
        test_set: Its name.
        metric: Its name.
        about: Its title, unit, digits, and which values are better.
        series: Points by surrogate, by budget.
        references: Baselines, which need no query.
    """

    test_set: str
    metric: str
    about: Mapping[str, Any]
    series: dict[str, list[Point]]
    references: list[Reference]

    @property
    def label(self) -> str:
        """The metric with its unit."""
        return f'{self.about["title"]} ({self.about["unit"]})' if self.about['unit'] else str(self.about['title'])


def budget_curves(sources: Sequence[Source]) -> list[BudgetCurves]:
    """The curves of every test set on which extractions with different numbers of queries were measured."""
    series: dict[tuple[str, str], dict[str, list[Point]]] = defaultdict(lambda: defaultdict(list))
    references: dict[tuple[str, str], dict[str, Reference]] = defaultdict(dict)
    metrics: dict[str, Mapping[str, Any]] = {}
    for source, queries in ((one, one.extraction.queries) for one in sources if one.extraction):
        if not queries:
            continue
        roles = {model['name']: model['role'] for model in source.evaluation['models']}
        metric, described = next(iter(source.evaluation['protocol']['metrics'].items()), ('', {}))
        metrics[metric] = described
        for test_set in source.evaluation['test_sets']:
            for model, scores in test_set['fidelity'].items():
                mean, key = scores['mean'].get(metric), (test_set['name'], metric)
                if mean is not None and roles[model] == 'surrogate':
                    bounds = scores['interval'].get(metric) or ()
                    series[key][model].append(Point(queries, mean, *bounds))
                elif mean is not None and roles[model] == 'baseline':
                    references[key].setdefault(model, Reference(model, mean))
    return [
        BudgetCurves(
            name,
            metric,
            metrics[metric],
            {key: sorted(of) for key, of in models.items()},
            [*references[name, metric].values()],
        )
        for (name, metric), models in series.items()
        if len({point.budget for points in models.values() for point in points}) > 1
    ]


def queries_for(
    points: Sequence[Point], fidelity: float, better: Literal['higher', 'lower']
) -> tuple[float, Literal['', 'at most', 'more than']]:
    """How many queries a surrogate of a fidelity takes.

    Between two budgets fidelity is interpolated linearly in the logarithm of the budget. A budget that gives less than
    a smaller one does not count against that one.

    Args:
        points: In the order of their budgets.
        fidelity: What is wanted.
        better: Which values are better.

    Returns:
        The number; ``at most``: the smallest budget gives that much, so that fewer may do; ``more than``: no budget
        gives as much.
    """
    sign = 1 if better == 'higher' else -1
    wanted, best = sign * fidelity, -math.inf
    before = 0
    for point in points:
        value = sign * point.mean
        if value >= wanted:
            if best == -math.inf:
                return point.budget, 'at most'
            part = (wanted - best) / (value - best)
            return math.exp(math.log(before) + part * (math.log(point.budget) - math.log(before))), ''
        if value > best:
            best, before = value, point.budget
    return points[-1].budget, 'more than'


def price_tables(curves: Sequence[BudgetCurves], price: float) -> Iterator[Table]:
    """For each test set a row per fidelity, with what a surrogate of that costs."""
    for one in curves:
        digits = int(one.about['digits'])
        header = [
            Column('fidelity', one.label),
            *(Column(name, f'{name}: queries, cost') for name in one.series),
        ]
        rows = [
            [Cell(value=level, digits=digits), *(_cost(points, level, one, price) for points in one.series.values())]
            for level in _levels(one)
        ]
        title = f'What a surrogate costs on {one.test_set}, at {price:g} per query'
        yield Table(f'{one.test_set}-costs', title, header, rows)


def calculator_data(curves: Sequence[BudgetCurves], price: float) -> dict[str, Any]:
    """What the page's calculator knows."""
    return {
        'price': price,
        'curves': [
            {
                'name': one.test_set,
                'label': one.label,
                'digits': int(one.about['digits']),
                'better': one.about['better'],
                'wanted': _levels(one)[len(_levels(one)) // 2],
                'models': [
                    {'name': name, 'points': [[point.budget, point.mean] for point in points]}
                    for name, points in one.series.items()
                ],
            }
            for one in curves
        ],
    }


def _levels(one: BudgetCurves) -> list[float]:
    """Even steps from the lowest to the highest fidelity, the easiest first."""
    means = [point.mean for points in one.series.values() for point in points]
    low, high = min(means), max(means)
    steps = [low + (high - low) * step / (_LEVELS - 1) for step in range(_LEVELS)]
    digits = int(one.about['digits'])
    ordered = steps if one.about['better'] == 'higher' else steps[::-1]
    return list(dict.fromkeys(round(level, digits) for level in ordered))


def _cost(points: Sequence[Point], level: float, one: BudgetCurves, price: float) -> Cell:
    queries, how = queries_for(points, level, one.about['better'])
    number = round(queries)
    words = f'{how} ' if how else ''
    return Cell(f'{words}{number:,}, {words}{number * price:,.2f}', value=number * price)
