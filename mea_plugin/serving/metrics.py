"""What Prometheus reads: numbers of this process, in a registry of their own."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ['Metrics']

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The service's counters.

    Args:
        waiting: How many images wait for the victim.
        accepted: How many requests are under way.
    """

    def __init__(self, *, waiting: Callable[[], int], accepted: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            'mea_requests', 'Requests by route and status', ['route', 'status'], registry=self._registry
        )
        self.seconds = Histogram(
            'mea_request_seconds', 'From head to reply', ['route'], buckets=_SECONDS, registry=self._registry
        )
        self.victim_seconds = Histogram(
            'mea_victim_seconds', 'One call of the victim', buckets=_SECONDS, registry=self._registry
        )
        self.batch_size = Histogram(
            'mea_batch_size', 'Images per call of the victim', buckets=_SIZES, registry=self._registry
        )
        self.watched = Counter('mea_watched', 'Queries by what was done', ['action'], registry=self._registry)
        self.watch_seconds = Histogram(
            'mea_watch_seconds', 'One look at a query', buckets=_SECONDS, registry=self._registry
        )
        self.billed = Counter('mea_billed', 'Answers that were billed', registry=self._registry)
        self.replayed = Counter('mea_replayed', 'Stored answers that were sent again', registry=self._registry)
        Gauge('mea_queue_depth', 'Images that wait', registry=self._registry).set_function(waiting)
        Gauge('mea_accepted', 'Requests under way', registry=self._registry).set_function(accepted)

    def page(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self._registry)
