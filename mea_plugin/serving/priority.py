"""Threads that let the rest of the process go first."""

from __future__ import annotations

import contextlib
import os
import threading

__all__ = ['lower_priority']

_NICENESS = 5  # no more: while it holds the interpreter, all others wait for it


def lower_priority() -> None:
    """Give this thread, and those that it starts (torch's), the processor less often than the other threads.

    Linux has a niceness per thread; elsewhere nothing happens, since it would be the whole process's.
    """
    if hasattr(os, 'setpriority') and os.uname().sysname == 'Linux':
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
