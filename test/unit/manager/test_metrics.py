"""The manager's metrics say what the statuses say, and what nodes report."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from support.documentedmetrics import documented, registered
from support.manager import Cluster, Queue, agent_pod, cache, group, namespace_cache, node

from localmodel.api import LocalModelNode, LocalModelNodeGroup, NodeDisk
from localmodel.manager.caches import LocalModelCacheReconciler, LocalModelNamespaceCacheReconciler
from localmodel.manager.containers import ClusterStorageContainerReconciler
from localmodel.manager.groupmetrics import CountCopies, GroupMetrics
from localmodel.manager.metrics import CacheMetrics
from localmodel.manager.nodegroups import LocalModelNodeGroupReconciler
from localmodel.manager.settings import Settings
from localmodel.runtime.errors import ForbiddenError
from localmodel.runtime.event import CreateEvent, DeleteEvent, UpdateEvent
from localmodel.runtime.handler import EnqueueRequestsFromMapFunc
from localmodel.runtime.objects import Pod

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


# groups -----------------------------------------------------------------------------------------------------------


class Grouped(Cluster):
    """Whose reconciler of groups shows its metrics."""

    def __init__(self, *objects: Any) -> None:
        super().__init__(node(), node("node-2"), group(), *objects)
        self.registry = CollectorRegistry()
        self.groups = self.wired(LocalModelNodeGroupReconciler(self.settings, GroupMetrics(self.registry)))

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"localmodel_node_group_{name}", {"group": "gpu", **labels})

    def disk(self, name: str, **of: str) -> None:
        found = self.client.find(LocalModelNode, name) or self.client.create(LocalModelNode.from_dict(named(name)))
        found.status.disk = NodeDisk(**of)
        self.client.status.update(found)


def named(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}}


def test_a_groups_nodes_agents_and_disks_are_summed() -> None:
    it = Grouped(agent_pod("node-1"), agent_pod("node-2", ready=False), node("node-3", pool="other"))
    it.disk("node-1", used="1Gi", available="9Gi", limit="10Gi")
    it.disk("node-2", used="1Gi")
    it.disk("node-3", used="1Ti", available="1Ti", limit="2Ti")
    it.reconcile_group()
    names = ("nodes", "ready_agents", "used_bytes", "available_bytes", "limit_bytes")
    assert [it.value(name) for name in names] == [2, 1, 2 << 30, 9 << 30, 10 << 30]


def test_how_many_agents_are_ready_is_not_shown_while_nobody_knows() -> None:
    it = Grouped(agent_pod())
    it.reconcile_group()
    assert it.value("ready_agents") == 1
    it.client.faults.fail(ForbiddenError.of("pods is forbidden"), kind=Pod, times=None)
    it.reconcile_group()
    assert it.value("ready_agents") is None
    assert it.value("nodes") == 2


def test_the_series_of_a_group_go_with_it() -> None:
    it = Grouped(agent_pod())
    it.reconcile_group()
    it.client.delete(it.client.get(LocalModelNodeGroup, "gpu"))
    it.reconcile_group()
    assert [metric.samples for metric in it.registry.collect() if metric.samples] == []


class Counted:
    """Copies as a handler counts them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.queue = Queue()
        self._handler = CountCopies(GroupMetrics(self.registry), EnqueueRequestsFromMapFunc(lambda obj: [obj.key]))

    def sees(self, event: Any) -> None:
        self._handler.handle(event, self.queue)  # type: ignore[arg-type]

    def copies(self, name: str = "gpu") -> list[float | None]:
        """Pending, downloading, downloaded, failed."""
        states = ("ModelDownloadPending", "ModelDownloading", "ModelDownloaded", "ModelDownloadError")
        labels = [{"group": name, "status": state} for state in states]
        return [self.registry.get_sample_value("localmodel_node_group_copies", label) for label in labels]


def has(name: str, generation: int = 1, /, **states: str) -> LocalModelNode:
    """Entries a, b of the group gpu, c of big."""
    entries = [{"modelName": key, "nodeGroup": "big" if key == "c" else "gpu"} for key in states]
    return LocalModelNode.from_dict(
        {
            "metadata": {"name": name, "generation": generation, "uid": name},
            "spec": {"localModels": entries},
            "status": {"modelStatus": {key: state for key, state in states.items() if state}},
        }
    )


def test_copies_are_counted_from_what_each_node_says() -> None:
    it = Counted()
    first = has("node-1", a="ModelDownloading", b="", c="ModelDownloaded")
    it.sees(CreateEvent(first))
    it.sees(CreateEvent(has("node-2", a="ModelDownloaded", b="ModelDownloadError")))
    assert it.copies() == [1, 1, 1, 1]
    assert it.copies("big") == [0, 0, 1, 0]
    it.sees(UpdateEvent(first, has("node-1", a="ModelDownloaded", b="", c="ModelDownloaded")))
    assert it.copies() == [1, 0, 2, 1]


def test_an_event_that_comes_again_counts_once() -> None:
    it = Counted()
    for _ in range(3):
        it.sees(CreateEvent(has("node-1", a="ModelDownloaded")))
    assert it.copies() == [0, 0, 1, 0]


def test_the_copies_of_a_node_go_with_it_and_a_group_without_any_has_no_series() -> None:
    it = Counted()
    it.sees(CreateEvent(has("node-1", a="ModelDownloaded", c="")))
    it.sees(CreateEvent(has("node-2", a="ModelDownloaded")))
    it.sees(DeleteEvent(has("node-1", a="ModelDownloaded", c="")))
    assert it.copies() == [0, 0, 1, 0]
    assert it.copies("big") == [None] * 4
    it.sees(UpdateEvent(has("node-2", 1, a="ModelDownloaded"), has("node-2", 2)))
    assert it.copies() == [None] * 4


def test_progress_is_not_counted_anew() -> None:
    it = Counted()
    old = has("node-1", a="ModelDownloading")
    it.sees(UpdateEvent(old, has("node-1", a="ModelDownloading")))
    assert it.copies() == [None] * 4
    assert it.queue.added == {"node-1": 0.0}


def test_the_documentation_has_every_metric_in_one_table() -> None:
    registry = CollectorRegistry()
    CacheMetrics(registry)
    GroupMetrics(registry)
    settings = Settings(registry=registry)
    ClusterStorageContainerReconciler(settings, registry=registry)

    assert documented("Of the manager") == registered(registry)
