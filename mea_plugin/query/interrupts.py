"""Ctrl-C, SIGTERM and SIGHUP during queries: nothing more is asked, and what is on its way may come in."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from mea_plugin.core.errors import Stopped
from mea_plugin.core.launch import process_share

__all__ = ['STOP_WAIT', 'StopRequest']

STOP_WAIT = 25.0
"""Seconds to wait for answers that are on their way; schedulers and launchers kill 30 s after SIGTERM."""

_SIGNALS = tuple(getattr(signal, name) for name in ('SIGINT', 'SIGTERM', 'SIGHUP') if hasattr(signal, name))
_REPEATED = 0.05  # seconds; timeout(1) sends its signal twice
_REPEATED_BY_LAUNCHER = 5.0  # seconds; a launcher passes on what the terminal has sent already


class StopRequest:
    """Catches the signals in the body of a ``with``: the first asks to stop, a second one ends at once.

    A signal that is ignored (``nohup``), or that somebody else handles, stays so; likewise all outside the main thread.

    Args:
        wait: Seconds to wait for what is on its way.

    Attributes:
        signal: The first signal that came, or None.
        wait: As given.
    """

    def __init__(self, wait: float = STOP_WAIT) -> None:
        self.signal: int | None = None
        self.wait = wait
        self._since = 0.0
        self._before: dict[int, Any] = {}
        self._notify: Callable[[], object] = lambda: None

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *raised: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def time_left(self) -> float:
        """Seconds that may still be waited, once a signal has come."""
        return max(self._since + self.wait - time.monotonic(), 0.0)

    def check(self) -> None:
        """Do nothing unless a signal has come.

        Raises:
            Stopped: One has.
        """
        if self.signal is not None:
            raise Stopped('interrupted; run the same command again to go on', self.signal)

    async def requested(self) -> None:
        """Return when a signal has come. One coroutine at a time."""
        loop, event = asyncio.get_running_loop(), asyncio.Event()
        self._notify = lambda: loop.call_soon_threadsafe(event.set)
        try:
            if self.signal is None:
                await event.wait()
        finally:
            self._notify = lambda: None

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.signal is None:
            self.signal, self._since = number, now
            # Not print: the signal may have struck within one.
            with contextlib.suppress(OSError, ValueError):  # nobody may be reading any more
                if sys.__stderr__ and process_share()[0] == 0:
                    sys.__stderr__.write(
                        f'\n{signal.Signals(number).name}: nothing more is asked; waiting up to {self.wait:g} s for '
                        'answers that are on their way (again: end at once)\n'
                    )
                    sys.__stderr__.flush()
            self._notify()
        elif now - self._since > (_REPEATED if process_share()[1] == 1 else _REPEATED_BY_LAUNCHER):
            raise Stopped('interrupted; run the same command again to go on', number)
