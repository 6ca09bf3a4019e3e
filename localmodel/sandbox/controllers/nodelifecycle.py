"""What becomes of nodes and of their pods: `NodeLifecycleReconciler`, `TaintEvictionReconciler`, `PodGCReconciler`.

A node whose kubelet is silent for the grace period is Ready=Unknown, and its pods are not Ready; a kubelet that says
that its node is not Ready speaks for its pods itself. A node that is not Ready, or is unschedulable, is tainted so. A
pod that does not tolerate a NoExecute taint is deleted, at once or after the seconds that it tolerates it; the usual
five minutes stand for a pod that says nothing of not-ready and unreachable, as an API server would have added. A pod of
a node that is gone fails and goes.
Rules: https://kubernetes.io/docs/concepts/architecture/nodes/,
https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/. Neighbour: `nodes`, the kubelets' side.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import structlog

from localmodel.runtime.client import Preconditions
from localmodel.runtime.errors import ConflictError, NotFoundError
from localmodel.runtime.handler import EnqueueRequestsFromMapFunc
from localmodel.runtime.objects import Lease, Pod, format_time
from localmodel.runtime.reconcile import Reconciler, Request, Result

from . import placement
from .kinds import MIRROR, Node
from .nodes import LEASE_NAMESPACE
from .placement import NO_EXECUTE, NO_SCHEDULE, NOT_READY, UNREACHABLE, UNSCHEDULABLE

if TYPE_CHECKING:
    from localmodel.runtime.builder import Builder
    from localmodel.runtime.client import Client

log = structlog.get_logger(__name__)

Json = dict[str, Any]

SECONDS_TOLERATED = 300
"""Of not-ready and unreachable, by pods that say nothing about them (the admission plugin DefaultTolerationSeconds)."""


@dataclass(frozen=True, kw_only=True)
class NodeLifecycleOptions:
    """In seconds; kube-controller-manager's defaults."""

    grace_period: float = 40.0
    """Of silence, before a node's state is Unknown."""
    startup_grace_period: float = 60.0
    """For the first word of a new node."""
    quarantine: float = 40.0
    """For which a node is gone before its pods are."""


class NodeLifecycleReconciler(Reconciler):
    """Watches the heartbeats, and keeps taints and the Ready conditions of pods in step with the node's state."""

    def __init__(self, options: NodeLifecycleOptions | None = None) -> None:
        self._options = options or NodeLifecycleOptions()

    def setup(self, builder: Builder) -> None:
        builder.named("node-lifecycle").for_(Node)

    def reconcile(self, request: Request) -> Result | None:
        node = self.client.find(Node, request.name)
        if node is None or node.is_deleting:
            return None
        remaining = self._remaining(node)
        if remaining <= 0 and ready_status(node) != "Unknown":
            node = self._write_unknown(node)
        self._taint(node)
        if ready_status(node) == "Unknown":
            self._mark_pods_not_ready(node)
        return Result(requeue_after=remaining) if remaining > 0 else None

    def _remaining(self, node: Node) -> float:
        """Seconds until the silence has lasted too long."""
        ready, now = ready_condition(node), self.clock.now()
        if ready is None:
            made = node.metadata.creation_timestamp or now
            return self._options.startup_grace_period - (now - made).total_seconds()
        heard = datetime.fromisoformat(ready["lastHeartbeatTime"]) if ready.get("lastHeartbeatTime") else None
        remaining = self._left_since(heard, now)
        if remaining <= 0:  # the lease is renewed more often, and not watched
            lease = self.live.find(Lease, node.name, namespace=LEASE_NAMESPACE)
            remaining = max(remaining, self._left_since(lease.spec.renew_time if lease else None, now))
        return remaining

    def _left_since(self, heard: datetime | None, now: datetime) -> float:
        return self._options.grace_period - (now - heard).total_seconds() if heard else 0.0

    def _write_unknown(self, node: Node) -> Node:
        now = format_time(self.clock.now())
        known = ready_condition(node)
        condition = {**(known or {"type": "Ready", "lastHeartbeatTime": now}), "status": "Unknown"}
        condition["lastTransitionTime"] = now
        if known is None:
            condition |= {"reason": "NodeStatusNeverUpdated", "message": "Kubelet never posted node status."}
        else:
            condition |= {"reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status."}
        others = [c for c in node.status.get("conditions") or [] if c.get("type") != "Ready"]
        self.recorder.event(node, "Normal", "NodeNotReady", f"Node {node.name} status is now: NodeNotReady")
        locked = {"resourceVersion": node.metadata.resource_version}
        return self.client.status.patch(node, {"metadata": locked, "status": {"conditions": [*others, condition]}})

    def _taint(self, node: Node) -> None:
        """Makes the node's own taints what its state says; the others are left alone."""
        now = format_time(self.clock.now())
        wanted = wanted_taints(node)
        current: list[Json] = node.spec.get("taints") or []
        kept = [t for t in current if t["key"] not in _OWN_TAINTS or (t["key"], t.get("effect")) in wanted]
        present = {(taint["key"], taint.get("effect")) for taint in kept}
        added = [
            {"key": key, "effect": effect, "timeAdded": now} for key, effect in wanted if (key, effect) not in present
        ]
        if not added and len(kept) == len(current):
            return
        locked = {"resourceVersion": node.metadata.resource_version}
        self.client.patch(node, {"metadata": locked, "spec": {"taints": [*kept, *added] or None}})

    def _mark_pods_not_ready(self, node: Node) -> None:
        for pod in self.client.list(Pod):
            if pod.spec.node_name == node.name and pod.is_ready:
                self._mark_not_ready(pod)

    def _mark_not_ready(self, pod: Pod) -> None:
        change = {"status": "False", "lastTransitionTime": format_time(self.clock.now())}
        conditions = [c | change if c.get("type") == "Ready" else c for c in pod.status.conditions]
        locked = {"uid": pod.metadata.uid, "resourceVersion": pod.metadata.resource_version}
        try:
            self.client.status.patch(pod, {"metadata": locked, "status": {"conditions": conditions}})
        except (NotFoundError, ConflictError) as error:
            # It changed: the node's next heartbeat, or its next silence, looks again.
            log.debug("pod not marked", pod=str(pod.key), reason=str(error))
            return
        self.recorder.event(pod, "Warning", "NodeNotReady", "Node is not ready")


_OWN_TAINTS = (NOT_READY, UNREACHABLE, UNSCHEDULABLE)


def ready_condition(node: Node) -> Json | None:
    return next((c for c in node.status.get("conditions") or [] if c.get("type") == "Ready"), None)


def ready_status(node: Node) -> str:
    """True, False, Unknown, or nothing for a node that has not said anything yet."""
    return str((ready_condition(node) or {}).get("status", ""))


def wanted_taints(node: Node) -> list[tuple[str, str]]:
    """Key and effect of the taints that the node's state brings. A node that has said nothing keeps what it has."""
    unschedulable = [(UNSCHEDULABLE, NO_SCHEDULE)] if node.spec.get("unschedulable") else []
    match ready_status(node):
        case "True":
            return unschedulable
        case "False":
            return [(NOT_READY, NO_SCHEDULE), (NOT_READY, NO_EXECUTE), *unschedulable]
        case "Unknown":
            return [(UNREACHABLE, NO_SCHEDULE), (UNREACHABLE, NO_EXECUTE), *unschedulable]
    return [(NOT_READY, NO_SCHEDULE), *unschedulable]


class TaintEvictionReconciler(Reconciler):
    """Deletes pods that do not tolerate a NoExecute taint of their node."""

    def setup(self, builder: Builder) -> None:
        builder.named("taint-eviction").for_(Pod)
        builder.watches(Node, EnqueueRequestsFromMapFunc(self._pods_of))

    def _pods_of(self, node: Node) -> Iterable[Request]:
        if any(taint.get("effect") == NO_EXECUTE for taint in node.spec.get("taints") or []):
            yield from (pod.key for pod in self.client.list(Pod) if pod.spec.node_name == node.name)

    def reconcile(self, request: Request) -> Result | None:
        pod = self.client.find(Pod, request.name, namespace=request.namespace)
        if pod is None or pod.is_deleting or not pod.spec.node_name or MIRROR in pod.metadata.annotations:
            return None
        node = self.client.find(Node, pod.spec.node_name)
        remaining = stays_for(pod, node, self.clock.now()) if node is not None else None
        if remaining is None:
            return None
        if remaining > 0:
            return Result(requeue_after=remaining)
        now = format_time(self.clock.now())
        message = "Taint manager: deleting due to NoExecute taint"
        try:
            mark_disrupted(self.client, pod, "DeletionByTaintManager", message, now)
            self.client.delete(pod, preconditions=Preconditions(uid=pod.metadata.uid))
        except (NotFoundError, ConflictError):
            return None
        self.recorder.event(pod, "Normal", "TaintManagerEviction", f"Marking for deletion Pod {pod.key}")
        return None


def stays_for(pod: Pod, node: Node, now: datetime) -> float | None:
    """Seconds for which the pod may stay on the node, None for as long as it likes."""
    tolerations: list[Json] = pod.spec.to_dict().get("tolerations") or []
    ends: list[float] = []
    for taint in node.spec.get("taints") or []:
        if taint.get("effect") != NO_EXECUTE:
            continue
        fitting = [toleration for toleration in tolerations if placement.tolerates(toleration, taint)]
        limits = [t["tolerationSeconds"] for t in fitting if t.get("tolerationSeconds") is not None]
        if fitting and not limits:
            continue
        since = datetime.fromisoformat(taint["timeAdded"]) if taint.get("timeAdded") else now
        by_default = SECONDS_TOLERATED if taint["key"] in (NOT_READY, UNREACHABLE) else 0
        seconds = min(limits, default=by_default)
        ends.append((since + timedelta(seconds=seconds) - now).total_seconds())
    return max(min(ends), 0.0) if ends else None


class PodGCReconciler(Reconciler):
    """Ends the pods of nodes that are gone: nobody else would."""

    def __init__(self, options: NodeLifecycleOptions | None = None) -> None:
        self._options = options or NodeLifecycleOptions()
        self._missing: dict[str, float] = {}
        """Monotonic time at which a node was found to be gone."""

    def setup(self, builder: Builder) -> None:
        builder.named("pod-gc").for_(Pod)
        builder.watches(Node, EnqueueRequestsFromMapFunc(self._pods_of))

    def _pods_of(self, node: Node) -> Iterable[Request]:
        return (pod.key for pod in self.client.list(Pod) if pod.spec.node_name == node.name)

    def reconcile(self, request: Request) -> Result | None:
        pod = self.client.find(Pod, request.name, namespace=request.namespace)
        if pod is None or not pod.spec.node_name:
            return None
        if self.client.find(Node, pod.spec.node_name) is not None:
            self._missing.pop(pod.spec.node_name, None)
            return None
        now = self.clock.monotonic()
        remaining = self._missing.setdefault(pod.spec.node_name, now) + self._options.quarantine - now
        if remaining > 0:
            return Result(requeue_after=remaining)
        if self.live.find(Node, pod.spec.node_name) is None:
            self._end(pod)
        return None

    def _end(self, pod: Pod) -> None:
        now = format_time(self.clock.now())
        try:
            if not pod.is_finished:
                message = "PodGC: node no longer exists"
                mark_disrupted(self.client, pod, "DeletionByPodGC", message, now, phase="Failed")
            self.client.delete(pod, grace_period_seconds=0, preconditions=Preconditions(uid=pod.metadata.uid))
        except (NotFoundError, ConflictError) as error:
            log.debug("pod of a node that is gone went by itself", pod=str(pod.key), reason=str(error))
            return
        log.info("removed the pod of a node that is gone", pod=str(pod.key), node=pod.spec.node_name)


def mark_disrupted(client: Client, pod: Pod, reason: str, message: str, now: str, *, phase: str = "") -> None:
    """Says in the pod's status that it ends by no fault of its own; raises NotFoundError, ConflictError."""
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": reason,
        "message": message,
        "lastTransitionTime": now,
    }
    others = [c for c in pod.status.conditions if c.get("type") != "DisruptionTarget"]
    status = {"conditions": [*others, condition], **({"phase": phase} if phase else {})}
    client.status.patch(pod, {"metadata": {"uid": pod.metadata.uid}, "status": status})
