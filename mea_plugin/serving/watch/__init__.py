"""Watching a customer's queries: how unlike ordinary use they look, and what is done about it."""

from mea_plugin.serving.watch.detector import Calibration, Observation, StreamDetector, calibrate
from mea_plugin.serving.watch.folders import calibrate_from_folders
from mea_plugin.serving.watch.response import Action, Response

__all__ = [
    'Action',
    'Calibration',
    'Observation',
    'Response',
    'StreamDetector',
    'calibrate',
    'calibrate_from_folders',
]
