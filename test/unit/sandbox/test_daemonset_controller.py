"""The DaemonSet controller's promises."""

from __future__ import annotations

from typing import Any

import pytest

from localmodel.runtime.objects import DaemonSet, ObjectKey, Pod, format_time
from localmodel.runtime.testing import FakeClient, FakeClock, wire
from localmodel.sandbox.controllers import daemonpods
from localmodel.sandbox.controllers.daemonsets import DaemonSetReconciler
from localmodel.sandbox.controllers.kinds import MIRROR, Node
from localmodel.sandbox.controllers.revisions import ControllerRevision

KEY = ObjectKey("team", "agent")
LABELS = {"app": "agent"}


def node(name: str, *, ready: bool = True, labels: dict[str, str] | None = None, **spec: Any) -> Node:
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    metadata = {"name": name, "labels": labels or {}}
    return Node.from_dict({"metadata": metadata, "spec": spec, "status": {"conditions": conditions}})


def daemon_set(template: dict[str, Any] | None = None, **spec: Any) -> DaemonSet:
    pod = {"containers": [{"name": "c", "image": "busybox:1"}], **(template or {})}
    body = {"selector": {"matchLabels": LABELS}, "template": {"metadata": {"labels": LABELS}, "spec": pod}, **spec}
    return DaemonSet.from_dict({"metadata": {"name": KEY.name, "namespace": KEY.namespace}, "spec": body})


class World:
    """A DaemonSet, its controller, and hands that play scheduler and kubelet."""

    def __init__(self, daemon_set: DaemonSet, *nodes: Node) -> None:
        self.clock = FakeClock()
        self.client = FakeClient(*nodes, clock=self.clock)
        self.client.create(daemon_set)
        self.reconciler = wire(DaemonSetReconciler(), self.client, self.clock)

    def reconcile(self) -> float | None:
        result = self.reconciler.reconcile(KEY)
        return result.requeue_after if result else None

    @property
    def daemon_set(self) -> DaemonSet:
        return self.client.get(DaemonSet, KEY.name, namespace=KEY.namespace)

    @property
    def status(self) -> dict[str, Any]:
        return self.daemon_set.status

    @property
    def pods(self) -> dict[str, Pod]:
        """By node; those that are not being deleted."""
        pods = [pod for pod in self.client.list(Pod, namespace=KEY.namespace) if not pod.is_deleting]
        return {daemonpods.target_node(pod): pod for pod in pods}

    @property
    def reasons(self) -> list[str]:
        return self.reconciler.recorder.reasons  # type: ignore[attr-defined, no-any-return]

    def run(self, *, ready: bool = True, phase: str = "Running") -> None:
        """Lets each pod that has no node yet get its node, and run there."""
        for name, pod in self.pods.items():
            if pod.spec.node_name:
                continue
            pod.spec.node_name = name
            self.set(self.client.update(pod), ready=ready, phase=phase)

    def set(self, pod: Pod, *, ready: bool = True, phase: str = "Running") -> None:
        now = format_time(self.clock.now())
        condition = {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": now}
        self.client.status.patch(pod, {"status": {"phase": phase, "conditions": [condition]}})

    def change(self, image: str) -> None:
        """A new template."""
        it = self.daemon_set
        it.spec["template"]["spec"]["containers"][0]["image"] = image
        self.client.update(it)

    def sweep(self) -> list[str]:
        """Removes the pods in deletion, as their kubelets do; the nodes they were on."""
        gone = [pod for pod in self.client.list(Pod, namespace=KEY.namespace) if pod.is_deleting]
        for pod in gone:
            self.client.delete(pod, grace_period_seconds=0)
        return sorted(pod.spec.node_name for pod in gone)

    def images(self) -> dict[str, str]:
        return {name: pod.spec.containers[0]["image"] for name, pod in self.pods.items()}


def running(*names: str, **spec: Any) -> World:
    world = World(daemon_set(**spec), *[node(name) for name in names])
    world.reconcile()
    world.run()
    world.reconcile()
    return world


# which nodes


def test_each_node_gets_one_pod_that_is_pinned_to_it() -> None:
    world = World(daemon_set(), node("a"), node("b"))
    world.reconcile()
    world.reconcile()
    assert sorted(world.pods) == ["a", "b"]
    pod = world.pods["a"]
    assert pod.spec.node_name == ""
    affinity = pod.spec.to_dict()["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert affinity == {
        "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a"]}]}]
    }
    assert [(o.kind, o.uid, o.controller) for o in pod.metadata.owner_references] == [
        ("DaemonSet", world.daemon_set.metadata.uid, True)
    ]
    assert world.reasons == ["SuccessfulCreate", "SuccessfulCreate"]


def required(key: str, *values: str) -> dict[str, Any]:
    term = {"matchExpressions": [{"key": key, "operator": "In", "values": list(values)}]}
    terms = {"nodeSelectorTerms": [term]}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}


TAINT = {"key": "k", "value": "v", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("template", "node", "expected"),
    [
        ({"nodeSelector": {"disk": "ssd"}}, node("n", labels={"disk": "ssd"}), (True, True)),
        ({"nodeSelector": {"disk": "ssd"}}, node("n"), (False, False)),
        (required("disk", "ssd", "nvme"), node("n", labels={"disk": "nvme"}), (True, True)),
        (required("disk", "ssd"), node("n", labels={"disk": "hdd"}), (False, False)),
        ({"nodeName": "other"}, node("n"), (False, False)),
        ({}, node("n", taints=[TAINT]), (False, True)),
        ({}, node("n", taints=[{**TAINT, "effect": "NoExecute"}]), (False, False)),
        ({}, node("n", taints=[{**TAINT, "effect": "PreferNoSchedule"}]), (True, True)),
        ({"tolerations": [{"key": "k", "operator": "Exists"}]}, node("n", taints=[TAINT]), (True, True)),
        ({"tolerations": [{"key": "k", "value": "other"}]}, node("n", taints=[TAINT]), (False, True)),
        ({}, node("n", unschedulable=True), (True, True)),
        ({}, node("n", ready=False), (False, True)),
        ({"tolerations": [{"operator": "Exists"}]}, node("n", ready=False), (True, True)),
        ({}, node("n", taints=[{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]), (True, True)),
    ],
    ids=str,
)
def test_a_node_is_meant_or_not(template: dict[str, Any], node: Node, expected: tuple[bool, bool]) -> None:
    assert daemonpods.should_run(daemon_set(template), node) == expected


def test_the_pods_tolerate_what_daemons_do() -> None:
    world = World(daemon_set({"tolerations": [{"key": "x", "operator": "Exists"}]}), node("a"))
    world.reconcile()
    found = [(t["key"], t.get("effect")) for t in world.pods["a"].spec.to_dict()["tolerations"]]
    assert found == [
        ("x", None),
        ("node.kubernetes.io/not-ready", "NoExecute"),
        ("node.kubernetes.io/unreachable", "NoExecute"),
        ("node.kubernetes.io/disk-pressure", "NoSchedule"),
        ("node.kubernetes.io/memory-pressure", "NoSchedule"),
        ("node.kubernetes.io/pid-pressure", "NoSchedule"),
        ("node.kubernetes.io/unschedulable", "NoSchedule"),
    ]


def test_a_new_node_gets_a_pod_and_one_that_fits_no_more_loses_it() -> None:
    world = World(daemon_set({"nodeSelector": {"disk": "ssd"}}), node("a", labels={"disk": "ssd"}), node("b"))
    world.reconcile()
    world.run()
    assert sorted(world.pods) == ["a"]
    for name, labels in (("a", {"disk": None}), ("b", {"disk": "ssd"})):
        world.client.patch(world.client.get(Node, name), {"metadata": {"labels": labels}})
    world.reconcile()
    assert sorted(world.pods) == ["b"]


def test_a_node_keeps_its_pod_while_it_is_not_ready() -> None:
    world = running("a")
    uid = world.pods["a"].metadata.uid
    world.client.status.patch(
        world.client.get(Node, "a"), {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
    )
    world.reconcile()
    assert world.pods["a"].metadata.uid == uid


def test_a_pod_that_waits_for_a_node_that_is_gone_is_deleted() -> None:
    world = World(daemon_set(), node("a"))
    world.reconcile()
    world.client.delete(world.client.get(Node, "a"))
    world.reconcile()
    assert world.pods == {}


# stale caches, failures


def test_a_pass_that_knows_no_pods_makes_no_second_one() -> None:
    """Neither the cache nor the list that the API server answers from it show the pod."""
    world = World(daemon_set(), node("a"))
    world.reconcile()
    world.reconciler._claim = lambda *_: []  # type: ignore[method-assign]
    world.reconcile()
    assert len(world.client.list(Pod)) == 1


def test_nothing_is_made_while_the_old_pod_ends() -> None:
    world = running("a")
    world.client.delete(world.pods["a"])
    world.reconcile()
    assert [pod.is_deleting for pod in world.client.list(Pod)] == [True]
    world.sweep()
    world.reconcile()
    assert sorted(world.pods) == ["a"]


def test_a_failed_pod_is_replaced_at_once_and_then_ever_later() -> None:
    world = running("a")
    delays = []
    for _ in range(3):
        world.set(world.pods["a"], ready=False, phase="Failed")
        delay = world.reconcile() or 0.0
        delays.append(delay)
        world.clock.advance(delay)
        world.reconcile()
        world.sweep()
        world.reconcile()
        world.run(ready=False)
    assert delays == pytest.approx([0, 1, 2])
    assert world.reasons.count("FailedDaemonPod") == 3


def test_a_pod_that_came_to_be_ready_forgets_the_failures_before() -> None:
    world = running("a")
    for _ in range(2):
        world.set(world.pods["a"], ready=False, phase="Failed")
        assert world.reconcile() is None
        assert world.pods == {}
        world.reconcile()
        world.run()
        world.reconcile()


# updates


def test_an_update_replaces_one_pod_after_another() -> None:
    world = running("a", "b")
    world.change("busybox:2")
    world.reconcile()
    assert sorted(world.pods) == ["b"]
    world.reconcile()
    assert world.sweep() == ["a"]
    world.reconcile()
    assert world.images() == {"a": "busybox:2", "b": "busybox:1"}
    world.reconcile()
    assert sorted(world.pods) == ["a", "b"]  # a is not Ready yet
    world.run()
    world.reconcile()
    assert world.sweep() == ["b"]
    world.reconcile()
    world.run()
    world.reconcile()
    assert world.images() == {"a": "busybox:2", "b": "busybox:2"}
    assert (world.status["updatedNumberScheduled"], world.status["numberAvailable"]) == (2, 2)


@pytest.mark.parametrize(("wanted", "at_once"), [(2, 2), ("50%", 2), ("10%", 1), ("100%", 3), (0, 1)])
def test_max_unavailable_says_how_many_go_at_once(wanted: int | str, at_once: int) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": wanted}}
    world = running("a", "b", "c", updateStrategy=strategy)
    world.change("busybox:2")
    world.reconcile()
    assert len(world.pods) == 3 - at_once


def test_an_outdated_pod_that_does_not_work_is_replaced_first() -> None:
    world = running("a", "b")
    world.set(world.pods["b"], ready=False)
    world.change("busybox:2")
    world.reconcile()
    assert sorted(world.pods) == ["a"]


def test_on_delete_replaces_only_what_somebody_deleted() -> None:
    world = running("a", "b", updateStrategy={"type": "OnDelete"})
    world.change("busybox:2")
    world.reconcile()
    assert sorted(world.pods) == ["a", "b"]
    assert world.status.get("updatedNumberScheduled", 0) == 0
    world.client.delete(world.pods["b"], grace_period_seconds=0)
    world.reconcile()
    assert world.images() == {"a": "busybox:1", "b": "busybox:2"}


def test_a_pod_is_available_after_its_ready_seconds() -> None:
    world = running("a", minReadySeconds=30)
    assert world.status.get("numberAvailable", 0) == 0
    assert world.reconcile() == pytest.approx(30)
    world.clock.advance(30)
    world.reconcile()
    assert world.status["numberAvailable"] == 1


def test_each_template_is_a_revision_and_one_that_comes_back_keeps_its_hash() -> None:
    world = running("a")
    first = world.pods["a"].metadata.labels["controller-revision-hash"]
    for image in ("busybox:2", "busybox:1"):
        world.change(image)
        world.reconcile()
    revisions = {r.hash: r.revision for r in world.client.list(ControllerRevision)}
    assert len(revisions) == 2
    assert revisions[first] == 3


def test_old_revisions_beyond_the_limit_are_deleted() -> None:
    world = running("a", revisionHistoryLimit=1)
    for number in range(2, 6):
        world.change(f"busybox:{number}")
        world.reconcile()
        world.sweep()
        world.reconcile()
        world.run()
        world.reconcile()
    assert sorted(r.revision for r in world.client.list(ControllerRevision)) == [4, 5]


# whose pods


def orphan(name: str, labels: dict[str, str], **annotations: str) -> Pod:
    metadata = {"name": name, "namespace": KEY.namespace, "labels": labels, "annotations": annotations}
    return Pod.from_dict({"metadata": metadata, "spec": {"nodeName": "a", "containers": [{"name": "c"}]}})


def test_a_pod_of_nobody_that_fits_is_adopted() -> None:
    world = World(daemon_set(updateStrategy={"type": "OnDelete"}), node("a"))
    world.client.create(orphan("left", LABELS))
    world.reconcile()
    assert [pod.name for pod in world.pods.values()] == ["left"]
    assert world.pods["a"].metadata.owner_references[0].uid == world.daemon_set.metadata.uid


def test_a_mirror_pod_is_not_adopted() -> None:
    world = World(daemon_set(), node("a"))
    world.client.create(orphan("left", LABELS, **{MIRROR: "a"}))
    world.reconcile()
    assert world.client.get(Pod, "left", namespace=KEY.namespace).metadata.owner_references == []


def test_a_pod_that_fits_no_more_is_let_go_and_replaced() -> None:
    world = running("a")
    pod = world.pods["a"]
    world.client.patch(pod, {"metadata": {"labels": {"app": None}}})
    world.reconcile()
    left = world.client.get(Pod, pod.name, namespace=KEY.namespace)
    assert left.metadata.owner_references == []
    owned = [pod for pod in world.client.list(Pod) if pod.metadata.owner_references]
    assert [daemonpods.target_node(pod) for pod in owned] == ["a"]


def test_a_daemon_set_in_deletion_is_left_to_the_garbage_collector() -> None:
    world = running("a")
    world.client.delete(world.daemon_set, propagation="Foreground")
    world.client.delete(world.pods["a"], grace_period_seconds=0)
    world.reconcile()
    assert world.pods == {}


# status and refusals


def test_the_status_counts() -> None:
    nodes = [node("a"), node("b"), node("c", labels={"out": "yes"})]
    world = World(daemon_set(), *nodes)
    world.reconcile()
    world.run()
    world.set(world.pods["b"], ready=False)
    world.client.patch(world.client.get(Node, "c"), {"spec": {"taints": [TAINT]}})
    world.reconcile()
    assert world.status == {
        "desiredNumberScheduled": 2,
        "currentNumberScheduled": 2,
        "numberMisscheduled": 1,
        "updatedNumberScheduled": 2,
        "numberReady": 1,
        "numberAvailable": 1,
        "numberUnavailable": 1,
        "observedGeneration": world.daemon_set.metadata.generation,
    }


def test_a_pass_that_changes_nothing_writes_nothing() -> None:
    world = running("a", "b")
    world.reconcile()
    before = len(world.client.writes)
    world.reconcile()
    assert len(world.client.writes) == before


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}, "Unsupported"),
        ({"selector": {}}, "SelectingAll"),
    ],
)
def test_what_it_cannot_do_is_refused_with_an_event(spec: dict[str, Any], reason: str) -> None:
    world = World(daemon_set(**spec), node("a"))
    world.reconcile()
    assert world.pods == {}
    assert world.reasons == [reason]
