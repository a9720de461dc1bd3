"""The random states of a process, as plain values that a checkpoint can hold."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

__all__ = ['capture', 'preserved', 'restore']


def capture(devices: Sequence[int] = ()) -> dict[str, Any]:
    """The states of Python's, numpy's and torch's global generators.

    Args:
        devices: The GPUs whose states belong to it; a rank names its own only.

    Returns:
        Numbers, tuples and tensors: what ``weights_only`` loading can read.
    """
    name, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002 - the one that is in use
    return {
        'python': random.getstate(),
        'numpy': (str(name), torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, gauss),
        'torch': torch.get_rng_state(),
        'cuda': [torch.cuda.get_rng_state(device) for device in devices],
    }


def restore(state: dict[str, Any], devices: Sequence[int] = ()) -> None:
    """Put the states back that :func:`capture` gave.

    Args:
        state: As captured; perhaps saved and loaded since.
        devices: The GPUs, in the order they were captured in.
    """
    version, keys, gauss = state['python']
    random.setstate((version, tuple(keys), gauss))
    name, words, *rest = state['numpy']
    np.random.set_state((name, words.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state['torch'])
    for device, one in zip(devices, state['cuda'], strict=False):
        torch.cuda.set_rng_state(one, device)


@contextmanager
def preserved(devices: Sequence[int] = ()) -> Iterator[None]:
    """Run the body and put the random states back as they were before it."""
    # Not capture(): this is done once per sample.
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    cuda = [torch.cuda.get_rng_state(device) for device in devices]
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        torch.set_rng_state(before[2])
        for device, one in zip(devices, cuda, strict=True):
            torch.cuda.set_rng_state(one, device)
