"""`Writer`: one attempt at a write, from the object a client sent to the commit.

The order is kube-apiserver's: prune and default, note who owns what, mutating admission, what the server itself sets,
validation, validating admission, commit. The commit is conditional on the object being the one the attempt began with;
the registry above decides what to do when it is not (RevisionMismatchError).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec

from localmodel.runtime.client import Propagation, WriteOptions
from localmodel.runtime.clock import Clock
from localmodel.runtime.errors import ApiError
from localmodel.runtime.objects import GroupVersionKind

from . import metadata as meta
from .answers import bad_request, forbidden_value
from .apply import in_force, track_update
from .checking import (
    faults_of,
    is_accepted,
    metadata_faults,
    normalise,
    refuse,
    tell_first_of_decoding,
    warn,
    warn_of_owners,
)
from .definitions import NOBODY, AdmissionAttributes, AdmissionPlugin, Json, ResourceDefinition
from .merging import is_unchanged, merge, share_equal, spec_changed, unknown_status
from .statuspatch import patch_status
from .store import Entry, RevisionMismatchError, VersionedStore
from .writerequest import WriteRequest, Written


class Writer:
    """Carries out attempts. `admission` and `validating` are the registry's lists, which may change."""

    def __init__(
        self,
        store: VersionedStore,
        clock: Clock,
        admission: Sequence[AdmissionPlugin],
        validating: Sequence[AdmissionPlugin],
    ) -> None:
        self._store, self._clock = store, clock
        self._admission, self._validating = admission, validating

    def seed(self, definition: ResourceDefinition, obj: Json) -> Written:
        """Stores an object as a test wants it; the server's fields are filled in where they are missing."""
        given = obj["metadata"]
        request = WriteRequest(definition, given.get("namespace", ""), given.get("name", ""), WriteOptions(), NOBODY)
        faults = meta.name_faults(given, (definition.validate_name or meta.dns1123_subdomain)(request.name))
        if (
            given.get("deletionTimestamp")
            and not given.get("finalizers")
            and not given.get("deletionGracePeriodSeconds")
        ):
            why = "an object that is being deleted exists only while it has finalizers"
            faults.append(forbidden_value("metadata.deletionTimestamp", why))
        refuse(request, faults)
        fresh: Json = {}
        meta.initialise(fresh, self._clock.now(), generation=definition.generation)
        obj["metadata"] = {**fresh, **given}
        stored = _Stored(definition, obj)
        entry = self._store.put(definition.resource, request.namespace, request.name, stored.encode)
        return request.done(definition.present(entry.value), created=True)

    def create(self, request: WriteRequest, obj: Json) -> Written:
        """Raises RevisionMismatchError if the object exists by now."""
        definition = request.definition
        if definition.status_subresource and not definition.status_on_create:
            request.unknown = unknown_status(definition, {}, obj)
            obj.pop("status", None)
        normalise(request, obj, None)
        obj["metadata"]["managedFields"] = in_force(obj["metadata"].get("managedFields"), None)
        now = self._clock.now()
        self._record_owners(request, None, obj, now)
        faults = meta.generation_faults(obj["metadata"])
        meta.initialise(obj["metadata"], now, generation=definition.generation)
        obj = self._mutated(request, obj)
        metadata = obj["metadata"]
        if definition.prepare:
            definition.prepare(obj, None)
        refuse(request, faults + metadata_faults(request, metadata) + faults_of(request, obj, None))
        warn(request, obj, None)
        self._admitted(request, obj, None, self._validating)
        return request.done(self._commit(request, obj, expected=0), created=True)

    def replace(self, request: WriteRequest, entry: Entry, base: Json, new: Json) -> Written:
        """Stores `new` in place of `entry`; no write at all if nothing changed. Raises RevisionMismatchError.

        `base` is the object of `entry`, from which `new` was made and with which it may share parts.
        """
        definition = request.definition
        try:
            new = merge(request, entry, base, new)
        except ApiError as error:
            if request.managed_fields is None:
                tell_first_of_decoding(request, new, error)
            raise
        mutating = _asked(self._admission, request, "UPDATE")
        if not mutating and is_accepted(request, new, base):
            old = base
        else:
            old = definition.decode(entry.value)
            normalise(request, new, old)
        self._record_owners(request, old, new, self._clock.now())
        owners = new["metadata"].get("managedFields")
        admitted = self._admitted(request, new, old, mutating)
        if admitted is not new:
            # What admission made of it may reach no further than what the client sent.
            admitted["metadata"] |= {"resourceVersion": str(entry.revision), "uid": old["metadata"].get("uid")}
            new = merge(request, entry, old, admitted)
            new["metadata"]["managedFields"] = owners
            if owners is None:
                del new["metadata"]["managedFields"]
        metadata, before = new["metadata"], old["metadata"]
        faults = meta.immutable_faults(metadata, before)
        meta.keep_server_fields(metadata, before)
        if definition.prepare:
            definition.prepare(new, old)
        share_equal(new, old)
        if definition.generation and spec_changed(definition, new, old):
            metadata["generation"] = int(before.get("generation") or 0) + 1
        faults += meta.change_faults(metadata, before, builtin=definition.strategic)
        if definition.strategic:
            faults += faults  # the general and the kind's own validation find the same
        warn_of_owners(request, metadata)
        refuse(request, faults + faults_of(request, new, old))
        warn(request, new, old)
        self._admitted(request, new, old, self._validating)
        if _is_released(definition, new):
            # Watchers are told of the object as it was stored, with the finalizers that this write takes away.
            self._remove(request, entry, definition.decode(entry.value))
            # The client sees what its update made, at the version that this replaced.
            return request.done(msgspec.json.encode(new), deleted=True)
        if is_unchanged(new, old):
            return request.done(definition.present(entry.value))
        return request.done(self._commit(request, new, expected=entry.revision))

    def patch_status(self, request: WriteRequest, entry: Entry, patch: Json) -> Written | None:
        """A merge patch of a status, if nothing but the status has to be looked at; else None, and nothing is done.

        Raises RevisionMismatchError.
        """
        if _asked(self._admission, request, "UPDATE") or _asked(self._validating, request, "UPDATE"):
            return None
        patched = patch_status(request, entry, patch, self._clock.now())
        if patched is None:
            return None
        if isinstance(patched, bytes):
            return request.done(patched)
        resource, expected = request.definition.resource, entry.revision
        stored = self._store.put(
            resource, entry.namespace, entry.name, patched.encode, labels=entry.labels, expected=expected
        )
        return request.done(stored.value)

    def delete(
        self, request: WriteRequest, entry: Entry, propagation: Propagation | None, grace_period: int | None
    ) -> Written:
        """Removes the object, or marks it if something still holds it. Raises RevisionMismatchError."""
        definition = request.definition
        old, new = definition.decode(entry.value), definition.decode(entry.value)
        self._admit(request, "DELETE", None, old, self._admission)
        self._admit(request, "DELETE", None, old, self._validating)
        metadata = new["metadata"]
        finalizers = metadata.get("finalizers") or []
        wanted = meta.propagation_finalizers(finalizers, propagation)
        if wanted != finalizers:
            metadata["finalizers"] = wanted
        grace = _grace_period(definition, old, grace_period)
        if grace == 0 and not _is_held(definition, new):
            if definition.grace_period:
                meta.mark_deleted(metadata, self._clock.now(), 0)
            return request.done(self._remove(request, entry, new), deleted=True)
        meta.mark_deleted(metadata, self._clock.now(), grace)
        if definition.on_deleting:
            definition.on_deleting(new)
        if is_unchanged(new, old):
            return request.done(definition.present(entry.value))
        return request.done(self._commit(request, new, expected=entry.revision))

    def admit(self, request: WriteRequest, kind: GroupVersionKind, obj: Json, old: Json | None) -> Json:
        """Asks admission about an object that is not stored as it is (a Scale, a Binding); as the plugins leave it."""
        obj = self._admitted(request, obj, old, self._admission, kind)
        return self._admitted(request, obj, old, self._validating, kind)

    def _mutated(self, request: WriteRequest, obj: Json) -> Json:
        """A new object after mutating admission, which sees no name where the server generates it, and may name it."""
        if not self._admission:
            return obj
        fixed = {key: obj["metadata"].get(key) for key in ("uid", "creationTimestamp", "generation")}
        if request.is_nameless:
            obj["metadata"].pop("name", None)
        obj = self._admitted(request, obj, None, self._admission)
        metadata = obj["metadata"]
        for field_ in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "resourceVersion"):
            metadata.pop(field_, None)
        metadata.update({key: value for key, value in fixed.items() if value is not None})
        if (metadata.get("namespace") or "") != request.namespace:
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
        # A new object may get another name on the way.
        request.name = metadata.setdefault("name", request.name)
        return obj

    @staticmethod
    def _record_owners(request: WriteRequest, old: Json | None, new: Json, now: datetime) -> None:
        managed = request.managed_fields
        if managed is None:
            managed = track_update(request.definition, old, new, request.manager("Update"), now)
        if managed:
            new["metadata"]["managedFields"] = managed
        else:
            new["metadata"].pop("managedFields", None)

    def _commit(self, request: WriteRequest, obj: Json, *, expected: int) -> bytes:
        """Stores the object unless this is a dry run; its JSON in the version of the request."""
        if request.managed_fields is not None and request.definition.drop_nulls:
            request.definition.drop_nulls(obj)  # validated with them, and without them once it is stored
        if request.options.dry_run:
            if expected == 0 and (
                entry := self._store.get(request.definition.resource, request.namespace, request.name)
            ):
                raise RevisionMismatchError(entry)
            return msgspec.json.encode(obj)
        stored = _Stored(request.definition, obj)
        entry = self._store.put(
            request.definition.resource,
            request.namespace,
            request.name,
            stored.encode,
            labels=stored.labels,
            expected=expected,
        )
        return request.definition.present(entry.value)

    def _remove(self, request: WriteRequest, entry: Entry, last: Json) -> bytes:
        if request.options.dry_run:
            return msgspec.json.encode(last)
        stored = _Stored(request.definition, last)
        gone = self._store.delete(
            request.definition.resource, entry.namespace, entry.name, stored.encode, expected=entry.revision
        )
        return request.definition.present(gone.value)

    def _admitted(
        self,
        request: WriteRequest,
        obj: Json,
        old: Json | None,
        plugins: Sequence[AdmissionPlugin],
        kind: GroupVersionKind | None = None,
    ) -> Json:
        """The object to create, or to put in place of `old`, as the plugins leave it."""
        return self._admit(request, "CREATE" if old is None else "UPDATE", obj, old, plugins, kind) or obj

    def _admit(
        self,
        request: WriteRequest,
        operation: Literal["CREATE", "UPDATE", "DELETE"],
        obj: Json | None,
        old: Json | None,
        plugins: Sequence[AdmissionPlugin],
        kind: GroupVersionKind | None = None,
    ) -> Json | None:
        asked = _asked(plugins, request, operation)
        if not asked:
            return obj
        attributes = AdmissionAttributes(
            operation=operation,
            definition=request.definition,
            namespace=request.namespace,
            name="" if request.is_nameless else request.name,
            subresource=request.subresource,
            kind=kind,
            object=obj,
            old_object=old,
            options=request.options,
            delete_options=request.delete_options,
            user=request.user,
            warnings=request.warnings,
        )
        for plugin in asked:
            plugin(attributes)
        return attributes.object


def _asked(
    plugins: Sequence[AdmissionPlugin], request: WriteRequest, operation: Literal["CREATE", "UPDATE", "DELETE"]
) -> list[AdmissionPlugin]:
    """The plugins that have something to do with such a write."""
    if request.is_admitted:
        return []
    definition, subresource = request.definition, request.subresource
    asked = []
    for plugin in plugins:
        handles = getattr(plugin, "handles", None)
        if handles is None or handles(operation, definition, subresource):
            asked.append(plugin)
    return asked


class _Stored:
    """Encodes an object for the store, in its storage version and with the revision it gets."""

    def __init__(self, definition: ResourceDefinition, obj: Json) -> None:
        gvk = definition.stored_as.gvk
        if definition.to_storage:
            obj = definition.to_storage(obj)
        head = {"apiVersion": gvk.api_version, "kind": gvk.kind, "metadata": {**obj["metadata"]}}
        self._object: Json = {**head, **obj, **head}

    @property
    def labels(self) -> dict[str, str]:
        """For the store, which keeps them."""
        return {**(self._object["metadata"].get("labels") or {})}

    def encode(self, revision: int) -> bytes:
        self._object["metadata"]["resourceVersion"] = str(revision)
        return msgspec.json.encode(self._object)


def _is_held(definition: ResourceDefinition, obj: Json) -> bool:
    """Finalizers, of the metadata or of the kind's own sort, keep the object although it is deleted."""
    return bool(obj["metadata"].get("finalizers")) or bool(definition.holds_deletion and definition.holds_deletion(obj))


def _is_released(definition: ResourceDefinition, obj: Json) -> bool:
    """A deleted object that nothing holds any more (Store.deleteWithoutFinalizers)."""
    metadata = obj["metadata"]
    if not metadata.get("deletionTimestamp") or metadata.get("deletionGracePeriodSeconds"):
        return False
    return not _is_held(definition, obj)


def _grace_period(definition: ResourceDefinition, obj: Json, requested: int | None) -> int:
    """Seconds; a second delete without a wish keeps the period of the first."""
    metadata = obj["metadata"]
    if requested is None and metadata.get("deletionTimestamp"):
        return int(metadata.get("deletionGracePeriodSeconds") or 0)
    return definition.grace_period(obj, requested) if definition.grace_period else 0
