"""How many connections are open, and which one is closed for a new one."""

from __future__ import annotations

import enum
import sys
from collections import Counter
from typing import Protocol

from mea_plugin.core.errors import InputError

try:
    import resource
except ImportError:  # Windows has no such limit
    resource = None  # type: ignore[assignment]

__all__ = ['Connection', 'Connections', 'allowed_connections']

_RESERVE = 192  # files: the store, its log, a victim's, and connections that are closing or not yet counted
_LEAST = 8


class State(enum.Enum):
    """What a connection waits for."""

    IDLE = enum.auto()
    """For a request, or for the client to take its reply: it may be closed."""
    ARRIVING = enum.auto()
    """For the rest of a request: it may be closed if none is idle."""
    BUSY = enum.auto()
    """For the service."""


class Connection(Protocol):
    """One connection."""

    address: str
    """Whose it is."""

    @property
    def state(self) -> State:
        """Who has to do something."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class Connections:
    """The open connections, the one that has been idle for longest first.

    Args:
        most: How many may be open.
        per_address: How many one address may have.
    """

    def __init__(self, most: int = sys.maxsize, per_address: int = sys.maxsize) -> None:
        self._most = most
        self._per_address = per_address
        self._open: dict[Connection, None] = {}
        self._addresses: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def add(self, connection: Connection) -> bool:
        """Count a new connection, and close an idle one where it is one too many.

        The one that is closed is of the same address, if that has too many; else of the address that has most.

        Returns:
            False when none is idle: the new one is to be closed, and is not counted.
        """
        address = connection.address
        if self._addresses[address] >= self._per_address:
            if not self._close_idle(address):
                return False
        elif len(self._open) >= self._most and not self._close_any(address):
            return False
        self._open[connection] = None
        self._addresses[address] += 1
        return True

    def touch(self, connection: Connection) -> None:
        """Note that a connection has just become idle."""
        if connection in self._open:
            del self._open[connection]
            self._open[connection] = None

    def remove(self, connection: Connection) -> None:
        """Forget a connection that was closed."""
        if connection in self._open:
            del self._open[connection]
            self._addresses[connection.address] -= 1
            if not self._addresses[connection.address]:
                del self._addresses[connection.address]

    def _close_any(self, newcomer: str) -> bool:
        """Close one of an address that has more than the newcomer will have, or of the newcomer's."""
        for address, count in self._addresses.most_common():
            if count <= self._addresses[newcomer] and address != newcomer:
                continue
            if self._close_idle(address):
                return True
        return False

    def _close_idle(self, address: str) -> bool:
        for state in (State.IDLE, State.ARRIVING):
            for connection in self._open:
                if connection.address == address and connection.state is state:
                    self.remove(connection)
                    connection.close()
                    return True
        return False


def allowed_connections(wished: int) -> int:
    """How many connections may be open, with files left for everything else.

    Args:
        wished: What the option says.

    Raises:
        InputError: The system allows too few open files.
    """
    if resource is None:
        return wished
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return wished
    if files < _RESERVE + _LEAST:
        raise InputError(
            f'{files} open files are allowed', where='ulimit -n', do=f'Allow {_RESERVE + _LEAST} or more, better 1024'
        )
    return min(wished, files - _RESERVE)
