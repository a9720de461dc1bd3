"""Ctrl-C during asynchronous work: a chance to leave things in order, on every version of Python."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Coroutine
from typing import Any

__all__ = ['run_interruptibly']


def run_interruptibly(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine; the first Ctrl-C cancels it, and it may finish what it must; the second ends it at once.

    ``asyncio.run`` does so from Python 3.11 on. Before, it cancels every task, also those that others wait for with
    ``shield``.

    Raises:
        KeyboardInterrupt: There was a Ctrl-C.
    """
    # Elsewhere, or where Ctrl-C is ignored or somebody else's, it stays so.
    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if not ours:
        asyncio.run(main)
        return
    presses: list[int] = []
    asyncio.run(_guarded(main, presses))
    if presses:
        raise KeyboardInterrupt


async def _guarded(main: Coroutine[Any, Any, None], presses: list[int]) -> None:
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(main)

    def press() -> None:
        presses.append(1)
        if len(presses) > 1:
            raise KeyboardInterrupt
        task.cancel()

    loop.add_signal_handler(signal.SIGINT, press)
    try:
        await task
    except asyncio.CancelledError:
        if len(presses) != 1:
            raise
    finally:
        loop.remove_signal_handler(signal.SIGINT)
