"""HTTP connections that are not kept open for clients that do not go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from mea_plugin.serving.connections import Connections, State
from mea_plugin.serving.places import address_owner

__all__ = ['patient_protocol']


_LINGER_S = 2.0
_DISCARD = 1 << 18  # bytes that are thrown away at once
_READ = 1 << 14  # bytes that are taken from one client before it is another's turn


class _LingeringTransport:
    """A transport that is not closed while the client is still sending.

    A reply that comes before the whole request was read, such as a 429, would be lost: the system answers what comes
    after the close with a reset, and a client that gets a reset throws the reply away. This one says that it will write
    no more, and throws away what it reads until the client closes.

    Args:
        transport: The real one.
        linger: Asked when it is to be closed; false if it may be closed at once. If not, it sets a limit.
    """

    def __init__(self, transport: Any, linger: Callable[[], bool]) -> None:
        self._transport = transport
        self._linger = linger
        self.closed = False

    def __getattr__(self, name: str) -> Any:
        """Everything else is the transport's."""
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Whether nothing is to be written any more."""
        return self.closed or self._transport.is_closing()

    def close(self) -> None:
        """Close it, now or when the client has."""
        if self.closed or self._transport.is_closing():
            return
        if self._transport.can_write_eof() and self._linger():
            self.closed = True
            self._transport.write_eof()
            self._transport.max_size = _DISCARD
            self._transport.resume_reading()
        else:
            self._transport.close()


def patient_protocol(patience_s: float, connections: Connections | None = None) -> type[H11Protocol]:
    """A protocol class for uvicorn that hangs up after ``patience_s``, or earlier when too many connections are open.

    uvicorn waits for ever for the head of a request whose first byte has come, for the rest of a body that nobody
    reads any more because the reply is out, and for a client to take its reply. (A body that somebody reads has the
    application's own limit.)
    """
    counted = Connections() if connections is None else connections

    class PatientProtocol(H11Protocol):
        """Hangs up when it is the client's turn for too long."""

        address = ''
        _timer: asyncio.TimerHandle | None = None
        _unsent = 0

        def connection_made(self, transport: Any) -> None:
            self._lingering = _LingeringTransport(transport, self._linger)
            super().connection_made(self._lingering)  # type: ignore[arg-type]
            if hasattr(transport, 'max_size'):
                transport.max_size = _READ
            peer = transport.get_extra_info('peername')
            self.address = address_owner(str(peer[0])) if peer else ''
            if counted.add(self):
                self._watch()
            else:
                transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            counted.remove(self)
            self._unwatch()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._watch()

        def resume_writing(self) -> None:
            super().resume_writing()
            self._watch()

        @property
        def state(self) -> State:
            """Who has to do something."""
            if self._timer is not None:
                return State.IDLE
            return State.ARRIVING if self.conn.their_state is h11.SEND_BODY else State.BUSY

        def close(self) -> None:
            """Hang up."""
            self.transport.abort()

        def data_received(self, data: bytes) -> None:
            if self._lingering.closed:
                return  # nobody reads it
            super().data_received(data)
            self._watch()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._watch()

        def _linger(self) -> bool:
            """Whether to wait for the client to close, because it is still sending."""
            if self.conn.their_state is not h11.SEND_BODY and self.conn.trailing_data == (b'', False):
                return False
            self._unwatch()
            self._timer = self.loop.call_later(min(patience_s, _LINGER_S), self.transport.abort)
            counted.touch(self)
            return True

        def _watch(self) -> None:
            """Start the clock when it becomes the client's turn, and stop it when a request is complete."""
            if self._lingering.closed:
                return
            sending = self.conn.our_state is h11.SEND_BODY and not self.flow.write_paused
            if sending or self.conn.our_state is h11.SEND_RESPONSE:
                self._unwatch()
            elif self._timer is None:
                counted.touch(self)
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
