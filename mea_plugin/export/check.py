"""How far an exported file's answers are from the surrogate's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from mea_plugin.core.errors import InputError
from mea_plugin.core.networks import probe_size
from mea_plugin.victims.checks import one_line
from mea_plugin.victims.network import NetworkVictim

__all__ = ['Difference', 'measure', 'smallest_size']

_PROBES = (16, 64, 256)


class Difference(NamedTuple):
    """What was measured.

    Attributes:
        largest: Of all values, on the scale of [0, 1].
        levels: Of all grey levels of the images as a victim answers them: 0 where every image is the same.
        sizes: How many sizes of images were tried.
    """

    largest: float
    levels: int
    sizes: int


@torch.inference_mode()
def measure(original: NetworkVictim, exported: NetworkVictim, size: int) -> Difference:
    """Compare answers to random images: of one multiple, of odd sizes above and below it, alone and together.

    Args:
        original: The surrogate.
        exported: The file.
        size: What :func:`smallest_size` gives.

    Raises:
        InputError: The file fails on an image that the surrogate answers, or its answer has another size.
    """
    largest, levels, tried = 0.0, 0, 0
    for image in _images(size, batch=min(2, exported.batch_size)):
        try:
            expected = original.forward(image)
        except Exception as error:  # networks raise what they like
            if tried == 0:
                raise InputError(f'{original.name} fails ({one_line(error)})', do='Check its options') from error
            continue  # reflection pads no image of three pixels
        count, _, height, width = image.shape
        try:
            answer = exported.forward(image)
        except Exception as error:  # likewise, and so do runtimes
            raise InputError(f'it fails on {count} images of {width}x{height} pixels ({one_line(error)})') from error
        if answer.shape != expected.shape:
            shapes = f'{tuple(answer.shape)}, not {tuple(expected.shape)}'
            raise InputError(f'it answers {count} images of {width}x{height} pixels with an array {shapes}')
        tried += 1
        if not bool((answer - expected).isfinite().all()):
            return Difference(float('inf'), 255, tried)
        largest = max(largest, float((answer - expected).abs().max()))
        levels = max(levels, int((_levels(answer) - _levels(expected)).abs().max()))
    return Difference(largest, levels, tried)


@torch.inference_mode()
def smallest_size(victim: NetworkVictim) -> int:
    """Height and width of the smallest image in question: a multiple of the network's that it takes.

    Raises:
        InputError: It takes none.
    """
    sizes = sorted({probe_size(victim.wiring.multiple, least) for least in _PROBES})
    size = next((size for size in sizes if _failure(victim, size) is None), None)
    if size is None:
        raise InputError(f'{victim.name} fails ({_failure(victim, sizes[0])})', do='Check its options')
    return size


def _failure(victim: NetworkVictim, size: int) -> str | None:
    try:
        victim.forward(torch.zeros(1, 3, size, size))
    except Exception as error:  # networks raise what they like
        return one_line(error)
    return None


def _images(size: int, batch: int) -> Iterator[Tensor]:
    """Grey levels, and colours side by side in memory: as victims hand images to their networks."""
    random = torch.Generator().manual_seed(0)
    sizes = ((1, size, size), (batch, size - 3, size + 5), (batch, size + 9, size - 1), (1, 3, 5))
    for count, height, width in sizes:
        image = torch.randint(0, 256, (count, height, width, 3), generator=random)
        yield image.permute(0, 3, 1, 2).float().div(255)


def _levels(image: Tensor) -> Tensor:
    return image.clamp(0, 1).mul(255).round()
