"""A victim behind HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated

import httpx
import numpy as np
from aiolimiter import AsyncLimiter
from pydantic import AfterValidator

from mea_plugin.core.files import hash_json
from mea_plugin.core.schema import Number, Text, Whole, refusal, shortened
from mea_plugin.core.signatures import checked
from mea_plugin.victims.http.hosts import Hosts
from mea_plugin.victims.http.options import (
    HeaderName,
    JobOptions,
    KeyOptions,
    RequestOptions,
    ResponseOptions,
    ServiceKey,
)
from mea_plugin.victims.http.session import HTTPSession
from mea_plugin.victims.remote import Retrying
from mea_plugin.victims.retrying import ask_until_answered

__all__ = ['HTTPVictim']


def _check_idempotency(name: str) -> str:
    if '-' not in name:  # 'yes', in quotes, say
        raise refusal(f'got {shortened(name)}', do='Write the name of the header')
    return name


class HTTPVictim:
    """A service as a black box: one image per request. Only for services that you own or are authorised to test.

    Args:
        url: Where queries are sent, by POST.
        scale: Output height and width divided by the input's.
        name: How tables call it; by default the host.
        request: How a query is sent; :class:`~mea_plugin.victims.http.options.RequestOptions`.
        response: How an answer is read; :class:`~mea_plugin.victims.http.options.ResponseOptions`.
        jobs: For a service that answers later; see :class:`~mea_plugin.victims.http.options.JobOptions`.
        key: Where the key to the service comes from; :class:`~mea_plugin.victims.http.options.KeyOptions`.
        idempotency: Whether the service honours the header ``Idempotency-Key``, or the name of the header that it
            honours: then what is in doubt is sent again under the same key, at no cost.
        concurrency: How many queries are on their way at once.
        rate_limit: Queries per second, evenly spaced; None for no limit.
        timeout: Seconds without a byte, after which an attempt is in doubt.
        unbilled: Statuses from 400 to 599 by which the service says that it did not charge, such as 500. Without
            them, a query that ends with a status of unknown meaning for the bill stays charged.
        retry: How often a query is sent again; :class:`~mea_plugin.victims.remote.Retrying`.
        allowed_hosts: Hosts other than this machine that queries, and links in replies, may go to.
        authorized: Your word that you own those services or are authorised to test them.
        version: Part of the fingerprint: change it when the service has changed.

    Raises:
        InputError: An option of the wrong kind, or a host that is not allowed.
    """

    @checked('victim')
    def __init__(
        self,
        url: str,
        scale: Annotated[int, Whole(1)] = 1,
        name: Text | None = None,
        request: RequestOptions | None = None,
        response: ResponseOptions | None = None,
        jobs: JobOptions | None = None,
        key: KeyOptions | None = None,
        idempotency: bool | Annotated[HeaderName, AfterValidator(_check_idempotency)] = False,
        concurrency: Annotated[int, Whole(1, 1024)] = 4,
        rate_limit: Annotated[float, Number(1e-3)] | None = None,
        timeout: Annotated[float, Number(1e-3)] = 60.0,
        unbilled: Sequence[Annotated[int, Whole(400, 599)]] = (),
        retry: Retrying | None = None,
        allowed_hosts: Sequence[str] = (),
        authorized: bool = False,
        version: Text = '',
    ) -> None:
        self._hosts = Hosts(allowed_hosts, authorized)
        self._hosts.check(url, what='the address')
        self._url = url
        self._request, self._response = request or RequestOptions(), response or ResponseOptions()
        self._jobs = jobs
        self._key = None if key is None else ServiceKey(key)
        self._header = idempotency if isinstance(idempotency, str) else 'Idempotency-Key' if idempotency else None
        self._timeout, self._rate_limit = timeout, rate_limit
        self.unbilled = frozenset(unbilled)
        self.retrying = retry or Retrying()
        self.idempotent = bool(idempotency)
        self.concurrency = concurrency
        self.scale = scale
        self.name = name or httpx.URL(url).host
        # What is taken for an answer, and how much of one is read at most, change no answer.
        left_out = ('formats', 'max_bytes')
        response_options = {key: value for key, value in vars(self._response).items() if key not in left_out}
        answers = {'request': vars(self._request), 'response': response_options}
        self.fingerprint = hash_json({'type': 'http', 'url': url, 'scale': scale, 'version': version, **answers})

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
            unbilled=self.unbilled,
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
