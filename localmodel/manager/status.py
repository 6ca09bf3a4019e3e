"""The status of a cache: counts, progress, failures and conditions out of what the nodes report. Pure functions.

`observe` turns nodes and LocalModelNodes into one `NodeView` per node, `cache_status` those into a status, and
`transitions` says which events tell the difference between two statuses. Everything is sorted and bounded, so that
equal facts give equal statuses and nothing is written for nothing (D-63, D-64).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from localmodel.api import (
    CacheProgress,
    LocalModelCacheSpec,
    LocalModelCacheStatus,
    ModelCopies,
    ModelStatus,
    NamespacedName,
    NodeFailure,
    NodeStatus,
)
from localmodel.api.quantity import bytes_of
from localmodel.runtime.clock import Clock
from localmodel.runtime.conditions import ConditionStatus, find_status_condition, set_status_condition
from localmodel.runtime.events import EventType

from .reports import EVICTED, Report
from .sizes import size_fault

MAX_FAILURES: Final = 10
MAX_SINGLE_EVENTS: Final = 5
MAX_MESSAGE: Final = 300
MAX_SUMMARY: Final = 1000

READY: Final = "Ready"
PROGRESSING: Final = "Progressing"
DEGRADED: Final = "Degraded"
NO_AGENT_ON_NODE: Final = "NoAgentOnNode"

_NODE_STATUS: Final = {
    ModelStatus.MODEL_DOWNLOAD_PENDING: NodeStatus.NODE_DOWNLOAD_PENDING,
    ModelStatus.MODEL_DOWNLOADING: NodeStatus.NODE_DOWNLOADING,
    ModelStatus.MODEL_DOWNLOAD_ERROR: NodeStatus.NODE_DOWNLOAD_ERROR,
    ModelStatus.MODEL_DOWNLOADED: NodeStatus.NODE_DOWNLOADED,
}
_UNREMARKABLE: Final = frozenset(
    {"", "Waiting", "Downloading", "Verifying", "Published", "CheckingCredentials", EVICTED}
)
"""Reasons of a pending model that are no failure."""
_AMOUNT: Final = re.compile(r"\d[\d.]* ?[KMGTPE]?i?B\b")


_NOTHING: Final = Report()


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that keeps a cache from working, other than a node's own failure: its condition and its event."""

    reason: str
    message: str
    own: bool = True
    """False: not of this cache alone. It is shown as Degraded, does not keep the cache from being Ready, and its event
    is where it arose."""
    new_copies_only: bool = False
    """It keeps further copies from coming. A model that is on every node is Ready all the same."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", shorten(self.message))


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """One model on one node."""

    node: str
    status: str
    report: Report = _NOTHING
    """What the node says of it; nothing where that is about another URI."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Everything that a cache's status is made of."""

    nodes: Sequence[NodeView]
    model_size: str = ""
    node_groups: Sequence[str] = ()
    without_agent: Sequence[str] = ()
    """Nodes that have yet to start and have no agent that is ready: it may never come (D-39)."""
    problems: Sequence[Problem] = ()
    inference_services: Sequence[NamespacedName] = ()
    llm_inference_services: Sequence[NamespacedName] = ()
    generation: int | None = None
    waiting_for: Sequence[str] | None = None
    """The cache is being deleted, and these nodes have yet to remove the model."""


def observe(
    uri: str,
    members: Iterable[tuple[str, bool]],
    reports: Mapping[str, Report],
    waiting: Mapping[str, str] | None = None,
) -> list[NodeView]:
    """One view for each node that has the model's entry or shall get it, sorted by name.

    `reports` are those of the model, by node (`reports_of`). What a node says counts only if it is about this URI: its
    entry may be that of an earlier cache of the name, or its report about the entry before (D-28, D-45).

    `members` are the nodes of the cache's groups with their readiness: they count before they have an entry (D-62). One
    that is not ready is NodeNotReady, whatever its agent said last: nothing can be served from it now (D-30). So is one
    whose disk cannot be read, of models that it had.
    `waiting` are those of them that wait for their turn, each with the reason.
    """
    views = {
        name: NodeView(
            node=name,
            status=NodeStatus.NODE_DOWNLOAD_PENDING if ready else NodeStatus.NODE_NOT_READY,
            report=Report(reason="Waiting", message=waiting[name]) if waiting and name in waiting else _NOTHING,
        )
        for name, ready in members
    }
    for name, said in reports.items():
        if not said.uri:
            continue  # it has no entry
        report = said if said.uri == uri else _NOTHING
        status = _NODE_STATUS.get(report.status, NodeStatus.NODE_DOWNLOAD_PENDING)  # type: ignore[call-overload]
        known = views.get(name)
        if report.lost or (known is not None and known.status == NodeStatus.NODE_NOT_READY):
            status = NodeStatus.NODE_NOT_READY
        views[name] = NodeView(node=name, status=status, report=report)
    return [views[name] for name in sorted(views)]


def cache_status(seen: Observation, old: LocalModelCacheStatus, *, clock: Clock) -> LocalModelCacheStatus:
    """The new status. Fields that a newer version may have added to the old one are kept."""
    status = old.model_copy(deep=True)
    counts = ModelCopies(
        available=_count(seen, NodeStatus.NODE_DOWNLOADED),
        total=len(seen.nodes),
        failed=_count(seen, NodeStatus.NODE_DOWNLOAD_ERROR),
    )
    status.node_status = {view.node: str(view.status) for view in seen.nodes}
    status.copies = counts
    status.inference_services = list(seen.inference_services)
    status.llm_inference_services = list(seen.llm_inference_services)
    status.observed_generation = seen.generation
    status.progress = progress(seen)
    failures = [failure for view in seen.nodes if (failure := _failure(view)) is not None]
    status.failures = failures[:MAX_FAILURES]
    obstacles = _obstacles(seen)
    for type_, (state, reason, message) in {
        READY: _ready(seen, counts, failures, obstacles),
        PROGRESSING: _progressing(seen, counts, obstacles),
        DEGRADED: _degraded(seen, failures),
    }.items():
        set_status_condition(
            status.conditions,
            type_,
            state,
            reason,
            shorten(message, MAX_SUMMARY),
            observed_generation=seen.generation,
            clock=clock,
        )
    return status


def progress(seen: Observation) -> CacheProgress | None:
    """Bytes on all nodes. A node that has not said how large the model is counts with the cache's modelSize."""
    if not seen.nodes:
        return None
    expected = bytes_of(seen.model_size)
    done = total = 0
    for view in seen.nodes:
        report = view.report
        size = report.size_bytes if report.size_bytes is not None else expected
        total += size
        done += size if view.status == NodeStatus.NODE_DOWNLOADED else min(report.bytes_downloaded or 0, size)
    return CacheProgress(bytes_done=done, bytes_total=total)


def shorten(text: str, limit: int = MAX_MESSAGE) -> str:
    """The text on one line, cut to at most `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def transitions(
    old: LocalModelCacheStatus, new: LocalModelCacheStatus, problems: Iterable[Problem]
) -> list[tuple[EventType, str, str]]:
    """The events (type, reason, message) that tell what happened between two statuses. `problems` are the new one's."""
    arrived = [
        node
        for node, status in new.node_status.items()
        if status == NodeStatus.NODE_DOWNLOADED
        # A node that was not ready has had it all along.
        and old.node_status.get(node) not in (status, NodeStatus.NODE_NOT_READY)
    ]
    # One event each while a reader can follow, one for all where a hundred nodes finish in the same second.
    groups = [[node] for node in arrived] if len(arrived) <= MAX_SINGLE_EVENTS else [arrived]
    events: list[tuple[EventType, str, str]] = [
        ("Normal", "Downloaded", f"The model is on {listed('node', names)}") for names in groups
    ]
    before = find_status_condition(old.conditions, DEGRADED)
    told = before.message if before is not None else ""
    events += [("Warning", p.reason, p.message) for p in problems if p.own and p.message not in told]
    known = {_identity(failure) for failure in old.failures}
    events += [
        ("Warning", failure.reason, f"Node {failure.node}: {failure.message or 'the download failed'}")
        for failure in new.failures
        if _identity(failure) not in known
    ]
    return events


def size_problems(spec: LocalModelCacheSpec) -> list[Problem]:
    """One problem for a specification that is too large for the entries of nodes, or none."""
    fault = size_fault(spec)
    if not fault:
        return []
    return [Problem(reason="SpecTooLarge", message=f"no node is told of it: {fault}", new_copies_only=True)]


def missing_groups(names: Sequence[str]) -> Problem:
    """The problem of a cache that names groups which do not exist."""
    return Problem(reason="NodeGroupNotFound", message=f"{listed('LocalModelNodeGroup', names)} not found")


def _count(seen: Observation, status: NodeStatus) -> int:
    return sum(view.status == status for view in seen.nodes)


def _identity(failure: NodeFailure) -> tuple[object, ...]:
    """What makes a failure another one. Amounts do not: how much room is left changes with every other download."""
    return failure.node, failure.reason, failure.attempts, _AMOUNT.sub("#", failure.message)


def _failure(view: NodeView) -> NodeFailure | None:
    report = view.report
    failed = view.status == NodeStatus.NODE_DOWNLOAD_ERROR
    stuck = view.status == NodeStatus.NODE_DOWNLOAD_PENDING and report.reason not in _UNREMARKABLE
    if not failed and not stuck:
        return None
    return NodeFailure(
        node=view.node,
        reason=report.reason or "DownloadFailed",
        message=shorten(report.message),
        attempts=report.attempts,
        next_retry_time=report.next_retry_time,
    )


def _obstacles(seen: Observation) -> dict[str, str]:
    """By node, what keeps a download from starting or what its last try failed with: it may yet pass by itself."""
    return {
        view.node: shorten(view.report.message)
        for view in seen.nodes
        if view.report.message and view.status in (NodeStatus.NODE_DOWNLOADING, NodeStatus.NODE_DOWNLOAD_PENDING)
    }


_State = tuple[ConditionStatus, str, str]


def _ready(
    seen: Observation, counts: ModelCopies, failures: Sequence[NodeFailure], obstacles: Mapping[str, str]
) -> _State:
    """Why the model cannot be counted on everywhere: what needs a person comes first."""
    have = f"{counts.available} of {counts.total} nodes have the model"
    if seen.waiting_for is not None:
        return "False", "Deleting", _deleting(seen.waiting_for)
    is_complete = bool(counts.total) and counts.available == counts.total
    if own := [it for it in seen.problems if it.own and not (it.new_copies_only and is_complete)]:
        return "False", own[0].reason, "; ".join(problem.message for problem in own)
    if not counts.total:
        groups = listed("node group", seen.node_groups)
        return "False", "NoNodes", f"no node belongs to {groups}" if seen.node_groups else "no node group is named"
    if is_complete:
        return "True", "AllCopiesAvailable", have
    if failures:
        return "False", failures[0].reason, "; ".join([have, *_told(_causes(failures))])
    if _is_stranded(seen):
        return "False", NO_AGENT_ON_NODE, "; ".join([have, _idle(seen.without_agent), *_told(obstacles)])
    if _is_evicted(seen):
        return "False", EVICTED, "; ".join([have, *_told(obstacles)])
    for status, reason in (
        (NodeStatus.NODE_DOWNLOADING, "Downloading"),
        (NodeStatus.NODE_DOWNLOAD_PENDING, "DownloadPending"),
    ):
        if _count(seen, status):
            idle = [_idle(seen.without_agent)] if seen.without_agent else []
            return "False", reason, "; ".join([have, *idle, *_told(obstacles)])
    return "False", "NodeNotReady", f"{have}; {_not_ready(seen)}"


def _progressing(seen: Observation, counts: ModelCopies, obstacles: Mapping[str, str]) -> _State:
    if seen.waiting_for is not None:
        return "True", "Deleting", _deleting(seen.waiting_for)
    if not counts.total:
        return "False", "NoNodes", "there is no node to download to"
    if counts.available == counts.total:
        return "False", "AllCopiesAvailable", ""
    if downloading := _count(seen, NodeStatus.NODE_DOWNLOADING):
        return "True", "Downloading", "; ".join([f"downloading to {_nodes(downloading)}", *_told(obstacles)])
    if counts.failed:
        return "True", "Retrying", f"trying again on {_nodes(counts.failed)} after a failure"
    if _is_stranded(seen):
        return "False", NO_AGENT_ON_NODE, _idle(seen.without_agent)
    if _is_evicted(seen):
        return "False", EVICTED, "; ".join(_told(obstacles))
    if pending := _count(seen, NodeStatus.NODE_DOWNLOAD_PENDING):
        return "True", "DownloadPending", "; ".join([f"{_nodes(pending)} yet to start", *_told(obstacles)])
    return "False", "NodeNotReady", _not_ready(seen)


def _is_stranded(seen: Observation) -> bool:
    """Nothing is under way, and on no node that has yet to start is there an agent to do so."""
    pending = _count(seen, NodeStatus.NODE_DOWNLOAD_PENDING)
    return bool(pending) and len(seen.without_agent) == pending and not _count(seen, NodeStatus.NODE_DOWNLOADING)


def _is_evicted(seen: Observation) -> bool:
    """Nothing is under way, and where the model is to come it was there and had to go: it waits to be wanted."""
    pending = [view for view in seen.nodes if view.status == NodeStatus.NODE_DOWNLOAD_PENDING]
    is_any_active = _count(seen, NodeStatus.NODE_DOWNLOADING)
    return bool(pending) and not is_any_active and all(view.report.is_evicted for view in pending)


def _degraded(seen: Observation, failures: Sequence[NodeFailure]) -> _State:
    messages = [problem.message for problem in seen.problems] + _told(_causes(failures))
    if not messages:
        return "False", "AsExpected", ""
    reasons = [problem.reason for problem in seen.problems] + [failure.reason for failure in failures]
    return "True", reasons[0], "; ".join(messages)


def _deleting(nodes: Sequence[str]) -> str:
    return f"waiting for {listed('node', nodes)} to remove the model" if nodes else "the model is removed"


def _nodes(count: int) -> str:
    return f"{count} node{'' if count == 1 else 's'}"


def _idle(nodes: Sequence[str]) -> str:
    return f"no agent is ready on {listed('node', nodes)}"


def _not_ready(seen: Observation) -> str:
    gone = [view for view in seen.nodes if view.status == NodeStatus.NODE_NOT_READY]
    names = [view.node for view in gone if not view.report.lost]
    told = [f"{listed('node', names)} {'is' if len(names) == 1 else 'are'} not ready"] if names else []
    return "; ".join([*told, *_told({view.node: shorten(view.report.lost) for view in gone if view.report.lost})])


def _causes(failures: Iterable[NodeFailure]) -> dict[str, str]:
    return {failure.node: failure.message or failure.reason for failure in failures}


def _told(messages: Mapping[str, str]) -> list[str]:
    """Messages by node, each told once with all of its nodes; at most three, then how many nodes have others."""
    nodes: dict[str, list[str]] = {}
    for node, message in messages.items():
        nodes.setdefault(message, []).append(node)
    told = [f"{_named(names)}: {message}" for message, names in list(nodes.items())[:3]]
    others = sum(len(names) for names in list(nodes.values())[3:])
    return [*told, f"and {_nodes(others)} more"] if others else told


def listed(noun: str, names: Sequence[str]) -> str:
    """ "node a", "nodes a, b", "nodes a, b, c and 4 more"."""
    return f"{noun}{'' if len(names) == 1 else 's'} {_named(names)}"


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
