"""Threads that let the rest of the process go first."""

from __future__ import annotations

import contextlib
import os
import threading

__all__ = ['lower_priority']

_NICENESS = 10


def lower_priority() -> None:
    """Give this thread, and those that it starts (torch's), the processor only when no other thread wants it.

    Linux has a niceness per thread; elsewhere nothing happens, since it would be the whole process's.
    """
    if hasattr(os, 'setpriority') and os.uname().sysname == 'Linux':
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
