"""A request that is not answered, and why."""

from __future__ import annotations

import math

from fastapi import HTTPException

__all__ = ['Refusal']


class Refusal(HTTPException):
    """Ends a request with ``{"detail": "one line"}``.

    Args:
        status: The HTTP status.
        detail: What is wrong and what to do.
        retry_after: Seconds after which the same request may succeed.
        headers: Of the response.
    """

    def __init__(
        self, status: int, detail: str, *, retry_after: float | None = None, headers: dict[str, str] | None = None
    ) -> None:
        headers = dict(headers or {})
        if retry_after is not None:
            headers['Retry-After'] = str(max(math.ceil(retry_after), 1))
        super().__init__(status, ' '.join(detail.split()), headers)
