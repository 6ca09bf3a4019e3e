"""What an event costs: requests, runs, memory."""

from __future__ import annotations

import pytest
from support.manager import (
    Cluster,
    IndexedClient,
    Queue,
    agent_pod,
    cache,
    config_map,
    detailed,
    group,
    namespace_cache,
    node,
    service,
)
from support.pumped import Pumped
from support.rights import MANAGER, ActingAs

from localmodel.api import LocalModelNode, NodeDisk
from localmodel.api.names import CACHE_UID_LABEL
from localmodel.manager.indexes import SERVICES
from localmodel.manager.main import add_reconcilers, build_parser, cache_options
from localmodel.manager.settings import Settings
from localmodel.manager.watching import EnqueueChangedModels
from localmodel.runtime.event import UpdateEvent
from localmodel.runtime.manager import Manager
from localmodel.runtime.manager_options import ManagerOptions
from localmodel.runtime.objects import ConfigMap, DaemonSet, PersistentVolume, PersistentVolumeClaim, Pod
from localmodel.runtime.store import Stored
from localmodel.runtime.testing import FakeClient, FakeClock


def reports(**status: str) -> LocalModelNode:
    """Of a node with twenty models."""
    entries = [{"modelName": f"model-{number}"} for number in range(20)]
    said = {f"model-{number}": status.get(f"model_{number}", "ModelDownloading") for number in range(20)}
    return LocalModelNode.from_dict(
        {"metadata": {"name": "node-1"}, "spec": {"localModels": entries}, "status": {"modelStatus": said}}
    )


def test_a_nodes_report_costs_a_run_of_the_one_cache_that_it_is_about_d65() -> None:
    """KServe runs all twenty, each of which gets every node's LocalModelNode."""
    queue = Queue()
    event = UpdateEvent(reports(), reports(model_7="ModelDownloaded"))
    EnqueueChangedModels(namespaced=False).handle(event, queue)  # type: ignore[arg-type]
    assert list(queue.added) == ["model-7"]


def test_a_cache_reads_the_nodes_that_have_it_by_an_index_d65() -> None:
    names = [f"node-{number}" for number in range(4)]
    cluster = Cluster(*map(node, names), group(), cache())
    for name in names:
        cluster.reconcile_node(name)
    cluster.client.actions.clear()
    cluster.reconcile_cache()
    assert len(cluster.cache().status.node_status) == 4
    gets = [action for action in cluster.client.actions if action.verb == "get" and action.kind is LocalModelNode]
    assert gets == []


def test_a_run_without_news_asks_the_api_server_nothing_d66() -> None:
    """KServe asks for the ConfigMap, and for each group and each namespace with services for a volume and a claim."""
    cluster = Cluster(
        node(), agent_pod(), config_map("{}"), group(), group("big"), cache("iris", "gpu", "big"), namespace_cache(),
        service("s", "team-a"), service("t", "team-a", of="team-a"),
    )  # fmt: skip

    def run() -> None:
        cluster.reconcile_node()
        cluster.reconcile_cache()
        cluster.reconcile_cache(namespace="team-a")
        cluster.reconcile_group()

    for _ in range(3):
        run()
    live = FakeClient(registry=cluster.client.registry)
    for reconciler in (cluster.nodes, cluster.caches, cluster.namespace_caches, cluster.groups):
        reconciler.live = live
    cluster.client.actions.clear()
    run()
    assert list(map(str, live.actions)) == []
    assert cluster.client.writes == []


def test_several_workers_may_run_and_memory_holds_what_concerns_the_manager_d67() -> None:
    """Of volumes those that it made, of Pods and DaemonSets the agents in its namespace, of services the metadata."""
    options = cache_options("kserve").by_kind
    for kind in (PersistentVolume, PersistentVolumeClaim):
        assert options[kind].labels == CACHE_UID_LABEL
    for namespaced in (Pod, DaemonSet, ConfigMap):
        assert options[namespaced].namespaces == ("kserve",)
        assert options[namespaced].labels or options[namespaced].fields
    assert all(service.metadata_only for service in SERVICES)

    workers = build_parser().parse_args(["--workers", "4"]).workers
    manager = Manager(
        FakeClient(interceptors=[ActingAs(MANAGER)]), ManagerOptions(metrics_addr="0", health_probe_addr="0")
    )
    controllers = []
    manager_add = manager.add_reconciler

    def add(reconciler: object, options: object) -> object:
        controllers.append(options)
        return manager_add(reconciler, options)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manager, "add_reconciler", add)
        add_reconcilers(manager, Settings(), workers=workers)
    assert {options.workers for options in controllers} == {4}  # type: ignore[attr-defined]
    manager.close()


def test_volumes_are_made_only_for_groups_that_services_use_d68() -> None:
    """The names are KServe's, one of each for every group and namespace: but none that nobody mounts."""
    cluster = Cluster(group(), group("big"), cache("iris", "gpu", "big"))
    for namespace, of_group in (("team-a", "gpu"), ("team-b", "big")):
        cluster.client.create(service("s", namespace, node_group=of_group))
    cluster.reconcile_cache()
    assert [volume.name for volume in cluster.client.list(PersistentVolume)] == [
        "iris-big-download", "iris-big-team-b", "iris-gpu-download", "iris-gpu-team-a",
    ]  # fmt: skip


def test_an_agents_report_decodes_no_object(monkeypatch: pytest.MonkeyPatch) -> None:
    """The indexes have read it, once, and every handler compares what they have; a deletion is no other."""
    clock = FakeClock()
    server = IndexedClient(node(), agent_pod(), group(), cache(), namespace_cache(), clock=clock)
    it = Pumped(server, clock)
    it.settle(2)

    def unread(stored: Stored[LocalModelNode]) -> None:
        raise AssertionError(f"{stored} was decoded")

    found = server.get(LocalModelNode, "node-1")
    detailed(found, "iris", "ModelDownloaded", bytesDownloaded=5)
    found.status.disk = NodeDisk(used="1Gi", available="2Gi")
    found = server.status.update(found)
    with monkeypatch.context() as patch:
        patch.setattr(LocalModelNode, "from_parts", unread)
        it.see(LocalModelNode)
        server.delete(found)
        it.see(LocalModelNode)
    assert it.lost == 0
    assert [sorted(map(str, queue.due)) for _, queue in it.controllers] == [
        ["node-1"],
        ["iris"],
        ["team-a/iris"],
        ["gpu"],
    ]


def test_what_is_known_of_a_groups_nodes_goes_with_the_group() -> None:
    clock = FakeClock()
    server = IndexedClient(
        node(), node("node-2", pool="cpu"), group(), group("cpu"), cache("iris", "gpu", "cpu"), clock=clock
    )
    it = Pumped(server, clock)
    it.settle(2)
    assert set(it.members._known) == {"gpu", "cpu"}
    server.delete(group())
    it.settle(2)
    assert set(it.members._known) == {"cpu"}
