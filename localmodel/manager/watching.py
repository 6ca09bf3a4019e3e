"""Predicates and handlers of the manager's watches: which changes concern whom.

Every object of a controller's own kind is queued at the start anyway, so what its other sources list first is dropped
(`SINCE_START`). After that an event costs what it changed: a node's report concerns the models that it says something
new about, not all models of the node.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from localmodel.api import LocalModelNode
from localmodel.api.names import CACHE_UID_LABEL, is_ready_label
from localmodel.runtime.event import CreateEvent, Event, UpdateEvent
from localmodel.runtime.handler import EventHandler, RequestQueue
from localmodel.runtime.objects import DaemonSet, Node, Object, PersistentVolume, PersistentVolumeClaim, Pod
from localmodel.runtime.predicate import Funcs, Predicate
from localmodel.runtime.reconcile import Request

from .agents import APPLIED_ANNOTATION
from .entries import key_of

BURST_SECONDS: Final = 0.2
"""How long a change of caches, groups or the like waits for others, before it queues the nodes that it concerns."""

SINCE_START: Predicate = Funcs(on_create=lambda event: not event.is_in_initial_list)
"""Drops what existed when the watch began."""


class SpecChanged(Predicate):
    """Lets updates pass that change the specification, the finalizers, or begin the deletion; not those of a status."""

    def update(self, event: UpdateEvent[Any]) -> bool:
        return _intent(event.object_old) != _intent(event.object_new)


def _intent(obj: Object) -> object:
    return obj.metadata.generation, obj.is_deleting, obj.metadata.finalizers, obj.metadata.uid


class NodeChanged(Predicate):
    """Lets updates pass that change a node's labels or readiness; not its heartbeats.

    The labels that tell which models the node has do not count: they are ours, and follow what is known already.
    """

    def update(self, event: UpdateEvent[Any]) -> bool:
        return _membership(event.object_old) != _membership(event.object_new)


def _membership(node: Node) -> object:
    labels = {name: value for name, value in node.metadata.labels.items() if not is_ready_label(name)}
    return labels, node.is_ready, node.metadata.uid


class AgentChanged(Predicate):
    """Lets updates of agents' Pods pass that change whether an agent is there, or where."""

    def update(self, event: UpdateEvent[Any]) -> bool:
        return _presence(event.object_old) != _presence(event.object_new)


def _presence(pod: Pod) -> object:
    return pod.spec.node_name, pod.is_ready, pod.is_deleting


class DaemonSetChanged(Predicate):
    """Lets updates pass that change what a DaemonSet is or whose; not those of its counts."""

    def update(self, event: UpdateEvent[Any]) -> bool:
        return _daemon_set_state(event.object_old) != _daemon_set_state(event.object_new)


def _daemon_set_state(daemon_set: DaemonSet) -> object:
    metadata = daemon_set.metadata
    applied = metadata.annotations.get(APPLIED_ANNOTATION)
    return metadata.generation, metadata.labels, metadata.owner_references, applied, daemon_set.is_deleting


_BROKEN = frozenset({"Released", "Failed", "Lost"})


class OurVolumeChanged(Predicate):
    """Lets pass what may need mending: the end of one of our volumes, its release, the loss of our label."""

    def create(self, event: CreateEvent[Any]) -> bool:  # noqa: ARG002 - made by us
        return False

    def update(self, event: UpdateEvent[Any]) -> bool:
        return _volume_state(event.object_old) != _volume_state(event.object_new)


def _volume_state(volume: Object) -> object:
    broken = isinstance(volume, PersistentVolume | PersistentVolumeClaim) and volume.status.phase in _BROKEN
    return broken, volume.is_deleting, volume.metadata.labels.get(CACHE_UID_LABEL)


class EnqueueChangedModels(EventHandler):
    """Queues the caches that a LocalModelNode says something new about."""

    def __init__(self, *, namespaced: bool) -> None:
        """`namespaced`: the LocalModelNamespaceCaches, else the LocalModelCaches."""
        self._namespaced = namespaced

    def handle(self, event: Event[Any], queue: RequestQueue) -> None:
        if isinstance(event, UpdateEvent):
            old, new = _said(event.object_old), _said(event.object_new)
            keys: Iterable[str] = [key for key in old.keys() | new.keys() if old.get(key) != new.get(key)]
        else:
            keys = _said(event.object)
        for key in sorted(keys):
            request = Request.parse(key)
            if bool(request.namespace) == self._namespaced:
                queue.add(request)


def _said(node: LocalModelNode) -> dict[str, object]:
    """What a node says about each of its models."""
    entries = {key_of(entry): entry for entry in node.spec.local_models}
    status = node.status
    return {
        key: (entries.get(key), status.model_status.get(key), status.models.get(key))
        for key in entries.keys() | status.model_status.keys() | status.models.keys()
    }


def keys_of(objects: Iterable[Object]) -> list[Request]:
    """The requests of the objects themselves."""
    return [obj.key for obj in objects]
