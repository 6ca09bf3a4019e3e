"""What a queue tells about itself, under the names of client-go and controller-runtime.

A queue counts in plain numbers, its `QueueMetrics`, under the lock that it holds anyway. `WorkqueueMetrics` reads them
when it is scraped, under the same lock, so a scrape is exact, the gauges need no thread that keeps them fresh, and
counting costs a tenth of what it would cost with a locked number for each sample.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from localmodel.runtime.clock import Clock, RealClock

MAX_PRIORITY_LABELS = 25
"""Distinct values of the label `priority` that one queue exports (controller-runtime)."""
EXCEEDED_CARDINALITY = "exceeded_cardinality_limit"
"""The value of that label for all further priorities together."""

_LABELS = ("name", "controller")
_BUCKETS = tuple(10.0**exponent for exponent in range(-8, 4))
_BUCKET_LABELS = (*map(str, _BUCKETS), "+Inf")


class Durations:
    """A histogram of seconds."""

    def __init__(self) -> None:
        self.sum = 0.0
        self.counts = [0] * len(_BUCKET_LABELS)
        """Observations in each bucket; not cumulative."""

    def observe(self, seconds: float) -> None:
        self.sum += seconds
        self.counts[bisect_left(_BUCKETS, seconds)] += 1

    def cumulative(self) -> list[tuple[str, float]]:
        """The upper bound of each bucket and how many observations were at most that, as a scrape shows them."""
        total = 0
        buckets: list[tuple[str, float]] = []
        for label, count in zip(_BUCKET_LABELS, self.counts, strict=True):
            total += count
            buckets.append((label, total))
        return buckets


class QueueMetrics:
    """The numbers of one queue, which changes them while it holds its lock."""

    def __init__(self, name: str, clock: Clock, former: QueueMetrics | None = None) -> None:
        """Goes on from the numbers of `former`."""
        self.name = name
        self.adds: int = former.adds if former else 0
        """Items accepted: not those already dirty."""
        self.retries: int = former.retries if former else 0
        """Items added with a delay."""
        self.queue_duration: Durations = former.queue_duration if former else Durations()
        self.work_duration: Durations = former.work_duration if former else Durations()
        self._clock = clock
        self._lock = threading.Lock()
        self._depths: Callable[[], Iterable[tuple[int | None, int]]] = tuple
        self._started: Callable[[], Iterable[float]] = tuple
        self._depth_labels: list[str] = []
        """The labels that were ever exported."""

    def follow(
        self,
        lock: threading.Lock,
        depths: Callable[[], Iterable[tuple[int | None, int]]],
        started: Callable[[], Iterable[float]],
    ) -> None:
        """Tells what to ask, and under which lock, for the items waiting at each priority and the starts of work."""
        self._lock, self._depths, self._started = lock, depths, started

    def shut_down(self) -> None:
        """The gauges on work in progress no longer follow the queue."""
        self._started = tuple

    def add_to(self, families: _Families) -> None:
        """Adds the samples of this moment."""
        labels = (self.name, self.name)
        with self._lock:
            now = self._clock.monotonic()
            ages = [now - started for started in self._started()]
            for priority, depth in self._count_depths().items():
                families.depth.add_metric((*labels, priority), depth)
            families.adds.add_metric(labels, self.adds)
            families.retries.add_metric(labels, self.retries)
            families.unfinished.add_metric(labels, sum(ages))
            families.longest_running.add_metric(labels, max(ages, default=0.0))
            for family, durations in (
                (families.queue_duration, self.queue_duration),
                (families.work_duration, self.work_duration),
            ):
                family.add_metric(labels, buckets=durations.cumulative(), sum_value=durations.sum)

    def _count_depths(self) -> dict[str, int]:
        """How many items wait under each label; zero for a label that was exported before and has none."""
        counts = dict.fromkeys(self._depth_labels, 0)
        for priority, depth in self._depths():
            label = "" if priority is None else str(priority)
            if label not in counts and len(counts) >= MAX_PRIORITY_LABELS:
                label = EXCEEDED_CARDINALITY
            counts[label] = counts.get(label, 0) + depth
        self._depth_labels = list(counts)
        return counts


class WorkqueueMetrics(Collector):
    """The metric families of all queues in one registry; `name` and `controller` carry the same value."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._lock = threading.Lock()
        self._queues: dict[str, QueueMetrics] = {}
        registry.register(self)

    def for_queue(self, name: str, *, clock: Clock | None = None) -> QueueMetrics:
        """The metrics of the queue of that name, which exist from now on at zero.

        A name stands for one queue at a time: asked for again, the numbers go on where they are, for the new queue.
        """
        with self._lock:
            metrics = QueueMetrics(name, clock or RealClock(), self._queues.get(name))
            self._queues[name] = metrics
            return metrics

    def describe(self) -> Iterable[Metric]:
        return _Families().all()

    def collect(self) -> Iterable[Metric]:
        families = _Families()
        with self._lock:
            queues = list(self._queues.values())
        for metrics in queues:
            metrics.add_to(families)
        return families.all()


class _Families:
    """The families of one scrape."""

    def __init__(self) -> None:
        self.depth = GaugeMetricFamily(
            "workqueue_depth", "Current depth of workqueue by workqueue and priority", labels=(*_LABELS, "priority")
        )
        self.adds = CounterMetricFamily("workqueue_adds", "Total number of adds handled by workqueue", labels=_LABELS)
        self.queue_duration = HistogramMetricFamily(
            "workqueue_queue_duration_seconds",
            "How long in seconds an item stays in workqueue before being requested",
            labels=_LABELS,
        )
        self.work_duration = HistogramMetricFamily(
            "workqueue_work_duration_seconds",
            "How long in seconds processing an item from workqueue takes.",
            labels=_LABELS,
        )
        self.unfinished = GaugeMetricFamily(
            "workqueue_unfinished_work_seconds",
            "How many seconds of work has been done that is in progress and hasn't been observed by work_duration. "
            "Large values indicate stuck threads.",
            labels=_LABELS,
        )
        self.longest_running = GaugeMetricFamily(
            "workqueue_longest_running_processor_seconds",
            "How many seconds has the longest running processor for workqueue been running.",
            labels=_LABELS,
        )
        self.retries = CounterMetricFamily(
            "workqueue_retries", "Total number of retries handled by workqueue", labels=_LABELS
        )

    def all(self) -> list[Metric]:
        return list(vars(self).values())
