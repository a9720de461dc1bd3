"""Speed of the high-frequency loss beside the same loss written with other wavelet packages.

Each case is forward and backward through the prediction, db3, 2 levels, zero padding. The peers transform prediction
and target and take the mean absolute difference of each level's detail bands, as the paper's published code does.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mea_plugin.benchmarks.timing import compare, format_table
from mea_plugin.losses import HighFrequencyLoss

__all__ = ['SIZES', 'run']

SIZES = (64, 96, 128, 192, 256, 384, 512)
OURS = 'HighFrequencyLoss'
WEIGHT, WAVE, LEVEL, MODE = 0.15, 'db3', 2, 'zero'

Loss = Callable[[Tensor, Tensor], Tensor]


def run(
    rounds: int = 20, quick: bool = False, sizes: Sequence[int] | None = None, device: str = 'cpu'
) -> tuple[str, list[dict[str, object]]]:
    """Compare ours with every peer that is installed.

    Args:
        rounds: Timed rounds; each runs every case once.
        quick: Size 64 only, 2 rounds: shows that everything runs, not how fast.
        sizes: Sides of the square images, at least 20; batch 16 up to 128, 4 above.
        device: Where to run, ``cpu`` or ``cuda``.

    Returns:
        The tables as Markdown, and one dict per size and case (shape, name, milliseconds, times as fast as the
        reference, largest difference of value and gradient from ours).
    """
    losses, missing = _losses(device)
    reference = next((name for name in losses if name != OURS), OURS)
    rows: list[dict[str, object]] = []
    parts = ['## High-frequency loss, forward and backward, db3, 2 levels, float32\n']
    for size in (64,) if quick else sizes or SIZES:
        shape = (16 if size <= 128 else 4, 3, size, size)
        text, found = _one_size(losses, reference, shape, 2 if quick else rounds, device)
        parts.append(text)
        rows += found
    parts += [f'{name}: not installed (pip install {name})\n' for name in missing]
    return '\n'.join(parts), rows


def _one_size(
    losses: dict[str, Loss], reference: str, shape: tuple[int, int, int, int], rounds: int, device: str
) -> tuple[str, list[dict[str, object]]]:
    generator = torch.Generator().manual_seed(0)
    pred, target = (torch.rand(shape, generator=generator).to(device) for _ in range(2))
    pred.requires_grad_()
    results = {name: _results(loss, pred, target) for name, loss in losses.items()}
    timings = compare(
        {name: _step(loss, pred, target) for name, loss in losses.items()}, reference, rounds=rounds, warmup=2
    )
    text = format_table(f'{shape}', timings, reference)
    rows: list[dict[str, object]] = []
    for timing in timings:
        value, gradient = (
            float((own - ours).abs().max()) for own, ours in zip(results[timing.name], results[OURS], strict=True)
        )
        rows.append(
            {
                'shape': shape,
                'name': timing.name,
                'milliseconds': timing.milliseconds,
                'reference': reference,
                'speedup': timing.speedup,
                'value_difference': value,
                'gradient_difference': gradient,
            }
        )
        if timing.name != OURS:
            text += (
                f'\n{timing.name} against {OURS}: value differs by {value:.1e}, gradient by at most {gradient:.1e}\n'
            )
    return text, rows


def _results(loss: Loss, pred: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    value = loss(pred, target)
    (gradient,) = torch.autograd.grad(value, pred)
    return value.detach(), gradient


def _step(loss: Loss, pred: Tensor, target: Tensor) -> Callable[[], object]:
    def call() -> None:
        pred.grad = None
        loss(pred, target).backward()
        if pred.is_cuda:
            torch.cuda.synchronize()

    return call


def _losses(device: str) -> tuple[dict[str, Loss], list[str]]:
    """The reference first, ours last, and the names of the packages that are missing."""
    missing = [name for name in PEERS if importlib.util.find_spec(name) is None]
    losses = {name: build(device) for name, build in PEERS.items() if name not in missing}
    losses[OURS] = HighFrequencyLoss(WEIGHT, WAVE, LEVEL, MODE)
    return losses, missing


def _pytorch_wavelets(device: str) -> Loss:
    transform = importlib.import_module('pytorch_wavelets').DWTForward(J=LEVEL, wave=WAVE, mode=MODE).to(device)

    def loss(pred: Tensor, target: Tensor) -> Tensor:
        bands = zip(transform(pred)[1], transform(target)[1], strict=True)
        return WEIGHT * torch.stack([(one - other).abs().mean() for one, other in bands]).sum()

    return loss


def _ptwt(device: str) -> Loss:
    wavedec2 = importlib.import_module('ptwt').wavedec2

    def details(images: Tensor) -> list[Tensor]:
        return [torch.stack(tuple(bands)) for bands in wavedec2(images, WAVE, mode=MODE, level=LEVEL)[1:]]

    def loss(pred: Tensor, target: Tensor) -> Tensor:
        bands = zip(details(pred), details(target), strict=True)
        return WEIGHT * torch.stack([(one - other).abs().mean() for one, other in bands]).sum()

    return loss


PEERS: dict[str, Callable[[str], Loss]] = {'pytorch_wavelets': _pytorch_wavelets, 'ptwt': _ptwt}
