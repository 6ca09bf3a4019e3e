"""Whatever write of a node's reconciler fails, done or not, and wherever it dies: the end is the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.manager import Cluster, agent_pod, cache, group, node, service

from localmodel.api import LocalModelNode
from localmodel.api.names import GROUP_LIMITS_ANNOTATION, NODE_GROUP_LABEL, WANTED_ANNOTATION, ready_label, storage_key
from localmodel.manager.nodes import NodeReconciler
from localmodel.runtime.errors import TransportError
from localmodel.runtime.objects import Node
from localmodel.runtime.testing.fake import Action

WRITES = 6
"""The writes in `scenario`: two creates, the group's label on two nodes, the copy's label on one, one annotation."""
KEPT, EVICTED = (storage_key(f"hf://o/{name}") for name in ("kept", "evicted"))


class Faulty:
    """Counts the reconciler's writes; one of them fails, before or after it is done, and it may die of that."""

    def __init__(self, number: int = -1, *, done: bool = False, dies: bool = False) -> None:
        self.number, self.done, self.dies = number, done, dies
        self.count = 0

    def __call__(self, action: Action, proceed: Callable[[], Any]) -> Any:
        if not action.is_write or action.subresource or action.kind not in (Node, LocalModelNode):
            return proceed()
        self.count += 1
        if self.count - 1 != self.number:
            return proceed()
        if self.done:
            proceed()
        raise TransportError("the connection broke")


def settle(cluster: Cluster, faulty: Faulty) -> None:
    for _ in range(4):
        for name in ("node-1", "node-2"):
            try:
                cluster.reconcile_node(name)
            except TransportError:
                if faulty.dies:
                    cluster.nodes = cluster.wired(NodeReconciler(cluster.settings))
        cluster.clock.advance(11)


def scenario(faulty: Faulty) -> Cluster:
    """Two nodes; the first has one model and evicts another, which is wanted."""
    caches = [cache(name, sourceModelUri=f"hf://o/{name}") for name in ("kept", "evicted")]
    limited = group(maxConcurrentDownloads=2, agent={"image": "agent"})
    nodes = [node("node-1"), node("node-2")]
    pods = [agent_pod("node-1"), agent_pod("node-2")]
    cluster = Cluster(limited, *caches, *nodes, *pods, service("s", "team-a", "evicted"), interceptors=[faulty])
    settle(cluster, faulty)
    cluster.say("kept", "ModelDownloaded")
    cluster.say("evicted", "ModelDownloadPending", reason="Evicted")
    settle(cluster, faulty)
    return cluster


def check(cluster: Cluster) -> None:
    assert cluster.entries("node-1") == cluster.entries("node-2") == ["evicted", "kept"]
    assert cluster.labels("node-1") == {ready_label(KEPT): "ready", NODE_GROUP_LABEL: "gpu"}
    assert cluster.labels("node-2") == {NODE_GROUP_LABEL: "gpu"}
    annotations = [cluster.local_model_node(name).metadata.annotations for name in ("node-1", "node-2")]
    assert [it.get(WANTED_ANNOTATION) for it in annotations] == [EVICTED, None]
    assert all(it.get(GROUP_LIMITS_ANNOTATION) for it in annotations)


def test_without_a_fault_there_are_just_these_writes() -> None:
    faulty = Faulty()
    check(scenario(faulty))
    assert faulty.count == WRITES


@pytest.mark.parametrize("number", range(WRITES))
@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("dies", [False, True], ids=["lives", "dies"])
def test_any_write_may_fail(number: int, done: bool, dies: bool) -> None:
    check(scenario(Faulty(number, done=done, dies=dies)))


def test_a_manager_that_starts_again_writes_nothing() -> None:
    faulty = Faulty()
    cluster = scenario(faulty)
    cluster.client.actions.clear()
    cluster.nodes = cluster.wired(NodeReconciler(cluster.settings))
    settle(cluster, faulty)
    assert cluster.client.writes == []
