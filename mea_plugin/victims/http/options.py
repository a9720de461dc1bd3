"""The sections of an HTTP victim's options, checked."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from mea_plugin.core.errors import InputError, suggestion
from mea_plugin.core.options import check_keys
from mea_plugin.victims.remote import Retrying

__all__ = [
    *('JobOptions', 'KeyOptions', 'RequestOptions', 'ResponseOptions'),
    *('check_header', 'parse', 'parse_retrying'),
]

T = TypeVar('T')


@dataclass(frozen=True)
class RequestOptions:
    """How a query is sent.

    Attributes:
        body: ``multipart``, ``raw``, or ``json`` with the image in base64.
        field: The image's name in a form or in JSON; dots lead into nested JSON.
        format: ``png``, or ``jpeg`` for a service that takes nothing else: then the victim sees the image through it.
        quality: Of JPEG.
        fields: What else stands in the form or in JSON.
        headers: Further headers.
    """

    body: str = 'multipart'
    field: str = 'image'
    format: str = 'png'
    quality: int = 95
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        _choice('victim.request.body', self.body, ('multipart', 'raw', 'json'))
        _choice('victim.request.format', self.format, ('png', 'jpeg'))
        _between('victim.request.quality', self.quality, 1, 100)
        for name, value in self.headers.items():
            check_header('victim.request.headers', name, value)
        place: Any = self.fields
        for part in self.field.split('.') if self.body == 'json' else ():
            if not isinstance(place, Mapping):
                raise InputError(
                    f"'{self.field}' leads into a field that is no object",
                    where='victim.request.field',
                    do='Correct it or request.fields',
                )
            place = place.get(part, {})


@dataclass(frozen=True)
class ResponseOptions:
    """What comes back.

    Attributes:
        body: ``image``, or ``json`` with the image in base64.
        field: The image's name in JSON; dots lead into nested JSON.
        formats: Image formats that are taken; add ``jpeg`` for a service that answers with nothing else.
        size: ``exact``, or ``resize`` for a service that changes the size: then answers are resized (bicubic) to what
            ``scale`` says.
        max_bytes: The largest answer that is read.
    """

    body: str = 'image'
    field: str = 'image'
    formats: tuple[str, ...] = ('png',)
    size: str = 'exact'
    max_bytes: int = 64 << 20

    def __post_init__(self) -> None:
        _choice('victim.response.body', self.body, ('image', 'json'))
        _choice('victim.response.size', self.size, ('exact', 'resize'))
        if isinstance(self.formats, str) or not self.formats:
            raise InputError(f'formats is {self.formats!r}', where='victim.response.formats', do='Write [png, jpeg]')
        for one in self.formats:
            _choice('victim.response.formats', one, ('png', 'jpeg', 'webp', 'bmp', 'tiff'))
        _between('victim.response.max_bytes', self.max_bytes, 1, 1 << 40)


@dataclass(frozen=True)
class JobOptions:
    """A service that answers later: submit, poll, download. Names are of JSON fields, dots lead into nested ones.

    Attributes:
        url: In the reply to the submission: where to poll.
        status: In the reply to a poll.
        done: The status of an answered job.
        failed: That of one that will not be answered.
        result: In the reply to the last poll: the link to the image, or the image in base64 itself.
        interval: Seconds between two polls.
        timeout: Seconds after which a job is in doubt.
    """

    url: str = 'url'
    status: str = 'status'
    done: str = 'done'
    failed: str = 'failed'
    result: str = 'result'
    interval: float = 0.5
    timeout: float = 600.0

    def __post_init__(self) -> None:
        _between('victim.jobs.interval', self.interval, 0, 3600)
        _between('victim.jobs.timeout', self.timeout, 0, 1e6)


@dataclass(frozen=True)
class KeyOptions:
    """The key to the service, which comes from the environment and goes into a header; it is never logged or written.

    Attributes:
        env: Name of the environment variable.
        header: Name of the header.
        prefix: What stands before the key.
    """

    env: str
    header: str = 'Authorization'
    prefix: str = 'Bearer '
    value: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        value = os.environ.get(self.env, '').strip()
        if not value:
            raise InputError(
                f'the environment variable {self.env} is not set', where='victim.key.env', do=f'export {self.env}=...'
            )
        if not (value.isascii() and value.isprintable()):
            raise InputError(
                f'{self.env} holds characters that no header may have', where='victim.key.env', do='Correct the key'
            )
        check_header('victim.key', self.header, self.prefix)
        object.__setattr__(self, 'value', value)

    def hide(self, data: bytes) -> bytes:
        """Take the key out of what a service or a library says."""
        return data.replace(self.value.encode(), b'***')


def parse(cls: type[T], options: Mapping[str, Any] | None, where: str) -> T:
    """A section as an object of its class.

    Raises:
        InputError: It has an unknown key, lacks one, or a value is of the wrong kind.
    """
    fields = {one.name: one for one in dataclasses.fields(cls) if one.init}  # type: ignore[arg-type]
    check_keys(options or {}, fields, where)
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in (options or {}).items()}
    for key, value in values.items():
        _check_kind(f'{where}.{key}', str(fields[key].type), value)
    missing = [
        name
        for name, one in fields.items()
        if one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING and name not in values
    ]
    if missing:
        raise InputError(f"the option '{missing[0]}' is missing", where=where, do=f'Add {missing[0]}')
    return cls(**values)


def parse_retrying(options: Mapping[str, Any] | None) -> Retrying:
    """The section ``retry``."""
    retrying = parse(Retrying, options, 'victim.retry')
    _between('victim.retry.attempts', retrying.attempts, 1, 1000)
    for key in ('first', 'longest', 'patience'):
        _between(f'victim.retry.{key}', getattr(retrying, key), 0, 1e6)
    return retrying


def check_header(where: str, name: Any, value: Any) -> None:
    """Refuse what cannot be a header; the value is not quoted, as it may be secret.

    Raises:
        InputError: Name or value holds characters that none may have.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[\w!#$%&'*+.^`|~-]+", name, re.ASCII):
        raise InputError(f'{name!r} is no name of a header', where=where, do='Use letters, digits and -')
    if not (isinstance(value, str) and value.isascii() and value.isprintable()):
        raise InputError(f"the header '{name}' is no printable ASCII text", where=where, do='Correct it, or quote it')


_KINDS = {
    'str': 'text',
    'int': 'a whole number',
    'float': 'a number',
    'bool': 'true or false',
    'Mapping': 'key: value pairs',
    'tuple': 'a list',
}


def _check_kind(where: str, kind: str, value: Any) -> None:
    kinds = {'str': str, 'int': int, 'float': (int, float), 'bool': bool, 'Mapping': Mapping, 'tuple': tuple}
    wanted: Any = next(kinds[name] for name in kinds if kind.startswith(name))
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        raise InputError(f'got {value!r}', where=where, do=f'Give {_KINDS[kind.partition("[")[0]]}')


def _choice(where: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"no such choice '{value}'", where=where, do=suggestion(str(value), choices))


def _between(where: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise InputError(f'{value} is out of range', where=where, do=f'Give {low:g} to {high:g}')
