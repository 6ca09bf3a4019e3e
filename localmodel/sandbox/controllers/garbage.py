"""`GarbageCollector`: deletes objects whose owners are gone, and carries out foreground and orphaning deletion.

It watches the metadata of all kinds in use, also of custom ones that are defined later. A request names one object of
one kind (`ResourceKey`); a change of an object enqueues it, its disappearance enqueues what it owned (found by an index
over owner uids) and its owners, which may wait for it in the foreground. Whether an owner is gone is asked of the API
server, never concluded from the cache.
Rules: https://kubernetes.io/docs/concepts/architecture/garbage-collection/ (owner references, propagation).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import structlog

from localmodel.runtime.cache import Cache
from localmodel.runtime.client import Preconditions, Propagation
from localmodel.runtime.controller import Controller
from localmodel.runtime.errors import ConflictError, NotFoundError
from localmodel.runtime.event import DeleteEvent, Event
from localmodel.runtime.handler import EventHandler, RequestQueue
from localmodel.runtime.objects import (
    CustomResourceDefinition,
    Object,
    ObjectKey,
    OwnerReference,
    PartialObjectMetadata,
    RESTMapping,
)
from localmodel.runtime.reconcile import Reconciler, Request, Result
from localmodel.runtime.source import Kind

from .kinds import served_kinds

if TYPE_CHECKING:
    from localmodel.runtime.builder import Builder

log = structlog.get_logger(__name__)

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
OWNER_INDEX = "metadata.ownerReferences.uid"
UID_INDEX = "metadata.uid"


class ResourceKey(ObjectKey, frozen=True, order=True, gc=False):
    """An object of one kind: `resource` is `plural.group`."""

    resource: str = ""

    def __str__(self) -> str:
        return f"{self.resource} {self.namespace}/{self.name}" if self.namespace else f"{self.resource} {self.name}"


@dataclass(frozen=True, slots=True)
class Owners:
    """The owner references of an object, by what became of the owner."""

    solid: tuple[OwnerReference, ...]
    """Still there."""
    waiting: tuple[OwnerReference, ...]
    """Being deleted in the foreground: waits for its dependents."""
    dangling: tuple[OwnerReference, ...]
    """Gone, or another object of that name."""


class GarbageCollector(Reconciler):
    """Looks after the kinds it is given; an owner of another kind or version is taken to be there."""

    def __init__(self, mappings: Sequence[RESTMapping]) -> None:
        self._types = {mapping.group_resource: PartialObjectMetadata.of(mapping) for mapping in mappings}
        """By `plural.group`. This dictionary and the next are replaced, never changed: other threads iterate."""
        self._by_kind = {(kind.mapping.gvk.group, kind.mapping.gvk.kind): kind for kind in self._types.values()}
        self._cache: Cache | None = None
        """Holds the indices; a kind that is not served yet is simply not in it."""
        self._told: dict[str, set[str]] = {}
        """By a dependent's uid: the uids of owners in other namespaces that an event has told of."""

    def look_after(self, mapping: RESTMapping, cache: Cache, controller: Controller) -> None:
        """Adds a kind while the collector runs; does nothing for a known one."""
        if mapping.group_resource in self._types:
            return
        kind = PartialObjectMetadata.of(mapping)
        _index(cache, kind)
        self._types = {**self._types, mapping.group_resource: kind}
        self._by_kind = {**self._by_kind, (mapping.gvk.group, mapping.gvk.kind): kind}
        controller.watch(Kind(kind, _Enqueue(self, mapping.group_resource)))

    @property
    def kinds(self) -> Iterable[type[PartialObjectMetadata]]:
        return self._types.values()

    def index(self, cache: Cache) -> None:
        """Adds the indices to the cache; before it starts."""
        self._cache = cache
        for kind in self.kinds:
            _index(cache, kind)

    def setup(self, builder: Builder) -> None:
        builder.named("garbage-collector-controller")
        for resource, kind in self._types.items():
            builder.watches(kind, _Enqueue(self, resource))

    def reconcile(self, request: Request) -> Result | None:
        if not isinstance(request, ResourceKey):
            raise TypeError(f"{request!r} does not say which kind it is of: enqueue a ResourceKey")
        obj = self.live.find(self._types[request.resource], request.name, namespace=request.namespace)
        if obj is None:
            return None
        if not obj.is_deleting:
            self._attempt_to_delete(obj)
        elif FOREGROUND in obj.metadata.finalizers:
            return self._delete_in_foreground(obj)
        elif ORPHAN in obj.metadata.finalizers:
            self._orphan(obj)
        return None

    # one object -----------------------------------------------------------------------------------------------

    def _attempt_to_delete(self, obj: PartialObjectMetadata) -> None:
        """Deletes an object without a living owner; else drops its references to owners that are gone."""
        if not obj.metadata.owner_references:
            return
        if not obj.namespace and (namespaced := self._namespaced_owners(obj)):
            # Where such an owner would be is not known: nothing can be said of it, and nothing is done.
            for kind, reference in namespaced:
                self._tell_if_elsewhere(obj, kind, reference)
            return
        owners = self._classify(obj)
        if owners.solid:
            if owners.dangling or owners.waiting:
                self._keep_only(obj, owners.solid)
            return
        if owners.waiting and any(True for _ in self.dependents(obj.metadata.uid)):
            self._delete(obj, "Foreground")
        else:
            self._delete(obj, "Background")

    def _classify(self, obj: PartialObjectMetadata) -> Owners:
        solid, waiting, dangling = [], [], []
        for reference in obj.metadata.owner_references:
            kind = self._by_kind.get((reference.group, reference.kind))
            if kind is None or not self._is_served(kind, reference):
                solid.append(reference)
                continue
            namespace = obj.namespace if kind.mapping.namespaced else ""
            owner = self._owner(kind, reference, namespace)
            if owner is None:
                self._tell_if_elsewhere(obj, kind, reference)
                dangling.append(reference)
            elif owner.is_deleting and FOREGROUND in owner.metadata.finalizers:
                waiting.append(reference)
            else:
                solid.append(reference)
        return Owners(tuple(solid), tuple(waiting), tuple(dangling))

    def _owner(
        self, kind: type[PartialObjectMetadata], reference: OwnerReference, namespace: str
    ) -> PartialObjectMetadata | None:
        """The owner with the reference's uid; a cached one that is not being deleted is believed."""
        if self._is_cached(kind):
            cached = self.client.find(kind, reference.name, namespace=namespace)
            if cached is not None and cached.metadata.uid == reference.uid and not cached.is_deleting:
                return cached
        live = self.live.find(kind, reference.name, namespace=namespace)
        return live if live is not None and live.metadata.uid == reference.uid else None

    def _is_served(self, kind: type[PartialObjectMetadata], reference: OwnerReference) -> bool:
        """Whether the owner can be asked for at all in the reference's version; else nothing is known of it, and its
        dependents stay, as with kube-controller-manager, which has no mapping for it."""
        mapping = kind.mapping
        if reference.api_version == mapping.gvk.api_version:
            return True
        gvk = replace(mapping.gvk, version=reference.api_version.rpartition("/")[2])
        try:
            self.live.list(PartialObjectMetadata.of(replace(mapping, gvk=gvk)), limit=1)
        except NotFoundError:
            return False
        return True

    def _namespaced_owners(
        self, obj: PartialObjectMetadata
    ) -> list[tuple[type[PartialObjectMetadata], OwnerReference]]:
        found = [(self._by_kind.get((r.group, r.kind)), r) for r in obj.metadata.owner_references]
        return [(kind, reference) for kind, reference in found if kind is not None and kind.mapping.namespaced]

    def _tell_if_elsewhere(
        self, obj: PartialObjectMetadata, kind: type[PartialObjectMetadata], reference: OwnerReference
    ) -> None:
        """An event, once, about an owner that is there, but in a namespace where it cannot own the object."""
        told = self._told.get(obj.metadata.uid, set())
        if reference.uid in told or not self._is_elsewhere(obj, kind, reference):
            return
        self._told[obj.metadata.uid] = told | {reference.uid}
        coordinates = (
            f"[{reference.api_version}/{reference.kind}, namespace: {obj.namespace}, "
            f"name: {reference.name}, uid: {reference.uid}]"
        )
        self.recorder.event(
            obj,
            "Warning",
            "OwnerRefInvalidNamespace",
            f'ownerRef {coordinates} does not exist in namespace "{obj.namespace}"',
        )

    def _is_elsewhere(
        self, obj: PartialObjectMetadata, kind: type[PartialObjectMetadata], reference: OwnerReference
    ) -> bool:
        if not kind.mapping.namespaced:
            return False
        found = self.client.list(kind, fields={UID_INDEX: reference.uid}) if self._is_cached(kind) else []
        if not found and not obj.namespace:
            # The object stays, and no later event brings it here: the cache may be behind with the owner's kind.
            try:
                found = self.live.list(kind, fields={"metadata.name": reference.name})
            except NotFoundError:
                log.debug("kind of an owner is not served", kind=reference.kind, object=str(obj))
        return any(o.metadata.uid == reference.uid and o.namespace != obj.namespace for o in found)

    def forget(self, uid: str) -> None:
        """An object is gone, and what was told of it."""
        self._told.pop(uid, None)

    def _delete(self, obj: PartialObjectMetadata, propagation: Propagation) -> None:
        """Only this very object, as it was seen: it may have found another owner since."""
        if FOREGROUND in obj.metadata.finalizers:
            propagation = "Foreground"
        elif ORPHAN in obj.metadata.finalizers:
            propagation = "Orphan"
        seen = Preconditions(uid=obj.metadata.uid, resource_version=obj.metadata.resource_version)
        try:
            self.client.delete(obj, propagation=propagation, preconditions=seen)
        except NotFoundError:
            return
        log.info("deleted object without owner", object=str(obj), propagation=propagation)

    # deletion with dependents ---------------------------------------------------------------------------------

    def _delete_in_foreground(self, obj: PartialObjectMetadata) -> Result | None:
        """Deletes the dependents; the owner goes once none that blocks it is left."""
        blocked = False
        for dependent in self.dependents(obj.metadata.uid):
            blocked = blocked or any(
                reference.uid == obj.metadata.uid and reference.block_owner_deletion
                for reference in dependent.metadata.owner_references
            )
            live = self.live.find(type(dependent), dependent.name, namespace=dependent.namespace)
            if live is not None and live.metadata.uid == dependent.metadata.uid and not live.is_deleting:
                self._attempt_to_delete(live)
        if blocked:
            return Result(requeue_after=1.0)  # a dependent's end enqueues the owner; this is for a missed one
        self._remove_finalizer(obj, FOREGROUND)
        return None

    def _orphan(self, obj: PartialObjectMetadata) -> None:
        """Asks the API server for the dependents: one that the cache does not know yet would be deleted afterwards."""
        for dependent in self._live_dependents(obj):
            others = tuple(r for r in dependent.metadata.owner_references if r.uid != obj.metadata.uid)
            self._keep_only(dependent, others)
        self._remove_finalizer(obj, ORPHAN)

    def _keep_only(self, obj: PartialObjectMetadata, owners: tuple[OwnerReference, ...]) -> None:
        self._patch(obj, {"ownerReferences": [owner.to_dict() for owner in owners] or None})

    def _remove_finalizer(self, obj: PartialObjectMetadata, finalizer: str) -> None:
        self._patch(obj, {"finalizers": [name for name in obj.metadata.finalizers if name != finalizer] or None})

    def _patch(self, obj: PartialObjectMetadata, metadata: dict[str, Any]) -> None:
        """Changes metadata if the object is still as it was seen; a conflict runs the request again."""
        locked = {"resourceVersion": obj.metadata.resource_version, "uid": obj.metadata.uid}
        try:
            self.client.patch(obj, {"metadata": metadata | locked})
        except NotFoundError:
            log.debug("object went before its metadata was changed", object=str(obj))
        except ConflictError:
            if self.live.find(type(obj), obj.name, namespace=obj.namespace) is not None:
                raise

    # the graph ------------------------------------------------------------------------------------------------

    def dependents(self, uid: str) -> Iterable[PartialObjectMetadata]:
        """What the cache knows to be owned by the object of this uid."""
        for kind in self.kinds:
            if self._is_cached(kind):
                yield from self.client.list(kind, fields={OWNER_INDEX: uid})

    def _live_dependents(self, owner: PartialObjectMetadata) -> Iterable[PartialObjectMetadata]:
        for kind in self.kinds:
            try:
                objects = self.live.list(kind, namespace=owner.namespace)
            except NotFoundError:  # the kind is not served
                continue
            yield from (obj for obj in objects if owner.metadata.uid in owner_uids(obj))

    def _is_cached(self, kind: type[PartialObjectMetadata]) -> bool:
        return self._cache is not None and self._cache.has_synced(kind)

    def key_of(self, obj: Object) -> ResourceKey:
        return ResourceKey(obj.namespace, obj.name, obj.mapping.group_resource)

    def owners_of(self, obj: Object) -> Iterable[ResourceKey]:
        """The owners of the kinds looked after."""
        for reference in obj.metadata.owner_references:
            kind = self._by_kind.get((reference.group, reference.kind))
            if kind is not None and (obj.namespace or not kind.mapping.namespaced):
                namespace = obj.namespace if kind.mapping.namespaced else ""
                yield ResourceKey(namespace, reference.name, kind.mapping.group_resource)


class CustomKindReconciler(Reconciler):
    """Hands custom kinds that are defined after the start to the garbage collector."""

    def __init__(self, look_after: Callable[[RESTMapping], None]) -> None:
        self._look_after = look_after

    def setup(self, builder: Builder) -> None:
        builder.named("garbage-collector-kinds").for_(CustomResourceDefinition)

    def reconcile(self, request: Request) -> Result | None:
        definition = self.client.find(CustomResourceDefinition, request.name)
        for mapping in served_kinds(definition) if definition else ():
            self._look_after(mapping)
        return None


class _Enqueue(EventHandler):
    """An object that may have to go, or wait, is enqueued; when one is gone, its dependents and its owners."""

    def __init__(self, collector: GarbageCollector, resource: str) -> None:
        self._collector = collector
        self._resource = resource

    def handle(self, event: Event[Any], queue: RequestQueue) -> None:
        if isinstance(event, DeleteEvent):
            self._collector.forget(event.object.metadata.uid)
            for dependent in self._collector.dependents(event.object.metadata.uid):
                queue.add(self._collector.key_of(dependent))
            for owner in self._collector.owners_of(event.object):
                queue.add(owner)
            return
        obj = event.object_new if hasattr(event, "object_new") else event.object
        waits = obj.is_deleting and {FOREGROUND, ORPHAN} & set(obj.metadata.finalizers)
        if obj.metadata.owner_references or waits:
            queue.add(ResourceKey(obj.namespace, obj.name, self._resource))


def owner_uids(obj: Object) -> Iterable[str]:
    """The index function of OWNER_INDEX."""
    return [reference.uid for reference in obj.metadata.owner_references]


def _index(cache: Cache, kind: type[PartialObjectMetadata]) -> None:
    cache.index_field(kind, OWNER_INDEX, owner_uids)
    if kind.mapping.namespaced:
        cache.index_field(kind, UID_INDEX, lambda obj: [obj.metadata.uid])
