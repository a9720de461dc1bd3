"""Responses that do not hold up others while they are sent."""

from __future__ import annotations

from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

__all__ = ['PiecewiseResponse']

_PIECE = 1 << 18


class PiecewiseResponse(Response):
    """A body sent piece by piece: other requests are served between two of them, and a slow client's wait with it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        await send({'type': 'http.response.start', 'status': self.status_code, 'headers': self.raw_headers})
        body = memoryview(self.body)
        for start in range(0, max(len(body), 1), _PIECE):
            piece = bytes(body[start : start + _PIECE])
            await send({'type': 'http.response.body', 'body': piece, 'more_body': start + _PIECE < len(body)})
