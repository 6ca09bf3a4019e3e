"""Which events concern which nodes: `EnqueueNextInLine`, when a slot of a wave becomes free (see `waves`), and
`EnqueueNodeReported`, when a node says something new.

An event that frees no slot costs a comparison of parts that the cache has at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from localmodel.api import LocalModelNode, LocalModelNodeGroup
from localmodel.runtime.event import Event, UpdateEvent
from localmodel.runtime.handler import EventHandler, RequestQueue
from localmodel.runtime.objects import Node
from localmodel.runtime.reconcile import Reconciler, Request

from .known import agent_at_work, known_node
from .reports import ALL, Report, evictions, reports_of, unfinished_groups, version_of
from .watching import BURST_SECONDS, changed_keys
from .waves import Waves


class EnqueueNextInLine(EventHandler):
    """For LocalModelNodes, Nodes and agents' Pods: queues as many waiting nodes of a group as it has free slots.

    An agent that comes or goes also queues its own node, which may be admitted only while it has one.
    """

    def __init__(self, waves: Waves, reconciler: Reconciler) -> None:
        """The client and the clock are those that the reconciler has when an event comes."""
        self._waves = waves
        self._reconciler = reconciler

    def handle(self, event: Event[Any], queue: RequestQueue) -> None:
        kind = type(event.object_new if isinstance(event, UpdateEvent) else event.object)
        if kind is LocalModelNode:
            self.reported(event, queue)
        elif kind is Node:
            self._node_changed(event, queue)
        else:
            self._agent_changed(event, queue)

    def reported(self, event: Event[Any], queue: RequestQueue) -> None:
        """The event is one of a LocalModelNode."""
        old, new = event.parts(version_of)
        before, after = event.parts(unfinished_groups)
        for name in new or old:
            admitted = self._waves.admitted_groups(name)
            if name in old and (name not in new or new[name].uid != old[name].uid):
                self._waves.forget(name, old[name].uid)
            self._wake((admitted | before.keys()) - after.keys(), queue)

    def _node_changed(self, event: Event[Any], queue: RequestQueue) -> None:
        before, after = event.parts(known_node)
        for name, node in before.items():
            if name != ALL and node.is_ready and not (name in after and after[name].is_ready):
                self._wake(self._groups_of(name), queue)

    def _agent_changed(self, event: Event[Any], queue: RequestQueue) -> None:
        before, after = event.parts(agent_at_work)
        for node in sorted((before.keys() ^ after.keys()) - {ALL}):
            queue.add(Request("", node))
            if node in before:
                self._wake(self._groups_of(node), queue)

    def _groups_of(self, node: str) -> frozenset[str]:
        found = self._reconciler.client.find(LocalModelNode, node)
        return self._waves.admitted_groups(node) | (unfinished_groups(found).keys() if found is not None else set())

    def _wake(self, groups: frozenset[str], queue: RequestQueue) -> None:
        client, clock = self._reconciler.client, self._reconciler.clock
        for name in sorted(groups):
            group = client.find(LocalModelNodeGroup, name)
            if group is None:
                continue  # its end has queued every node
            limit = group.spec.max_concurrent_downloads
            for node in self._waves.next_in_line(name, limit, reader=client, clock=clock):
                queue.add(Request("", node))


class EnqueueNodeReported(EventHandler):
    """For LocalModelNodes: queues the node whose entries or annotations changed, or that has other copies than before.

    Mere progress is nothing to it. It calls the other handler itself, as one source is enough for both.
    """

    def __init__(self, next_in_line: EnqueueNextInLine, until_labelled: Callable[[str], float]) -> None:
        """`until_labelled`: seconds until that node's labels may be patched again. Copies that arrive in the meantime
        cost one run."""
        self._next_in_line = next_in_line
        self._until_labelled = until_labelled

    def handle(self, event: Event[Any], queue: RequestQueue) -> None:
        old, new = event.parts(version_of)
        for name in new or old:
            request = Request("", name)
            if old != new:
                queue.add(request)
            elif _differ(event.parts(evictions)):
                queue.add_after(request, BURST_SECONDS)
            elif _copies_differ(*event.parts(reports_of)):
                queue.add_after(request, max(BURST_SECONDS, self._until_labelled(name)))
        self._next_in_line.reported(event, queue)


def _differ(parts: tuple[object, object]) -> bool:
    return parts[0] != parts[1]


def _copies_differ(before: Mapping[str, Report], after: Mapping[str, Report]) -> bool:
    """Whether the node has other whole models than before."""
    return any(_copy(before.get(key)) != _copy(after.get(key)) for key in changed_keys(before, after))


def _copy(report: Report | None) -> str | None:
    return report.storage_key if report is not None and report.is_complete else None
