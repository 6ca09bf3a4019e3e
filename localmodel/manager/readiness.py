"""The events that tell when caches and groups become ready, and when they cease to be. Pure functions.

One event for each change of the condition Ready that a person would ask about, however many nodes there are; which
nodes are concerned changes with every report, and that alone is no event. Problems and failures are told by
`status.transitions`, agents by `agentstatus.agent_events`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from localmodel.api import LocalModelCacheStatus, NodeStatus
from localmodel.runtime.conditions import find_status_condition
from localmodel.runtime.events import EventType
from localmodel.runtime.objects import Condition

from .status import NO_AGENT_ON_NODE, READY, listed

_STANDSTILL: Final = frozenset({NO_AGENT_ON_NODE, "NoNodes"})
"""Reasons for which nothing happens until a person does something."""
_WITHOUT_NODES: Final = "NoNodes"


def cache_events(old: LocalModelCacheStatus, new: LocalModelCacheStatus) -> list[tuple[EventType, str, str]]:
    """The events (type, reason, message) between two statuses of a cache.

    A node that is not ready has not lost its copy, and one that has left the groups is not missed.
    """
    gone = [
        node
        for node, status in new.node_status.items()
        if old.node_status.get(node) == NodeStatus.NODE_DOWNLOADED
        and status not in (NodeStatus.NODE_DOWNLOADED, NodeStatus.NODE_NOT_READY)
    ]
    events: list[tuple[EventType, str, str]] = []
    if gone:
        events.append(("Normal", "CopyGone", f"The model is no longer on {listed('node', gone)}"))
    before, after = find_status_condition(old.conditions, READY), find_status_condition(new.conditions, READY)
    if after is None or _told(before) == _told(after):
        return events
    was_available = before.status == "True" if before is not None else _has_all_copies(old)
    if after.status == "True":
        events += [] if was_available else [("Normal", "Available", after.message)]
    elif after.reason in _STANDSTILL:
        events.append(("Warning", after.reason, after.message))
    elif after.reason == "Deleting":
        events.append(("Normal", "Deleting", after.message))
    elif was_available:
        events.append(("Normal", "NotAvailable", after.message))
    return events


def group_events(old: Iterable[Condition], new: Iterable[Condition]) -> list[tuple[EventType, str, str]]:
    """The same between the conditions of a group. One that has yet to get its first node is nothing to tell of."""
    before, after = find_status_condition(list(old), READY), find_status_condition(list(new), READY)
    if after is None or _told(before) == _told(after):
        return []
    if after.status == "True":
        return [("Normal", after.reason, "The group has nodes")] if before is not None else []
    is_first = before is None and after.reason == _WITHOUT_NODES
    return [] if is_first else [("Warning", after.reason, after.message)]


def _has_all_copies(status: LocalModelCacheStatus) -> bool:
    """As much as KServe's CRDs keep of Ready: what they pruned is not news when a manager starts."""
    copies = status.copies
    return copies is not None and 0 < (copies.available or 0) == (copies.total or 0)


def _told(condition: Condition | None) -> object:
    return None if condition is None else (condition.status, condition.reason)
