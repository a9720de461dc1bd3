"""HTTP connections that are not kept open for clients that do not go on."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ['patient_protocol']


def patient_protocol(patience_s: float) -> type[H11Protocol]:
    """A protocol class for uvicorn that hangs up after ``patience_s``.

    uvicorn waits for ever for the head of a request whose first byte has come, for the rest of a body that nobody
    reads any more because the reply is out, and for a client to take its reply. (A body that somebody reads has the
    application's own limit.)
    """

    class PatientProtocol(H11Protocol):
        """Hangs up when it is the client's turn for too long."""

        _timer: asyncio.TimerHandle | None = None
        _unsent = 0

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._unwatch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._watch()

        def _watch(self) -> None:
            """Start the clock when it becomes the client's turn, and stop it when a request is complete."""
            if self.conn.our_state is h11.SEND_RESPONSE or self.conn.our_state is h11.SEND_BODY:
                self._unwatch()
            elif self._timer is None:
                self._unsent = self.transport.get_write_buffer_size()
                self._timer = self.loop.call_later(patience_s, self._give_up)

        def _unwatch(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _give_up(self) -> None:
            self._timer = None
            unsent = self.transport.get_write_buffer_size()
            if 0 < unsent < self._unsent:  # a large reply on a slow line
                self._watch()
            else:
                self.transport.abort()

    return PatientProtocol
