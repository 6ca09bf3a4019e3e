"""The agent's own metrics: its node's downloads, models and disk. Documented in docs/metrics.md.

Gauges are set by each pass, so they say what the status says, without its pauses for mere progress.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge

from localmodel.api.node import ModelStatus

from .manifest import CAUSES, Cause
from .status import ModelReport
from .usage import DiskUsage, room_for_models


class AgentMetrics:
    """Of one agent. Thread-safe."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """Without a registry nothing is shown."""
        self._running = Gauge(
            "localmodel_agent_downloads_running", "Downloads that are under way on this node", registry=registry
        )
        self._ended = Counter(
            "localmodel_agent_downloads", "Downloads that have ended, by result", ("result",), registry=registry
        )
        self._bytes = Counter(
            "localmodel_agent_downloaded_bytes", "Bytes of the models that were published", registry=registry
        )
        self._models = Gauge(
            "localmodel_agent_models", "Models of this node by their state", ("status",), registry=registry
        )
        self._disk = Gauge("localmodel_agent_disk_bytes", "The models' disk, in bytes", ("kind",), registry=registry)
        self._ready = Gauge(
            "localmodel_agent_storage_ready", "1 while the models' disk can be used, as StorageReady", registry=registry
        )
        self._evicted = Counter(
            "localmodel_agent_evicted_models", "Models that were evicted, by cause", ("cause",), registry=registry
        )
        for cause in CAUSES:
            self._evicted.labels(cause)

    def published(self, size: int) -> None:
        """A download has become a model of so many bytes."""
        self._ended.labels("Succeeded").inc()
        self._bytes.inc(size)

    def failed(self, reason: str) -> None:
        """A download has failed, or what it brought is not whole."""
        self._ended.labels(reason).inc()

    def evicted(self, cause: Cause) -> None:
        """A model that its entries still ask for was removed."""
        self._evicted.labels(cause).inc()

    def storage(self, *, is_ready: bool) -> None:
        """Whether the disk can be used."""
        self._ready.set(is_ready)

    def observed(self, reports: Iterable[ModelReport], usage: DiskUsage, *, limit: int | None, running: int) -> None:
        """What a pass has found. `limit`: the bytes that models may take, None for all. `running` counts downloads, not
        the caches that share them."""
        self._running.set(running)
        counts = Tally(report.status for report in reports)
        for status in ModelStatus:
            self._models.labels(status.value).set(counts[status])
        self._disk.labels("capacity").set(usage.capacity)
        self._disk.labels("available").set(usage.available)
        self._disk.labels("used").set(usage.used)
        self._disk.labels("limit").set(room_for_models(usage, limit))
