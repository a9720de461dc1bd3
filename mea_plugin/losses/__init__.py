"""Losses of the extraction, free of any toolbox."""

from mea_plugin.losses.high_frequency import HighFrequencyLoss

__all__ = ['HighFrequencyLoss']
