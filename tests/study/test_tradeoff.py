"""The figure of defences: which of them pay, and that their names can be read."""

from __future__ import annotations

import itertools

import pytest

from mea_plugin.study.tradeoff import Point, by_defence, frontier, panels_of

METRICS = {'psnr_rgb': {'title': 'RGB-PSNR', 'unit': 'dB', 'better': 'higher', 'digits': 2}}
# customer's PSNR; mean and whether it is decided, of a plain attacker and of one who adapts
DEFENCES = {
    'cheap': (36, (-0.5, True), (-0.4, True)),
    'beaten': (35, (-0.3, True), (-0.3, True)),
    'undone': (34, (-3.0, True), (-0.1, False)),
    'dear': (30, (-2.0, True), (-1.5, True)),
    'dearest': (25, (-1.4, True), (-1.6, True)),
    'crowd': (25.2, (-1.4, True), (-1.5, True)),
    'useless': (25.1, (0.1, False), (0.2, False)),
}


def study(better='higher', sign=1):
    axes = {'victim': 'v', 'surrogate': 'psnr', 'queries': 'nature', 'budget': 5}
    return {
        'metrics': {'psnr_rgb': {**METRICS['psnr_rgb'], 'better': better}},
        'methods': ['baseline', 'adapted'],
        'defences': {
            'customers': [
                {'victim': 'v', 'defence': name, 'quality': {'psnr_rgb': sign * customer}, 'seconds': 1.0}
                for name, (customer, *_) in DEFENCES.items()
            ],
            'attackers': [
                {
                    **axes,
                    'defence': name,
                    'method': method,
                    'metrics': {
                        'psnr_rgb': {'mean': sign * mean, 'verdict': 'worse' if is_decided else 'undecided'},
                    },
                }
                for name, (_, *found) in DEFENCES.items()
                for method, (mean, is_decided) in zip(('baseline', 'adapted'), found, strict=True)
            ],
        },
    }


@pytest.mark.parametrize(('better', 'sign'), [('higher', 1), ('lower', -1)])
def test_only_what_takes_something_from_the_best_attacker_pays(better, sign):
    (points,) = panels_of(study(better, sign)).values()
    assert {one.defence: one.least for one in points}['undone'] == 0.1
    best = frontier(points, higher_is_better=better == 'higher')
    assert [one.defence for one in best] == ['cheap', 'dear']  # 1.5 dB at 30 dB; crowd and dearest cost more


def test_of_two_that_cost_as_much_the_stronger_pays():
    weak, strong = (Point(name, 30.0, {'a': loss}, frozenset('a')) for name, loss in (('weak', 1.0), ('strong', 2.0)))
    assert frontier([weak, strong], higher_is_better=True) == [strong]
    assert frontier([], higher_is_better=True) == []


def test_names_do_not_cover_each_other():
    figure = by_defence(study())
    (axis,) = figure.axes
    boxes = {text.get_text(): text.get_window_extent() for text in axis.texts if text.get_text()}
    assert boxes.keys() == DEFENCES.keys()
    for one, other in itertools.combinations(boxes.values(), 2):
        assert not one.overlaps(other)
    assert all(box.y0 >= axis.get_window_extent().y0 - 1 for box in boxes.values())
    low, high = axis.get_xlim()
    assert low > high  # customers lose to the right
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ['baseline', 'adapted', 'frontier, best attacker']
