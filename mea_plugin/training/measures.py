"""What a training reports about itself beside its losses."""

from __future__ import annotations

import resource
import sys
import time

import torch

__all__ = ['Throughput', 'peak_memory']


class Throughput:
    """Images per second, over all ranks, since the last time it was asked.

    Args:
        images: Images that one iteration trains on, all ranks together.
    """

    def __init__(self, images: int) -> None:
        self._images = images
        self.restart(0)

    def restart(self, iteration: int) -> None:
        """Count from here."""
        self._since, self._iteration = time.perf_counter(), iteration

    def read(self, iteration: int) -> float:
        """Images per second up to this iteration; counts from here on."""
        rate = (iteration - self._iteration) * self._images / max(time.perf_counter() - self._since, 1e-9)
        self.restart(iteration)
        return rate


def peak_memory(device: torch.device) -> float:
    """The most memory this process has held so far, in MiB: torch's on a GPU, all of the process's on a CPU."""
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == 'darwin' else 2**10)
