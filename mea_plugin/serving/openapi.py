"""What the OpenAPI page says beyond the signatures of the routes."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

__all__ = [
    *('IMAGE_BODY', 'IMAGE_REPLY', 'TRANSLATION', 'errors'),
    *('Error', 'Health', 'Info', 'JobAccepted', 'JobStatus', 'Usage'),
]

_BINARY = {'type': 'string', 'format': 'binary'}
_BASE64 = {'type': 'string', 'format': 'byte', 'description': 'Base64 of a PNG or JPEG file'}


class Error(BaseModel):
    """Why a request was not answered, in one line."""

    detail: str


class Health(BaseModel):
    """Whether requests are answered."""

    status: str


class Info(BaseModel):
    """What is served, and its limits."""

    name: str
    scale: int
    model: str
    formats: list[str]
    max_body_bytes: int
    max_pixels: int
    max_side: int | None
    min_side: int


class Usage(BaseModel):
    """What the caller has used."""

    name: str
    billed: int
    quota: int | None
    rate: float | None
    pixel_rate: float | None


class JobAccepted(BaseModel):
    """A job, and where to ask for it."""

    id: str
    status: str
    url: str


class JobStatus(BaseModel):
    """How far a job is."""

    id: str
    status: str
    result: str | None = None
    error: str | None = None


IMAGE_BODY: dict[str, Any] = {
    'requestBody': {
        'required': True,
        'description': 'One 8-bit RGB or grey image, PNG or JPEG, in one of three wrappings.',
        'content': {
            'multipart/form-data': {
                'schema': {
                    'type': 'object',
                    'properties': {'image': {**_BINARY, 'description': 'A PNG or JPEG file'}},
                    'required': ['image'],
                }
            },
            'image/png': {'schema': _BINARY},
            'image/jpeg': {'schema': _BINARY},
            'application/octet-stream': {'schema': _BINARY},
            'application/json': {
                'schema': {
                    'type': 'object',
                    'properties': {'image': _BASE64},
                    'required': ['image'],
                    'additionalProperties': False,
                }
            },
        },
    }
}
"""The body of both routes that take an image."""

IMAGE_REPLY: dict[str, Any] = {
    'description': 'The answer',
    'content': {'image/png': {'schema': _BINARY}, 'image/jpeg': {'schema': _BINARY}},
}

TRANSLATION: dict[str, Any] = {
    'description': 'The answer: an image, or JSON for `Accept: application/json`',
    'headers': {
        'Idempotent-Replay': {
            'description': '`true` for the reply of an earlier request with the same key; it is not billed again',
            'schema': {'type': 'string'},
        }
    },
    'content': {
        **IMAGE_REPLY['content'],
        'application/json': {
            'schema': {
                'type': 'object',
                'properties': {'image': _BASE64, 'format': {'type': 'string', 'enum': ['png', 'jpeg']}},
                'required': ['image', 'format'],
            }
        },
    },
}

_ERRORS = {
    400: 'The body is not what its type says, or not an image that can be answered',
    401: 'No key, or no valid one',
    402: 'The quota is used up',
    403: 'Not for other machines, or not for queries like these',
    404: 'No such job',
    408: 'The body took too long to arrive',
    409: 'The job is not done',
    413: 'Too many bytes or pixels, or too long a side',
    415: 'Another content type than those of the request body',
    422: 'The image is too small; or the Idempotency-Key is not 1 to 255 visible ASCII characters, or was used for '
    'another request',
    429: 'Above the requests or pixels per second of the key, or its part of the queue is full; see Retry-After',
    500: 'The model failed',
    503: 'The service is stopping; see Retry-After',
}
_RETRY_AFTER = {'Retry-After': {'description': 'Seconds', 'schema': {'type': 'integer'}}}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route for statuses that are errors."""
    return {
        status: {'model': Error, 'description': _ERRORS[status]}
        | ({'headers': _RETRY_AFTER} if status in (429, 503) else {})
        for status in statuses
    }
