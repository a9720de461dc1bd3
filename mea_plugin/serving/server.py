"""Runs a service until it is told to stop, and then answers what it has accepted."""

from __future__ import annotations

import ipaddress
import socket
import sys
import time
from types import FrameType

import uvicorn

from mea_plugin.core.errors import InputError
from mea_plugin.core.packages import missing
from mea_plugin.serving.app import create_app
from mea_plugin.serving.connections import Connections, allowed_connections
from mea_plugin.serving.options import ServeOptions
from mea_plugin.serving.protocol import patient_protocol
from mea_plugin.serving.service import Service
from mea_plugin.victims import Victim

__all__ = ['check_address', 'check_watch', 'listen', 'serve']

_BACKLOG = 2048
_ACCEPTED_AT_ONCE = 32  # asyncio accepts as many before it looks at any of them
_SWITCH_S = 0.001  # how long a thread that works on a large image keeps the interpreter from the others


def check_address(options: ServeOptions, *, public: bool) -> None:
    """Refuse to listen to other machines unless that is meant.

    Raises:
        InputError: The host is no loopback address, and ``public`` is false.
    """
    if _is_loopback(options.host):
        return
    if not public:
        raise InputError(
            f'{options.host} can be reached from other machines', where='host', do='Add --public if that is meant'
        )
    keyless = ' and without keys' if options.open else ''
    print(
        f'warning: {options.host} can be reached from other machines, without encryption{keyless};'
        ' put a proxy with TLS before it, and serve only a model that you may offer',
        file=sys.stderr,
    )


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, made before a model is loaded: a port that is taken is known at once.

    Args:
        host: An address or a name.
        port: 0 picks a free one.

    Raises:
        InputError: There is no such address here, or the port is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise InputError(f'no address {host} ({error.strerror})', where='host', do='Correct it') from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise InputError(
            f'cannot listen on {host}:{port} ({error.strerror})', where='port', do='Choose another, or 0 for a free one'
        ) from None
    return listener


def check_watch(options: ServeOptions, where: str) -> None:
    """Find mistakes in the section ``watch`` before a victim is loaded.

    Args:
        options: Of the service.
        where: The file, for errors.

    Raises:
        InputError: OpenCV is missing, the calibration cannot be read, or a defence cannot be made.
    """
    if options.watch is None:
        return
    try:
        from mea_plugin.serving.enforcement import read_watch
    except ModuleNotFoundError as error:
        raise missing('watch', error, f'{where}: watch') from error
    read_watch(options.watch, f'{where}: watch')


def serve(options: ServeOptions, victim: Victim, listener: socket.socket, second: Victim | None = None) -> None:
    """Serve until SIGTERM or Ctrl-C; then requests that were accepted are answered, and new ones get 503.

    Prints the address once requests are answered.

    Args:
        options: How to serve.
        victim: Who answers.
        listener: From :func:`listen`; closed at the end.
        second: The same victim once more, see :class:`~mea_plugin.serving.answering.Answerer`.

    Raises:
        InputError: The store cannot be used, or the system allows too few open files.
    """
    sys.setswitchinterval(_SWITCH_S)
    connections = Connections(allowed_connections(options.limits.connections), options.limits.connections_per_address)
    app = create_app(options, victim, second)
    config = uvicorn.Config(
        app,
        loop='asyncio',
        http=patient_protocol(options.limits.body_timeout_s, connections),
        ws='none',
        lifespan='on',
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=_ACCEPTED_AT_ONCE,
        timeout_graceful_shutdown=1,
    )
    host = f'[{options.host}]' if ':' in options.host else options.host
    address = f'http://{host}:{listener.getsockname()[1]}'
    _Server(config, app.state.service, f'serving {options.name} on {address}').run([listener])


class _Server(uvicorn.Server):
    """uvicorn's server, which stays reachable (503) until what was accepted is answered.

    Args:
        config: uvicorn's.
        service: Who has accepted it.
        announcement: Printed once requests are answered.
    """

    def __init__(self, config: uvicorn.Config, service: Service, announcement: str) -> None:
        super().__init__(config)
        self._service = service
        self._announcement = announcement

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        for one in sockets or []:
            one.listen(_BACKLOG)  # how many wait to be accepted, which uvicorn sets to how many are accepted at once
        print(self._announcement, flush=True)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal begins the end, the second one makes it short."""
        if self._service.stopping:
            self.should_exit = True
        self._service.begin_stop()

    async def on_tick(self, counter: int) -> bool:
        """Stop listening when nothing is under way any more, or when that takes too long."""
        service = self._service
        if service.stopping and (not service.active or time.monotonic() > service.stop_by):
            self.should_exit = True
        return await super().on_tick(counter)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == 'localhost'
