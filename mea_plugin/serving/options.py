"""The option file of a service: which victim, where, and what a request may cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mea_plugin.core.errors import InputError, suggestion
from mea_plugin.core.options import check_keys, require
from mea_plugin.core.packages import missing
from mea_plugin.query.options import check_name, section

if TYPE_CHECKING:
    from mea_plugin.serving.watch import WatchOptions

__all__ = ['BatchOptions', 'LimitOptions', 'OutputOptions', 'ServeOptions']

_KEYS = ('name', 'victim', 'host', 'port', 'store', 'output', 'limits', 'batch')
_OPTIONAL_KEYS = ('idempotency_hours', 'stop_timeout_s', 'open', 'public_metrics', 'watch')
_FORMATS = ('png', 'jpeg')


@dataclass(frozen=True)
class OutputOptions:
    """What replies are.

    Attributes:
        format: ``png`` or ``jpeg``.
        quality: Of a JPEG, 1 to 100.
    """

    format: str = 'png'
    quality: int = 95


@dataclass(frozen=True)
class LimitOptions:
    """What one request, and all of them together, may take.

    Attributes:
        body_bytes: The largest body of a request.
        pixels: The largest image, width times height.
        max_side: The largest width or height; None for any that has no more pixels.
        min_side: The smallest.
        queue: Requests that wait or are being answered at once, and jobs that wait; more are told to come back.
        body_timeout_s: How long a body, or the head of a request, may take to arrive.
    """

    body_bytes: int = 8 << 20
    pixels: int = 1 << 20
    max_side: int | None = None
    min_side: int = 1
    queue: int = 64
    body_timeout_s: float = 30.0


@dataclass(frozen=True)
class BatchOptions:
    """How waiting requests are put together.

    Attributes:
        size: Images of one size that are answered together, at most.
        wait_ms: How long the first of them waits for others.
    """

    size: int = 8
    wait_ms: float = 5.0


@dataclass(frozen=True)
class ServeOptions:
    """A checked option file.

    Attributes:
        name: Of the service; a folder name.
        victim: Options for :func:`~mea_plugin.victims.build_victim`.
        host: The address to listen on.
        port: The port to listen on; 0 picks a free one.
        store: The SQLite file of keys, bills, stored replies and jobs.
        output: What replies are.
        limits: What requests may take.
        batch: How requests are put together.
        idempotency_hours: How long the replies of requests with an ``Idempotency-Key``, and those of jobs, are kept.
        stop_timeout_s: How long accepted requests may take when the service is told to stop.
        open: Whether requests without a key are answered.
        watch: How customers' queries are watched; None: they are not.
        public_metrics: Whether ``/metrics`` answers other machines than this one.
    """

    name: str
    victim: dict[str, Any]
    store: Path
    host: str = '127.0.0.1'
    port: int = 8008
    output: OutputOptions = OutputOptions()
    limits: LimitOptions = LimitOptions()
    batch: BatchOptions = BatchOptions()
    idempotency_hours: float = 24.0
    stop_timeout_s: float = 30.0
    open: bool = False
    public_metrics: bool = False
    watch: WatchOptions | None = None

    @classmethod
    def parse(cls, options: Mapping[str, Any], where: str) -> ServeOptions:
        """Check an option file.

        Args:
            options: The file's content.
            where: The file, for errors.

        Raises:
            InputError: An option is missing, unknown, of the wrong kind or out of range.
        """
        check_keys(options, (*_KEYS, *_OPTIONAL_KEYS), where)
        given = {key: value for key, value in options.items() if value is not None}
        name = check_name(require(given, 'name', where), f'{where}: name')
        victim = dict(section(given, 'victim', where))
        store = Path(_text(given, 'store', str(Path('results') / name / 'service.sqlite'), where))
        return cls(
            name=name,
            victim=victim,
            store=store,
            host=_text(given, 'host', cls.host, where),
            port=_whole(given, 'port', cls.port, where, low=0, high=65535),
            output=_output(given.get('output', {}), f'{where}: output'),
            limits=_limits(given.get('limits', {}), f'{where}: limits'),
            batch=_batch(given.get('batch', {}), f'{where}: batch'),
            idempotency_hours=_number(given, 'idempotency_hours', cls.idempotency_hours, where),
            stop_timeout_s=_number(given, 'stop_timeout_s', cls.stop_timeout_s, where),
            open=_flag(given, 'open', where),
            public_metrics=_flag(given, 'public_metrics', where),
            watch=_watch(given.get('watch'), f'{where}: watch', store.with_name('queries.npz')),
        )


def _watch(options: Any, where: str, store: Path) -> WatchOptions | None:
    if options is None:
        return None
    try:
        from mea_plugin.serving.watch import WatchOptions  # needs OpenCV, which the service does not
    except ModuleNotFoundError as error:
        raise missing('watch', error, where) from error
    return WatchOptions.parse(options, where, store=store)


def _output(options: Any, where: str) -> OutputOptions:
    check_keys(options, ('format', 'quality'), where)
    kind = options.get('format', OutputOptions.format)
    if kind not in _FORMATS:
        raise InputError(f'format is {kind!r}', where=where, do=suggestion(str(kind), _FORMATS))
    return OutputOptions(kind, _whole(options, 'quality', OutputOptions.quality, where, high=100))


def _limits(options: Any, where: str) -> LimitOptions:
    check_keys(options, ('body_bytes', 'pixels', 'max_side', 'min_side', 'queue', 'body_timeout_s'), where)
    min_side = _whole(options, 'min_side', LimitOptions.min_side, where)
    max_side = None if options.get('max_side') is None else _whole(options, 'max_side', 1, where, low=min_side)
    return LimitOptions(
        body_bytes=_whole(options, 'body_bytes', LimitOptions.body_bytes, where),
        pixels=_whole(options, 'pixels', LimitOptions.pixels, where),
        max_side=max_side,
        min_side=min_side,
        queue=_whole(options, 'queue', LimitOptions.queue, where),
        body_timeout_s=_number(options, 'body_timeout_s', LimitOptions.body_timeout_s, where),
    )


def _batch(options: Any, where: str) -> BatchOptions:
    check_keys(options, ('size', 'wait_ms'), where)
    return BatchOptions(
        size=_whole(options, 'size', BatchOptions.size, where),
        wait_ms=_number(options, 'wait_ms', BatchOptions.wait_ms, where, zero=True),
    )


def _whole(options: Mapping[str, Any], key: str, default: int, where: str, *, low: int = 1, high: int = 1 << 40) -> int:
    value = options.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        limits = f'{low} to {high}' if high < 1 << 40 else f'{low} or more'
        raise InputError(f'{key} is {value!r}', where=where, do=f'Give a whole number, {limits}')
    return value


def _number(options: Mapping[str, Any], key: str, default: float, where: str, *, zero: bool = False) -> float:
    value = options.get(key, default)
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e6  # NaN is not
    if not good or (value == 0 and not zero):
        least = '0 or more' if zero else 'above 0'
        raise InputError(f'{key} is {value!r}', where=where, do=f'Give a number {least}, below a million')
    return float(value)


def _text(options: Mapping[str, Any], key: str, default: str, where: str) -> str:
    value = options.get(key, default)
    if not isinstance(value, str) or not value:
        raise InputError(f'{key} is {value!r}', where=where, do='Give a text')
    return value


def _flag(options: Mapping[str, Any], key: str, where: str) -> bool:
    value = options.get(key, False)
    if not isinstance(value, bool):
        raise InputError(f'{key} is {value!r}', where=where, do='Give true or false')
    return value
