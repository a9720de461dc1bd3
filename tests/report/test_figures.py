"""Figures show the numbers they are given, are written with the same bytes every time, and fit into a page."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import warnings
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from mea_plugin.report import figures
from mea_plugin.report.curves import Curve
from mea_plugin.report.figures import Point, Reference, style
from tests.evaluation import scores
from tests.helpers import ROOT, refused

SVG = '{http://www.w3.org/2000/svg}'


@pytest.fixture(autouse=True)
def _no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        yield


@pytest.fixture(scope='module')
def study():
    generator = np.random.default_rng(3)
    images = generator.normal(30, 2, 12)
    values = {
        'bicubic': {'psnr_y': images, 'spectrum_error': generator.normal(3, 0.2, 12)},
        'base': {'psnr_y': images + generator.normal(2, 0.2, 12), 'spectrum_error': generator.normal(2, 0.2, 12)},
        'ours': {'psnr_y': images + generator.normal(3, 0.2, 12), 'spectrum_error': generator.normal(2, 0.2, 12)},
        'same': {'psnr_y': np.full(12, math.inf), 'spectrum_error': np.full(12, math.nan)},
    }
    pairs = [('ours', 'base'), ('same', 'base')]
    return scores.evaluation(values, roles={'bicubic': 'baseline'}, pairs=pairs)


def landscapes(names=('base', 'ours')):
    steps = np.linspace(-1, 1, 9)
    found = {}
    for number, name in enumerate(names, start=1):
        plane = [[0.1 + number * (x * x + y * y) for x in steps] for y in steps]
        line = {'steps': list(steps), 'loss': [0.1 + number * step * step for step in steps]}
        found[name] = {'line': line, 'plane': {'x': list(steps), 'y': list(steps), 'loss': plane}}
    return found


def points(count=3, hessian=True):
    return [
        {
            'checkpoint': f'{index}.pth',
            'iteration': 100 * index,
            'fingerprint': 'f',
            'loss': 1 / index,
            'sharpness': {'0.05': 0.1 * index, '0.1': None},
            'top_eigenvalue': {'value': 3.0 * index, 'residual': 0.1, 'iterations': 5} if hessian else None,
            'trace': {'value': 30.0, 'standard_error': None, 'probes': 1} if hessian else None,
        }
        for index in range(1, count + 1)
    ]


CURVES = {'base': {'l_pix': Curve([10, 20, 30], [0.3, math.nan, 0.1])}, 'ours': {'l_pix': Curve([10, 20], [0.2, 0.1])}}
BUDGETS = {'base': [Point(100, 31, 30, 32), Point(50, 30)], 'ours': [Point(50, 32, 31.5, 32.5)]}
RADII = np.linspace(0, 0.5, 9)
SPECTRA = {'victim': 50 - 60 * RADII, 'ours': 49 - 62 * RADII}

DRAWN = {
    'means': lambda study: figures.means(study, 'Set5', 'fidelity'),
    'differences': lambda study: figures.differences(study, 'Set5', 'fidelity'),
    'training_curves': lambda study: figures.training_curves(CURVES),
    'fidelity_by_budget': lambda study: figures.fidelity_by_budget(
        BUDGETS, label='Y-PSNR (dB)', references=[Reference('bicubic', 29)]
    ),
    'power_spectra': lambda study: figures.power_spectra(RADII, SPECTRA, reference='victim'),
    'landscape_line': lambda study: figures.landscape_line(landscapes()),
    'landscape_plane': lambda study: figures.landscape_plane(landscapes()),
    'trajectory': lambda study: figures.trajectory({'base': points(), 'ours': points(2)}),
}


def lines(axis, colour=None):
    """The lines of an axis as lists of points."""
    found = [line for line in axis.get_lines() if colour is None or line.get_color() == colour]
    return [list(zip(map(float, line.get_xdata()), map(float, line.get_ydata()), strict=True)) for line in found]


def texts(figure):
    from matplotlib.text import Text

    return {text.get_text() for text in figure.findobj(Text)}


@pytest.mark.parametrize('name', DRAWN)
@pytest.mark.slow
def test_files_have_the_same_bytes_every_time(name, study, tmp_path):
    paths = figures.save(DRAWN[name](study), tmp_path / 'first' / 'a.b')
    assert paths == [tmp_path / 'first' / 'a.b.png', tmp_path / 'first' / 'a.b.pdf']
    figure = DRAWN[name](study)
    figures.to_svg(figure, 'x')  # which changes nothing
    figures.save(figure, tmp_path / 'second' / 'a.b')
    for file in ('a.b.png', 'a.b.pdf'):
        assert (tmp_path / 'first' / file).read_bytes() == (tmp_path / 'second' / file).read_bytes()
    pdf = (tmp_path / 'first' / 'a.b.pdf').read_bytes()
    assert b'/CreationDate' not in pdf
    assert b'/CIDFontType2' in pdf  # TrueType, embedded
    assert b'/Type3' not in pdf
    with Image.open(tmp_path / 'first' / 'a.b.png') as image:
        assert image.width in [round(width * 300) for width in (style.COLUMN, style.PAGE, 5.6)]
    assert len(list((tmp_path / 'first').iterdir())) == 2


def test_bytes_do_not_depend_on_the_process_or_the_users_settings(tmp_path):
    code = """
import sys
from mea_plugin.report import figures
from mea_plugin.report.curves import Curve
figure = figures.training_curves({'a': {'l_pix': Curve([1, 2], [0.2, 0.1])}})
figures.save(figure, sys.argv[1])
open(sys.argv[1] + '.svg', 'w').write(figures.to_svg(figure, 'title'))
assert 'matplotlib.pyplot' not in sys.modules
"""
    (tmp_path / 'matplotlibrc').write_text('font.size: 20\naxes.facecolor: red\nlines.linewidth: 9\n')
    for stem, seed, settings in (('a', '1', ROOT / 'nothing'), ('b', '2', tmp_path)):
        environment = {**os.environ, 'PYTHONHASHSEED': seed, 'MATPLOTLIBRC': str(settings), 'PYTHONPATH': str(ROOT)}
        run = subprocess.run([sys.executable, '-c', code, str(tmp_path / stem)], env=environment, timeout=120)
        assert run.returncode == 0
    for kind in ('png', 'pdf', 'svg'):
        assert (tmp_path / f'a.{kind}').read_bytes() == (tmp_path / f'b.{kind}').read_bytes()


def test_the_users_settings_come_back(study):
    import matplotlib

    matplotlib.rcParams['font.size'] = 21
    try:
        figures.to_svg(DRAWN['means'](study), 'x')
        assert matplotlib.rcParams['font.size'] == 21
    finally:
        matplotlib.rcParams['font.size'] = matplotlib.rcParamsDefault['font.size']


@pytest.mark.parametrize('name', DRAWN)
def test_svg_stands_in_a_page(name, study):
    figure = DRAWN[name](study)
    text = figures.to_svg(figure, 'A <title> & "more"', 'said to those who ask')
    assert text == figures.to_svg(figure, 'A <title> & "more"', 'said to those who ask')
    root = ElementTree.fromstring(text)
    assert root.tag == f'{SVG}svg'
    assert (root.get('role'), root.get('aria-label')) == ('img', 'A <title> & "more"')
    assert [(child.tag, child.text) for child in root[:2]] == [
        (f'{SVG}title', 'A <title> & "more"'),
        (f'{SVG}desc', 'said to those who ask'),
    ]
    assert re.fullmatch(r'0 0 [\d.]+ [\d.]+', root.get('viewBox'))
    allowed = {'svg', 'title', 'desc', 'defs', 'g', 'path', 'use', 'text', 'tspan', 'clipPath', 'rect'}
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= allowed
    assert text.count('http') == 1  # the namespace
    assert '@import' not in text
    assert '<!' not in text
    assert '<?' not in text
    ids = [element.get('id') for element in root.iter() if element.get('id')]
    assert len(ids) == len(set(ids))
    targets = set(re.findall(r'url\(#([^)]+)\)', text) + re.findall(r' href="#([^"]+)"', text))
    assert targets == set(ids)
    assert len({name.partition('-')[0] for name in ids}) == 1


def test_svgs_of_different_figures_have_different_ids(study):
    texts = [figures.to_svg(draw(study), name) for name, draw in DRAWN.items()]
    texts.append(figures.to_svg(DRAWN['means'](study), 'another title'))
    prefixes = [set(re.findall(r' id="([^"-]+)-', text)) for text in texts]
    assert len(set().union(*prefixes)) == len(texts)


def test_svg_takes_the_pages_colours_and_font(study):
    text = figures.to_svg(DRAWN['means'](study), 'x')
    colours = set(re.findall(r'(?:fill|stroke): ([^;"]+)', text))
    assert colours <= {'currentColor', 'none', *(f'var(--{name}, {value})' for name, value in figures.LIGHT.items())}
    assert {'currentColor', 'var(--figure-1, #0072b2)', 'var(--figure-grid, #d5d9de)'} <= colours
    assert 'font-family' not in text
    assert not re.search(r'font: ', text)
    assert 'DejaVu' not in text
    for page in (figures.LIGHT, figures.DARK):
        assert set(page) == {'figure-quiet', 'figure-grid', *(f'figure-{number}' for number in range(1, 7))}
    root = ElementTree.fromstring(text)
    assert {'bicubic', 'base', 'ours'} <= {''.join(element.itertext()) for element in root.iter(f'{SVG}text')}


def luminance(colour):
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


def test_lines_are_seen_on_a_dark_page_and_the_first_ones_on_a_light_one():
    """3 is what WCAG 2 asks of graphics."""
    for name, colour in figures.DARK.items():
        if name != 'figure-grid':
            assert contrast(colour, '#101317') > 6
    for name in ('figure-quiet', 'figure-1', 'figure-2', 'figure-3'):
        assert contrast(figures.LIGHT[name], '#ffffff') > 3


def test_means_are_where_they_belong(study):
    figure = DRAWN['means'](study)
    psnr, spectrum = figure.axes
    one = study['test_sets'][0]['fidelity']['ours']
    assert [tick.get_text() for tick in psnr.get_yticklabels()] == ['bicubic', 'base', 'ours', 'same']
    assert lines(psnr, style.SERIES[1]) == [
        [(bound, 2.0) for bound in one['interval']['psnr_y']],
        [(one['mean']['psnr_y'], 2.0)],
    ]
    assert (psnr.get_title('left'), spectrum.get_title('left')) == ('Y-PSNR (dB) ↑', 'Spectrum error (dB) ↓')
    assert {'inf (equal images)', 'not defined'} <= texts(figure)
    assert psnr.get_ylim()[0] > psnr.get_ylim()[1]  # the first row above


def test_differences_show_zero_intervals_and_verdicts(study):
    figure = figures.differences(study, 'Set5', 'fidelity', metrics=['psnr_y', 'spectrum_error'])
    psnr, spectrum = figure.axes
    found = {one['metric']: one for one in study['test_sets'][0]['differences'] if one['first'] == 'ours'}
    assert (found['psnr_y']['verdict'], found['spectrum_error']['verdict']) == ('better', 'undecided')
    zero, interval, mean = psnr.get_lines()
    assert set(zero.get_xdata()) == {0}
    assert list(interval.get_xdata()) == found['psnr_y']['interval']
    assert list(mean.get_xdata()) == [found['psnr_y']['mean']]
    assert mean.get_markerfacecolor() != 'none'
    assert spectrum.get_lines()[2].get_markerfacecolor() == 'none'
    low, high = psnr.get_xlim()
    assert low < 0 < found['psnr_y']['interval'][1] < high
    assert (psnr.get_xlabel(), spectrum.get_xlabel()) == ('better →', '← better')
    assert [tick.get_text() for tick in psnr.get_yticklabels()] == ['ours\n- base', 'same\n- base']


def test_training_curves_leave_gaps_and_take_logarithms_of_wide_ranges():
    (axis,) = figures.training_curves(CURVES).axes
    first, _ = axis.get_lines()
    assert list(first.get_xdata()) == [10, 20, 30]
    assert np.isnan(first.get_ydata()[1])
    assert first.get_label() == 'base'
    assert axis.get_yscale() == 'linear'
    wide = {'a': {'l': Curve([1, 2, 3], [5.0, 0.5, 0.01])}, 'b': {'other': Curve([1], [1.0])}}
    assert [axis.get_yscale() for axis in figures.training_curves(wide).axes] == ['log', 'linear']
    assert len(figures.training_curves(wide, quantities=['l']).axes) == 1


def test_budgets_are_in_order_with_their_intervals():
    figure = DRAWN['fidelity_by_budget'](None)
    (axis,) = figure.axes
    assert axis.get_xscale() == 'log'
    assert lines(axis, style.SERIES[0])[0] == [(50, 30), (100, 31)]
    bars = [collection.get_segments() for collection in axis.collections]
    assert [[float(value) for value in segment[:, 1]] for segment in bars[0]] == [[30, 30], [30, 32]]
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ['50', '100']
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ['base', 'ours', 'bicubic']


def test_spectra_and_their_differences():
    upper, lower = DRAWN['power_spectra'](None).axes
    assert np.allclose(upper.get_lines()[1].get_ydata(), SPECTRA['ours'])
    assert np.allclose(lower.get_lines()[1].get_ydata(), -1 - 2 * RADII)
    assert len(figures.power_spectra(RADII, SPECTRA).axes) == 1


def test_landscapes_share_their_levels_and_leave_blanks():
    given = landscapes()
    given['ours']['plane']['loss'][0][0] = None
    given['ours']['line']['loss'][0] = None
    figure = figures.landscape_plane(given)
    first, second = (axis.collections[0] for axis in figure.axes[:2])
    assert list(first.levels) == list(second.levels)
    assert first.levels[0] == pytest.approx(0.1)
    assert first.levels[-1] == pytest.approx(0.1 + 2 * 2 - 0, rel=0.2)
    (axis,) = figures.landscape_line(given).axes
    assert np.isnan(axis.get_lines()[1].get_ydata()[0])


def test_a_trajectory_has_a_panel_per_measure():
    figure = DRAWN['trajectory'](None)
    titles = ['loss', 'sharpness, radius 0.05', 'sharpness, radius 0.1', 'top Hessian eigenvalue', 'Hessian trace']
    assert [axis.get_title('left') for axis in figure.axes] == titles
    assert lines(figure.axes[3], style.SERIES[0])[0] == [(100, 3), (200, 6), (300, 9)]
    assert {axis.get_xlabel() for axis in figure.axes} == {'iteration'}
    without = [{**point, 'iteration': None} for point in points(hessian=False)]
    figure = figures.trajectory({'base': without})
    assert [axis.get_title('left') for axis in figure.axes] == titles[:3]
    assert figure.axes[0].get_xlabel() == 'checkpoint'
    assert lines(figure.axes[0])[0] == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    figure = figures.trajectory({'base': points(), 'unnumbered': without})  # one axis counts one thing
    assert figure.axes[0].get_xlabel() == 'checkpoint'
    for colour in style.SERIES[:2]:
        assert [x for x, _ in lines(figure.axes[0], colour)[0]] == [1, 2, 3]


@pytest.mark.parametrize(
    'draw',
    [
        lambda: figures.training_curves({}),
        lambda: figures.training_curves({'a': {'l': Curve([], [])}}),
        lambda: figures.training_curves({'a': {'l': Curve([1, 2], [math.nan, math.nan])}}),
        lambda: figures.fidelity_by_budget({}, label='x'),
        lambda: figures.fidelity_by_budget({'a': [Point(0, 1.0)]}, label='x'),
        lambda: figures.fidelity_by_budget({'a': [Point(10, math.nan)]}, label='x'),
        lambda: figures.power_spectra([0.0], {'a': [1.0]}),
        lambda: figures.landscape_line({}),
        lambda: figures.landscape_line({'a': {'line': None, 'plane': None}}),
        lambda: figures.landscape_plane({}),
        lambda: figures.landscape_plane({'a': {'plane': {'x': [0, 1], 'y': [0, 1], 'loss': [[1.0, 1.0], [1.0, 1.0]]}}}),
        lambda: figures.landscape_plane({'a': {'plane': {'x': [0, 1], 'y': [0, 1], 'loss': [[None, None]] * 2}}}),
        lambda: figures.trajectory({}),
        lambda: figures.trajectory({'a': []}),
        lambda: figures.trajectory({'a': points(1)}),
    ],
)
def test_little_or_nothing_to_draw(draw):
    ElementTree.fromstring(figures.to_svg(draw(), 'x'))


def test_awkward_names_are_shown_as_they_are():
    names = ['_private', '$x^$', 'a & <b>', 'x' * 60, 'two\nlines', *(f'model {index}' for index in range(12))]
    figure = figures.training_curves({name: {'l_$pix': Curve([1, 2], [1.0, 0.5])} for name in names})
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert shown[:5] == [' _private', '$x^$', 'a & <b>', f'{"x" * 31}…', 'two lines']
    assert len(shown) == len(names)
    looks = {(line.get_color(), str(line._dash_pattern)) for line in figure.axes[0].get_lines()}
    assert len(looks) == len(names)
    ElementTree.fromstring(figures.to_svg(figure, 'x'))


def test_a_model_looks_the_same_in_every_figure(study):
    styles = figures.styles_of([*study['models'], {'name': 'victim', 'role': 'victim'}], ['group'])
    assert (styles['victim'].colour, styles['bicubic'].colour) == (style.INK, style.QUIET)
    assert [styles[name].colour for name in ('base', 'ours', 'same', 'group')] == list(style.SERIES[:4])
    figure = figures.training_curves({'other': CURVES['base'], 'ours': CURVES['ours']}, styles=styles)
    other, ours = figure.axes[0].get_lines()
    assert ours.get_color() == style.SERIES[1]
    assert other.get_color() == style.SERIES[4]


def test_without_matplotlib_there_is_one_line_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, 'matplotlib', None)
    with refused('', 'matplotlib', do='pip install matplotlib'):
        figures.training_curves({})


def test_importing_the_figures_is_light():
    code = """
import sys
import mea_plugin.report.figures, mea_plugin.evaluation.tables
print('matplotlib' in sys.modules, 'torch' in sys.modules)
"""
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env=environment, timeout=60)
    assert run.stdout.split() == ['False', 'False']


def test_letters_that_no_font_has_are_drawn_without_a_word(tmp_path):
    from matplotlib.figure import Figure

    figure = Figure()
    figure.suptitle('模型')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert all(path.stat().st_size for path in figures.save(figure, tmp_path / 'a'))
