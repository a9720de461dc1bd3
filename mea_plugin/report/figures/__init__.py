"""The figures of a report: functions from data to ``matplotlib.figure.Figure``, and what is made of one.

matplotlib is imported when a figure is drawn; the extra ``report`` brings it.
"""

from mea_plugin.report.figures.comparison import differences, means
from mea_plugin.report.figures.curves import Point, Reference, fidelity_by_budget, power_spectra, training_curves
from mea_plugin.report.figures.files import save
from mea_plugin.report.figures.flatness import landscape_line, landscape_plane, trajectory
from mea_plugin.report.figures.style import DARK, LIGHT, Style, styles_of
from mea_plugin.report.figures.svg import to_svg

__all__ = [
    'DARK',
    'LIGHT',
    'Point',
    'Reference',
    'Style',
    'differences',
    'fidelity_by_budget',
    'landscape_line',
    'landscape_plane',
    'means',
    'power_spectra',
    'save',
    'styles_of',
    'to_svg',
    'training_curves',
    'trajectory',
]
