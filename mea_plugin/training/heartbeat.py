"""Notices that another process of a distributed run has gone, however it went, and ends this one."""

from __future__ import annotations

import contextlib
import datetime
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from mea_plugin.core.errors import RunError
from mea_plugin.training.ranks import Ranks, is_lost_rank

__all__ = ['Heartbeat', 'among']

_INTERVAL = 5.0
_SILENCE = 40.0
_END = b'end'


class Heartbeat:
    """In the body of a ``with``, this process tells the others that it lives, and watches that they do.

    A process that dies closes its connections, and whoever waits for it fails at once. One whose machine is switched
    off or cut off does not: a collective would wait for half an hour. So each rank writes a number into the run's store
    every 5 seconds, from a thread and a connection of its own, and one whose number stands still for 40 is gone.

    Args:
        ranks: Who is watched; with one process nothing is done.
        advice: Tells what to do about it, for the message, as things stand then.
        interval: Seconds between two beats.
        silence: Seconds without one after which a rank is gone.
        end: Called with the message; by default it is printed and the process ends, with exit code 1 and without
            waiting for collectives that cannot finish.
    """

    def __init__(
        self,
        ranks: Ranks,
        advice: Callable[[], str],
        *,
        interval: float = _INTERVAL,
        silence: float = _SILENCE,
        end: Callable[[str], Any] | None = None,
    ) -> None:
        self._ranks, self._advice, self._end = ranks, advice, end or _end
        self._interval, self._silence = interval, silence
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Heartbeat:
        # Only where the ranks met through a store that others can connect to, as launchers arrange it.
        if self._ranks.world > 1 and self._ranks.share('MASTER_ADDR' in os.environ and 'MASTER_PORT' in os.environ):
            self._store = self._connect()
            self._store.set(self._key(self._ranks.rank), b'0')
            self._ranks.any(False)  # all have begun
            self._thread = threading.Thread(target=self._run, name='heartbeat', daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        if self._thread is not None:
            self._stop.set()
            self._thread.join()

    def _connect(self) -> Any:
        timeout = datetime.timedelta(seconds=max(1, int(self._silence / 2)))  # torch 2.1 counts whole seconds
        address, port = os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT'])
        return TCPStore(address, port, is_master=False, wait_for_workers=False, timeout=timeout)

    @staticmethod
    def _key(rank: int) -> str:
        return f'mea_plugin/heartbeat/{rank}'

    def _run(self) -> None:
        others = [rank for rank in range(self._ranks.world) if rank != self._ranks.rank]
        seen = {rank: (b'0', time.monotonic()) for rank in others}
        heard = time.monotonic()
        beat = 0
        while not self._stop.wait(self._interval):
            beat += 1
            try:
                self._store.set(self._key(self._ranks.rank), str(beat).encode())
                values = {rank: bytes(self._store.get(self._key(rank))) for rank in others}
                heard = time.monotonic()
            except RuntimeError as error:  # all of torch's store errors are
                if self._gone(heard):
                    reason = str(error).splitlines()[0]
                    what = f'the first process, which keeps the run together, does not answer ({reason})'
                    self._end(f'{what}. {self._advice()}')
                    return
                continue
            for rank, value in values.items():
                if value != seen[rank][0]:
                    seen[rank] = (value, heard)
                elif value != _END and self._gone(seen[rank][1]):
                    self._end(f'rank {rank} has not been heard of for {self._silence:.0f} seconds. {self._advice()}')
                    return
        with contextlib.suppress(RuntimeError):  # this was the last one
            self._store.set(self._key(self._ranks.rank), _END)

    def _gone(self, since: float) -> bool:
        return time.monotonic() - since > self._silence


@contextlib.contextmanager
def among(ranks: Ranks, advice: Callable[[], str]) -> Iterator[None]:
    """Run the body under a :class:`Heartbeat`, and say in one line that another process has gone if that ends it.

    Args:
        ranks: The processes of the run.
        advice: Tells what to do about it, as things stand then.

    Raises:
        RunError: A collective failed because another process is not there any more.
    """
    try:
        with Heartbeat(ranks, advice):
            yield
    except Exception as error:
        if ranks.world == 1 or not is_lost_rank(error):
            raise
        reason = ' '.join(str(error).split())[:200]
        raise RunError(f'another process of this run has gone ({reason}). {advice()}') from error


def _end(message: str) -> None:
    print(f'error: {message}', file=sys.stderr, flush=True)
    os._exit(1)
