"""The promises of the namespace controller and of the simulated nodes."""

from __future__ import annotations

from datetime import timedelta

from localmodel.runtime.objects import ConfigMap, Namespace, ObjectKey, ObjectMeta, ServiceAccount
from localmodel.runtime.testing import FakeClient, FakeClock, wire
from localmodel.sandbox.controllers.kinds import Node
from localmodel.sandbox.controllers.namespaces import NamespaceReconciler
from localmodel.sandbox.controllers.nodes import HEARTBEAT, READY_ANNOTATION, NodeOptions, NodeReconciler, register

TEAM = ObjectKey("", "team")


def deleted_namespace(*content: ConfigMap) -> FakeClient:
    client = FakeClient()
    namespace = Namespace(metadata=ObjectMeta(name="team"), spec={"finalizers": ["kubernetes"]})
    client.create(namespace)
    for obj in content:
        client.create(obj)
    client.patch(namespace, {"metadata": {"finalizers": ["example.com/hold"]}})
    client.delete(namespace)
    return client


def config_map(*finalizers: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name="c", namespace="team", finalizers=[*finalizers]))


def test_a_namespace_gets_its_default_service_account() -> None:
    client = FakeClient(Namespace(metadata=ObjectMeta(name="team")))
    wire(NamespaceReconciler(), client).reconcile(TEAM)
    assert client.find(ServiceAccount, "default", namespace="team") is not None


def test_a_namespace_in_deletion_is_emptied() -> None:
    client = deleted_namespace(config_map())
    wire(NamespaceReconciler(), client).reconcile(TEAM)
    assert client.list(ConfigMap, namespace="team") == []
    assert client.get(Namespace, "team").spec.get("finalizers") in (None, [])


def test_content_that_holds_up_the_deletion_is_named() -> None:
    client = deleted_namespace(config_map("example.com/mine"))
    result = wire(NamespaceReconciler(), client).reconcile(TEAM)
    assert result is not None
    assert result.requeue_after > 0
    conditions = client.get(Namespace, "team").status.to_dict()["conditions"]
    messages = {condition["type"]: condition["message"] for condition in conditions}
    assert "configmaps" in messages["NamespaceContentRemaining"]
    assert "example.com/mine" in messages["NamespaceFinalizersRemaining"]


def ready(client: FakeClient) -> tuple[str, str]:
    conditions = client.get(Node, "node-1").status["conditions"]
    condition = next(c for c in conditions if c["type"] == "Ready")
    return condition["status"], condition["lastHeartbeatTime"]


class World:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.client = FakeClient(clock=self.clock)
        self.options = NodeOptions(names=["node-1"])
        self.reconciler = wire(NodeReconciler(self.options), self.client, self.clock)

    def reconcile(self) -> None:
        self.reconciler.reconcile(ObjectKey("", "node-1"))


def test_a_node_is_registered_with_its_labels_and_becomes_ready() -> None:
    world = World()
    register(world.client, "node-1", world.options)
    world.reconcile()
    labels = world.client.get(Node, "node-1").metadata.labels
    assert labels["kubernetes.io/hostname"] == "node-1"
    assert labels["kserve/localmodel"] == "worker"
    assert labels["nvidia.com/gpu-product"] == "NVIDIA-A100-SXM4-80GB"
    assert ready(world.client)[0] == "True"


def test_a_heartbeat_is_written_once_per_period() -> None:
    world = World()
    world.reconcile()
    first = ready(world.client)[1]
    writes = len(world.client.writes)
    world.clock.advance(1)
    world.reconcile()
    assert len(world.client.writes) == writes
    world.clock.advance(timedelta(seconds=HEARTBEAT).total_seconds())
    world.reconcile()
    assert ready(world.client)[1] > first


def test_the_annotation_makes_the_node_not_ready() -> None:
    world = World()
    world.reconcile()
    world.client.patch(world.client.get(Node, "node-1"), {"metadata": {"annotations": {READY_ANNOTATION: "false"}}})
    world.reconcile()
    assert ready(world.client)[0] == "False"


def test_a_deleted_node_registers_again() -> None:
    world = World()
    world.reconcile()
    world.client.delete(world.client.get(Node, "node-1"))
    world.reconcile()
    assert world.client.find(Node, "node-1") is not None


def test_a_node_of_somebody_else_is_left_alone() -> None:
    client = FakeClient(Node(metadata=ObjectMeta(name="real")))
    wire(NodeReconciler(NodeOptions(names=["node-1"])), client).reconcile(ObjectKey("", "real"))
    assert client.writes == []
