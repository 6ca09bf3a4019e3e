"""`DaemonSetReconciler`: one pod on each node that a DaemonSet is meant for.

A pass claims the pods that the selector names (adopting ones without a controller), makes and deletes pods until each
node has what it is to have, then replaces outdated ones as the update strategy says, then writes the counts. Each pod
is bound to its node by an affinity that the scheduler follows. A node keeps its pod while it is NotReady; a failed pod
is replaced after a delay that doubles. What the cache does not know cannot hurt: a node's pod has one possible name
(`daemonpods`), nothing is made before the API server has been asked for pods, and pods are deleted by uid.
Rules: https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/. Neighbours: `daemonpods` for what a pod is,
`revisions` for the history, the garbage collector for a deleted DaemonSet's pods.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from localmodel.runtime.client import Preconditions, Reader
from localmodel.runtime.controllerutil import get_controller_of, set_controller_reference
from localmodel.runtime.errors import AlreadyExistsError, ApiError, ConflictError, ForbiddenError, NotFoundError
from localmodel.runtime.handler import EnqueueRequestsFromMapFunc
from localmodel.runtime.objects import DaemonSet, Pod
from localmodel.runtime.reconcile import Reconciler, Request, Result
from localmodel.runtime.selectors import Selector

from . import daemonpods
from .kinds import MIRROR, Node, is_namespace_terminating
from .revisions import ControllerRevision, clean_up, current_revision

if TYPE_CHECKING:
    from localmodel.runtime.builder import Builder

log = structlog.get_logger(__name__)

Json = dict[str, Any]
PodsByNode = Mapping[str, Sequence[Pod]]

FIRST_BACKOFF, LONGEST_BACKOFF = 1.0, 900.0
"""Seconds between two replacements of failed pods on one node."""


@dataclass
class _Pass:
    """What one pass works with."""

    daemon_set: DaemonSet
    nodes: Sequence[Node]
    pods: PodsByNode
    """By node, oldest first; without pods that are finished and being deleted."""
    revision: ControllerRevision
    wanted: dict[str, tuple[bool, bool]] = field(init=False)
    """Node -> whether it is to have a pod, whether it may keep one."""
    delays: list[float] = field(default_factory=list)
    """Seconds after which to look again."""

    def __post_init__(self) -> None:
        self.wanted = {node.name: daemonpods.should_run(self.daemon_set, node) for node in self.nodes}

    @property
    def desired(self) -> list[str]:
        return [node for node, (runs, _) in self.wanted.items() if runs]

    def is_updated(self, pod: Pod) -> bool:
        return daemonpods.is_updated(self.daemon_set, pod, self.revision.hash)


class DaemonSetReconciler(Reconciler):
    """Runs DaemonSets."""

    def __init__(self) -> None:
        self._failures: dict[tuple[Request, str], tuple[float, float]] = {}
        """(DaemonSet, node) -> monotonic time of the last replacement there, seconds until the next may follow."""

    def setup(self, builder: Builder) -> None:
        builder.named("daemonset").for_(DaemonSet).owns(Pod).owns(ControllerRevision)
        builder.watches(Node, EnqueueRequestsFromMapFunc(lambda _: (d.key for d in self.client.list(DaemonSet))))
        builder.watches(Pod, EnqueueRequestsFromMapFunc(self._adopters))

    def _adopters(self, pod: Pod) -> Iterable[Request]:
        """The DaemonSets that a pod without a controller would be of."""
        if get_controller_of(pod) is not None:
            return
        for daemon_set in self.client.list(DaemonSet, namespace=pod.namespace):
            if selector_of(daemon_set).matches(pod.metadata.labels):
                yield daemon_set.key

    def reconcile(self, request: Request) -> Result | None:
        daemon_set = self.client.find(DaemonSet, request.name, namespace=request.namespace)
        if daemon_set is None or daemon_set.is_deleting:
            self._failures = {key: value for key, value in self._failures.items() if key[0] != request}
            return None
        if selector_of(daemon_set).is_empty:
            message = "This daemon set is selecting all pods. A non-empty selector is required."
            self.recorder.event(daemon_set, "Warning", "SelectingAll", message)
            return None
        if refusal := daemonpods.unsupported(daemon_set):
            self.recorder.event(daemon_set, "Warning", "Unsupported", refusal)
            return None
        try:
            return self._run(daemon_set)
        except ForbiddenError as error:
            if not is_namespace_terminating(error):
                raise
            return None

    def _run(self, daemon_set: DaemonSet) -> Result | None:
        revision = current_revision(self.client, self.live, daemon_set)
        pods = self._claim(daemon_set, self.client)
        it = _Pass(daemon_set, sorted(self.client.list(Node), key=lambda n: n.name), by_node(pods), revision)
        if not self._manage(it) and (daemon_set.spec.get("updateStrategy") or {}).get("type") != "OnDelete":
            self._roll(it)
        clean_up(self.client, daemon_set, pods, revision)
        self._write_status(it)
        return Result(requeue_after=max(min(it.delays), 0.01)) if it.delays else None

    # whose pods ---------------------------------------------------------------------------------------------------

    def _claim(self, daemon_set: DaemonSet, reader: Reader) -> list[Pod]:
        """The DaemonSet's pods: adopts those that fit and are nobody's, lets go of those that do not fit any more."""
        selector, claimed = selector_of(daemon_set), []
        for pod in reader.list(Pod, namespace=daemon_set.namespace):
            owner, fits = get_controller_of(pod), selector.matches(pod.metadata.labels)
            if owner is None:
                if not fits or pod.is_deleting or MIRROR in pod.metadata.annotations:
                    continue
                adopted = self._adopt(daemon_set, pod)
                claimed += [adopted] if adopted else []
            elif owner.uid == daemon_set.metadata.uid:
                if fits:
                    claimed.append(pod)
                elif not pod.is_deleting:
                    self._release(daemon_set, pod)
        return claimed

    def _adopt(self, daemon_set: DaemonSet, pod: Pod) -> Pod | None:
        live = self.live.find(DaemonSet, daemon_set.name, namespace=daemon_set.namespace)
        if live is None or live.metadata.uid != daemon_set.metadata.uid or live.is_deleting:
            return None
        set_controller_reference(daemon_set, pod)
        return self._patch_owners(pod)

    def _release(self, daemon_set: DaemonSet, pod: Pod) -> None:
        owners = pod.metadata.owner_references
        pod.metadata.owner_references = [owner for owner in owners if owner.uid != daemon_set.metadata.uid]
        self._patch_owners(pod)

    def _patch_owners(self, pod: Pod) -> Pod | None:
        """The pod as written; None if it is gone, or is not as the cache had it: its event follows."""
        owners = [owner.to_dict() for owner in pod.metadata.owner_references]
        locked = {"resourceVersion": pod.metadata.resource_version, "uid": pod.metadata.uid}
        try:
            return self.client.patch(pod, {"metadata": {"ownerReferences": owners or None, **locked}})
        except (NotFoundError, ConflictError) as error:
            log.debug("pod changed before it was claimed", pod=str(pod.key), reason=str(error))
            return None

    # one pod for each node ----------------------------------------------------------------------------------------

    def _manage(self, it: _Pass) -> bool:
        """Makes the pods that are missing, deletes those that are wrong; whether there were any."""
        missing, wrong = [], self._unplaced(it)
        for node in it.nodes:
            runs, stays = it.wanted[node.name]
            pods = it.pods.get(node.name, ())
            if not stays:
                wrong += pods
            elif runs and not pods:
                missing.append(node.name)
            else:
                wrong += self._surplus(it, node.name, pods)
        deleted = [self._delete(it.daemon_set, pod) for pod in wrong]
        if missing:
            self._create(it, missing)
        return bool(missing) or any(deleted)

    def _surplus(self, it: _Pass, node: str, pods: Sequence[Pod]) -> list[Pod]:
        """Of the pods of a node that may have one: finished ones, once their time has come, and all but the oldest."""
        running, surplus = [], []
        for pod in (pod for pod in pods if not pod.is_deleting):
            if not pod.is_finished:
                running.append(pod)
            elif self._may_replace(it, node):
                self._tell_finished(it.daemon_set, pod, node)
                surplus.append(pod)
        if running and daemonpods.available_in(running[0], 0, self.clock.now()) == 0:
            self._failures.pop((it.daemon_set.key, node), None)
        return surplus + running[1:]

    def _may_replace(self, it: _Pass, node: str) -> bool:
        key, now = (it.daemon_set.key, node), self.clock.monotonic()
        last, delay = self._failures.get(key, (now, 0.0))
        if now - last < delay:
            it.delays.append(delay - (now - last))
            return False
        self._failures[key] = (now, min(max(2 * delay, FIRST_BACKOFF), LONGEST_BACKOFF))
        return True

    def _tell_finished(self, daemon_set: DaemonSet, pod: Pod, node: str) -> None:
        if pod.status.phase == "Failed":
            message = f"Found failed daemon pod {pod.key} on node {node}, will try to kill it"
            self.recorder.event(daemon_set, "Warning", "FailedDaemonPod", message)
        else:
            message = f"Found succeeded daemon pod {pod.key} on node {node}, will try to delete it"
            self.recorder.event(daemon_set, "Normal", "SucceededDaemonPod", message)

    @staticmethod
    def _unplaced(it: _Pass) -> list[Pod]:
        """Pods that wait for a node that is gone."""
        gone = (pods for node, pods in it.pods.items() if node not in it.wanted)
        return [pod for pods in gone for pod in pods if not pod.spec.node_name]

    def _create(self, it: _Pass, nodes: Sequence[str]) -> None:
        """Makes a pod for each node for which the API server has none."""
        known = by_node(self._claim(it.daemon_set, self.live))
        for node in nodes:
            if known.get(node):
                continue
            try:
                pod = self._create_on(it, node)
            except ApiError as error:
                if not is_namespace_terminating(error):
                    self.recorder.event(it.daemon_set, "Warning", "FailedCreate", f"Error creating: {error}")
                raise
            if pod is not None:
                self.recorder.event(it.daemon_set, "Normal", "SuccessfulCreate", f"Created pod: {pod.name}")

    def _create_on(self, it: _Pass, node: str) -> Pod | None:
        """None if the node's pod is there: of a pass with a younger cache, or not quite gone. Its event follows."""
        for number in itertools.count():
            pod = daemonpods.build_pod(it.daemon_set, node, it.revision.hash, number)
            try:
                return self.client.create(pod)
            except AlreadyExistsError:
                existing = self.live.find(Pod, pod.name, namespace=pod.namespace)
                owner = get_controller_of(existing) if existing else None
                if existing is None or (owner is not None and owner.uid == it.daemon_set.metadata.uid):
                    return None
                # Let go by this DaemonSet, or somebody else's: the name stays taken.
        return None

    def _delete(self, daemon_set: DaemonSet, pod: Pod) -> bool:
        if pod.is_deleting:
            return False
        try:
            self.client.delete(pod, preconditions=Preconditions(uid=pod.metadata.uid))
        except (NotFoundError, ConflictError):
            return False
        self.recorder.event(daemon_set, "Normal", "SuccessfulDelete", f"Deleted pod: {pod.name}")
        return True

    # updates ------------------------------------------------------------------------------------------------------

    def _roll(self, it: _Pass) -> None:
        """Deletes outdated pods: those that are not available at once, of the others as many as may be missing."""
        broken: list[Pod] = []
        candidates: list[Pod] = []
        missing = 0
        for node in it.desired:
            pods = [pod for pod in it.pods.get(node, ()) if not pod.is_deleting]
            available = len(pods) == 1 and self._available_in(it, pods[0]) == 0
            if len(pods) == 1 and not it.is_updated(pods[0]):
                (candidates if available else broken).append(pods[0])
            missing += not available
        allowed = daemonpods.max_unavailable(it.daemon_set, len(it.desired)) - missing
        for pod in [*broken, *candidates[: max(allowed, 0)]]:
            self._delete(it.daemon_set, pod)

    def _available_in(self, it: _Pass, pod: Pod) -> float:
        return daemonpods.available_in(pod, int(it.daemon_set.spec.get("minReadySeconds") or 0), self.clock.now())

    # status -------------------------------------------------------------------------------------------------------

    def _write_status(self, it: _Pass) -> None:
        counts = dict.fromkeys(_COUNTS, 0)
        for node, (runs, _) in it.wanted.items():
            pods = it.pods.get(node, ())
            if not runs:
                counts["numberMisscheduled"] += bool(pods)
                continue
            counts["desiredNumberScheduled"] += 1
            if not pods:
                continue
            counts["currentNumberScheduled"] += 1
            counts["updatedNumberScheduled"] += it.is_updated(pods[0])
            counts["numberReady"] += pods[0].is_ready
            remaining = self._available_in(it, pods[0])
            counts["numberAvailable"] += remaining == 0
            if 0 < remaining < float("inf"):
                it.delays.append(remaining)
        counts["numberUnavailable"] = counts["desiredNumberScheduled"] - counts["numberAvailable"]
        counts["observedGeneration"] = it.daemon_set.metadata.generation or 0
        if {key: it.daemon_set.status.get(key) or 0 for key in counts} == counts:
            return
        status = {key: value if value or key in _ALWAYS_SHOWN else None for key, value in counts.items()}
        try:
            self.client.status.patch(it.daemon_set, {"metadata": {"uid": it.daemon_set.metadata.uid}, "status": status})
        except (NotFoundError, ConflictError) as error:
            log.debug("daemon set went before its status was written", key=str(it.daemon_set.key), reason=str(error))


_ALWAYS_SHOWN = ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady")
_COUNTS = (*_ALWAYS_SHOWN, "updatedNumberScheduled", "numberAvailable", "numberUnavailable")


def selector_of(daemon_set: DaemonSet) -> Selector:
    return Selector.of_label_selector(daemon_set.spec.get("selector"))


def by_node(pods: Iterable[Pod]) -> dict[str, list[Pod]]:
    """The pods that count, by the node that they are on or meant for, oldest first."""
    found: dict[str, list[Pod]] = {}
    for pod in sorted(pods, key=lambda pod: (str(pod.metadata.creation_timestamp or ""), pod.name)):
        if not (pod.is_deleting and pod.is_finished):
            found.setdefault(daemonpods.target_node(pod), []).append(pod)
    return found
