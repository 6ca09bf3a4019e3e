"""The scheduler's promises."""

from __future__ import annotations

from typing import Any

from localmodel.runtime.objects import ObjectKey, PersistentVolume, PersistentVolumeClaim, Pod
from localmodel.runtime.testing import FakeClient, wire
from localmodel.sandbox.controllers.kinds import Binding, Node
from localmodel.sandbox.controllers.scheduler import SchedulerReconciler

KEY = ObjectKey("team", "pod")


def node(name: str, *, ready: bool = True, labels: dict[str, str] | None = None, **spec: Any) -> Node:
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    metadata = {"name": name, "labels": labels or {}}
    return Node.from_dict({"metadata": metadata, "spec": spec, "status": {"conditions": conditions}})


def pod(name: str = KEY.name, **spec: Any) -> Pod:
    containers = [{"name": "c", "image": "busybox"}]
    return Pod.from_dict({"metadata": {"name": name, "namespace": "team"}, "spec": {"containers": containers, **spec}})


def pinned_to(name: str) -> dict[str, Any]:
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    return {"nodeAffinity": required}


def volume_on(label: str) -> PersistentVolume:
    term = {"matchExpressions": [{"key": "pool", "operator": "In", "values": [label]}]}
    spec = {"nodeAffinity": {"required": {"nodeSelectorTerms": [term]}}, "capacity": {"storage": "1Gi"}}
    return PersistentVolume.from_dict({"metadata": {"name": "volume"}, "spec": spec})


def claim(phase: str) -> PersistentVolumeClaim:
    return PersistentVolumeClaim.from_dict(
        {
            "metadata": {"name": "claim", "namespace": "team"},
            "spec": {"volumeName": "volume" if phase == "Bound" else ""},
            "status": {"phase": phase},
        }
    )


CLAIMED = [{"name": "v", "persistentVolumeClaim": {"claimName": "claim"}}]


def schedule(*objects: Any) -> tuple[str, str]:
    """The node that the pod was bound to (or nothing), and the message of its PodScheduled condition."""
    client = FakeClient(*objects)
    wire(SchedulerReconciler(), client).reconcile(KEY)
    bindings = [a.object for a in client.writes if issubclass(a.kind, Binding)]
    conditions = client.get(Pod, KEY.name, namespace=KEY.namespace).status.conditions
    message = next((c["message"] for c in conditions if c["type"] == "PodScheduled"), "")
    return (bindings[0].target["name"] if bindings else ""), message


def test_a_pod_goes_to_the_node_its_affinity_names() -> None:
    assert schedule(node("a"), node("b"), pod(affinity=pinned_to("b")))[0] == "b"


def test_a_pod_goes_to_a_node_with_the_labels_it_selects() -> None:
    assert schedule(node("a"), node("b", labels={"gpu": "yes"}), pod(nodeSelector={"gpu": "yes"}))[0] == "b"


def test_the_node_with_the_fewest_pods_wins() -> None:
    assert schedule(node("a"), node("b"), pod("other", nodeName="a"), pod())[0] == "b"


def test_a_bound_volume_decides_the_node() -> None:
    nodes = node("a", labels={"pool": "x"}), node("b", labels={"pool": "y"})
    assert schedule(*nodes, volume_on("y"), claim("Bound"), pod(volumes=CLAIMED))[0] == "b"


def test_an_unbound_claim_keeps_the_pod_pending() -> None:
    assert schedule(node("a"), claim("Pending"), pod(volumes=CLAIMED)) == (
        "",
        "pod has unbound immediate PersistentVolumeClaims",
    )


def test_a_missing_claim_is_named() -> None:
    assert schedule(node("a"), pod(volumes=CLAIMED))[1] == 'persistentvolumeclaim "claim" not found'


def test_a_pod_that_fits_nowhere_says_why() -> None:
    nodes = node("a", ready=False), node("b", unschedulable=True), node("c")
    bound, message = schedule(*nodes, pod(nodeSelector={"gpu": "yes"}))
    assert bound == ""
    assert message.startswith("0/3 nodes are available: ")
    for reason in ("not ready", "unschedulable", "didn't match Pod's node affinity/selector"):
        assert reason in message


def test_taints_need_tolerations() -> None:
    tainted = node("a", taints=[{"key": "gpu", "effect": "NoSchedule"}])
    assert "untolerated taint" in schedule(tainted, pod())[1]
    tolerations = [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert schedule(tainted, pod(tolerations=tolerations))[0] == "a"


def test_a_pod_of_another_scheduler_is_left_alone() -> None:
    assert schedule(node("a"), pod(schedulerName="other")) == ("", "")


def test_a_placed_pod_is_left_alone() -> None:
    assert schedule(node("a"), pod(nodeName="z")) == ("", "")
