"""Predicates and handlers of the manager's watches: which changes concern whom.

Every object of a controller's own kind is queued at the start anyway, so what its other sources list first is dropped
(`SINCE_START`). After that an event costs what it changed: a node's report concerns the models that it says something
new about, not all models of the node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from localmodel.api.names import CACHE_UID_LABEL
from localmodel.runtime.event import CreateEvent, Event, UpdateEvent
from localmodel.runtime.handler import EventHandler, RequestQueue
from localmodel.runtime.objects import DaemonSet, Object, PersistentVolume, PersistentVolumeClaim
from localmodel.runtime.predicate import Funcs, PartsChanged, Predicate
from localmodel.runtime.reconcile import Request

from .agents import APPLIED_ANNOTATION
from .known import agent_at_work, known_node
from .reports import reports_of

BURST_SECONDS: Final = 0.2
"""How long a change that concerns many objects waits for others like it, as an update of all agents."""

SINCE_START: Predicate = Funcs(on_create=lambda event: not event.is_in_initial_list)
"""Drops what existed when the watch began."""


class SpecChanged(Predicate):
    """Lets updates pass that change the specification, the finalizers, or begin the deletion; not those of a status."""

    def update(self, event: UpdateEvent[Any]) -> bool:
        return _intent(event.object_old) != _intent(event.object_new)


def _intent(obj: Object) -> object:
    return obj.metadata.generation, obj.is_deleting, obj.metadata.finalizers, obj.metadata.uid


NODE_CHANGED: Final = PartsChanged(known_node)
"""Lets updates pass that change a node's labels or readiness; not its heartbeats.

The labels that tell which models the node has do not count: they are ours, and follow what is known already."""
AGENT_CHANGED: Final = PartsChanged(agent_at_work)
"""Lets updates of agents' Pods pass that change whether an agent is at work, or where."""


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

    def __init__(self, *, namespaced: bool, until_due: Callable[[Request], float] = lambda _: 0.0) -> None:
        """`namespaced`: the LocalModelNamespaceCaches, else the LocalModelCaches. `until_due`: seconds until a cache
        has use for news; what comes in the meantime costs one run."""
        self._namespaced = namespaced
        self._until_due = until_due

    def handle(self, event: Event[Any], queue: RequestQueue) -> None:
        before, after = event.parts(reports_of)
        for key in changed_keys(before, after):
            request = Request.parse(key)
            if bool(request.namespace) == self._namespaced:
                queue.add_after(request, self._until_due(request))


def changed_keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The keys of the parts that came, went or changed, sorted."""
    changed = [key for key, part in after.items() if (old := before.get(key)) is not part and old != part]
    return sorted(changed + [key for key in before if key not in after])


def keys_of(objects: Iterable[Object]) -> list[Request]:
    """The requests of the objects themselves."""
    return [obj.key for obj in objects]
