"""Losses of the extraction, free of any toolbox."""

from mea_plugin.losses.high_frequency import HighFrequencyLoss
from mea_plugin.losses.registry import register_loss

__all__ = ['HighFrequencyLoss', 'register_loss']
