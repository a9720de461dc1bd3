"""What the processes of a distributed run tell each other beside gradients."""

from __future__ import annotations

import datetime
from typing import Any

import torch
from torch import distributed

__all__ = ['Ranks', 'is_lost_rank']

_TIMEOUT = datetime.timedelta(minutes=30)

# What gloo and NCCL say when the other side is gone.
_LOST = ('connection closed', 'connection reset', 'broken pipe', 'socket', 'timed out', 'nccl', 'connection refused')


class Ranks:
    """The processes of a run, seen from this one; alone where no process group was made.

    Messages go over a gloo group of their own: they wait for no GPU. Every method must be called by all ranks, in the
    same order.

    Attributes:
        rank: Number of this process.
        world: Number of processes.
    """

    def __init__(self) -> None:
        together = distributed.is_available() and distributed.is_initialized()
        self.rank = distributed.get_rank() if together else 0
        self.world = distributed.get_world_size() if together else 1
        self._group: Any = distributed.new_group(backend='gloo', timeout=_TIMEOUT) if self.world > 1 else None

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that writes files and speaks for all."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether any rank says yes."""
        if self._group is None:
            return flag
        number = torch.tensor([int(flag)])
        distributed.all_reduce(number, op=distributed.ReduceOp.MAX, group=self._group)
        return bool(number.item())

    def highest(self, number: int) -> int:
        """The largest of the ranks' numbers."""
        return max(self.gather(number))

    def gather(self, value: Any) -> list[Any]:
        """The values of all ranks, in their order; anything that can be pickled."""
        if self._group is None:
            return [value]
        values: list[Any] = [None] * self.world
        distributed.all_gather_object(values, value, group=self._group)
        return values

    def share(self, value: Any) -> Any:
        """The first rank's value."""
        if self._group is None:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=0, group=self._group)
        return values[0]


def is_lost_rank(error: BaseException) -> bool:
    """Whether an error is what a communication fails with when another process has gone."""
    names = {type(error).__name__, *(base.__name__ for base in type(error).__mro__)}
    if names & {'DistBackendError', 'DistNetworkError', 'DistStoreError'}:
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(part in text for part in _LOST) and 'dataloader' not in text
