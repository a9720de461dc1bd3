"""Sharpness-aware minimisation (SAM), its variants, and the training step that runs their passes in order."""

from mea_plugin.optim.ascent import NonFiniteGradientError
from mea_plugin.optim.look_sam import LookSAM
from mea_plugin.optim.momentum_sam import MomentumSAM
from mea_plugin.optim.registry import register_optimizer
from mea_plugin.optim.repeat import RandomState, frozen_buffers, repeatable
from mea_plugin.optim.sam import SAM
from mea_plugin.optim.step import backward, run_step, second_pass

__all__ = [
    'SAM',
    'LookSAM',
    'MomentumSAM',
    'NonFiniteGradientError',
    'RandomState',
    'backward',
    'frozen_buffers',
    'register_optimizer',
    'repeatable',
    'run_step',
    'second_pass',
]
