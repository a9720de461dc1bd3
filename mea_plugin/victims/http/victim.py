"""A victim behind HTTP."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import numpy as np
from aiolimiter import AsyncLimiter

from mea_plugin.core.errors import InputError
from mea_plugin.core.files import hash_json
from mea_plugin.victims.http.hosts import Hosts
from mea_plugin.victims.http.options import (
    JobOptions,
    KeyOptions,
    RequestOptions,
    ResponseOptions,
    check_header,
    parse,
    parse_retrying,
)
from mea_plugin.victims.http.session import HTTPSession
from mea_plugin.victims.retrying import ask_until_answered

__all__ = ['HTTPVictim']

_MOST_AT_ONCE = 1024


class HTTPVictim:
    """A service as a black box: one image per request. Only for services that you own or are authorised to test.

    Args:
        url: Where queries are sent, by POST.
        scale: Output height and width divided by the input's.
        name: How tables call it; by default the host.
        request: See :class:`~mea_plugin.victims.http.options.RequestOptions`.
        response: See :class:`~mea_plugin.victims.http.options.ResponseOptions`.
        jobs: For a service that answers later; see :class:`~mea_plugin.victims.http.options.JobOptions`.
        key: See :class:`~mea_plugin.victims.http.options.KeyOptions`.
        idempotency: Whether the service honours the header ``Idempotency-Key``, or the name of the header that it
            honours: then what is in doubt is sent again under the same key, at no cost.
        concurrency: How many queries are on their way at once.
        rate_limit: Queries per second, evenly spaced; None for no limit.
        timeout: Seconds without a byte, after which an attempt is in doubt.
        retry: See :class:`~mea_plugin.victims.remote.Retrying`.
        allowed_hosts: Hosts other than this machine that queries, and links in replies, may go to.
        authorized: Your word that you own those services or are authorised to test them.
        version: Part of the fingerprint: change it when the service has changed.

    Raises:
        InputError: An option of the wrong kind, or a host that is not allowed.
    """

    def __init__(
        self,
        url: str,
        scale: int = 1,
        name: str | None = None,
        request: Mapping[str, Any] | None = None,
        response: Mapping[str, Any] | None = None,
        jobs: Mapping[str, Any] | None = None,
        key: Mapping[str, Any] | None = None,
        idempotency: bool | str = False,
        concurrency: int = 4,
        rate_limit: float | None = None,
        timeout: float = 60.0,
        retry: Mapping[str, Any] | None = None,
        allowed_hosts: Sequence[str] = (),
        authorized: bool = False,
        version: str = '',
    ) -> None:
        _at_least('scale', scale, 1, int)
        _at_least('concurrency', concurrency, 1, int)
        if concurrency > _MOST_AT_ONCE:
            raise InputError(
                f'concurrency is {concurrency}', where='victim.concurrency', do=f'Give at most {_MOST_AT_ONCE}'
            )
        for what, value in (('timeout', timeout), ('rate_limit', rate_limit)):
            if value is not None or what == 'timeout':
                _at_least(what, value, 1e-3, int | float)
        self._hosts = Hosts(allowed_hosts, authorized)
        self._hosts.check(url, what='the address')
        self._url = url
        self._request = parse(RequestOptions, request, 'victim.request')
        self._response = parse(ResponseOptions, response, 'victim.response')
        self._jobs = None if jobs is None else parse(JobOptions, jobs, 'victim.jobs')
        self._key = None if key is None else parse(KeyOptions, key, 'victim.key')
        if not isinstance(idempotency, bool):
            check_header('victim.idempotency', idempotency, '')
            if '-' not in idempotency:  # 'yes', in quotes, say
                raise InputError(
                    f'{idempotency!r} is no name of a header',
                    where='victim.idempotency',
                    do='Write true without quotes, or the name of the header',
                )
        self._header = idempotency if isinstance(idempotency, str) else 'Idempotency-Key' if idempotency else None
        self._timeout, self._rate_limit = timeout, rate_limit
        self.retrying = parse_retrying(retry)
        self.idempotent = bool(idempotency)
        self.concurrency = concurrency
        self.scale = scale
        if name is not None and not isinstance(name, str):
            raise InputError(f'name is {name!r}', where='victim.name', do='Give text')
        self.name = name or httpx.URL(url).host
        # What is taken for an answer, and how much of one is read at most, change no answer.
        left_out = ('formats', 'max_bytes')
        response_options = {key: value for key, value in vars(self._response).items() if key not in left_out}
        answers = {'request': vars(self._request), 'response': response_options}
        self.fingerprint = hash_json({'type': 'http', 'url': url, 'scale': scale, 'version': str(version), **answers})

    def session(self) -> HTTPSession:
        """See :class:`~mea_plugin.victims.remote.RemoteVictim`."""
        return HTTPSession(
            url=self._url,
            scale=self.scale,
            request=self._request,
            response=self._response,
            jobs=self._jobs,
            key=self._key,
            hosts=self._hosts,
            idempotency_header=self._header,
            concurrency=self.concurrency,
            timeout=self._timeout,
            limiter=AsyncLimiter(1, 1 / self._rate_limit) if self._rate_limit else None,
        )

    def query(self, images: list[np.ndarray]) -> list[np.ndarray]:
        """Ask, and ask again where there was no answer; nothing is kept, and what is in doubt is sent again."""
        return asyncio.run(self._query(images))

    async def _query(self, images: list[np.ndarray]) -> list[np.ndarray]:
        slots = asyncio.Semaphore(self.concurrency)
        async with self.session() as session:

            async def one(image: np.ndarray) -> np.ndarray:
                async with slots:
                    return (await ask_until_answered(session, image, self.retrying)).image

            return list(await asyncio.gather(*map(one, images)))


def _at_least(what: str, value: Any, least: float, kind: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, kind) or not least <= value < math.inf:
        raise InputError(f'{what} is {value!r}', where=f'victim.{what}', do=f'Give {least:g} or more')
