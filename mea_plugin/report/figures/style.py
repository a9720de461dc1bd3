"""How figures look: a paper's sizes, colours that colour-blind readers tell apart, none of the user's own settings."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar

from mea_plugin.core.packages import import_optional

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    *('COLUMN', 'DARK', 'GRID', 'INK', 'LIGHT', 'PAGE', 'QUIET', 'SERIES', 'Style'),
    *(
        'difference_bar',
        'drawing',
        'grid_of_axes',
        'label_of',
        'legend',
        'log_scale',
        'settings',
        'style_for',
        'styled',
        'styles_of',
    ),
]

COLUMN, PAGE = 3.45, 7.16
"""Widths, in inches, of one column and of both on a conference's page."""

INK, QUIET, GRID = '#1b1d20', '#767b82', '#d5d9de'
SERIES = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9')
"""Okabe and Ito's colours, *Color Universal Design*, 2008, the most distinct first."""

LIGHT = {
    'figure-quiet': QUIET,
    'figure-grid': GRID,
    **{f'figure-{number}': colour for number, colour in enumerate(SERIES, start=1)},
}
"""Values of the CSS variables (``--figure-1``, ...) in the SVG of :func:`to_svg`, for a light page."""

DARK = {
    'figure-quiet': '#9aa1aa',
    'figure-grid': '#363d46',
    'figure-1': '#4aa8e8',
    'figure-2': '#ff8746',
    'figure-3': '#35c796',
    'figure-4': '#e39cc6',
    'figure-5': '#f4b942',
    'figure-6': '#8fd0f7',
}
"""The same for a dark page."""

_VERDICTS = {'better': SERIES[0], 'worse': SERIES[1], 'undecided': QUIET}
_SETTINGS: Any = {
    'font.family': 'DejaVu Sans',  # matplotlib ships it: the same figure on any machine
    'font.size': 7.5,
    'axes.titlesize': 7.5,
    'axes.titlelocation': 'left',
    'axes.labelsize': 7.5,
    'xtick.labelsize': 7,
    'ytick.labelsize': 7,
    'legend.fontsize': 7,
    'legend.frameon': False,
    'legend.handlelength': 1.8,
    **dict.fromkeys(('text.color', 'axes.labelcolor', 'axes.titlecolor', 'axes.edgecolor'), INK),
    **dict.fromkeys(('xtick.color', 'ytick.color'), INK),
    'axes.linewidth': 0.6,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.axisbelow': True,
    'axes.formatter.useoffset': False,
    'axes.unicode_minus': False,  # so that numbers can be searched for
    'text.parse_math': False,  # names may have dollars
    'xtick.major.width': 0.6,
    'ytick.major.width': 0.6,
    'xtick.minor.width': 0.4,
    'ytick.minor.width': 0.4,
    'lines.linewidth': 1.2,
    'lines.markersize': 3.5,
    'grid.color': GRID,
    'grid.linewidth': 0.5,
    'contour.linewidth': 0.5,
    'savefig.dpi': 300,
    'pdf.fonttype': 42,  # whole TrueType fonts, which conferences ask for
    'ps.fonttype': 42,
    'svg.fonttype': 'none',
    'svg.hashsalt': 'mea_plugin',
}

_DASHES = ('-', (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)))
_MARKERS = 'osD^vP'
_LONGEST = 32

_Parameters = ParamSpec('_Parameters')
_Result = TypeVar('_Result')


class Style(NamedTuple):
    """How one model is drawn in every figure; dashes and markers tell apart what a grey print cannot."""

    colour: str
    marker: str
    dash: Any = '-'


def styles_of(models: Sequence[Mapping[str, Any]], groups: Sequence[str] = ()) -> dict[str, Style]:
    """A style for each model of an evaluation: ink for the victim, grey for baselines, colours for surrogates.

    Args:
        models: ``models`` of evaluation.json.
        groups: Names of groups of seeds, which follow the surrogates.
    """
    by_role = {
        role: [one['name'] for one in models if one['role'] == role] for role in ('surrogate', 'baseline', 'ceiling')
    }
    styles = {one['name']: Style(INK, '*') for one in models if one['role'] == 'victim'}
    quiet = by_role['baseline'] + by_role['ceiling']
    styles |= {name: Style(QUIET, 'xX+1234'[index % 7], _DASHES[index % 4]) for index, name in enumerate(quiet)}
    return styles | {name: _series(index) for index, name in enumerate([*by_role['surrogate'], *groups])}


def style_for(name: str, names: Sequence[str], styles: Mapping[str, Style] | None) -> Style:
    """The style of a name: the one that was given, or the one of its place among those without."""
    if styles and name in styles:
        return styles[name]
    taken = len([one for one in styles or {} if (styles or {})[one].colour in SERIES])
    return _series(taken + [one for one in names if one not in (styles or {})].index(name))


def _series(index: int) -> Style:
    return Style(SERIES[index % len(SERIES)], _MARKERS[index % len(_MARKERS)], _DASHES[index // len(SERIES) % 4])


@contextmanager
def settings() -> Iterator[None]:
    """Our settings on matplotlib's defaults, and afterwards what was set before.

    Raises:
        InputError: matplotlib is not installed.
    """
    matplotlib = import_optional('matplotlib', 'a figure')
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


def styled(function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """Run a function under :func:`settings`."""

    @functools.wraps(function)
    def wrapped(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        with settings():
            return function(*args, **kwargs)

    return wrapped


def drawing(function: Callable[_Parameters, Figure]) -> Callable[_Parameters, Figure]:
    """Run a function that draws a figure under :func:`settings`, and lay the figure out once and for all.

    Otherwise it would be laid out anew whenever it is written, for another resolution and from where it was before.
    """

    @styled
    @functools.wraps(function)
    def wrapped(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> Figure:
        figure = function(*args, **kwargs)
        figure.draw_without_rendering()
        figure.set_layout_engine('none')
        return figure

    return wrapped


def grid_of_axes(count: int, columns: int, width: float, height: float, **sharing: Any) -> tuple[Figure, list[Axes]]:
    """A figure of ``count`` axes in rows of ``columns``, each ``height`` inches high; it is not pyplot's to keep."""
    from matplotlib.figure import Figure

    columns = max(1, min(count, columns))
    rows = -(-max(count, 1) // columns)
    figure = Figure(figsize=(width, rows * height), layout='constrained')
    axes = list(figure.subplots(rows, columns, squeeze=False, **sharing).flat)
    for unused in axes[max(count, 1) :]:
        unused.remove()
    return figure, axes[: max(count, 1)]


def legend(figure: Figure, axes: Sequence[Axes], names: Sequence[str], columns: int = 4) -> None:
    """One legend above all axes, each name once, in their order."""
    found: dict[str, Any] = {}
    for one in axes:
        for handle, label in zip(*one.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    labels = [label for label in dict.fromkeys(map(label_of, names)) if label in found]
    if labels:
        handles = [found[label] for label in labels]
        figure.legend(handles, labels, loc='outside upper left', ncols=min(columns, len(labels)))


def difference_bar(
    axis: Axes, row: int, one: Mapping[str, Any], *, marker: str = 'o', colour: str | None = None
) -> None:
    """A mean difference (``mean``, ``interval``, ``verdict``) in a row: filled where it is decided, else hollow."""
    colour = colour or _VERDICTS[one['verdict']]
    if one['mean'] is None:
        return
    if one['interval']:
        axis.plot(one['interval'], [row, row], color=colour, solid_capstyle='butt')
    face = 'none' if one['verdict'] == 'undecided' else colour
    axis.plot([one['mean']], [row], color=colour, marker=marker, markerfacecolor=face, markersize=4, linestyle='none')


def label_of(name: str) -> str:
    """A name as a label: in one line, not too long, and shown even where it begins with an underscore."""
    label = ' '.join(name.split())
    label = label if len(label) <= _LONGEST else label[: _LONGEST - 1] + '…'
    return f' {label}' if label.startswith('_') else label


def log_scale(axis: Axes) -> None:
    """A logarithmic vertical axis whose ticks are plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_yscale('log')
    low, high = axis.get_ylim()
    axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 200 * low else (1.0,), numticks=8))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'))
    axis.yaxis.set_minor_locator(NullLocator())
