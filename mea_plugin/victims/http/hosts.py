"""Which hosts may be talked to: this machine, and those that the user names and says to be authorised to test."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import httpx

from mea_plugin.core.errors import InputError
from mea_plugin.core.schema import shortened

__all__ = ['Hosts', 'is_loopback', 'origin']

_PORTS = {'http': 80, 'https': 443}


class Hosts:
    """The hosts that queries may go to.

    Args:
        allowed: Names beyond this machine's own.
        authorized: Whether the user says that they own these services or are authorised to test them.

    Raises:
        InputError: Hosts are named without ``authorized``.
    """

    def __init__(self, allowed: Sequence[str], authorized: bool) -> None:
        self._allowed = {_canonical(host) for host in allowed}
        if self._allowed and authorized is not True:
            raise InputError(
                'querying other hosts needs your word that you own the service or are authorised to test it',
                where='victim.authorized',
                do='Add authorized: true if you do and are',
            )

    def check(self, url: httpx.URL | str, *, what: str, where: str = 'victim.url') -> None:
        """Refuse an address that is not among them.

        Args:
            url: The address.
            what: What it is, for the error.
            where: Likewise.

        Raises:
            InputError: It is another scheme than http or https, or another host.
        """
        try:
            url = httpx.URL(url)
        except (httpx.InvalidURL, TypeError) as error:
            raise InputError(
                f'{what} {shortened(url)} is no address ({error})', where=where, do='Write http://...'
            ) from None
        if url.scheme not in ('http', 'https') or not url.host:
            raise InputError(
                f'{what} {shortened(str(url))} is no http address', where=where, do='Write http://... or https://...'
            )
        if url.userinfo:
            raise InputError(f'{what} holds a user or a password', where=where, do='Put the key under victim.key')
        if not is_loopback(url.host) and _canonical(url.host) not in self._allowed:
            raise InputError(
                f'{what} goes to the host {url.host[:80]}, which is not allowed',
                where=where,
                do='If you own it or are authorised to test it, list it in allowed_hosts and add authorized: true',
            )


def origin(url: httpx.URL) -> tuple[str, str, int | None]:
    """Scheme, host and port of an address: credentials for one origin go to no other.

    Upper case, international names and default ports are normalised; a name with a dot at its end is another host, as
    in browsers.
    """
    return url.scheme, _canonical(url.host), url.port or _PORTS.get(url.scheme)


def _canonical(host: str) -> str:
    """A host's name in ASCII and lower case."""
    try:
        return httpx.URL(scheme='http', host=host).raw_host.decode('ascii').lower()
    except httpx.InvalidURL:
        return host.lower()


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    if host.lower() == 'localhost':
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
