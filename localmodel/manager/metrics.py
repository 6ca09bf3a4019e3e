"""The manager's own metrics: how far each cache is, and how long it took. Documented in docs/metrics.md.

Values are set when a cache's status is made, so they say what the status says; a series goes with its cache.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from prometheus_client import CollectorRegistry, Gauge, Histogram

from localmodel.api import Cache, LocalModelCacheStatus, NodeStatus
from localmodel.runtime.conditions import find_status_condition
from localmodel.runtime.objects import ObjectKey

from .status import READY

BUCKETS: Final = (5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400)
"""Seconds: from a small model on a fast disk to hundreds of gigabytes over a slow line."""


class CacheMetrics:
    """Of both kinds of cache; the label `namespace` is empty for a LocalModelCache. Thread-safe."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """Without a registry nothing is shown."""
        labels = ("namespace", "cache")
        self._copies = Gauge(
            "localmodel_cache_copies", "Nodes by the state of the model on them", (*labels, "status"), registry=registry
        )
        self._done = Gauge(
            "localmodel_cache_downloaded_bytes", "Bytes of the model on all nodes", labels, registry=registry
        )
        self._total = Gauge(
            "localmodel_cache_wanted_bytes",
            "Bytes of the model that shall be on all nodes, as far as sizes are known",
            labels,
            registry=registry,
        )
        self._ready = Gauge(
            "localmodel_cache_ready", "1 if every node has the model, else 0", labels, registry=registry
        )
        self._available = Histogram(
            "localmodel_cache_time_to_available_seconds",
            "Time from when a cache was made, or stopped being ready, until every node had its model",
            ("scope",),
            buckets=BUCKETS,
            registry=registry,
        )

    def show(self, cache: ObjectKey, status: LocalModelCacheStatus) -> None:
        """What the status says now."""
        counts = dict.fromkeys(NodeStatus, 0)
        for state in status.node_status.values():
            if state in counts:
                counts[NodeStatus(state)] += 1
        for node_status, count in counts.items():
            self._copies.labels(cache.namespace, cache.name, str(node_status)).set(count)
        progress = status.progress
        self._done.labels(cache.namespace, cache.name).set((progress.bytes_done or 0) if progress else 0)
        self._total.labels(cache.namespace, cache.name).set((progress.bytes_total or 0) if progress else 0)
        self._ready.labels(cache.namespace, cache.name).set(_is_ready(status))

    def wrote(self, cache: Cache, old: LocalModelCacheStatus, new: LocalModelCacheStatus, now: datetime) -> None:
        """Counts the time that it took, where the status says for the first time that every node has the model."""
        if _is_ready(old) or not _is_ready(new):
            return
        before = find_status_condition(old.conditions, READY)
        since = before.last_transition_time if before is not None else cache.metadata.creation_timestamp
        if since is not None:
            scope = "Namespaced" if cache.namespace else "Cluster"
            self._available.labels(scope).observe(max(0.0, (now - since).total_seconds()))

    def forget(self, cache: ObjectKey) -> None:
        """The cache is gone."""
        for status in NodeStatus:
            remove_series(self._copies, cache.namespace, cache.name, str(status))
        for gauge in (self._done, self._total, self._ready):
            remove_series(gauge, cache.namespace, cache.name)


def _is_ready(status: LocalModelCacheStatus) -> bool:
    found = find_status_condition(status.conditions, READY)
    return found is not None and found.status == "True"


def remove_series(gauge: Gauge, *labels: str) -> None:
    """Ends a series of the gauge, if there is one."""
    try:
        gauge.remove(*labels)
    except KeyError:  # never shown
        return
