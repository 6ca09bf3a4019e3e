"""`LocalModelNodeGroupReconciler`: a group's DaemonSet of agents, where it asks for one, and its status.

The status says how many nodes it has, how much room they report, and whether agents are there that keep models where
the group's volumes look for them (`agentstatus`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
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
from localmodel.runtime.event import Event, UpdateEvent
from localmodel.runtime.handler import EnqueueRequestsFromMapFunc, EventHandler, RequestQueue
from localmodel.runtime.objects import ConfigMap, DaemonSet, Node, Object, Pod
from localmodel.runtime.predicate import GenerationChanged, Predicate, ResourceVersionChanged
from localmodel.runtime.reconcile import Reconciler, Request, Result

from .agents import InvalidAgentError, agent_request, wanted_daemon_set
from .agentsets import AgentSets
from .agentstatus import AgentFacts, agent_events, set_agent_conditions
from .entries import group_has_node
from .groupmetrics import CountCopies, GroupMetrics, group_room
from .known import Members, find_node, known_nodes, nodes_with_agent
from .pacing import Pacer, interval_for
from .placement import agent_daemon_sets, covers, hand_installed
from .readiness import group_events
from .reports import ALL, Disk, disk_of, version_of
from .served import if_served
from .settings import Settings
from .status import Problem
from .watching import AGENT_CHANGED, BURST_SECONDS, NODE_CHANGED, SINCE_START, DaemonSetChanged, keys_of

log = structlog.get_logger(__name__)

CHECK_SECONDS: Final = 60.0
"""How often it looks again at what it cannot watch: DaemonSets that it may not read, or without the agents' label."""


class EnqueueDiskReported(EventHandler):
    """For LocalModelNodes: queues the groups of the node that reports other numbers of its disk."""

    def __init__(self, groups_of: Callable[[str], Iterable[Request]]) -> None:
        self._groups_of = groups_of

    def handle(self, event: Event[Any], queue: RequestQueue) -> None:
        before, after = event.parts(disk_of)
        if before != after:
            old, new = event.parts(version_of)
            for request in {request: None for name in new or old for request in self._groups_of(name)}:
                queue.add(request)


class OtherSpec(Predicate):
    """Lets updates of groups pass that change their specification; in KServe's CRD a status changes the generation."""

    def update(self, event: UpdateEvent[Any]) -> bool:
        return bool(event.object_old.spec != event.object_new.spec)


class LocalModelNodeGroupReconciler(Reconciler):
    """Keeps the agents and the status of each group."""

    def __init__(self, settings: Settings, metrics: GroupMetrics | None = None, members: Members | None = None) -> None:
        self._settings = settings
        self._metrics = metrics or GroupMetrics()
        self._agents = AgentSets()
        self._members = members or Members()
        self._pacer = Pacer()
        self._written: dict[str, tuple[LocalModelNodeGroup, LocalModelNodeGroupStatus]] = {}
        """By group: what it was and the status that was written last; under KServe's CRDs it is not read back whole."""
        self._status_counts = False
        """Groups have no status subresource, so each write of a status counts as a new generation."""

    def setup(self, builder: Builder) -> None:
        (
            builder.for_(LocalModelNodeGroup, GenerationChanged())
            .watches(Node, EnqueueRequestsFromMapFunc(self._of_node), SINCE_START, NODE_CHANGED)
            .watches(LocalModelNode, CountCopies(self._metrics, EnqueueDiskReported(self._of_node_named)))
            .watches(Pod, self._soon(self._of_agent), SINCE_START, AGENT_CHANGED)
            .watches(LocalModelNodeGroup, self._soon(self._all), SINCE_START, OtherSpec())
            .watches(ConfigMap, self._soon(self._all), SINCE_START, ResourceVersionChanged())
            # Also what is there when the right to read them comes, which may be late.
            .watches(DaemonSet, self._soon(self._all), DaemonSetChanged())
        )

    def reconcile(self, request: Request) -> Result | None:
        group = self.client.find(LocalModelNodeGroup, request.name)
        if group is None:
            self._pacer.forget(request.name)
            self._metrics.forget(request.name)
            self._agents.forget(request.name)
            self._members.forget(request.name)
            self._written.pop(request.name, None)
            return None

        wait = self._pacer.delay(group.name, self.clock)
        if wait > 0:
            return Result(requeue_after=wait)
        nodes = known_nodes(self.client)
        facts, failure = self._ensure_agents(group, nodes)
        self._write_status(group, nodes, facts)
        if failure is not None:
            raise failure
        return Result(requeue_after=CHECK_SECONDS) if facts.problem or facts.daemon_sets is None else None

    # agents -----------------------------------------------------------------------------------------------------------

    def _ensure_agents(self, group: LocalModelNodeGroup, nodes: Iterable[Node]) -> tuple[AgentFacts, ApiError | None]:
        """What is to be told of the group's agents, and an error to try again after that."""
        namespace = self._settings.namespace
        facts = AgentFacts(
            nodes=self._members.of(group, nodes),
            ready=nodes_with_agent(self.client, namespace),
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
        config = self._settings.current(self.client, self.recorder)
        request = agent_request(group, config.local_model, downloads_memory=config.agent_downloads_memory)
        if request is None:
            return None
        others = hand_installed(facts.daemon_sets or ())
        if not request.by_group and (
            not group.node_affinity
            or not group.models_path
            or (others and all(any(covers(it, node) for it in others) for node in facts.nodes))
        ):
            return None
        return wanted_daemon_set(group, request, self._settings.namespace)

    # status -----------------------------------------------------------------------------------------------------------

    def _write_status(self, group: LocalModelNodeGroup, nodes: Iterable[Node], facts: AgentFacts) -> None:
        seen, old = self._written.get(group.name, (group, group.status))
        if seen.metadata.uid != group.metadata.uid:
            seen, old = group, group.status
        if self._status_counts and seen.spec == group.spec:
            group.metadata.generation = seen.metadata.generation
        disks = {key.name: disk for key, disk in self.client.parts(LocalModelNode, disk_of, ALL).items()}
        room = group_room(disks[node.name] for node in facts.nodes if node.name in disks)
        agents = None if facts.ready is None else sum(node.name in facts.ready for node in facts.nodes)
        self._metrics.show(group.name, nodes=len(facts.nodes), agents=agents, room=room)
        new = group_status(group, nodes, disks, old, clock=self.clock)
        set_agent_conditions(new.conditions, group, facts, clock=self.clock)
        if new == old:
            return
        seen = group.deepcopy()
        group.status = new
        self._write(group)
        self._pacer.wrote(group.name, interval_for(new.nodes or 0), self.clock)
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
                    self._status_counts = True
                    self.client.update(group)
        except ForbiddenError as error:
            log.warning(
                "Status of a node group may not be written, going on without", group=group.name, error=str(error)
            )

    @if_served
    def _of_node(self, node: Node) -> Iterable[Request]:
        return keys_of(group for group in self.client.list(LocalModelNodeGroup) if group_has_node(group, node))

    def _of_node_named(self, name: str) -> Iterable[Request]:
        node = find_node(self.client, name)
        return [] if node is None else self._of_node(node)

    def _of_agent(self, pod: Pod) -> Iterable[Request]:
        return self._of_node_named(pod.spec.node_name) if pod.spec.node_name else []

    @if_served
    def _all(self, changed: Object) -> Iterable[Request]:  # noqa: ARG002 - any of them may be concerned
        return keys_of(self.client.list(LocalModelNodeGroup))

    @staticmethod
    def _soon(function: Callable[[Any], Iterable[Request]]) -> EnqueueRequestsFromMapFunc[Any]:
        return EnqueueRequestsFromMapFunc(function, delay=BURST_SECONDS)


def group_status(
    group: LocalModelNodeGroup,
    nodes: Iterable[Node],
    disks: Mapping[str, Disk],
    old: LocalModelNodeGroupStatus,
    *,
    clock: Clock,
) -> LocalModelNodeGroupStatus:
    """The group's new status. `disks` are those that nodes report, by node; of others the room is not known."""
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
    known = [disks[name] for name in members if name in disks]
    status.used = format_bytes(sum(disk.used for disk in known)) if known else ""
    status.available = format_bytes(sum(disk.room for disk in known)) if known else ""
    generation = group.metadata.generation
    set_status_condition(
        status.conditions, "Ready", state, reason, message, observed_generation=generation, clock=clock
    )
    return status
