"""Token buckets: requests and pixels per second."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ['Bucket', 'Excess', 'Rates', 'check_pixels', 'spend_pixels', 'take_request']


@dataclass(frozen=True)
class Rates:
    """What is allowed; None for any number.

    Attributes:
        requests: Requests with images per second.
        pixels: Pixels per second.
    """

    requests: float | None = None
    pixels: float | None = None


@dataclass(frozen=True)
class Excess:
    """A rate that was exceeded.

    Attributes:
        rate: The rate.
        unit: What it counts.
        wait_s: Seconds until the next may come.
    """

    rate: float
    unit: str
    wait_s: float


@dataclass(frozen=True)
class Bucket:
    """What is left of a second's worth.

    Attributes:
        tokens: How many were left; below 0 for a debt.
        refilled: When, in seconds since 1970.
    """

    tokens: float = 0.0
    refilled: float = 0.0

    def refill(self, rate: float, now: float) -> Bucket:
        """Add what has come since, up to a second's worth, at least one token."""
        elapsed = max(now - self.refilled, 0.0)  # the clock may have been set back
        return Bucket(min(self.tokens + elapsed * rate, max(rate, 1.0)), now)

    def spend(self, tokens: float) -> Bucket:
        """Take tokens, also more than there are."""
        return Bucket(self.tokens - tokens, self.refilled)


def take_request(bucket: Bucket, rate: float, now: float) -> tuple[Bucket, Excess | None]:
    """Take the token of one request, if there is one."""
    bucket = bucket.refill(rate, now)
    if bucket.tokens >= 1 - 1e-9:
        return bucket.spend(1), None
    return bucket, Excess(rate, 'requests', (1 - bucket.tokens) / rate)


def check_pixels(bucket: Bucket, rate: float, now: float) -> Excess | None:
    """Whether an image may come, of any size: one that is larger than what is left leaves a debt."""
    tokens = bucket.refill(rate, now).tokens
    return None if tokens > 0 else Excess(rate, 'pixels', max(-tokens, 1.0) / rate)


def spend_pixels(bucket: Bucket, rate: float, pixels: int, now: float) -> tuple[Bucket, Excess | None]:
    """Take the pixels of an image, unless there is a debt."""
    excess = check_pixels(bucket, rate, now)
    return (bucket, excess) if excess else (bucket.refill(rate, now).spend(pixels), None)
