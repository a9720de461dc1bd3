"""What machine a measurement was taken on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch

__all__ = ['describe_machine']


def describe_machine(device: str = 'cpu') -> dict[str, str]:
    """Processor, threads, load and versions, each as text.

    Args:
        device: Where the work runs; a GPU is named too.

    Returns:
        Name of the fact to the fact.
    """
    facts = {
        'processor': _processor(),
        'cores': str(os.cpu_count()),
        'threads': str(torch.get_num_threads()),
        'vector instructions': torch.backends.cpu.get_cpu_capability(),
        'load average': _load(),
        'python': platform.python_version(),
        'torch': torch.__version__,
    }
    if torch.device(device).type == 'cuda':
        facts['gpu'] = torch.cuda.get_device_name(device)
    return facts


def _load() -> str:
    """Processes that ran over the last 1, 5 and 15 minutes; more than the cores means a disturbed measurement."""
    return ' '.join(f'{load:.1f}' for load in os.getloadavg()) if hasattr(os, 'getloadavg') else 'unknown'


def _processor() -> str:
    """The processor's name where Linux tells it, else its architecture."""
    info = Path('/proc/cpuinfo')
    if info.is_file():
        for line in info.read_text(encoding='utf-8').splitlines():
            if line.startswith('model name'):
                return line.partition(':')[2].strip()
    return platform.processor() or platform.machine()
