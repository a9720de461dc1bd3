"""What a surrogate costs: the interpolation, the tables, and the calculator in a browser."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mea_plugin.report.figures import Point
from mea_plugin.report.job import make_report
from mea_plugin.report.prices import BudgetCurves, price_tables, queries_for
from tests.helpers import call_tool
from tests.report.results import make_evaluation, make_extraction

CURVE = [Point(10, 30.0), Point(40, 32.0), Point(160, 33.0)]


@pytest.mark.parametrize(
    ('fidelity', 'expected'),
    [
        (29.0, (10, 'at most')),
        (30.0, (10, 'at most')),
        (31.0, (20, '')),
        (32.0, (40, '')),
        (32.5, (80, '')),
        (33.0, (160, '')),
        (33.1, (160, 'more than')),
    ],
)
def test_budgets_are_interpolated_in_their_logarithm(fidelity, expected):
    queries, how = queries_for(CURVE, fidelity, 'higher')
    assert (pytest.approx(queries), how) == expected
    mirrored = [Point(point.budget, -point.mean) for point in CURVE]
    assert queries_for(mirrored, -fidelity, 'lower') == (queries, how)


def test_a_larger_budget_that_gives_less_does_not_count_against_a_smaller_one():
    dented = [Point(10, 30.0), Point(20, 29.0), Point(40, 32.0)]
    assert queries_for(dented, 31.0, 'higher') == (pytest.approx(20), '')


@given(
    budgets=st.lists(st.integers(1, 10**6), min_size=1, max_size=6, unique=True),
    means=st.lists(st.floats(10, 50), min_size=6, max_size=6),
    wanted=st.tuples(st.floats(5, 55), st.floats(5, 55)),
)
def test_more_fidelity_never_takes_fewer_queries(budgets, means, wanted):
    points = [Point(budget, mean) for budget, mean in zip(sorted(budgets), means, strict=False)]
    less, more = (queries_for(points, level, 'higher') for level in sorted(wanted))
    assert less[0] <= more[0] * (1 + 1e-9)
    for queries, how in (less, more):
        assert points[0].budget * (1 - 1e-9) <= queries <= points[-1].budget * (1 + 1e-9)
        assert math.isfinite(queries)
        assert how in ('', 'at most', 'more than')


def test_the_table_goes_from_the_easiest_to_the_hardest():
    about = {'title': 'LPIPS', 'unit': '', 'digits': 2, 'better': 'lower'}
    curves = BudgetCurves('set', 'lpips', about, {'a': [Point(10, 0.5), Point(40, 0.1)]}, [])
    (table,) = price_tables([curves], 0.5)
    assert [row[0].value for row in table.rows] == [0.5, 0.4, 0.3, 0.2, 0.1]
    assert [row[1].number for row in table.rows][::2] == ['at most 10, at most 5.00', '20, 10.00', '40, 20.00']


@pytest.fixture(scope='module')
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smaller budget's surrogates are 2 dB worse."""
    folder = tmp_path_factory.mktemp('prices')

    def worse(content: dict[str, Any]) -> None:
        for scores in content['test_sets'][0]['fidelity'].values():
            scores['mean']['psnr_y'] -= 2

    sources = [
        make_extraction(folder / 'ten', queries=10, count=2, size=(16, 16), change=worse),
        make_extraction(folder / 'forty', queries=40, count=2, size=(16, 16)),
    ]
    return make_report(sources, folder / 'report.html', price=0.25, figures=folder / 'figures').page


def test_the_calculator_says_what_a_fidelity_costs(report: Path, open_page: Any):
    page = open_page(report)
    page.locator('nav').get_by_role('link', name='What a surrogate costs').click()
    calculator = page.locator('[data-part=calculator]')
    assert calculator.is_visible()
    price, wanted = (page.locator(f'[data-part={name}]') for name in ('price', 'wanted'))
    assert price.input_value() == '0.25'
    means = {
        model['name']: model['points']
        for model in page.evaluate("JSON.parse(document.getElementById('prices').textContent).curves[0].models")
    }
    low, high = (mean for _, mean in means['baseline'])
    wanted.fill(f'{(low + high) / 2:.6f}')
    price.fill('2')
    costs = dict(
        zip(
            page.locator('[data-part=costs] dt').all_inner_texts(),
            page.locator('[data-part=costs] .value').all_inner_texts(),
            strict=True,
        )
    )
    assert costs['baseline'] == '40.00'
    assert costs['proposed'] == 'at most 20.00'
    wanted.fill('99')
    assert page.locator('[data-part=costs] .value').first.inner_text() == 'more than 80.00'
    price.fill('')
    assert page.locator('[data-part=costs] .value').first.inner_text() == '\u2013'


def test_the_calculator_and_the_tables_agree(report: Path, open_page: Any):
    """The same function twice, in Python and in JavaScript."""
    page = open_page(report)
    generator = np.random.default_rng(0)
    for _ in range(30):
        budgets = np.unique(generator.integers(1, 1000, 4)).tolist()
        points = [[budget, float(mean)] for budget, mean in zip(budgets, generator.normal(30, 2, 4), strict=False)]
        level, better = float(generator.normal(30, 3)), str(generator.choice(['higher', 'lower']))
        found = page.evaluate('([p, l, b]) => meaReport.queriesFor(p, l, b)', [points, level, better])
        queries, how = queries_for([Point(*point) for point in points], level, better)
        assert found[0] == pytest.approx(queries)
        assert found[1].strip() == how


def test_tables_are_written_and_a_single_budget_has_none(report: Path, tmp_path: Path, capsys: Any):
    assert 'at 0.25 per query' in (report.parent / 'figures' / 'toys-costs.md').read_text()
    one = make_evaluation(tmp_path / 'one', count=1, size=(16, 16))
    assert call_tool('report', one, '--output', tmp_path / 'report.html') == 0
    assert 'What a surrogate costs' not in (tmp_path / 'report.html').read_text()
    assert call_tool('report', one, '--output', tmp_path / 'other.html', '--price', '-1') == 2
    said = capsys.readouterr().err
    assert said.startswith('error: --price: ')
    assert '-1' in said
