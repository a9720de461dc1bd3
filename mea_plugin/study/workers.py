"""Where cells can run: cores and GPUs of this machine, and this process's place among those that a launcher started."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from mea_plugin.core.errors import InputError

__all__ = ['Places', 'find_places']

# What launchers tell their processes: a cell is a training of its own and must not join a group.
_LAUNCHERS = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'LOCAL_WORLD_SIZE', 'GROUP_RANK', 'MASTER_ADDR', 'MASTER_PORT')
_THREADS = ('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS')


@dataclass(frozen=True)
class Places:
    """How many cells run at once here, and with what.

    Attributes:
        gpus: For each place, the GPU that its cells see; empty where there is none.
        threads: Of each cell.
        rank: Number of this process among those that a launcher started.
        world: How many it started.
    """

    gpus: tuple[str, ...]
    count: int
    threads: int
    rank: int = 0
    world: int = 1

    def environment(self, place: int) -> dict[str, str]:
        """The environment of a cell's process."""
        found = {key: value for key, value in os.environ.items() if key not in _LAUNCHERS and key[:10] != 'TORCHELAST'}
        found.update(dict.fromkeys(_THREADS, str(self.threads)))
        if self.gpus:
            found['CUDA_VISIBLE_DEVICES'] = self.gpus[place % len(self.gpus)]
        return found

    def start(self, cells: int) -> int:
        """At which of so many cells this process begins, so that several rarely meet."""
        return cells * self.rank // self.world


def find_places(
    workers: int | None = None, threads: int | None = None, environment: Mapping[str, str] | None = None
) -> Places:
    """One place per GPU; without a GPU, one per two cores, or as many as asked for.

    ``torchrun`` (``RANK``, ``LOCAL_RANK``), ``srun`` (``SLURM_PROCID``, ``SLURM_LOCALID``) and Slurm's arrays
    (``SLURM_ARRAY_TASK_ID``) are understood: the process takes the GPU of its number, or its share of the cores.

    Args:
        workers: Cells at once; 0 for as many as there are cores.
        threads: Of each cell; by default its share of the cores.
        environment: By default the process's own.

    Raises:
        InputError: A number is below 0.
    """
    for option, number in (('--workers', workers), ('--threads', threads)):
        if number is not None and number < 0:
            raise InputError(f'{number} is below 0', where=option, do='Give 1 or more')
    environment = os.environ if environment is None else environment
    rank, world, local, here = _share(environment)
    gpus = _gpus(environment)
    cores = max(1, len(os.sched_getaffinity(0)) // here)
    if gpus and here > 1:
        gpus = (gpus[local % len(gpus)],)
    count = workers or (cores if workers == 0 else len(gpus) or max(1, cores // 2))
    return Places(gpus, count, threads or max(1, cores // count), rank, world)


def _share(environment: Mapping[str, str]) -> tuple[int, int, int, int]:
    """Rank and number of processes; rank and number of those on this machine."""

    def number(key: str, default: int) -> int:
        value = environment.get(key, '')
        return int(value) if value.isdecimal() else default

    if 'RANK' in environment:
        return number('RANK', 0), number('WORLD_SIZE', 1), number('LOCAL_RANK', 0), number('LOCAL_WORLD_SIZE', 1)
    if 'SLURM_ARRAY_TASK_ID' in environment:
        first = number('SLURM_ARRAY_TASK_MIN', 0)
        return number('SLURM_ARRAY_TASK_ID', 0) - first, number('SLURM_ARRAY_TASK_COUNT', 1), 0, 1
    if 'SLURM_PROCID' in environment:
        tasks = number('SLURM_NTASKS', 1)
        nodes = number('SLURM_JOB_NUM_NODES', 1)
        return number('SLURM_PROCID', 0), tasks, number('SLURM_LOCALID', 0), max(1, tasks // nodes)
    return 0, 1, 0, 1


def _gpus(environment: Mapping[str, str]) -> tuple[str, ...]:
    visible = environment.get('CUDA_VISIBLE_DEVICES')
    if visible is not None:
        return tuple(one for one in visible.split(',') if one and one != '-1')
    import torch

    return tuple(str(index) for index in range(torch.cuda.device_count()))
