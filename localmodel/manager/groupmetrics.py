"""The metrics of node groups: nodes, agents, room on the disks, and copies by state. Documented in docs/metrics.md.

What a group's status is made of is shown when that is made. Copies change far more often: they are counted node by node
as reports come, each from the one object that the event is about, never by a scan. A series goes with its group.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client import CollectorRegistry, Gauge

from localmodel.api import LocalModelNode, ModelStatus
from localmodel.runtime.event import Event
from localmodel.runtime.handler import EventHandler, RequestQueue

from .entries import key_of
from .metrics import remove_series
from .reports import Disk

STATES: Final = tuple(map(str, ModelStatus))


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRoom:
    """What the disks of a group's nodes have together, in bytes, as far as they have been measured."""

    used: int = 0
    available: int = 0
    limit: int = 0


def group_room(disks: Iterable[Disk]) -> GroupRoom:
    """Out of what the group's nodes say of theirs."""
    disks = list(disks)
    return GroupRoom(
        used=sum(disk.used for disk in disks),
        available=sum(disk.available for disk in disks),
        limit=sum(disk.limit for disk in disks),
    )


class GroupMetrics:
    """Thread-safe. The label `group` is a group's name."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """Without a registry nothing is shown."""

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"localmodel_node_group_{name}", text, ("group", *labels), registry=registry)

        self._nodes = gauge("nodes", "Nodes of the group")
        self._agents = gauge("ready_agents", "Nodes of the group with an agent that is ready")
        self._used = gauge("used_bytes", "Bytes that models take on the disks of the group's nodes")
        self._available = gauge("available_bytes", "Bytes that are left on the disks of the group's nodes")
        self._limit = gauge("limit_bytes", "Bytes that models may take at most on the disks of the group's nodes")
        self._copies = gauge("copies", "Entries of the group's nodes by what the nodes say of them", "status")
        self._lock = threading.Lock()
        """Guards the two fields below, and the order in which copies are shown."""
        self._of_node: dict[str, Counter[tuple[str, str]]] = {}
        """By node: how many entries it has of each group in each state."""
        self._totals: Counter[tuple[str, str]] = Counter()
        """The sum of those of all nodes."""

    def show(self, group: str, *, nodes: int, agents: int | None, room: GroupRoom) -> None:
        """What they are now. `agents` are nodes with one that is ready; None if nobody knows: then none are shown."""
        self._nodes.labels(group).set(nodes)
        if agents is None:
            remove_series(self._agents, group)
        else:
            self._agents.labels(group).set(agents)
        self._used.labels(group).set(room.used)
        self._available.labels(group).set(room.available)
        self._limit.labels(group).set(room.limit)

    def forget(self, group: str) -> None:
        """The group is gone. Its copies go with the entries on its nodes."""
        for gauge in (self._nodes, self._agents, self._used, self._available, self._limit):
            remove_series(gauge, group)

    def count(self, node: str, copies: Mapping[tuple[str, str], int]) -> None:
        """The node has these entries now, by group and state."""
        with self._lock:
            before = self._of_node.pop(node, Counter())
            now = Counter(copies)
            if now:
                self._of_node[node] = now
            self._totals.update(now)
            self._totals.subtract(before)
            for group in {group for group, _ in before.keys() | now.keys()}:
                self._show_copies(group)

    def _show_copies(self, group: str) -> None:
        counts = {state: self._totals[group, state] for state in STATES}
        for state, count in counts.items():
            if any(counts.values()):
                self._copies.labels(group, state).set(count)
            else:
                self._totals.pop((group, state), None)
                remove_series(self._copies, group, state)


class CountCopies(EventHandler):
    """For LocalModelNodes: counts their copies, and then has another handler look at the event."""

    def __init__(self, metrics: GroupMetrics, then: EventHandler) -> None:
        self._metrics = metrics
        self._then = then

    def handle(self, event: Event[Any], queue: RequestQueue) -> None:
        before, after = event.parts(copies_of)
        for name in after or before:
            if before != after:
                self._metrics.count(name, after.get(name, {}))
        self._then.handle(event, queue)


def copies_of(node: LocalModelNode) -> dict[str, Counter[tuple[str, str]]]:
    """Under the node's name, its entries by group and state; one of which it has said nothing is pending.

    An index of the manager's cache, as those of `reports`.
    """
    said, pending = node.status.model_status, str(ModelStatus.MODEL_DOWNLOAD_PENDING)
    found = ((entry.node_group, said.get(key_of(entry), "")) for entry in node.spec.local_models)
    return {node.name: Counter((group, state if state in STATES else pending) for group, state in found if group)}
