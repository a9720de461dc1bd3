"""Ordinary customers from folders of images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mea_plugin.core.errors import InputError
from mea_plugin.data.sources import image_references, read_shrunk
from mea_plugin.serving.watch.detector import Calibration, calibrate

__all__ = ['calibrate_from_folders']


class _Stream:
    """Images that are read when they are wanted: memory does not grow with a customer's history."""

    def __init__(self, folder: Path, shrink: int) -> None:
        self._images, self._shrink = list(image_references(folder).values()), shrink

    def __len__(self) -> int:
        return len(self._images)

    def __contains__(self, image: object) -> bool:
        return any(image is one for one in self)

    def __iter__(self) -> Iterator[np.ndarray]:
        return read_shrunk(self._images, self._shrink)


def calibrate_from_folders(folder: Path, *, false_alarm: float, shrink: int = 1) -> tuple[Calibration, int]:
    """:func:`~mea_plugin.serving.watch.detector.calibrate` on folders.

    Args:
        folder: Holds a folder per customer, with its images in the order of their names.
        false_alarm: The share of ordinary customers who may raise an alarm.
        shrink: Images are made smaller by this factor first.

    Returns:
        The calibration, and how many customers there are.

    Raises:
        InputError: A folder has no images, there are too few, or a number is out of range.
    """
    if not 0 < false_alarm < 1:
        raise InputError(f'the share is {false_alarm}', where='--false-alarm', do='Give a number between 0 and 1')
    if shrink < 1:
        raise InputError(f'the factor is {shrink}', where='--shrink', do='Give 1 or more')
    if not folder.is_dir():
        raise InputError('there is no such folder', where=folder, do='Give one that holds a folder per customer')
    customers = sorted(path for path in folder.iterdir() if path.is_dir())
    streams = [_Stream(path, shrink) for path in customers]
    return calibrate(streams, false_alarm=false_alarm), len(streams)
