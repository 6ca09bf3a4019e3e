"""What a queue tells about itself, under the names of client-go and controller-runtime.

`WorkqueueMetrics` holds the families of one registry; `for_queue` gives a queue its `QueueMetrics`. The two gauges on
work in progress are computed when they are scraped, so no thread keeps them fresh; shutdown takes them to zero.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from localmodel.runtime.clock import Clock, RealClock

_LABELS = ("name", "controller")
_BUCKETS = tuple(10.0**exponent for exponent in range(-8, 4))


class WorkqueueMetrics:
    """The metric families of all queues in one registry; `name` and `controller` carry the same value."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.depth = Gauge(
            "workqueue_depth",
            "Current depth of workqueue by workqueue and priority",
            (*_LABELS, "priority"),
            registry=registry,
        )
        self.adds = Counter(
            "workqueue_adds_total", "Total number of adds handled by workqueue", _LABELS, registry=registry
        )
        self.queue_duration = Histogram(
            "workqueue_queue_duration_seconds",
            "How long in seconds an item stays in workqueue before being requested",
            _LABELS,
            buckets=_BUCKETS,
            registry=registry,
        )
        self.work_duration = Histogram(
            "workqueue_work_duration_seconds",
            "How long in seconds processing an item from workqueue takes.",
            _LABELS,
            buckets=_BUCKETS,
            registry=registry,
        )
        self.unfinished = Gauge(
            "workqueue_unfinished_work_seconds",
            "How many seconds of work has been done that is in progress and hasn't been observed by work_duration. "
            "Large values indicate stuck threads.",
            _LABELS,
            registry=registry,
        )
        self.longest_running = Gauge(
            "workqueue_longest_running_processor_seconds",
            "How many seconds has the longest running processor for workqueue been running.",
            _LABELS,
            registry=registry,
        )
        self.retries = Counter(
            "workqueue_retries_total", "Total number of retries handled by workqueue", _LABELS, registry=registry
        )

    def for_queue(self, name: str, *, clock: Clock | None = None) -> QueueMetrics:
        """The metrics of the queue of that name, which exist from now on at zero."""
        return QueueMetrics(self, name, clock or RealClock())


class QueueMetrics:
    """The metrics of one queue, which calls the methods below while it holds its lock (`retry` excepted)."""

    def __init__(self, families: WorkqueueMetrics, name: str, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        """Guards the two maps against a scrape."""
        self._added: dict[Hashable, float] = {}
        """When each waiting item was first added; monotonic seconds."""
        self._started: dict[Hashable, float] = {}
        """When each item in progress was handed out."""
        self._depth = families.depth.labels(name, name, "")
        self._adds = families.adds.labels(name, name)
        self._queue_duration = families.queue_duration.labels(name, name)
        self._work_duration = families.work_duration.labels(name, name)
        self._retries = families.retries.labels(name, name)
        self._unfinished = families.unfinished.labels(name, name)
        self._unfinished.set_function(lambda: sum(self._ages()))
        self._longest_running = families.longest_running.labels(name, name)
        self._longest_running.set_function(lambda: max(self._ages(), default=0.0))

    def add(self, item: Hashable) -> None:
        """The item was accepted."""
        self._adds.inc()
        self._depth.inc()
        with self._lock:
            self._added.setdefault(item, self._clock.monotonic())

    def get(self, item: Hashable) -> None:
        """The item was handed out."""
        self._depth.dec()
        now = self._clock.monotonic()
        with self._lock:
            added = self._added.pop(item, now)
            self._started[item] = now
        self._queue_duration.observe(now - added)

    def done(self, item: Hashable) -> None:
        """The item was given back."""
        now = self._clock.monotonic()
        with self._lock:
            started = self._started.pop(item, now)
        self._work_duration.observe(now - started)

    def retry(self) -> None:
        """An item was added with a delay."""
        self._retries.inc()

    def shut_down(self) -> None:
        """The gauges on work in progress no longer follow the queue."""
        self._unfinished.set_function(lambda: 0.0)
        self._longest_running.set_function(lambda: 0.0)

    def _ages(self) -> list[float]:
        with self._lock:
            now = self._clock.monotonic()
            return [now - started for started in self._started.values()]
