"""`LocalModelNodeGroupReconciler`: a group's DaemonSet of agents, where it asks for one, and its status.

The status says how many nodes it has, how much room they report, and whether agents are there that keep models where
the group's volumes look for them (`agentstatus`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final

import structlog

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
from localmodel.runtime.errors import ApiError, ForbiddenError, NotFoundError
from localmodel.runtime.event import UpdateEvent
from localmodel.runtime.handler import EnqueueRequestsFromMapFunc
from localmodel.runtime.objects import ConfigMap, DaemonSet, Node, Object, Pod, parse_quantity
from localmodel.runtime.predicate import GenerationChanged, Predicate, ResourceVersionChanged
from localmodel.runtime.reconcile import Reconciler, Request, Result

from .agentpods import agent_pods, is_at_work
from .agents import InvalidAgentError, agent_request, wanted_daemon_set
from .agentsets import AgentSets
from .agentstatus import AgentFacts, agent_events, set_agent_conditions
from .entries import group_has_node
from .pacing import Pacer, interval_for
from .placement import agent_daemon_sets, covers, hand_installed
from .readiness import group_events
from .settings import Settings
from .status import Problem
from .watching import SINCE_START, AgentChanged, DaemonSetChanged, NodeChanged, keys_of

BURST_SECONDS: Final = 0.2
"""How long a change that concerns several groups waits for others like it, as an update of all agents."""
log = structlog.get_logger(__name__)

CHECK_SECONDS: Final = 60.0
"""How often it looks again at what it cannot watch: DaemonSets that it may not read, or without the agents' label."""


class DiskChanged(Predicate):
    """Lets updates of LocalModelNodes pass that report other numbers of their disk."""

    def update(self, event: UpdateEvent[Any]) -> bool:
        return bool(event.object_old.status.disk != event.object_new.status.disk)


class OtherSpec(Predicate):
    """Lets updates of groups pass that change their specification; in KServe's CRD a status changes the generation."""

    def update(self, event: UpdateEvent[Any]) -> bool:
        return bool(event.object_old.spec != event.object_new.spec)


class LocalModelNodeGroupReconciler(Reconciler):
    """Keeps the agents and the status of each group."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._agents = AgentSets()
        self._pacer = Pacer()
        self._written: dict[str, tuple[LocalModelNodeGroup, LocalModelNodeGroupStatus]] = {}
        """By group: what it was and the status that was written last; under KServe's CRDs it is not read back whole."""

    def setup(self, builder: Builder) -> None:
        (
            builder.for_(LocalModelNodeGroup, GenerationChanged())
            .watches(Node, EnqueueRequestsFromMapFunc(self._of_node), SINCE_START, NodeChanged())
            .watches(LocalModelNode, EnqueueRequestsFromMapFunc(self._of_local_model_node), DiskChanged())
            .watches(Pod, self._soon(self._of_agent), SINCE_START, AgentChanged())
            .watches(LocalModelNodeGroup, self._soon(self._all), SINCE_START, OtherSpec())
            .watches(ConfigMap, self._soon(self._all), SINCE_START, ResourceVersionChanged())
            # Also what is there when the right to read them comes, which may be late.
            .watches(DaemonSet, self._soon(self._all), DaemonSetChanged())
        )

    def reconcile(self, request: Request) -> Result | None:
        group = self.client.find(LocalModelNodeGroup, request.name)
        if group is None:
            self._pacer.forget(request.name)
            self._agents.forget(request.name)
            self._written.pop(request.name, None)
            return None

        wait = self._pacer.delay(group.name, interval_for(group.status.nodes or 0), self.clock)
        if wait > 0:
            return Result(requeue_after=wait)
        nodes = self.client.list(Node)
        facts, failure = self._ensure_agents(group, nodes)
        self._write_status(group, nodes, facts)
        if failure is not None:
            raise failure
        return Result(requeue_after=CHECK_SECONDS) if facts.problem or facts.daemon_sets is None else None

    # agents -----------------------------------------------------------------------------------------------------------

    def _ensure_agents(self, group: LocalModelNodeGroup, nodes: Iterable[Node]) -> tuple[AgentFacts, ApiError | None]:
        """What is to be told of the group's agents, and an error to try again after that."""
        namespace = self._settings.namespace
        agents = agent_pods(self.client, namespace)
        facts = AgentFacts(
            nodes=[node for node in nodes if group_has_node(group, node)],
            ready=None if agents is None else frozenset(it.spec.node_name for it in agents if is_at_work(it)),
            daemon_sets=agent_daemon_sets(self.client, namespace),
            groups=self.client.list(LocalModelNodeGroup),
            namespace=namespace,
        )
        if facts.daemon_sets is None or group.is_deleting:
            return facts, None
        try:
            wanted = self._wanted(group, facts)
        except InvalidAgentError as error:  # what was made before stays
            return replace(facts, problem=Problem(reason="AgentInvalid", message=str(error))), None
        if wanted is None:
            self._agents.remove(group, client=self.client, namespace=namespace)
            return facts, None
        problem, failure = self._agents.ensure(group, wanted, client=self.client, live=self.live)
        return replace(facts, problem=problem, own="" if problem else str(wanted.key)), failure

    def _wanted(self, group: LocalModelNodeGroup, facts: AgentFacts) -> DaemonSet | None:
        """The group's DaemonSet; raises InvalidAgentError."""
        request = agent_request(group, self._settings.current(self.client, self.recorder).local_model)
        if request is None:
            return None
        if not request.by_group and (
            not group.node_affinity
            or not group.models_path
            or any(all(covers(it, node) for node in facts.nodes) for it in hand_installed(facts.daemon_sets or ()))
        ):
            return None
        return wanted_daemon_set(group, request, self._settings.namespace)

    # status -----------------------------------------------------------------------------------------------------------

    def _write_status(self, group: LocalModelNodeGroup, nodes: Iterable[Node], facts: AgentFacts) -> None:
        seen, old = self._written.get(group.name, (group, group.status))
        if seen.metadata.uid != group.metadata.uid:
            seen, old = group, group.status
        if seen.spec == group.spec:
            # Without a status subresource each write of the status counts as a new generation.
            group.metadata.generation = seen.metadata.generation
        reports = {node.name: node for node in self.client.list(LocalModelNode)}
        new = group_status(group, nodes, reports, old, clock=self.clock)
        set_agent_conditions(new.conditions, group, facts, clock=self.clock)
        if new == old:
            return
        seen = group.deepcopy()
        group.status = new
        self._write(group)
        self._pacer.wrote(group.name, self.clock)
        self._written[group.name] = seen, new
        told = (*group_events(old.conditions, new.conditions), *agent_events(old.conditions, new.conditions))
        for type_, reason, message in told:
            self.recorder.event(group, type_, reason, message)

    def _write(self, group: LocalModelNodeGroup) -> None:
        """KServe's CRD has no status subresource: there the status is written with the object. KServe's roles let
        nobody write it."""
        try:
            try:
                self.client.status.update(group)
            except NotFoundError:
                if self.live.find(LocalModelNodeGroup, group.name) is not None:
                    self.client.update(group)
        except ForbiddenError as error:
            log.warning(
                "Status of a node group may not be written, going on without", group=group.name, error=str(error)
            )

    def _of_node(self, node: Node) -> Iterable[Request]:
        return keys_of(group for group in self.client.list(LocalModelNodeGroup) if group_has_node(group, node))

    def _of_local_model_node(self, local_model_node: LocalModelNode) -> Iterable[Request]:
        node = self.client.find(Node, local_model_node.name)
        return [] if node is None else self._of_node(node)

    def _of_agent(self, pod: Pod) -> Iterable[Request]:
        node = self.client.find(Node, pod.spec.node_name) if pod.spec.node_name else None
        return [] if node is None else self._of_node(node)

    def _all(self, changed: Object) -> Iterable[Request]:  # noqa: ARG002 - any of them may be concerned
        return keys_of(self.client.list(LocalModelNodeGroup))

    @staticmethod
    def _soon(function: Callable[[Any], Iterable[Request]]) -> EnqueueRequestsFromMapFunc[Any]:
        return EnqueueRequestsFromMapFunc(function, delay=BURST_SECONDS)


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
