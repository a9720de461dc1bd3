"""The picture: which images, which region, and that pixels stay what they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mea_plugin.evaluation import panel
from mea_plugin.evaluation.crops import EDGE, choose_rows, cut_row, most_detailed
from mea_plugin.evaluation.results import Protocol
from mea_plugin.metrics.planes import to_y
from tests.helpers import refused


def row(height=80, width=100, scale=2, with_truth=True, seed=0, names=('bicubic', 'victim', 'ours')):
    rng = np.random.default_rng(seed)
    query = rng.integers(0, 256, (height // scale, width // scale, 3), dtype=np.uint8)
    answers = {name: rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for name in names}
    truth = rng.integers(0, 256, (height, width, 3), dtype=np.uint8) if with_truth else None
    to_victim = {name: 30.0 for name in names if name != 'victim'}
    to_truth = dict.fromkeys(names, 25.0) if with_truth else {}
    made = cut_row('Set5, baby', query, truth, answers, 'victim', to_truth=to_truth, to_victim=to_victim)
    return made, query, truth, answers


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(1, 12))
def test_as_many_images_as_wanted_are_chosen(sizes, wanted):
    names = [[f'{index}' for index in range(size)] for size in sizes]
    chosen = choose_rows(names, wanted, where='panel.images')
    assert len(chosen) == min(wanted, sum(sizes))
    shares = [sum(index == member for member, _ in chosen) for index in range(len(sizes))]
    for share, size in zip(shares, sizes, strict=True):
        assert share == size or share >= max(shares) - 1


@pytest.mark.parametrize(
    ('count', 'wanted', 'expected'), [(5, 1, [2]), (5, 2, [1, 3]), (100, 4, [12, 37, 62, 87]), (3, 9, [0, 1, 2])]
)
def test_the_choice_is_spread_evenly(count, wanted, expected):
    chosen = choose_rows([[str(index) for index in range(count)]], wanted, where='')
    assert sorted(int(name) for _, name in chosen) == expected


def test_images_can_be_named():
    assert choose_rows([['a', 'b'], ['b', 'c']], ['b'], where='') == {(0, 'b'), (1, 'b')}
    with refused('panel.images', "'babi'", do="'baby'"):
        choose_rows([['baby', 'bird']], ['babi'], where='panel.images')


@pytest.mark.parametrize(('seed', 'margin'), [(0, 0), (1, 3), (2, 5)])
def test_the_region_is_the_one_with_the_largest_gradient(seed, margin):
    image = np.random.default_rng(seed).integers(0, 256, (33, 41, 3), dtype=np.uint8)
    luma, side = to_y(image), 8
    detail = {}
    for top in range(margin, 33 - side + 1 - margin):
        for left in range(margin, 41 - side + 1 - margin):
            # each pixel's steps from the left and from above, those across the region's own edge included
            window = luma[max(top - 1, 0) : top + side, max(left - 1, 0) : left + side]
            down, right = np.abs(np.diff(window, axis=0)), np.abs(np.diff(window, axis=1))
            total = down[:, -side:].sum() + right[-side:].sum()
            detail[top, left] = total
    assert most_detailed(image, side, margin) == max(detail, key=detail.get)


def test_a_flat_image_has_a_region_too():
    flat = np.full((40, 50, 3), 7, np.uint8)
    assert most_detailed(flat, 10, 3) == (3, 3)
    assert most_detailed(flat, 40, 16) == (0, 5)


def test_every_crop_shows_the_same_region():
    made, query, truth, answers = row(height=240, width=300)
    side = made.truth.shape[0]
    assert side == 60
    top, left = most_detailed(truth, side, EDGE)
    region = slice(top, top + side), slice(left, left + side)
    np.testing.assert_array_equal(made.truth, truth[region])
    for name, answer in answers.items():
        np.testing.assert_array_equal(made.answers[name], answer[region])
    np.testing.assert_array_equal(made.query, np.kron(query, np.ones((2, 2, 1), np.uint8))[region])
    difference = np.abs(answers['ours'].astype(int) - answers['victim'].astype(int)).mean(axis=2)
    np.testing.assert_allclose(made.errors['ours'], difference[region])
    assert set(made.errors) == {'bicubic', 'ours'}


@pytest.mark.parametrize(('height', 'width'), [(240, 900), (900, 240), (300, 300)])
def test_the_overview_holds_the_region(height, width):
    made, _, truth, _ = row(height=height, width=width)
    left, top, side = made.box
    assert made.context.shape == (panel.CONTEXT_SIDE, panel.CONTEXT_SIDE, 3)
    assert left >= 0
    assert top >= 0
    assert max(left, top) + side <= panel.CONTEXT_SIDE
    assert side == round(made.truth.shape[0] * panel.CONTEXT_SIDE / min(truth.shape[:2]))


def test_the_picture_shows_pixels_as_squares():
    made, *_ = row(height=240, width=300)
    picture = panel.draw_panel([made], ['bicubic', 'victim', 'ours'], 'victim', Protocol(2))
    x = panel.MARGIN + panel.CONTEXT_SIDE + panel.GAP
    y = panel.MARGIN + panel.HEADER
    step = panel.CELL + panel.GAP
    for column, crop in enumerate([made.truth, *made.answers.values()]):
        shown = picture[y : y + panel.CELL, x + column * step : x + column * step + panel.CELL]
        np.testing.assert_array_equal(shown, np.kron(crop, np.ones((4, 4, 1), np.uint8)))


def test_the_picture_grows_with_its_rows_and_columns():
    names = ('bicubic', 'victim', 'base', 'ours')
    rows = [row(seed=seed, names=names)[0] for seed in range(3)]
    one, three = (panel.draw_panel(rows[:n], names, 'victim', Protocol(2)) for n in (1, 3))
    assert three.shape[0] - one.shape[0] == 2 * (panel.ROW + panel.ROW_GAP)
    assert one.shape[1] == three.shape[1] == 2 * panel.MARGIN + panel.CONTEXT_SIDE + 5 * (panel.CELL + panel.GAP)
    np.testing.assert_array_equal(three, panel.draw_panel(rows, names, 'victim', Protocol(2)))


@pytest.mark.parametrize('name', ['ours', 'a surrogate whose name is much longer than its column', ''])
def test_no_ground_truth_and_tiny_images_are_drawn(name):
    made, *_ = row(height=20, width=24, with_truth=False, names=('victim', name))
    assert made.truth is None
    picture = panel.draw_panel([made], ['victim', name], 'victim', Protocol(2))
    x = panel.MARGIN + panel.CONTEXT_SIDE + panel.GAP
    header = picture[panel.MARGIN : panel.MARGIN + panel.HEADER - 4]  # above the outline of a region at the edge
    assert (header[:, : x - panel.GAP] == 255).all()
    gaps = [x + column * (panel.CELL + panel.GAP) - panel.GAP for column in range(1, 3)]
    for gap in gaps:  # no title runs into the next column
        assert (header[:, gap + 1 : gap + panel.GAP - 1] == 255).all()
    y = panel.MARGIN + panel.HEADER
    shown = picture[y : y + panel.CELL, x : x + panel.CELL]
    np.testing.assert_array_equal(shown, np.kron(made.query, np.ones((12, 12, 1), np.uint8)))


def test_equal_differences_have_equal_colours_in_every_row():
    rows = [row(seed=seed)[0] for seed in range(2)]
    rows[1].errors['ours'][:] = 255 / 2
    rows[0].errors['ours'][0, 0] = 255 / 2
    picture = panel.draw_panel(rows, ['bicubic', 'victim', 'ours'], 'victim', Protocol(2))
    x = panel.MARGIN + panel.CONTEXT_SIDE + panel.GAP + 3 * (panel.CELL + panel.GAP)
    y = panel.MARGIN + panel.HEADER + panel.CELL + panel.LABEL
    np.testing.assert_array_equal(picture[y, x], picture[y + panel.ROW + panel.ROW_GAP, x])
    assert not np.array_equal(picture[y, x], picture[y + 20, x + 20])


@pytest.mark.parametrize(
    ('outliers', 'span'),
    [(0, 8), (10, 8), (1000, 255)],  # of 3600 differences, the others at 5 grey levels
)
def test_a_few_large_differences_do_not_darken_the_rest(outliers, span):
    made, *_ = row(height=240, width=300)
    for error in made.errors.values():
        error[:] = 5
        error.reshape(-1)[:outliers] = 255
    picture = panel.draw_panel([made], ['bicubic', 'victim', 'ours'], 'victim', Protocol(2))
    x = panel.MARGIN + panel.CONTEXT_SIDE + panel.GAP + 3 * (panel.CELL + panel.GAP)
    last = picture[panel.MARGIN + panel.HEADER + 2 * panel.CELL + panel.LABEL - 1, x + panel.CELL - 1]
    np.testing.assert_array_equal(last, panel._heat(np.array([[5.0]]), span)[0, 0])
