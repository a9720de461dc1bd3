"""One attempt over HTTP: sent, followed as far as allowed, and told apart by what is known of its fate."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import email.utils
import json
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import numpy as np
from aiolimiter import AsyncLimiter

from mea_plugin.victims.http.bodies import build_request, look_up, read_image, read_json
from mea_plugin.victims.http.hosts import Hosts, is_loopback
from mea_plugin.victims.http.options import JobOptions, KeyOptions, RequestOptions, ResponseOptions
from mea_plugin.victims.remote import InDoubtError, RefusedError, RejectedError, Reply

__all__ = ['HTTPSession', 'retry_after']

# Before the request is sent: the service knows nothing of it.
_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
# What says that there was no answer; a gateway's 502 and 504 do not: behind it there may have been one.
_REFUSALS = (429, *(status for status in range(500, 600) if status not in (502, 504)))
_MAX_REDIRECTS = 5


class HTTPSession:
    """Connections to a service, in one event loop.

    Args:
        url: Where queries go.
        scale: Of the victim.
        request: How they are sent.
        response: What comes back.
        jobs: For a service that answers later.
        key: To the service.
        hosts: Whom to talk to.
        idempotency_header: Its name, or None for none.
        concurrency: Connections at once.
        timeout: Seconds without a byte, after which an attempt is given up.
        limiter: Of queries per second.
    """

    def __init__(
        self,
        *,
        url: str,
        scale: int,
        request: RequestOptions,
        response: ResponseOptions,
        jobs: JobOptions | None,
        key: KeyOptions | None,
        hosts: Hosts,
        idempotency_header: str | None,
        concurrency: int,
        timeout: float,
        limiter: AsyncLimiter | None,
    ) -> None:
        self._url, self._scale = httpx.URL(url), scale
        self._request, self._response, self._jobs = request, response, jobs
        self._key, self._hosts, self._header = key, hosts, idempotency_header
        self._limiter = limiter
        self._client = httpx.AsyncClient(
            timeout=timeout,
            limits=httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
            follow_redirects=False,
            trust_env=not is_loopback(self._url.host),  # a proxy stands between nobody and this machine
            headers={'User-Agent': 'mea_plugin', **request.headers},
        )

    async def __aenter__(self) -> HTTPSession:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *raised: Any) -> None:
        await self._client.__aexit__(*raised)

    async def ask(self, query: np.ndarray, key: str) -> Reply:
        """See :class:`~mea_plugin.victims.remote.Session`."""
        arguments = await asyncio.to_thread(build_request, query, self._request)
        headers = {**arguments.pop('headers', {}), **({self._header: key} if self._header else {})}
        if self._limiter is not None:
            await self._limiter.acquire()
        submitted = self._client.build_request('POST', self._url, headers=headers, **arguments)
        sent_bytes = int(submitted.headers.get('Content-Length', 0))
        body = await self._body(submitted)
        size = (query.shape[0] * self._scale, query.shape[1] * self._scale)
        if self._jobs is not None:
            return await self._await_job(body, size, sent_bytes, self._jobs)
        return await asyncio.to_thread(read_image, body, size, self._response, sent_bytes=sent_bytes)

    async def _await_job(self, body: bytes, size: tuple[int, int], sent_bytes: int, jobs: JobOptions) -> Reply:
        """Poll until the job is done, and fetch the image. From the submission on, the attempt is in doubt."""
        address = self._linked(look_up(read_json(body), jobs.url))
        deadline = time.monotonic() + jobs.timeout
        while True:
            if time.monotonic() > deadline:
                raise InDoubtError(f'the job was not done after {jobs.timeout:g} s')
            try:
                content = read_json(await self._body(self._client.build_request('GET', address)))
            except RefusedError as error:  # of the poll, not of the job
                await asyncio.sleep(max(error.wait or 0, jobs.interval))
                continue
            status = look_up(content, jobs.status)
            if status == jobs.failed:
                raise RefusedError(f"the job has the status '{jobs.failed}'")
            if status == jobs.done:
                break
            await asyncio.sleep(jobs.interval)
        result = look_up(content, jobs.result)
        if self._response.body == 'json':
            options = ResponseOptions(**{**vars(self._response), 'field': jobs.result})
            body = await asyncio.to_thread(_dumped, content)
            return await asyncio.to_thread(read_image, body, size, options, sent_bytes=sent_bytes)
        try:
            body = await self._body(self._client.build_request('GET', self._linked(result)))
        except RefusedError as error:
            raise InDoubtError(f'the answer could not be fetched: {error}', error.wait) from None
        return await asyncio.to_thread(read_image, body, size, self._response, sent_bytes=sent_bytes)

    def _linked(self, link: Any) -> httpx.URL:
        """An address in a reply, which may be relative.

        Raises:
            InputError: It leads to a host that is not allowed.
        """
        if not isinstance(link, str):
            raise InDoubtError(f'the link in the reply is {type(link).__name__}, not text')
        url = self._url.join(link)
        self._hosts.check(url, what='a link in the reply', where='victim.allowed_hosts')
        return url

    async def _body(self, request: httpx.Request) -> bytes:
        """Send a request, follow redirects on allowed terms, and read the whole body.

        Raises:
            RefusedError: See :meth:`ask`; likewise the others.
        """
        for _ in range(_MAX_REDIRECTS):
            async with self._sent(request) as response:
                if not response.has_redirect_location:
                    return await self._read(response)
                request = self._redirected(request, response)
        raise RejectedError('more than 5 redirects', where=self._url.host, do='Give the final address as url')

    def _redirected(self, request: httpx.Request, response: httpx.Response) -> httpx.Request:
        url = request.url.join(response.headers['Location'])
        if url.host != request.url.host:
            raise RejectedError(
                f'the service sends on to another host, {url.host}',
                where=str(request.url.copy_with(query=None)),
                do='If that is the service you are authorised to test, give its address as url',
            )
        if response.status_code not in (307, 308) and request.method != 'GET':
            raise RejectedError(
                f'the service answers a query with a redirect ({response.status_code}) to {url.copy_with(query=None)}',
                where=str(request.url.copy_with(query=None)),
                do='Give the final address as url',
            )
        return self._client.build_request(
            request.method, url, headers=_without_host(request.headers), content=request.content
        )

    @contextlib.asynccontextmanager
    async def _sent(self, request: httpx.Request) -> AsyncIterator[httpx.Response]:
        # The key goes to the service's own host, not to wherever it keeps its answers.
        if self._key is not None and request.url.host == self._url.host:
            request.headers[self._key.header] = f'{self._key.prefix}{self._key.value}'
        try:
            response = await self._client.send(request, stream=True)
        except _UNSENT as error:
            raise RefusedError(f'no connection ({_reason(error)})') from None
        except httpx.TimeoutException:
            raise InDoubtError('no answer within the time-out') from None
        except httpx.TransportError as error:
            raise InDoubtError(f'the connection broke ({_reason(error)})') from None
        try:
            yield response
        finally:
            await response.aclose()

    async def _read(self, response: httpx.Response) -> bytes:
        """The body of a success; of anything else, the exception that tells what it means."""
        parts, length = [], 0
        try:
            async for part in response.aiter_bytes():
                parts.append(part)
                length += len(part)
                if length > self._response.max_bytes:
                    raise InDoubtError(f'the reply has more than {self._response.max_bytes} bytes')
        except httpx.TimeoutException:
            raise InDoubtError('the answer stopped coming') from None
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise InDoubtError(f'the answer broke off ({_reason(error)})') from None
        body = b''.join(parts)
        status = response.status_code
        if response.is_success:
            return body
        detail = self._detail(body)
        if status in _REFUSALS:
            raise RefusedError(f'status {status}{detail}', retry_after(response.headers))
        if response.is_server_error:
            raise InDoubtError(f'status {status} of a gateway{detail}')
        raise RejectedError(
            f'the service answers with status {status}{detail}',
            where=str(response.request.url.copy_with(query=None)),
            do=_ADVICE.get(status, 'Check the options of the request'),
        )

    def _detail(self, body: bytes) -> str:
        """What the service says, in one short line that does not give the key away."""
        text = ''.join(c if c.isprintable() else ' ' for c in body[:500].decode('utf-8', 'replace'))
        if self._key is not None:
            text = text.replace(self._key.value, '***')
        text = ' '.join(text.split())[:120]
        return f' ({text})' if text else ''


_ADVICE = {
    401: 'Check the key',
    402: 'Check the quota of the key',
    403: 'Check the rights of the key',
    404: 'Check the address',
    405: 'Check the address',
    413: 'Send smaller images',
    415: 'Check request.body and request.format',
}


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a reply asks to wait, from ``Retry-After`` in seconds or as a date; None without one."""
    value = headers.get('Retry-After', '').strip()
    if value.isdigit():
        return float(value)
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.timezone.utc)
    return max((moment - datetime.datetime.now(datetime.timezone.utc)).total_seconds(), 0.0)


def _reason(error: Exception) -> str:
    return ' '.join(str(error).split()) or type(error).__name__


def _without_host(headers: httpx.Headers) -> dict[str, str]:
    return {key: value for key, value in headers.items() if key.lower() not in ('host', 'content-length')}


def _dumped(content: Any) -> bytes:
    return json.dumps(content).encode()
