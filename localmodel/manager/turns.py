"""Which events concern which nodes: `EnqueueNextInLine`, when a slot of a wave becomes free (see `waves`), and
`EnqueueNodeReported`, when a node says something new.

An event that frees no slot costs a look at the one object that it is about.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from localmodel.api import LocalModelNode, LocalModelNodeGroup
from localmodel.runtime.cache import KindNotServedError
from localmodel.runtime.event import DeleteEvent, Event, UpdateEvent
from localmodel.runtime.handler import EventHandler, RequestQueue
from localmodel.runtime.objects import Node, Pod
from localmodel.runtime.predicate import AnnotationChanged, GenerationChanged
from localmodel.runtime.reconcile import Reconciler, Request

from .agentpods import is_at_work
from .reports import complete_copies, evictions, unfinished_groups
from .watching import BURST_SECONDS
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
        try:
            self._handle(event, queue)
        except KindNotServedError:
            return  # every node reads that kind in its run, and is tried again until it is served

    def _handle(self, event: Event[Any], queue: RequestQueue) -> None:
        old, new = _states(event)
        if isinstance(old or new, LocalModelNode):
            self._reported(old, new, queue)
        elif isinstance(old or new, Node):
            if old is not None and old.is_ready and not (new is not None and new.is_ready):
                self._wake(self._groups_of(old.name), queue)
        else:
            self._agent_changed(old, new, queue)

    def _reported(self, old: LocalModelNode | None, new: LocalModelNode | None, queue: RequestQueue) -> None:
        node = old or new
        assert node is not None
        before = self._waves.admitted_groups(node.name)
        if old is not None:
            before |= unfinished_groups(old)
            if new is None or new.metadata.uid != old.metadata.uid:
                self._waves.forget(old.name, old.metadata.uid)
        if before:
            self._wake(before - (unfinished_groups(new) if new is not None else frozenset()), queue)

    def _agent_changed(self, old: Pod | None, new: Pod | None, queue: RequestQueue) -> None:
        before, after = old is not None and is_at_work(old), new is not None and is_at_work(new)
        agent = old or new
        if before == after or agent is None or not agent.spec.node_name:
            return
        queue.add(Request("", agent.spec.node_name))
        if before:
            self._wake(self._groups_of(agent.spec.node_name), queue)

    def _groups_of(self, node: str) -> frozenset[str]:
        found = self._reconciler.client.find(LocalModelNode, node)
        return self._waves.admitted_groups(node) | (unfinished_groups(found) if found is not None else frozenset())

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

    Mere progress is nothing to it. It calls the other handler itself: each source of a kind decodes every report anew.
    """

    def __init__(self, next_in_line: EnqueueNextInLine, until_labelled: Callable[[str], float]) -> None:
        """`until_labelled`: seconds until that node's labels may be patched again. Copies that arrive in the meantime
        cost one run."""
        self._next_in_line = next_in_line
        self._until_labelled = until_labelled

    def handle(self, event: Event[Any], queue: RequestQueue) -> None:
        if not isinstance(event, UpdateEvent) or _PREDICATE.update(event):
            queue.add((event.object_new if isinstance(event, UpdateEvent) else event.object).key)
        else:
            self._reported(event.object_old, event.object_new, queue)
        self._next_in_line.handle(event, queue)

    def _reported(self, old: LocalModelNode, new: LocalModelNode, queue: RequestQueue) -> None:
        if evictions(old) != evictions(new):
            queue.add_after(new.key, BURST_SECONDS)
        elif complete_copies(old) != complete_copies(new):
            queue.add_after(new.key, max(BURST_SECONDS, self._until_labelled(new.name)))


_PREDICATE: Final = GenerationChanged() | AnnotationChanged()


def _states(event: Event[Any]) -> tuple[Any, Any]:
    """The object before and after the event; None where it was or is not there."""
    if isinstance(event, UpdateEvent):
        return event.object_old, event.object_new
    return (event.object, None) if isinstance(event, DeleteEvent) else (None, event.object)
