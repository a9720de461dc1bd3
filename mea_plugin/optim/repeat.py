"""A second pass that repeats the first: the same random numbers, and buffers that do not move again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TypeVar

import torch
from torch import Tensor, nn

__all__ = ['RandomState', 'frozen_buffers', 'repeatable']

T = TypeVar('T')


@contextmanager
def frozen_buffers(*modules: nn.Module) -> Iterator[None]:
    """Run the body and put every buffer back, exactly, however it ends.

    Batch-norm statistics and their counter, spectral-norm vectors (old style and parametrization), and any other
    buffer hold afterwards what they held before, also where the body assigned a new tensor.

    Args:
        modules: The networks; submodules are included, a distributed wrapper may be passed as it is.
    """
    saved: list[tuple[nn.Module, str, Tensor, Tensor]] = []
    clones: dict[Tensor, Tensor] = {}
    for module in {id(sub): sub for top in modules for sub in top.modules()}.values():
        for name, buffer in module._buffers.items():
            if buffer is not None:
                if buffer not in clones:
                    clones[buffer] = buffer.detach().clone()
                saved.append((module, name, buffer, clones[buffer]))
    try:
        yield
    finally:
        for module, name, buffer, clone in saved:
            module._buffers[name] = buffer
            # .data: a graph that saved the buffer before the body still finds the same values, so autograd's
            # version counter must not call it modified.
            buffer.data.copy_(clone)


class RandomState:
    """torch's random state at the moment of construction, on the CPU and on the CUDA devices of ``modules``.

    Args:
        modules: Networks whose devices draw random numbers (dropout).
    """

    def __init__(self, *modules: nn.Module) -> None:
        tensors = (t for module in modules for t in (*module.parameters(), *module.buffers()))
        self._devices = sorted({t.device.index for t in tensors if t.is_cuda})
        self._states = self._read()

    @contextmanager
    def replay(self) -> Iterator[None]:
        """Run the body with the random numbers that followed construction; leave the state as it was on entry."""
        before = self._read()
        try:
            self._write(self._states)
            yield
        finally:
            self._write(before)

    def _read(self) -> list[Tensor]:
        return [torch.get_rng_state(), *(torch.cuda.get_rng_state(index) for index in self._devices)]

    def _write(self, states: list[Tensor]) -> None:
        torch.set_rng_state(states[0])
        for index, state in zip(self._devices, states[1:], strict=True):
            torch.cuda.set_rng_state(state, index)


def repeatable(
    closure: Callable[[], T],
    *modules: nn.Module,
    buffers: bool = True,
    randomness: bool = True,
) -> Callable[[], T]:
    """A closure for one step whose further calls repeat the first.

    The first call is ``closure`` itself. Every later one draws the same random numbers (dropout masks) and puts the
    buffers of ``modules`` back afterwards, so that a step leaves them and the random state as one pass does. It suits
    any optimizer: one that calls the closure once notices nothing. Make a new one for each step::

        optimizer.step(repeatable(closure, network))

    Args:
        closure: Zeroes the gradients, runs forward and backward, and returns the loss.
        modules: The networks it runs.
        buffers: Whether buffers stay where the first call left them.
        randomness: Whether the random numbers repeat.

    Returns:
        The closure to hand to ``step``.
    """
    first: RandomState | None = None

    def run() -> T:
        nonlocal first
        if first is None:
            start = RandomState(*modules)
            result = closure()
            first = start
            return result
        with frozen_buffers(*modules if buffers else ()), first.replay() if randomness else nullcontext():
            return closure()

    return run
