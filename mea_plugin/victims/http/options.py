"""The sections of an HTTP victim's options."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, model_validator
from typing_extensions import Self

from mea_plugin.core.errors import InputError
from mea_plugin.core.schema import Number, Options, Whole, refusal, shortened

__all__ = ['HeaderName', 'JobOptions', 'KeyOptions', 'RequestOptions', 'ResponseOptions', 'ServiceKey']

_HEADER = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)


def _check_header_name(name: str) -> str:
    if not _HEADER.fullmatch(name):
        raise refusal(f'{shortened(name)} is no name of a header', do='Use letters, digits and -')
    return name


def _check_header_value(value: Any) -> str:
    """The value is not quoted, as it may be secret."""
    if not (isinstance(value, str) and value.isascii() and value.isprintable()):
        raise refusal('the header is no printable ASCII text', do='Correct it, or quote it')
    return value


def _check_formats(formats: tuple[str, ...]) -> tuple[str, ...]:
    if not formats:
        raise refusal('no format is taken', do='Write [png, jpeg]')
    return formats


HeaderName = Annotated[str, AfterValidator(_check_header_name)]
HeaderValue = Annotated[str, BeforeValidator(_check_header_value)]


class RequestOptions(Options):
    """How a query is sent."""

    body: Literal['multipart', 'raw', 'json'] = 'multipart'
    """A form, the image alone, or JSON with the image in base64."""
    field: str = 'image'
    """The image's name in a form or in JSON; dots lead into nested JSON."""
    format: Literal['png', 'jpeg'] = 'png'
    """``jpeg`` is for a service that takes nothing else: then the victim sees the image through it."""
    quality: Annotated[int, Whole(1, 100)] = 95
    """Quality of JPEG."""
    fields: Mapping[str, Any] = {}
    """What else stands in the form or in JSON."""
    headers: Mapping[HeaderName, HeaderValue] = {}
    """Further headers."""

    @model_validator(mode='after')
    def _check_field(self) -> Self:
        place: Any = self.fields
        for part in self.field.split('.') if self.body == 'json' else ():
            if not isinstance(place, Mapping):
                what = f'{shortened(self.field)} leads into a field that is no object'
                raise refusal(what, do='Correct it or request.fields', at='field')
            place = place.get(part, {})
        return self


class ResponseOptions(Options):
    """What comes back."""

    body: Literal['image', 'json'] = 'image'
    """The image alone, or JSON with the image in base64."""
    field: str = 'image'
    """The image's name in JSON; dots lead into nested JSON."""
    formats: Annotated[tuple[Literal['png', 'jpeg', 'webp', 'bmp', 'tiff'], ...], AfterValidator(_check_formats)] = (
        'png',
    )
    """Image formats that are taken; add ``jpeg`` for a service that answers with nothing else."""
    size: Literal['exact', 'resize'] = 'exact'
    """``resize`` is for a service that changes the size: answers are resized (bicubic) to what ``scale`` says."""
    max_bytes: Annotated[int, Whole(1, 1 << 40)] = 64 << 20
    """The largest answer that is read."""


class JobOptions(Options):
    """A service that answers later: submit, poll, download. Names are of JSON fields, dots lead into nested ones."""

    url: str = 'url'
    """In the reply to the submission: where to poll."""
    status: str = 'status'
    """In the reply to a poll: the job's status."""
    done: str = 'done'
    """The status of an answered job."""
    failed: str = 'failed'
    """The status of a job that will not be answered."""
    result: str = 'result'
    """In the reply to the last poll: the link to the image, or the image in base64 itself."""
    interval: Annotated[float, Number(0, 3600)] = 0.5
    """Seconds between two polls."""
    timeout: Annotated[float, Number(0, 1e6)] = 600.0
    """Seconds after which a job is in doubt."""


class KeyOptions(Options):
    """Where the key to the service comes from, and the header that it goes into."""

    env: str
    """Name of the environment variable that holds the key."""
    header: HeaderName = 'Authorization'
    """Name of the header."""
    prefix: HeaderValue = 'Bearer '
    """What stands before the key."""


class ServiceKey:
    """The key to the service, which is never logged or written.

    Args:
        options: Where it comes from.

    Attributes:
        header: Name of the header.
        value: The header's content.

    Raises:
        InputError: The environment variable is not set, or holds what no header can.
    """

    def __init__(self, options: KeyOptions) -> None:
        where, key = 'victim.key.env', os.environ.get(options.env, '').strip()
        if not key:
            what = f'the environment variable {options.env} is not set'
            raise InputError(what, where=where, do=f'export {options.env}=...')
        if not (key.isascii() and key.isprintable()):
            what = f'{options.env} holds characters that no header may have'
            raise InputError(what, where=where, do='Correct the key')
        self.header, self.value = options.header, f'{options.prefix}{key}'
        self._secret = key.encode()

    def hide(self, data: bytes) -> bytes:
        """Take the key out of what a service or a library says."""
        return data.replace(self._secret, b'***')
