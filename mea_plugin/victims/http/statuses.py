"""The meaning of each HTTP status for the charge: answered, certainly not answered, or indeterminate.

A status counts as a refusal only where whoever defines it says that the request was not carried out. Everything else,
also a status that nobody defines, may come from a service that has answered and billed, or from a gateway before one.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum

__all__ = ['Meaning', 'meaning']


class Meaning(Enum):
    """What a status says about a query."""

    ANSWER = 'the body holds the answer'
    NO_ANSWER = 'the service has finished, with a reply that cannot hold a whole answer: charged'
    REFUSED = 'certainly not answered, and may be sent again: not charged'
    REJECTED = 'certainly not answered, and never will be: not charged'
    INDETERMINATE = 'may have been answered: charged'


_NO_ANSWER = {
    204: 'No Content (RFC 9110)',
    205: 'Reset Content (RFC 9110), which has no body',
    206: 'Partial Content (RFC 9110), of which no part was asked for',
}
_REFUSED = {
    425: 'Too Early (RFC 8470): the service was unwilling to process it yet',
    429: 'Too Many Requests (RFC 6585)',
    501: 'Not Implemented (RFC 9110): what was asked for cannot be done',
    503: 'Service Unavailable (RFC 9110): unable to handle the request for now',
    505: 'HTTP Version Not Supported (RFC 9110)',
    511: 'Network Authentication Required (RFC 6585): a network on the way kept it',
    521: 'Web Server Is Down (Cloudflare): the origin refused the connection',
    523: 'Origin Is Unreachable (Cloudflare): there was no route to it',
    525: 'SSL Handshake Failed (Cloudflare): nothing was sent to the origin',
    526: 'Invalid SSL Certificate (Cloudflare): likewise',
    561: 'Unauthorized (AWS load balancer): the identity provider failed before anything was passed on',
}
_INDETERMINATE = {
    101: 'Switching Protocols (RFC 9110), which nobody asked for',
    408: 'Request Timeout (RFC 9110); services also mean a time-out of their own by it',
    444: 'No Response (nginx): a server behind a gateway closed the connection',
    460: 'Client closed the connection (AWS load balancer): the target may have gone on',
    499: 'Client Closed Request (nginx; Google: cancelled): likewise',
}
"""Those below 500. From 500 on, every status that is no refusal is indeterminate: 500, 502, 504, 507, 508, 520, 522,
524, 527, 529, 530, 598, 599 and those without a meaning, which RFC 9110 has treated as 500."""

# Envoy answers with 503 also when the service broke off after it had got the request.
_ENVOY = b'upstream connect error or disconnect/reset before headers'
_ENVOY_UNSENT = (b'connection failure', b'connection timeout', b'overflow')


def meaning(status: int, body: bytes = b'', *, unbilled: Collection[int] = ()) -> Meaning:
    """What a final status means for a query that was sent whole; redirects that are followed are not asked about.

    Args:
        status: The status.
        body: The beginning of the reply.
        unbilled: Indeterminate ones by which this service says that it does not charge.
    """
    if status in _NO_ANSWER:
        return Meaning.NO_ANSWER
    if 200 <= status < 300:
        return Meaning.ANSWER
    if status in unbilled:
        return Meaning.REJECTED if _is_rejection(status) else Meaning.REFUSED
    if status == 503 and body.startswith(_ENVOY) and not any(reason in body for reason in _ENVOY_UNSENT):
        return Meaning.INDETERMINATE
    if status in _REFUSED:
        return Meaning.REFUSED
    return Meaning.REJECTED if _is_rejection(status) else Meaning.INDETERMINATE


def _is_rejection(status: int) -> bool:
    """Whether RFC 9110 lays the fault on the client (4xx), so that nothing was carried out."""
    return 400 <= status < 500 and status not in _REFUSED and status not in _INDETERMINATE
