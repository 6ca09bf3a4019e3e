"""`SchedulerReconciler`: gives each pod that has none a node.

A node fits if the pod tolerates its taints (not being Ready, or schedulable, is one), if it matches the pod's
nodeSelector and required node affinity (labels and the field metadata.name), and if every claim of the pod is bound to
a volume whose node affinity admits it. Claims that wait for their first consumer get volumes of one fitting node
reserved first. Of the fitting nodes the one with the fewest pods wins. A pod that fits nowhere
stays Pending with the reasons in its PodScheduled condition and in an event, and is tried again when a node, claim or
volume changes.
Resources, ports, inter-pod affinity and topology spread are not looked at.
Rules: https://kubernetes.io/docs/concepts/scheduling-eviction/.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import structlog

from localmodel.runtime.errors import ConflictError, NotFoundError
from localmodel.runtime.handler import EnqueueRequestsFromMapFunc
from localmodel.runtime.objects import (
    ObjectMeta,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    StorageClass,
    format_time,
)
from localmodel.runtime.reconcile import Reconciler, Request, Result

from . import placement
from .kinds import Binding, Node
from .placement import NO_EXECUTE, NO_SCHEDULE
from .volumes import best_volume, claims_of_pod, reserve

if TYPE_CHECKING:
    from localmodel.runtime.builder import Builder

log = structlog.get_logger(__name__)

DEFAULT_SCHEDULER = "default-scheduler"


class SchedulerReconciler(Reconciler):
    """Places the pods of the default scheduler."""

    def setup(self, builder: Builder) -> None:
        builder.named("scheduler").for_(Pod)
        for kind in (Node, PersistentVolume, PersistentVolumeClaim):
            builder.watches(kind, EnqueueRequestsFromMapFunc(self._waiting_pods))

    def _waiting_pods(self, _: object) -> Iterable[Request]:
        return (pod.key for pod in self.client.list(Pod) if is_waiting(pod))

    def reconcile(self, request: Request) -> Result | None:
        pod = self.client.find(Pod, request.name, namespace=request.namespace)
        if pod is None or not is_waiting(pod):
            return None
        problem, volumes, unbound = self._volumes(pod)
        if problem:
            self._unschedulable(pod, problem)
            return None
        nodes = self.client.list(Node)
        problems = {node.name: misfit(pod, node, volumes) for node in nodes}
        fitting = [node for node in nodes if not problems[node.name]]
        load = Counter(p.spec.node_name for p in self.client.list(Pod) if not p.is_finished)
        fitting.sort(key=lambda node: (load[node.name], node.name))
        if unbound:
            self._reserve(pod, unbound, fitting, problems)
        elif fitting:
            self._bind(pod, fitting[0])
        else:
            self._unschedulable(pod, summary(problems))
        return None

    def _volumes(self, pod: Pod) -> tuple[str, list[PersistentVolume], list[PersistentVolumeClaim]]:
        """Why the pod's claims are in the way, or nothing; the volumes behind them; claims that wait for the pod."""
        volumes: list[PersistentVolume] = []
        unbound: list[PersistentVolumeClaim] = []
        for key in claims_of_pod(pod):
            claim = self.client.find(PersistentVolumeClaim, key.name, namespace=key.namespace)
            if claim is None:
                return f'persistentvolumeclaim "{key.name}" not found', [], []
            if claim.is_deleting:
                return f'persistentvolumeclaim "{key.name}" is being deleted', [], []
            volume = self.client.find(PersistentVolume, claim.spec.volume_name) if claim.spec.volume_name else None
            if claim.status.phase == "Bound" and volume is not None:
                volumes.append(volume)
            elif not claim.spec.volume_name and self._waits_for_consumer(claim):
                unbound.append(claim)
            else:
                return "pod has unbound immediate PersistentVolumeClaims", [], []
        return "", volumes, unbound

    def _waits_for_consumer(self, claim: PersistentVolumeClaim) -> bool:
        found = self.client.find(StorageClass, claim.spec.storage_class_name or "")
        return found is not None and found.volume_binding_mode == "WaitForFirstConsumer"

    def _reserve(
        self, pod: Pod, claims: list[PersistentVolumeClaim], nodes: list[Node], problems: dict[str, str]
    ) -> None:
        """Reserves a volume for each claim, all of them on the first node that has them; the binding wakes the pod."""
        for node in nodes:
            chosen = volumes_on(node, claims, self.client.list(PersistentVolume))
            if chosen is None:
                problems[node.name] = "node(s) didn't find available persistent volumes to bind"
                continue
            for claim, volume in zip(claims, chosen, strict=True):
                if volume.spec.claim_ref is None or not volume.spec.claim_ref.uid:
                    reserve(self.client, volume, claim)
            return
        self._unschedulable(pod, summary(problems))

    def _bind(self, pod: Pod, node: Node) -> None:
        binding = Binding.type_for(pod.name)(
            metadata=ObjectMeta(name=pod.name, namespace=pod.namespace),
            target={"apiVersion": "v1", "kind": "Node", "name": node.name},
        )
        try:
            self.client.create(binding)
        except (NotFoundError, ConflictError) as error:
            # The pod went, or the cache did not know yet that it has a node.
            log.debug("pod not bound", pod=str(pod.key), reason=str(error))
            return
        self.recorder.event(pod, "Normal", "Scheduled", f"Successfully assigned {pod.key} to {node.name}")

    def _unschedulable(self, pod: Pod, message: str) -> None:
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        for current in pod.status.conditions:
            if current.get("type") == "PodScheduled" and current.get("message") == message:
                return
        others = [c for c in pod.status.conditions if c.get("type") != "PodScheduled"]
        condition["lastTransitionTime"] = format_time(self.clock.now())
        self.recorder.event(pod, "Warning", "FailedScheduling", message)
        try:
            self.client.status.patch(pod, {"status": {"phase": "Pending", "conditions": [*others, condition]}})
        except NotFoundError:
            log.debug("pod went before its condition was written", pod=str(pod.key))


def is_waiting(pod: Pod) -> bool:
    """Whether the pod asks this scheduler for a node."""
    scheduler = pod.spec.to_dict().get("schedulerName") or DEFAULT_SCHEDULER
    return not (pod.spec.node_name or pod.is_deleting or pod.is_finished) and scheduler == DEFAULT_SCHEDULER


def misfit(pod: Pod, node: Node, volumes: list[PersistentVolume]) -> str:
    """Why the pod cannot run on the node, or an empty string."""
    if node.is_deleting:
        return "node(s) were not ready"
    spec = pod.spec.to_dict()
    if taint := placement.untolerated(spec.get("tolerations") or [], node, (NO_SCHEDULE, NO_EXECUTE)):
        return _taint_problem(taint)
    if not placement.matches_selectors(spec, node):
        return "node(s) didn't match Pod's node affinity/selector"
    if not all(_admits(volume, node) for volume in volumes):
        return "node(s) had volume node affinity conflict"
    return ""


def volumes_on(
    node: Node, claims: list[PersistentVolumeClaim], volumes: list[PersistentVolume]
) -> list[PersistentVolume] | None:
    """A volume for each claim, of those that the node may use; None if there are not enough."""
    left, chosen = [volume for volume in volumes if _admits(volume, node)], []
    for claim in claims:
        volume = best_volume(left, claim)
        if volume is None:
            return None
        left.remove(volume)
        chosen.append(volume)
    return chosen


def _taint_problem(taint: dict[str, Any]) -> str:
    match taint.get("key"):
        case placement.UNSCHEDULABLE:
            return "node(s) were unschedulable"
        case placement.NOT_READY:
            return "node(s) were not ready"
    return f"node(s) had untolerated taint {{{taint.get('key')}: {taint.get('value', '')}}}"


def _admits(volume: PersistentVolume, node: Node) -> bool:
    required = (volume.spec.node_affinity or {}).get("required")
    return not required or placement.node_fits(required, node)


def summary(problems: dict[str, str]) -> str:
    """The scheduler's message: how many nodes there are, and how many fail for which reason."""
    counts = Counter(problems.values())
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
    text = f"0/{len(problems)} nodes are available"
    return f"{text}: {reasons}." if reasons else f"{text}."
