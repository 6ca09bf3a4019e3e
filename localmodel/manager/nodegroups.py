"""`LocalModelNodeGroupReconciler`: the status of a group. How many nodes it has, and how much room they report."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from localmodel.api import (
    LocalModelNode,
    LocalModelNodeGroup,
    LocalModelNodeGroupStatus,
    SelectorError,
    node_matches,
)
from localmodel.api.quantity import format_bytes
from localmodel.runtime.builder import Builder
from localmodel.runtime.clock import Clock
from localmodel.runtime.conditions import ConditionStatus, set_status_condition
from localmodel.runtime.errors import NotFoundError
from localmodel.runtime.event import UpdateEvent
from localmodel.runtime.handler import EnqueueRequestsFromMapFunc
from localmodel.runtime.objects import Node, parse_quantity
from localmodel.runtime.predicate import GenerationChanged, Predicate
from localmodel.runtime.reconcile import Reconciler, Request, Result

from .entries import group_has_node
from .pacing import Pacer, interval_for
from .watching import SINCE_START, NodeChanged, keys_of


class DiskChanged(Predicate):
    """Lets updates of LocalModelNodes pass that report other numbers of their disk."""

    def update(self, event: UpdateEvent[Any]) -> bool:
        return bool(event.object_old.status.disk != event.object_new.status.disk)


class LocalModelNodeGroupReconciler(Reconciler):
    """Keeps the status of each group."""

    def __init__(self) -> None:
        self._pacer = Pacer()
        self._written: dict[str, tuple[LocalModelNodeGroup, LocalModelNodeGroupStatus]] = {}
        """By group: what it was and the status that was written last; under KServe's CRDs it is not read back whole."""

    def setup(self, builder: Builder) -> None:
        (
            builder.for_(LocalModelNodeGroup, GenerationChanged())
            .watches(Node, EnqueueRequestsFromMapFunc(self._of_node), SINCE_START, NodeChanged())
            .watches(LocalModelNode, EnqueueRequestsFromMapFunc(self._of_local_model_node), DiskChanged())
        )

    def reconcile(self, request: Request) -> Result | None:
        group = self.client.find(LocalModelNodeGroup, request.name)
        if group is None:
            self._pacer.forget(request.name)
            self._written.pop(request.name, None)
            return None

        wait = self._pacer.delay(group.name, interval_for(group.status.nodes or 0), self.clock)
        if wait > 0:
            return Result(requeue_after=wait)
        seen, old = self._written.get(group.name, (group, group.status))
        if seen.metadata.uid != group.metadata.uid:
            seen, old = group, group.status
        if seen.spec == group.spec:
            # Without a status subresource each write of the status counts as a new generation.
            group.metadata.generation = seen.metadata.generation
        nodes = self.client.list(Node)
        reports = {node.name: node for node in self.client.list(LocalModelNode)}
        new = group_status(group, nodes, reports, old, clock=self.clock)
        if new == old:
            return None
        seen = group.deepcopy()
        group.status = new
        self._write(group)
        self._pacer.wrote(group.name, self.clock)
        self._written[group.name] = seen, new
        return None

    def _write(self, group: LocalModelNodeGroup) -> None:
        """KServe's CRD has no status subresource: there the status is written with the object."""
        try:
            self.client.status.update(group)
        except NotFoundError:
            if self.live.find(LocalModelNodeGroup, group.name) is not None:
                self.client.update(group)

    def _of_node(self, node: Node) -> Iterable[Request]:
        return keys_of(group for group in self.client.list(LocalModelNodeGroup) if group_has_node(group, node))

    def _of_local_model_node(self, local_model_node: LocalModelNode) -> Iterable[Request]:
        node = self.client.find(Node, local_model_node.name)
        return [] if node is None else self._of_node(node)


def group_status(
    group: LocalModelNodeGroup,
    nodes: Iterable[Node],
    reports: dict[str, LocalModelNode],
    old: LocalModelNodeGroupStatus,
    *,
    clock: Clock,
) -> LocalModelNodeGroupStatus:
    """The group's new status. `reports` are the LocalModelNodes by name; a node without one has no known room."""
    members: list[str] = []
    state: ConditionStatus = "True"
    reason, message = "NodesFound", ""
    try:
        members = [node.name for node in nodes if node_matches(group.node_affinity, node)]
    except SelectorError as error:
        state, reason, message = "False", "InvalidNodeAffinity", str(error)
    else:
        if not group.node_affinity:
            state, reason = "False", "NoNodeAffinity"
            message = "persistentVolumeSpec.nodeAffinity.required says which nodes belong to the group: it is missing"
        elif not members:
            state, reason, message = "False", "NoNodes", "no node matches persistentVolumeSpec.nodeAffinity"

    status = old.model_copy(deep=True)
    status.nodes = len(members)
    disks = [report.status.disk for name in members if (report := reports.get(name)) and report.status.disk]
    status.used = format_bytes(sum(_bytes(disk.used) for disk in disks)) if disks else ""
    status.available = format_bytes(sum(_bytes(disk.available) for disk in disks)) if disks else ""
    generation = group.metadata.generation
    set_status_condition(
        status.conditions, "Ready", state, reason, message, observed_generation=generation, clock=clock
    )
    return status


def _bytes(quantity: str) -> int:
    try:
        return parse_quantity(quantity)
    except ValueError:  # the agent has not measured it
        return 0
