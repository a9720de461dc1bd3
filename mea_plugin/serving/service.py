"""A service without its HTTP: who may ask, what an answer takes, what it costs."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mea_plugin.serving import billing, jobs, keys
from mea_plugin.serving.answering import Answerer, VictimError
from mea_plugin.serving.billing import ConflictError, QuotaError, Reply
from mea_plugin.serving.bodies import BodyReader, off_loop
from mea_plugin.serving.database import Database
from mea_plugin.serving.flights import Flights
from mea_plugin.serving.jobs import Job
from mea_plugin.serving.keys import Customer
from mea_plugin.serving.metrics import Metrics
from mea_plugin.serving.options import ServeOptions
from mea_plugin.serving.places import Brake, Room, address_owner
from mea_plugin.serving.rates import Excess, Rates
from mea_plugin.serving.refusal import Refusal
from mea_plugin.victims import Victim

if TYPE_CHECKING:
    from mea_plugin.serving.enforcement import Watch

__all__ = ['ImageRequest', 'Service']

_LOGGER = logging.getLogger(__name__)
_PURGE_S = 600.0
_RETRY_S = 1.0


@dataclass(frozen=True)
class ImageRequest:
    """What is asked.

    Attributes:
        customer: Who asks.
        content: The encoded image.
        idempotency_key: Names this request among the customer's.
        owner: Whose places and turns it takes, see :meth:`Service.owner_of`.
    """

    customer: Customer
    content: bytes
    idempotency_key: str | None
    owner: str = ''

    def digest(self, kind: str) -> bytes:
        """What makes two requests the same; how the image was wrapped does not."""
        return hashlib.sha256(kind.encode() + b'\0' + self.content).digest()

    async def hash(self, kind: str) -> bytes:
        """As :meth:`digest`, without holding up others."""
        return await off_loop(len(self.content), self.digest, kind)


class Service:
    """A victim, its customers and its queue.

    Args:
        options: How it serves.
        victim: Who answers.
        second: The same once more, see :class:`~mea_plugin.serving.answering.Answerer`.

    Raises:
        InputError: The store cannot be used.
    """

    def __init__(self, options: ServeOptions, victim: Victim, second: Victim | None = None) -> None:
        self.options = options
        self.victim = victim
        self.stopping = False
        self.stop_by = math.inf  # when what is under way is given up
        self.active = 0  # HTTP requests under way, counted by the application
        self.bodies = BodyReader(options.limits)
        self._places = Room(options.limits.queue, options.limits.queue_per_key)
        self._brake = Brake()
        self._gate = keys.Gate(Rates(options.limits.rate, options.limits.pixel_rate), options.open)
        self.rates = self._gate.rates
        self._watch = _watch(options)  # first: if it fails, no store is left locked
        self._database = Database(options.database)
        self.metrics = Metrics(waiting=lambda: self._answerer.depth, accepted=lambda: self._places.total)
        self._answerer = Answerer(options, victim, self.metrics, self._watch, second)
        self._flights = Flights()
        self._job_waits = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Take up the jobs that were waiting."""
        await self._database.call(jobs.requeue, durable=True)
        if self.options.open:
            await self._database.call(keys.ensure_anonymous, durable=True)
        self._job_waits.set()
        self._tasks = [asyncio.create_task(self._run_jobs()), asyncio.create_task(self._purge())]

    def begin_stop(self) -> None:
        """Accept nothing from now on."""
        if not self.stopping:
            self.stopping = True
            self.stop_by = time.monotonic() + self.options.stop_timeout_s

    async def stop(self) -> None:
        """Finish what runs; jobs that wait stay in the store."""
        self.begin_stop()
        self._job_waits.set()
        job_runner, purger = self._tasks
        purger.cancel()
        with suppress(asyncio.CancelledError):
            await purger
        done, _ = await asyncio.wait([job_runner], timeout=max(self.stop_by - time.monotonic(), 0))
        if not done:
            job_runner.cancel()
        await asyncio.to_thread(self._answerer.close, 1.0)  # the victim is idle, or hangs
        if self._watch is not None:
            await asyncio.to_thread(self._watch.save)
        await asyncio.to_thread(self._database.close)

    async def identify(self, key: str | None) -> Customer:
        """Whose key it is.

        Raises:
            Refusal: 401, nobody's.
        """
        return self._known(await self._database.call(keys.find_customer, key, self.options.open))

    async def admit(self, key: str | None, address: str) -> Customer:
        """Whose key it is, for a request that sends an image.

        Args:
            key: As it was sent.
            address: The client's.

        Raises:
            Refusal: 401, nobody's; 429, above the key's rates, slowed down, or its part of the queue is full. It comes
                late to those who came too early.
        """
        customer, excess = await self._database.call(self._gate.admit, key, address_owner(address), time.time())
        known = self._known(customer)
        owner = self.owner_of(known, address)
        try:
            if excess is not None:
                raise _too_fast(excess)
            if self._watch is not None:
                self._watch.admit(known.id)
            if not self._places.fits(owner):
                raise _no_place()
        except Refusal as refusal:
            await self._brake.refuse(owner, float((refusal.headers or {}).get('Retry-After', 1)))
            raise
        return known

    @staticmethod
    def owner_of(customer: Customer, address: str) -> str:
        """Who shares a fair part of the service: a key, or an address without a key."""
        return address_owner(address) if customer.anonymous else f'key {customer.id}'

    async def translate(self, request: ImageRequest) -> tuple[Reply, bool]:
        """Answer an image.

        Returns:
            The answer, and whether it is a stored one, which is not billed again.

        Raises:
            Refusal: 400 or 413 for the image, 402 without quota, 403 for queries that are refused, 422 for an
                idempotency key that was used for something else, 429 when too many requests wait.
            VictimError: The victim failed.
        """
        digest = await request.hash('translate')
        with _refusals():
            if request.idempotency_key is None:
                return await self._translate(request, digest)
            (reply, replayed), joined = await self._flights.join(
                (request.customer.id, request.idempotency_key), digest, lambda: self._translate(request, digest)
            )
        return reply, replayed or joined

    async def add_job(self, request: ImageRequest) -> tuple[Job, bool]:
        """Accept an image to be answered later.

        Returns:
            The job, and whether it was there already.

        Raises:
            Refusal: As :meth:`translate`.
        """
        digest = await request.hash('job')
        with _refusals():
            if request.idempotency_key is None:
                return await self._add_job(request, digest)
            (job, replayed), joined = await self._flights.join(
                (request.customer.id, request.idempotency_key), digest, lambda: self._add_job(request, digest)
            )
        return job, replayed or joined

    async def find_job(self, customer: Customer, identifier: str) -> Job:
        """A customer's job.

        Raises:
            Refusal: 404, there is none of that id, or it is another customer's.
        """
        job = await self._database.call(jobs.find_job, identifier, customer.id)
        if job is None:
            raise Refusal(404, 'no such job')
        return job

    async def _translate(self, request: ImageRequest, digest: bytes) -> tuple[Reply, bool]:
        customer, key = request.customer.id, request.idempotency_key
        stored = await self._database.call(billing.begin, customer, key, digest, time.time())
        if stored is not None:
            self.metrics.replayed.inc()
            return stored, True
        settled = False
        try:
            with self._place(request.owner):
                await self._spend(request)
                reply = await self._answerer.answer(request.content, customer, request.owner)
                await self._database.call(billing.settle, customer, key, digest, reply, self._expiry(), durable=True)
                settled = True
        finally:
            if not settled:
                await self._database.call(billing.release, customer)
        self.metrics.billed.inc()
        return reply, False

    async def _add_job(self, request: ImageRequest, digest: bytes) -> tuple[Job, bool]:
        with self._place(request.owner):
            await self._answerer.decode(request.content)  # what cannot be answered is refused now
            await self._spend(request)
            job, replayed = await self._database.call(
                jobs.add_job,
                request.customer.id,
                request.idempotency_key,
                digest,
                request.content,
                jobs.Limit(request.owner, self.options.limits.queue, self.options.limits.queue_per_key),
                time.time(),
                self._expiry(),
                durable=True,
            )
        self._job_waits.set()
        return job, replayed

    async def _run_jobs(self) -> None:
        """Answer the jobs that wait, as many at once as fit into a batch, until the service stops."""
        running: set[asyncio.Task[None]] = set()
        try:
            await self._keep_running(running)
        finally:
            for task in running:
                task.cancel()

    async def _keep_running(self, running: set[asyncio.Task[None]]) -> None:
        while not self.stopping:
            self._job_waits.clear()
            try:
                free = self.options.batch.size - len(running)
                claimed = await self._database.call(jobs.claim_jobs, free, self.options.batch.size, durable=True)
            except Exception:
                _LOGGER.exception('the jobs that wait could not be read; trying again')
                await asyncio.sleep(_RETRY_S)
                continue
            for job in claimed:
                task = asyncio.create_task(self._run_job(job))
                running.add(task)
                task.add_done_callback(lambda _: self._job_waits.set())
            if not self.stopping:
                await self._job_waits.wait()
            running -= {task for task in running if task.done()}
        if running:
            await asyncio.wait(running)

    async def _run_job(self, job: Job) -> None:
        outcome: Reply | str
        try:
            outcome = await self._answerer.answer(job.input, job.customer, job.owner)
        except Refusal as error:  # the limits are lower than when it was accepted, or the customer is refused
            outcome = str(error.detail)
        except VictimError as error:
            outcome = str(error)
        except Exception:
            _LOGGER.exception('job %s failed', job.id)
            outcome = 'the service failed'
        try:
            await self._database.call(jobs.finish_job, job, outcome, self._expiry(), durable=True)
        except Exception:
            _LOGGER.exception('the result of job %s could not be stored; it runs again after a restart', job.id)
            return
        if isinstance(outcome, Reply):
            self.metrics.billed.inc()

    async def _purge(self) -> None:
        while True:
            try:
                await self._database.call(billing.purge, time.time())
            except Exception:
                _LOGGER.exception('what has expired could not be removed')
            if self._watch is not None:
                await asyncio.to_thread(self._watch.save)
            await asyncio.sleep(_PURGE_S)

    def _known(self, customer: Customer | None) -> Customer:
        if customer is None:
            raise Refusal(401, 'send a valid key: Authorization: Bearer KEY', headers={'WWW-Authenticate': 'Bearer'})
        return customer

    @contextmanager
    def _place(self, owner: str) -> Iterator[None]:
        """A place in the queue, from before the image is decoded until its answer is stored."""
        if not self._places.take(owner):
            raise _no_place()
        try:
            yield
        finally:
            self._places.free(owner)

    async def _spend(self, request: ImageRequest) -> None:
        """Count the pixels of a request against its key's pixel rate."""
        if self.rates(request.customer).pixels is None:
            return
        pixels = await self._answerer.count_pixels(request.content)
        excess = await self._database.call(self._gate.spend, request.customer, request.owner, pixels, time.time())
        if excess is not None:
            raise _too_fast(excess)

    def _expiry(self) -> float:
        return time.time() + self.options.idempotency_hours * 3600


def _watch(options: ServeOptions) -> Watch | None:
    if options.watch is None:
        return None
    from mea_plugin.serving.enforcement import Watch  # needs OpenCV, which the service does not

    return Watch(options.watch, options.memory)


def _no_place() -> Refusal:
    return Refusal(429, 'the queue is full', retry_after=1)


def _too_fast(excess: Excess) -> Refusal:
    return Refusal(429, f'more than {excess.rate:g} {excess.unit} per second', retry_after=excess.wait_s)


@contextmanager
def _refusals() -> Iterator[None]:
    """What the store refuses, as HTTP says it."""
    try:
        yield
    except ConflictError:
        raise Refusal(422, 'the Idempotency-Key was used for another request') from None
    except QuotaError:
        raise Refusal(402, 'the quota of this key is used up') from None
    except jobs.FullError:
        raise Refusal(429, 'too many jobs are waiting', retry_after=5) from None
