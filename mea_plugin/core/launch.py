"""Starting distributed training where the toolboxes' own code needs a GPU, and ending it."""

from __future__ import annotations

import contextlib
import datetime
import gc
import os
import socket
import struct
import subprocess
import sys
from typing import Any

from mea_plugin.core.errors import InputError

__all__ = [
    'end_process',
    'in_process_group',
    'is_first_process',
    'join_process_group',
    'leave_process_group',
    'mpi_environment',
    'name_gloo_interface',
    'process_share',
    'slurm_environment',
]

_SIOCGIFADDR = 0x8915  # Linux: an interface's address


def process_share() -> tuple[int, int]:
    """Number of this process, and of all that a launcher such as ``torchrun`` started together."""
    return int(os.environ.get('RANK', 0)), int(os.environ.get('WORLD_SIZE', 1))


def is_first_process() -> bool:
    """Whether this process is the one that speaks for all."""
    return process_share()[0] == 0


def join_process_group(launcher: str, *, gpu: bool, port: int | None = None, timeout: float | None = None) -> None:
    """Meet the other processes that a launcher started: with NCCL on GPUs, with gloo without.

    Args:
        launcher: ``pytorch`` (``torchrun``), ``slurm`` (``srun``) or ``mpi`` (``mpirun`` of Open MPI).
        gpu: Whether this process trains on a GPU: that of its number on its machine.
        port: See :func:`slurm_environment`.
        timeout: Seconds after which a collective that others do not join fails; None for torch's 30 minutes (gloo).

    Raises:
        InputError: Nobody started this process in that way.
    """
    import torch
    from torch import distributed

    if launcher == 'slurm':
        if 'SLURM_PROCID' not in os.environ:
            raise InputError('SLURM_PROCID is not set', where='--launcher slurm', do='Start the command with srun')
        os.environ.update(slurm_environment(port))
    elif launcher == 'mpi':
        os.environ.update(mpi_environment())
    elif 'RANK' not in os.environ or 'MASTER_ADDR' not in os.environ:
        do = 'Start it as torchrun --nproc_per_node=N tools/...'
        raise InputError('RANK and MASTER_ADDR are not set', where='--launcher pytorch', do=do)
    if gpu:
        torch.cuda.set_device(int(os.environ.get('LOCAL_RANK', 0)) % torch.cuda.device_count())
    else:
        name_gloo_interface()
    options: dict[str, Any] = {} if timeout is None else {'timeout': datetime.timedelta(seconds=timeout)}
    distributed.init_process_group(backend='nccl' if gpu else 'gloo', **options)


def name_gloo_interface() -> None:
    """Let gloo use the network interface that leads to the first machine, unless ``GLOO_SOCKET_IFNAME`` names one.

    By itself it takes the one that the machine's own name resolves to, which on clusters and in containers is often
    none that others can reach. Where the system does not tell (not Linux), nothing is done.
    """
    host = os.environ.get('MASTER_ADDR', 'localhost')
    if 'GLOO_SOCKET_IFNAME' in os.environ or not sys.platform.startswith('linux'):
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, int(os.environ.get('MASTER_PORT', 29500))))  # sends nothing
        own = probe.getsockname()[0]
        for _, name in socket.if_nameindex():
            if _address(probe, name) == own:
                os.environ['GLOO_SOCKET_IFNAME'] = name
                return


def _address(probe: socket.socket, interface: str) -> str | None:
    """An interface's IPv4 address."""
    import fcntl  # there is none elsewhere than on Unix

    request = struct.pack('256s', interface.encode()[:15])
    try:
        answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, request)
    except OSError:  # it has none
        return None
    return socket.inet_ntoa(answer[20:24])


def leave_process_group() -> None:
    """Leave the process group that a finished training ran in; without one, nothing is done.

    Whatever still refers to distributed networks must be out of scope by now. They keep the group alive, and torch 2.11
    ends a gloo group that goes with the last of them while it holds the interpreter's lock, which the group's threads
    may be waiting for: the process then never ends. So the networks go first.
    """
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        gc.collect()  # networks and their wrappers stand in reference cycles
        distributed.destroy_process_group()


def in_process_group() -> bool:
    """Whether this process has met others; torch is not imported to find out."""
    distributed = sys.modules.get('torch.distributed')
    return distributed is not None and distributed.is_available() and distributed.is_initialized()


def end_process(code: int) -> int:
    """Give a tool's exit code back; or, where others may still be waiting for this process, end with it at once.

    A process group that is broken cannot be left in order, and the interpreter would wait for it.
    """
    if code and in_process_group():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def slurm_environment(port: int | None) -> dict[str, str]:
    """What ``torch.distributed`` wants to know, from what Slurm tells each task.

    Args:
        port: Of the first node; else ``MASTER_PORT``, else 29500.
    """
    command = ['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']]
    hosts = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return {
        'MASTER_ADDR': hosts[0],
        'MASTER_PORT': str(port or os.environ.get('MASTER_PORT', 29500)),
        'WORLD_SIZE': os.environ['SLURM_NTASKS'],
        'RANK': os.environ['SLURM_PROCID'],
        'LOCAL_RANK': os.environ.get('SLURM_LOCALID', '0'),
    }


def mpi_environment() -> dict[str, str]:
    """What ``torch.distributed`` wants to know, from what Open MPI tells each task.

    Raises:
        InputError: ``MASTER_ADDR`` is not set: MPI does not tell it; or this is no process of Open MPI's.
    """
    if 'OMPI_COMM_WORLD_RANK' not in os.environ:
        raise InputError(
            'OMPI_COMM_WORLD_RANK is not set', where='--launcher mpi', do='Start the command with mpirun of Open MPI'
        )
    if 'MASTER_ADDR' not in os.environ:
        raise InputError(
            'the environment variable MASTER_ADDR is not set',
            where='--launcher mpi',
            do="Set it to the first node's name",
        )
    return {
        'MASTER_PORT': os.environ.get('MASTER_PORT', '29500'),
        'WORLD_SIZE': os.environ['OMPI_COMM_WORLD_SIZE'],
        'RANK': os.environ['OMPI_COMM_WORLD_RANK'],
        'LOCAL_RANK': os.environ['OMPI_COMM_WORLD_LOCAL_RANK'],
    }
