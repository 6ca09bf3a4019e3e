"""What a group's status says about its agents: the conditions AgentReady and GroupsOverlap, and their events.

AgentReady is True where an agent that keeps models in the group's path is ready on each node. Else it names the nodes,
the paths and what to do; what will never work by itself comes first. Pure functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from localmodel.api import LocalModelNodeGroup
from localmodel.api.names import AGENT_LABEL, AGENT_LABEL_VALUE, NODE_GROUP_LABEL, group_label_value
from localmodel.runtime.clock import Clock
from localmodel.runtime.conditions import (
    ConditionStatus,
    find_status_condition,
    remove_status_condition,
    set_status_condition,
)
from localmodel.runtime.events import EventType
from localmodel.runtime.objects import Condition, DaemonSet, Node

from .placement import Overlap, PathMismatch, covers, hand_installed, overlaps, path_mismatches
from .status import MAX_SUMMARY, NO_AGENT_ON_NODE, Problem, listed, shorten

AGENT_READY: Final = "AgentReady"
GROUPS_OVERLAP: Final = "GroupsOverlap"
PATH_MISMATCH: Final = "AgentPathMismatch"

_State = tuple[ConditionStatus, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentFacts:
    """Everything that the conditions are made of."""

    nodes: Sequence[Node]
    """The group's."""
    ready: frozenset[str] | None
    """Names of nodes on which an agent's pod is Ready; None if Pods may not be read."""
    daemon_sets: Sequence[DaemonSet] | None
    """Those of agents; None if they may not be read."""
    groups: Sequence[LocalModelNodeGroup] = ()
    """All groups."""
    problem: Problem | None = None
    """What keeps the group's own DaemonSet from being made."""
    own: str = ""
    """The group's own DaemonSet, as namespace/name; empty if it has none."""
    namespace: str = ""
    """Where agents run."""


def set_agent_conditions(
    conditions: list[Condition], group: LocalModelNodeGroup, facts: AgentFacts, *, clock: Clock
) -> None:
    """Brings both conditions up to date. GroupsOverlap is there only while it is true."""
    state, reason, message = _agent_ready(group, facts)
    generation = group.metadata.generation
    set_status_condition(
        conditions,
        AGENT_READY,
        state,
        reason,
        shorten(message, MAX_SUMMARY),
        observed_generation=generation,
        clock=clock,
    )
    shared = overlaps(group, facts.nodes, facts.groups)
    if not shared:
        remove_status_condition(conditions, GROUPS_OVERLAP)
        return
    message = shorten("; ".join(_overlap(group, overlap) for overlap in shared), MAX_SUMMARY)
    set_status_condition(
        conditions, GROUPS_OVERLAP, "True", "DifferentPaths", message, observed_generation=generation, clock=clock
    )


def mismatch_problem(group: LocalModelNodeGroup, mismatch: PathMismatch) -> Problem:
    """The problem of a group whose models an agent does not see, and of the caches that name it."""
    message = (
        f"DaemonSet {mismatch.daemon_set} keeps models in {mismatch.path} on {listed('node', mismatch.nodes)}, "
        f"LocalModelNodeGroup {group.name} in {group.models_path}: let its hostPath and persistentVolumeSpec name one "
        "path, or remove it and set the group's spec.agent"
    )
    return Problem(reason=PATH_MISMATCH, message=message)


def agent_events(old: Iterable[Condition], new: Iterable[Condition]) -> list[tuple[EventType, str, str]]:
    """The events (type, reason, message) that tell what happened between two statuses.

    Which nodes are concerned changes with every pod: that alone is no event.
    """
    old, new = list(old), list(new)
    events: list[tuple[EventType, str, str]] = []
    before, after = find_status_condition(old, AGENT_READY), find_status_condition(new, AGENT_READY)
    if after is not None and _told(before) != _told(after):
        if after.status == "False" or (after.status == "Unknown" and after.reason != "NoNodes"):
            events.append(("Warning", after.reason, after.message))
        elif after.status == "True" and before is not None:
            events.append(("Normal", after.reason, "An agent is ready on each node of the group"))
    overlap = find_status_condition(new, GROUPS_OVERLAP)
    if overlap is not None and find_status_condition(old, GROUPS_OVERLAP) is None:
        events.append(("Warning", GROUPS_OVERLAP, overlap.message))
    return events


def _told(condition: Condition | None) -> object:
    return None if condition is None else (condition.status, condition.reason)


def _agent_ready(group: LocalModelNodeGroup, facts: AgentFacts) -> _State:
    if facts.problem is not None:
        return "False", facts.problem.reason, facts.problem.message
    daemon_sets = facts.daemon_sets or ()
    if mismatches := path_mismatches(group, facts.nodes, daemon_sets):
        return "False", PATH_MISMATCH, "; ".join(mismatch_problem(group, it).message for it in mismatches)
    if message := _several(group, facts, daemon_sets):
        return "False", "SeveralAgents", message
    if facts.ready is None:
        message = f"the manager may not read Pods in namespace {facts.namespace}: apply config/rbac/manager.yaml"
        return "Unknown", "PodsForbidden", message
    missing = [node for node in facts.nodes if node.name not in facts.ready]
    if missing:
        return "False", NO_AGENT_ON_NODE, _no_agent(group, facts, missing)
    if facts.daemon_sets is None:
        return "Unknown", "DaemonSetsForbidden", _forbidden(group, facts)
    if not facts.nodes:
        return "Unknown", "NoNodes", "the group has no nodes"
    return "True", "AgentsReady", ""


def _several(group: LocalModelNodeGroup, facts: AgentFacts, daemon_sets: Iterable[DaemonSet]) -> str:
    """Two agents on one node write one LocalModelNode. The group's own run only where the manager labels the node."""
    if not facts.own:
        return ""
    value = group_label_value(group.name)
    own = [node for node in facts.nodes if node.metadata.labels.get(NODE_GROUP_LABEL) == value]
    for other in hand_installed(daemon_sets):
        if names := sorted(node.name for node in own if covers(other, node)):
            return (
                f"DaemonSet {other.key} runs agents on {listed('node', names)}, where {facts.own} is the group's: "
                "remove it, or keep it off these nodes"
            )
    return ""


def _no_agent(group: LocalModelNodeGroup, facts: AgentFacts, missing: Sequence[Node]) -> str:
    message = f"no agent is ready on {listed('node', sorted(node.name for node in missing))}"
    if facts.daemon_sets is None:
        return f"{message}; {_forbidden(group, facts)}"
    see = f"see kubectl get pods -n {facts.namespace} -l {AGENT_LABEL}={AGENT_LABEL_VALUE} -o wide"
    if facts.own:
        return f"{message}: {_unlabelled(group, missing)}DaemonSet {facts.own} is to run there, {see}"
    others = hand_installed(facts.daemon_sets)
    bare = sorted(node.name for node in missing if not any(covers(other, node) for other in others))
    if not bare:
        return f"{message}: {see}"
    if not others:
        return f"{message}: there is no DaemonSet of agents, install one or set the group's spec.agent"
    names = ", ".join(str(other.key) for other in others)
    return (
        f"{message}: DaemonSet {names} does not select {listed('node', bare)}, which may lack a label; set the node's "
        "labels, or the group's spec.agent"
    )


def _unlabelled(group: LocalModelNodeGroup, missing: Iterable[Node]) -> str:
    """The group's DaemonSet runs only on nodes whose agents are the group's."""
    value = group_label_value(group.name)
    names = sorted(node.name for node in missing if node.metadata.labels.get(NODE_GROUP_LABEL) != value)
    if not names:
        return ""
    return (
        f"{listed('node', names)} not labelled {NODE_GROUP_LABEL}={value}, which the manager does where no other group "
        "comes first by name; "
    )


def _forbidden(group: LocalModelNodeGroup, facts: AgentFacts) -> str:
    undone = ", nor make the one that spec.agent asks for" if group.spec.agent is not None else ""
    return (
        f"the manager may not read DaemonSets in namespace {facts.namespace}, so it can neither compare their host "
        f"path{undone}: grant it what config/rbac/manager.yaml does"
    )


def _overlap(group: LocalModelNodeGroup, overlap: Overlap) -> str:
    return (
        f"LocalModelNodeGroup {overlap.winner} has {listed('node', overlap.nodes)} too and comes first there by name: "
        f"their agents keep models in {overlap.path}, not in {group.models_path}; give each node one group, or both "
        "groups one path"
    )
