"""The option file of a service: which victim, where, and what a request may cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, model_validator
from typing_extensions import Self

from mea_plugin.core.schema import Flag, FolderName, Number, Options, Registered, Section, Whole, refusal

__all__ = ['ActionOptions', 'BatchOptions', 'LimitOptions', 'OutputOptions', 'ServeOptions', 'WatchOptions']

Duration = Annotated[float, Number(above=0, most=1e6)]


def _check_host(host: str) -> str:
    if not host:
        raise refusal('the address is empty', do='Give one, for example 127.0.0.1')
    return host


class OutputOptions(Options):
    """Replies."""

    format: Literal['png', 'jpeg'] = 'png'
    """Format of the images."""
    quality: Annotated[int, Whole(1, 100)] = 95
    """Quality of a JPEG."""


class LimitOptions(Options):
    """The most that one request, and all of them together, may take."""

    body_bytes: Annotated[int, Whole(1)] = 8 << 20
    """The largest body of a request."""
    pixels: Annotated[int, Whole(1)] = 1 << 20
    """The largest image, width times height."""
    max_side: Annotated[int, Whole(1)] | None = None
    """The largest width or height; by default any that has no more pixels."""
    min_side: Annotated[int, Whole(1)] = 1
    """The smallest width or height."""
    queue: Annotated[int, Whole(1)] = 64
    """Requests that wait or are being answered at once, and jobs that wait; more are told to come back. When they are
    full, customers who have less than an equal share may still come, up to twice as many in all."""
    queue_per_key: Annotated[int, Whole(1)] | None = None
    """The part of ``queue`` that one key may have, or one address without a key; by default all of it."""
    body_timeout_s: Duration = 30.0
    """Seconds that a body, or the head of a request, may take to arrive."""
    rate: Annotated[float, Number(above=0, most=1e6)] | None = None
    """Requests with images per second, for keys that have no rate of their own; by default any number."""
    pixel_rate: Annotated[float, Number(above=0, most=1e12)] | None = None
    """Pixels per second, for keys that have no pixel rate of their own; by default any number."""
    connections: Annotated[int, Whole(1)] = 512
    """Open connections; fewer where the system allows fewer files. For one more, an idle one is closed."""
    connections_per_address: Annotated[int, Whole(1)] = 256
    """Open connections of one address."""

    @model_validator(mode='after')
    def _check_sides(self) -> Self:
        if self.max_side is not None and self.max_side < self.min_side:
            raise refusal(f'got {self.max_side}', do=f'Give at least min_side, which is {self.min_side}', at='max_side')
        return self


class BatchOptions(Options):
    """How waiting requests are put together."""

    size: Annotated[int, Whole(1)] = 8
    """Images of one size that are answered together, at most."""
    wait_ms: Annotated[float, Number(0, 1e6)] = 5.0
    """Milliseconds that the first of them waits for others, while nothing else waits."""
    pixels: Annotated[int, Whole(1)] = 1 << 18
    """Pixels that are answered together, at most, unless one image alone has more."""
    small_pixels: Annotated[int, Whole(0)] = 4096
    """The largest image that has threads of its own beside those of larger ones, and pixels that these answer together;
    0: no image has. A victim that several threads cannot share is loaded twice for it."""


class ActionOptions(Options):
    """What is done from a score on."""

    above: Annotated[float, Number(0.01, 1000)]
    """The score from which on."""
    wait_s: Annotated[float, Number(0, 86400)] = 0.0
    """Seconds until the customer's next query is answered."""
    defences: tuple[Annotated[dict[str, Any], Registered('defence')], ...] = ()
    """Defences that the answer goes through."""
    refuse: Flag = False
    """Whether the query is refused."""

    @model_validator(mode='after')
    def _check_action(self) -> Self:
        if not (self.wait_s or self.defences or self.refuse):
            raise refusal('nothing is done', do='Add wait_s, defences or refuse: true')
        return self


class WatchOptions(Options):
    """How customers' queries are watched, and what is done about those that are unlike ordinary use."""

    calibration: Path | None = None
    """File of thresholds and of what is ordinary; by default the built-in ones."""
    capacity: Annotated[int, Whole(100, 10_000_000)] = 100_000
    """Queries that are remembered."""
    store: Path | Literal[False] | None = None
    """File that keeps them across restarts, by default beside the service's; ``false``: none does."""
    on_corrupt: Literal['empty', 'refuse'] = 'refuse'
    """When the store is damaged: begin anew, or refuse to start."""
    response: tuple[ActionOptions, ...] = ()
    """Actions by score; a score gets the one with the highest ``above`` that it reaches."""


class ServeOptions(Options):
    """The option file of ``tools/serve.py``."""

    name: FolderName
    """Name of the service."""
    victim: Annotated[Section, Registered('victim')]
    """The victim, see docs/victims.md."""
    host: Annotated[str, AfterValidator(_check_host)] = '127.0.0.1'
    """The address to listen on."""
    port: Annotated[int, Whole(0, 65535)] = 8008
    """The port to listen on; 0 picks a free one."""
    store: Path | None = None
    """The SQLite file of keys, bills, stored replies and jobs; by default ``results/NAME/service.sqlite``."""
    output: OutputOptions = OutputOptions()
    """Replies."""
    limits: LimitOptions = LimitOptions()
    """The most that requests may take."""
    batch: BatchOptions = BatchOptions()
    """How requests are put together."""
    idempotency_hours: Duration = 24.0
    """Hours that the replies of requests with an ``Idempotency-Key``, and those of jobs, are kept."""
    stop_timeout_s: Duration = 30.0
    """Seconds that accepted requests may take when the service is told to stop."""
    open: Flag = False
    """Whether requests without a key are answered."""
    public_metrics: Flag = False
    """Whether ``/metrics`` answers other machines than this one."""
    watch: WatchOptions | None = None
    """How customers' queries are watched; by default they are not."""

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.store or Path('results') / self.name / 'service.sqlite'

    @property
    def memory(self) -> Path | None:
        """The file of remembered queries; None if they are not kept."""
        if self.watch is None or self.watch.store is False:
            return None
        return self.watch.store or self.database.with_name('queries.npz')
