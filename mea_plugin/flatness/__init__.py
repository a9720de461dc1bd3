"""Flatness of minima: sharpness, Hessian and loss landscape of checkpoints."""

from mea_plugin.flatness.criterion import Criterion
from mea_plugin.flatness.hessian import TopEigenvalue, Trace, hessian_trace, top_eigenvalue
from mea_plugin.flatness.job import Flatness, flatness_from_options
from mea_plugin.flatness.landscape import line, plane, random_direction
from mea_plugin.flatness.objective import Objective
from mea_plugin.flatness.sharpness import sharpness
from mea_plugin.flatness.trajectory import Checkpoint, find_checkpoints

__all__ = [
    'Checkpoint',
    'Criterion',
    'Flatness',
    'Objective',
    'TopEigenvalue',
    'Trace',
    'find_checkpoints',
    'flatness_from_options',
    'hessian_trace',
    'line',
    'plane',
    'random_direction',
    'sharpness',
    'top_eigenvalue',
]
