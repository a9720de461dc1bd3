"""Ctrl-C and SIGTERM as a request: the step that is running is finished, the state is put away, then the run ends."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

from mea_plugin.core.launch import process_share
from mea_plugin.training.ranks import Ranks

__all__ = ['StopRequests', 'ignore_signals']

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_GRACE = 20  # seconds
_AGAIN = 1.0  # seconds; a launcher passes on what the terminal has sent already


class StopRequests:
    """Catches SIGINT and SIGTERM in the body of a ``with``; they have no effect of their own any more.

    A second Ctrl-C, a second or more after the first, ends a run of one process at once. Under a launcher it does not:
    launchers repeat signals. (``kill -9`` always ends a process.)

    Attributes:
        signal: The first signal that came, or None.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._since = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequests:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *args: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def requested(self) -> bool:
        """Whether this process was asked to stop."""
        return self.signal is not None

    def agreed(self, ranks: Ranks) -> bool:
        """Whether any rank was asked to stop; called by all of them, after the same step."""
        return ranks.any(self.requested())

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.signal is None:
            self.signal, self._since = number, now
            if process_share()[0] == 0:
                name = signal.Signals(number).name
                # Not print: the signal may have struck within one.
                with contextlib.suppress(OSError, ValueError):  # nobody may be reading any more
                    if sys.__stderr__:
                        sys.__stderr__.write(f'{name}: the state is saved after this step, then the run ends\n')
        elif number == signal.SIGINT and now - self._since > _AGAIN and process_share()[1] == 1:
            raise KeyboardInterrupt


def ignore_signals(*args: object) -> None:
    """For worker processes of a loader: a signal to the whole job must not take their parent's data away.

    Ctrl-C is ignored. SIGTERM is put off: the parent finishes its step and needs them no more by then; and one who ends
    them by it, as Python does at its own end, need not wait for ever. They also end when their parent does, which
    torch's loop in them looks for.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_GRACE))
