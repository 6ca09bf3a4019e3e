"""The manager's metrics say what the statuses say."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry
from support.manager import Cluster, cache, group, namespace_cache, node

from localmodel.manager.caches import LocalModelCacheReconciler, LocalModelNamespaceCacheReconciler
from localmodel.manager.metrics import CacheMetrics

NAME = "localmodel_cache_time_to_available_seconds"


class Measured(Cluster):
    """Whose cache reconcilers show their metrics."""

    def __init__(self) -> None:
        super().__init__(node(), node("node-2"), group(), cache(modelSize="1Gi"), namespace_cache())
        self.registry = CollectorRegistry()
        metrics = CacheMetrics(self.registry)
        self.caches = self.wired(LocalModelCacheReconciler(self.settings, metrics))
        self.namespace_caches = self.wired(LocalModelNamespaceCacheReconciler(self.settings, metrics))

    def run(self, namespace: str = "") -> None:
        self.clock.advance(10)
        self.reconcile_node()
        self.reconcile_node("node-2")
        self.reconcile_cache(namespace=namespace)

    def value(self, name: str, namespace: str = "", **labels: str) -> float | None:
        return self.registry.get_sample_value(name, {"namespace": namespace, "cache": "iris", **labels})

    def copies(self, namespace: str = "") -> dict[str, float | None]:
        return {
            status: self.value("localmodel_cache_copies", namespace, status=status)
            for status in ("NodeDownloadPending", "NodeDownloading", "NodeDownloaded", "NodeDownloadError")
        }

    def times(self, scope: str = "Cluster") -> tuple[float | None, float | None]:
        """How many, and their sum."""
        found = [self.registry.get_sample_value(f"{NAME}_{part}", {"scope": scope}) for part in ("count", "sum")]
        return found[0], found[1]


@pytest.fixture
def it() -> Measured:
    return Measured()


def test_copies_are_counted_by_state(it: Measured) -> None:
    it.run()
    assert list(it.copies().values()) == [2, 0, 0, 0]
    it.report("node-1", iris="ModelDownloaded")
    it.report("node-2", iris="ModelDownloadError")
    it.run()
    assert list(it.copies().values()) == [0, 0, 1, 1]
    assert it.value("localmodel_cache_ready") == 0


def test_bytes_are_those_of_the_progress(it: Measured) -> None:
    it.run()
    it.report("node-1", iris="ModelDownloaded")
    it.run()
    assert it.value("localmodel_cache_downloaded_bytes") == 2**30
    assert it.value("localmodel_cache_wanted_bytes") == 2 * 2**30


def test_the_time_until_all_nodes_have_the_model_is_counted_once_each_time(it: Measured) -> None:
    it.run()
    assert it.times() == (None, None)
    for number in (1, 2):
        it.report(f"node-{number}", iris="ModelDownloaded")
    for _ in range(3):
        it.run()
    assert it.times() == (1, 10)
    it.report("node-2", iris="ModelDownloadPending")
    it.run()
    it.report("node-2", iris="ModelDownloaded")
    it.run()
    assert it.times() == (2, 20)
    assert it.value("localmodel_cache_ready") == 1


def test_a_manager_that_starts_anew_counts_nothing_again(it: Measured) -> None:
    it.run()
    for number in (1, 2):
        it.report(f"node-{number}", iris="ModelDownloaded")
    it.run()
    again = CacheMetrics(registry := CollectorRegistry())
    it.caches, it.registry = it.wired(LocalModelCacheReconciler(it.settings, again)), registry
    it.run()
    assert it.times() == (None, None)
    assert list(it.copies().values()) == [0, 0, 2, 0]


def test_a_namespaces_cache_has_series_of_its_own(it: Measured) -> None:
    it.run()
    it.run("team-a")
    it.report("node-1", team_a__iris="ModelDownloaded")
    it.run("team-a")
    assert list(it.copies("team-a").values()) == [1, 0, 1, 0]
    assert list(it.copies().values()) == [2, 0, 0, 0]


def test_the_series_of_a_cache_go_with_it(it: Measured) -> None:
    it.run()
    it.client.delete(it.cache())
    for _ in range(2):
        it.run()
    assert it.copies() == dict.fromkeys(it.copies(), None)
    assert it.value("localmodel_cache_ready") is None
