"""One attempt over HTTP: sent, followed as far as allowed, and told apart by what is known of its fate."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import email.utils
import time
from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any

import httpx
import numpy as np
from aiolimiter import AsyncLimiter

from mea_plugin.core.errors import InputError
from mea_plugin.victims.http.bodies import build_request, look_up, read_image, read_json
from mea_plugin.victims.http.hosts import Hosts, is_loopback, origin
from mea_plugin.victims.http.options import JobOptions, RequestOptions, ResponseOptions, ServiceKey
from mea_plugin.victims.http.reading import ACCEPT_ENCODING, read_body
from mea_plugin.victims.http.statuses import Meaning, meaning
from mea_plugin.victims.remote import InDoubtError, NotAnsweredError, RefusedError, RejectedError, Reply, UnusableError

__all__ = ['HTTPSession', 'retry_after']

# Before the request is sent: the service knows nothing of it.
_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_MAX_REDIRECTS = 5
# Seconds that an idle connection is used again: fewer than services keep one, or a query might meet its end.
_KEEP_ALIVE = 1.0
_DETAIL = 1 << 16  # bytes of an error's reply that are looked at


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
        unbilled: Statuses by which the service says that it did not charge.
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
        key: ServiceKey | None,
        hosts: Hosts,
        idempotency_header: str | None,
        concurrency: int,
        timeout: float,
        unbilled: Collection[int],
        limiter: AsyncLimiter | None,
    ) -> None:
        self._url, self._scale = httpx.URL(url), scale
        self._request, self._response, self._jobs = request, response, jobs
        self._key, self._hosts, self._header = key, hosts, idempotency_header
        self._limiter, self._unbilled = limiter, unbilled
        self._client = httpx.AsyncClient(
            timeout=timeout,
            limits=httpx.Limits(
                max_connections=concurrency,
                max_keepalive_connections=concurrency,
                keepalive_expiry=_KEEP_ALIVE,
            ),
            follow_redirects=False,
            trust_env=not is_loopback(self._url.host),  # a proxy stands between nobody and this machine
            headers={'User-Agent': 'mea_plugin', 'Accept-Encoding': ACCEPT_ENCODING},
        )

    async def __aenter__(self) -> HTTPSession:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *raised: Any) -> None:
        await self._client.__aexit__(*raised)

    async def turn(self) -> None:
        """See :class:`~mea_plugin.victims.remote.Session`."""
        if self._limiter is not None:
            await self._limiter.acquire()

    async def ask(self, query: np.ndarray, key: str) -> Reply:
        """See :class:`~mea_plugin.victims.remote.Session`."""
        try:
            arguments = await asyncio.to_thread(build_request, query, self._request)
            headers = {**arguments.pop('headers', {}), **({self._header: key} if self._header else {})}
            submitted = self._client.build_request('POST', self._url, headers=headers, **arguments)
        except Exception as error:  # nothing has been sent
            raise RejectedError(
                f'no request can be made of these options ({self._reason(error)})',
                where='victim.request',
                do='Correct them',
            ) from error
        sent_bytes = int(submitted.headers.get('Content-Length', 0))
        await submitted.aread()  # a redirect may have it sent again
        body = await self._body(submitted)
        size = (query.shape[0] * self._scale, query.shape[1] * self._scale)
        if self._jobs is not None:
            return await self._await_job(body, size, sent_bytes, self._jobs)
        return await self._image(body, size, self._response, sent_bytes)

    async def _image(self, body: bytes, size: tuple[int, int], options: ResponseOptions, sent_bytes: int) -> Reply:
        return await asyncio.to_thread(read_image, body, size, options, sent_bytes=sent_bytes, hide=self._hide)

    async def _await_job(self, body: bytes, size: tuple[int, int], sent_bytes: int, jobs: JobOptions) -> Reply:
        """Poll until the job is done, and fetch the image. From the submission on, the attempt is in doubt."""
        address = self._linked(look_up(read_json(body, self._hide), jobs.url))
        deadline = time.monotonic() + jobs.timeout
        while True:
            body = await self._fetch(address, jobs, deadline)
            content = read_json(body, self._hide)
            status = look_up(content, jobs.status)
            if status == jobs.failed:
                raise RefusedError(f"the job has the status '{jobs.failed}'", new_key=True)
            if status == jobs.done:
                break
            await _pause(jobs, deadline)
        if self._response.body == 'json':
            options = self._response.model_copy(update={'field': jobs.result})
            return await self._image(body, size, options, sent_bytes)
        body = await self._fetch(self._linked(look_up(content, jobs.result)), jobs, deadline)
        return await self._image(body, size, self._response, sent_bytes)

    async def _fetch(self, address: httpx.URL, jobs: JobOptions, deadline: float) -> bytes:
        """Get what belongs to a submitted job; as that costs nothing, again and again until the deadline.

        Raises:
            InDoubtError: The deadline has passed.
            InputError: The service refuses for good. Of the job itself, that says nothing.
        """
        while True:
            request = self._client.build_request('GET', address)
            await request.aread()
            try:
                return await self._body(request)
            except NotAnsweredError as error:
                await _pause(jobs, deadline, error)
            except RejectedError as error:
                raise InputError(error.what, where=error.where, do=error.do) from None

    def _linked(self, link: Any) -> httpx.URL:
        """An address in a reply, which may be relative.

        Raises:
            InputError: It leads to a host that is not allowed.
        """
        if not isinstance(link, str):
            raise InDoubtError(f'the link in the reply is {type(link).__name__}, not text')
        try:
            url = self._url.join(link)
        except httpx.InvalidURL as error:
            raise InDoubtError(f'the link in the reply is no address ({error})') from None
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
        where = str(request.url.copy_with(query=None))
        if url.userinfo or url.host != request.url.host or (request.url.scheme, url.scheme) == ('https', 'http'):
            raise RejectedError(
                f'the service sends on to another host or out of encryption, {url.scheme}://{url.host[:80]}',
                where=where,
                do='If that is the service you are authorised to test, give its address as url',
            )
        if response.status_code not in (307, 308) and request.method != 'GET':
            # After 302 and 303 the query may have been answered (RFC 9110): the charge stays.
            kind = RejectedError if response.status_code == 301 else InputError
            raise kind(
                f'the service answers a query with a redirect ({response.status_code}) to '
                f'{str(url.copy_with(query=None))[:200]}',
                where=where,
                do='Give the final address as url',
            )
        return self._client.build_request(
            request.method, url, headers=_without_host(request.headers), content=request.content
        )

    def _with_credentials(self, request: httpx.Request) -> httpx.Request:
        """The request as it is sent: with key, headers and cookies to the service's own origin, and to no other."""
        headers = request.headers.copy()
        if origin(request.url) == origin(self._url):
            headers.update(self._request.headers)
            if self._key is not None:
                headers[self._key.header] = self._key.value
        else:
            headers.pop('Cookie', None)  # httpx keeps them by host, whatever the port
        return httpx.Request(
            request.method, request.url, headers=headers, content=request.content, extensions=request.extensions
        )

    @contextlib.asynccontextmanager
    async def _sent(self, request: httpx.Request) -> AsyncIterator[httpx.Response]:
        try:
            response = await self._client.send(self._with_credentials(request), stream=True)
        except _UNSENT as error:
            raise RefusedError(f'no connection ({self._reason(error)})') from None
        except httpx.TimeoutException:
            raise InDoubtError('no answer within the time-out') from None
        except httpx.TransportError as error:
            raise InDoubtError(f'the connection broke ({self._reason(error)})') from None
        try:
            yield response
        finally:
            await response.aclose()

    async def _read(self, response: httpx.Response) -> bytes:
        """The body of a success; of anything else, the exception that tells what it means."""
        status = response.status_code
        if meaning(status) is Meaning.ANSWER:
            return await self._whole(response, self._response.max_bytes)
        try:
            body = await self._whole(response, _DETAIL)
        except InDoubtError:  # the status says enough
            body = b''
        what = f'status {status}{self._detail(body)}'
        found = meaning(status, body, unbilled=self._unbilled)
        if found is Meaning.NO_ANSWER:
            raise UnusableError(f'the reply has {what} and no whole answer', status=status)
        # 409: an earlier attempt under the same key is at work.
        if found is Meaning.REFUSED or (status == 409 and self._header is not None):
            raise RefusedError(what, retry_after(response.headers))
        if found is Meaning.INDETERMINATE:
            raise InDoubtError(what, retry_after(response.headers), status=status)
        raise RejectedError(
            f'the service answers with {what}',
            where=str(response.request.url.copy_with(query=None)),
            do=_ADVICE.get(status, 'Check the options of the request'),
        )

    async def _whole(self, response: httpx.Response, most: int) -> bytes:
        try:
            return await read_body(response, most)
        except httpx.TransportError as error:
            raise InDoubtError(f'the answer broke off ({self._reason(error)})') from None

    def _detail(self, body: bytes) -> str:
        """What the service says, in one short line that does not give the key away."""
        text = ''.join(c if c.isprintable() else ' ' for c in self._hide(body)[:500].decode('utf-8', 'replace'))
        text = ' '.join(text.split())[:120]
        return f' ({text})' if text else ''

    def _hide(self, data: bytes) -> bytes:
        return data if self._key is None else self._key.hide(data)

    def _reason(self, error: Exception) -> str:
        return self._hide((' '.join(str(error).split()) or type(error).__name__).encode()).decode()[:200]


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
    if value.isascii() and value.isdecimal():
        return float(value)
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except (TypeError, ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.timezone.utc)
    return max((moment - datetime.datetime.now(datetime.timezone.utc)).total_seconds(), 0.0)


async def _pause(jobs: JobOptions, deadline: float, error: NotAnsweredError | None = None) -> None:
    """Wait before a job is looked at again.

    Raises:
        InDoubtError: There is no time left.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise InDoubtError(f'the job was not done after {jobs.timeout:g} s{f", {error}" if error else ""}')
    asked = error.wait or 0 if error else 0
    await asyncio.sleep(min(max(asked, jobs.interval), left))


def _without_host(headers: httpx.Headers) -> dict[str, str]:
    return {key: value for key, value in headers.items() if key.lower() not in ('host', 'content-length')}
