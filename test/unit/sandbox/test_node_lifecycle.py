"""What becomes of nodes that are not well, and of their pods."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from localmodel.runtime.objects import Lease, LeaseSpec, ObjectKey, ObjectMeta, Pod, format_time
from localmodel.runtime.testing import FakeClient, FakeClock, wire
from localmodel.sandbox.controllers.kinds import MIRROR, Node
from localmodel.sandbox.controllers.nodelifecycle import (
    NodeLifecycleReconciler,
    PodGCReconciler,
    TaintEvictionReconciler,
    stays_for,
)
from localmodel.sandbox.controllers.nodes import LEASE_NAMESPACE, SILENT_ANNOTATION, NodeOptions, NodeReconciler

KEY = ObjectKey("", "node-1")
POD = ObjectKey("team", "p")
NOT_READY = {"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}


class World:
    """One node with one pod."""

    def __init__(self, ready: str = "True", **spec: Any) -> None:
        self.clock = FakeClock()
        self.client = FakeClient(clock=self.clock)
        self.client.create(Node.from_dict({"metadata": {"name": "node-1"}, "spec": spec}))
        if ready:
            self.say(ready)
        self.pod()
        self.reconciler = wire(NodeLifecycleReconciler(), self.client, self.clock)

    def pod(self, **spec: Any) -> None:
        body = {"nodeName": "node-1", "containers": [{"name": "c"}], **spec}
        pod = Pod.from_dict({"metadata": {"name": POD.name, "namespace": POD.namespace}, "spec": body})
        conditions = [{"type": "Ready", "status": "True"}]
        self.client.status.patch(self.client.create(pod), {"status": {"phase": "Running", "conditions": conditions}})

    @property
    def node(self) -> Node:
        return self.client.get(Node, "node-1")

    def say(self, ready: str) -> None:
        now = format_time(self.clock.now())
        condition = {"type": "Ready", "status": ready, "lastHeartbeatTime": now, "lastTransitionTime": now}
        self.client.status.patch(self.node, {"status": {"conditions": [condition]}})

    def reconcile(self) -> float | None:
        result = self.reconciler.reconcile(KEY)
        return result.requeue_after if result else None

    def taints(self) -> list[tuple[str, str]]:
        return [(t["key"].removeprefix("node.kubernetes.io/"), t["effect"]) for t in self.node.spec.get("taints") or []]

    @property
    def ready(self) -> tuple[str, str]:
        condition = self.node.status["conditions"][0]
        return condition["status"], condition.get("reason", "")

    def pod_is_ready(self) -> bool:
        return self.client.get(Pod, POD.name, namespace=POD.namespace).is_ready


def test_a_node_that_is_well_is_left_alone_until_its_grace_ends() -> None:
    world = World()
    assert world.reconcile() == pytest.approx(40)
    assert (world.taints(), world.pod_is_ready()) == ([], True)


def test_a_node_that_is_not_ready_is_tainted() -> None:
    world = World("False")
    world.reconcile()
    assert world.taints() == [("not-ready", "NoSchedule"), ("not-ready", "NoExecute")]
    assert world.pod_is_ready()  # its kubelet is there to say otherwise


def test_a_silent_node_is_unknown_and_unreachable() -> None:
    world = World()
    world.clock.advance(41)
    world.reconcile()
    assert world.ready == ("Unknown", "NodeStatusUnknown")
    assert world.taints() == [("unreachable", "NoSchedule"), ("unreachable", "NoExecute")]
    assert not world.pod_is_ready()


def test_a_renewed_lease_is_a_heartbeat() -> None:
    world = World()
    world.clock.advance(41)
    lease = Lease(
        metadata=ObjectMeta(name="node-1", namespace=LEASE_NAMESPACE),
        spec=LeaseSpec(renew_time=world.clock.now() - timedelta(seconds=5)),
    )
    world.client.create(lease)
    assert world.reconcile() == pytest.approx(35)
    assert world.ready[0] == "True"


def test_a_node_that_never_said_a_word_is_unknown_after_a_minute() -> None:
    world = World("")
    assert world.reconcile() == pytest.approx(60)
    world.clock.advance(61)
    world.reconcile()
    assert world.ready == ("Unknown", "NodeStatusNeverUpdated")


def test_a_node_that_is_well_again_loses_its_own_taints_only() -> None:
    other = {"key": "gpu", "effect": "NoExecute"}
    world = World("False", taints=[other])
    world.reconcile()
    assert len(world.taints()) == 3
    world.say("True")
    world.reconcile()
    assert world.taints() == [("gpu", "NoExecute")]


def test_an_unschedulable_node_is_tainted_for_as_long() -> None:
    world = World(unschedulable=True)
    world.reconcile()
    assert world.taints() == [("unschedulable", "NoSchedule")]
    world.client.patch(world.node, {"spec": {"unschedulable": None}})
    world.reconcile()
    assert world.taints() == []


# eviction


def tolerating(**toleration: Any) -> dict[str, Any]:
    return {"tolerations": [toleration]}


@pytest.mark.parametrize(
    ("spec", "taint", "seconds"),
    [
        ({}, {"key": "k", "effect": "NoExecute"}, 0),
        ({}, {"key": "k", "effect": "NoSchedule"}, None),
        ({}, NOT_READY, 290),
        (tolerating(key="k", operator="Exists"), {"key": "k", "effect": "NoExecute"}, None),
        (tolerating(key="k", operator="Exists", tolerationSeconds=15), {"key": "k", "effect": "NoExecute"}, 5),
        (tolerating(operator="Exists"), NOT_READY, None),
        (tolerating(key=NOT_READY["key"], operator="Exists", tolerationSeconds=5), NOT_READY, 0),
    ],
    ids=str,
)
def test_how_long_a_pod_stays_on_a_tainted_node(spec: Any, taint: dict[str, str], seconds: float | None) -> None:
    clock = FakeClock()
    added = format_time(clock.now())
    clock.advance(10)
    pod = Pod.from_dict({"metadata": {"name": "p"}, "spec": {"containers": [], **spec}})
    node = Node.from_dict({"metadata": {"name": "n"}, "spec": {"taints": [{**taint, "timeAdded": added}]}})
    assert stays_for(pod, node, clock.now()) == (seconds if seconds is None else pytest.approx(seconds))


def test_a_pod_that_tolerates_no_longer_is_deleted() -> None:
    world = World("False")
    world.reconcile()
    eviction = wire(TaintEvictionReconciler(), world.client, world.clock)
    result = eviction.reconcile(POD)
    assert result is not None
    world.clock.advance(result.requeue_after)
    eviction.reconcile(POD)
    assert world.client.get(Pod, POD.name, namespace=POD.namespace).is_deleting


def test_a_mirror_pod_is_not_evicted() -> None:
    world = World(taints=[{"key": "k", "effect": "NoExecute"}])
    pod = world.client.get(Pod, POD.name, namespace=POD.namespace)
    world.client.patch(pod, {"metadata": {"annotations": {MIRROR: "x"}}})
    wire(TaintEvictionReconciler(), world.client, world.clock).reconcile(POD)
    assert not world.client.get(Pod, POD.name, namespace=POD.namespace).is_deleting


# nodes that are gone


def test_the_pods_of_a_node_that_stays_away_go() -> None:
    world = World()
    world.client.delete(world.node)
    collector = wire(PodGCReconciler(), world.client, world.clock)
    result = collector.reconcile(POD)
    assert result is not None
    assert result.requeue_after == pytest.approx(40)
    world.clock.advance(40)
    collector.reconcile(POD)
    assert world.client.find(Pod, POD.name, namespace=POD.namespace) is None


def test_a_node_that_comes_back_in_time_keeps_its_pods() -> None:
    world = World()
    world.client.delete(world.node)
    collector = wire(PodGCReconciler(), world.client, world.clock)
    collector.reconcile(POD)
    world.client.create(Node(metadata=ObjectMeta(name="node-1")))
    world.clock.advance(40)
    assert collector.reconcile(POD) is None
    assert world.client.find(Pod, POD.name, namespace=POD.namespace) is not None


# the switch


def test_a_silent_kubelet_writes_nothing_and_stays_away_when_its_node_is_deleted() -> None:
    client, clock = FakeClient(), FakeClock()
    kubelet = wire(NodeReconciler(NodeOptions(names=["node-1"])), client, clock)
    kubelet.reconcile(KEY)
    client.patch(client.get(Node, "node-1"), {"metadata": {"annotations": {SILENT_ANNOTATION: "true"}}})
    clock.advance(3600)
    writes = len(client.writes)
    assert kubelet.reconcile(KEY) is None
    client.delete(client.get(Node, "node-1"))
    kubelet.reconcile(KEY)
    assert len(client.writes) == writes + 1
    client.create(Node(metadata=ObjectMeta(name="node-1")))
    kubelet.reconcile(KEY)
    assert client.get(Node, "node-1").is_ready
