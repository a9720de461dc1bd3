"""Starting distributed training where the toolboxes' own code needs a GPU."""

from __future__ import annotations

import os
import subprocess

__all__ = ['slurm_environment']


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
