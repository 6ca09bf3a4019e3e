"""`Registry`: the semantics of Kubernetes objects on a `VersionedStore`, without HTTP.

`FakeClient` and the embedded API server are both thin layers on it, so that a test in memory and a run against the
server see the same behaviour. A write reads the stored object, computes what shall be (`Writer`), and commits it on
condition that the object is still the one it read; otherwise it starts over, unless the client named the version it had
seen. So nothing runs under a lock.

Source of the rules: k8s.io/apiserver/pkg/registry (rest/create.go, update.go, delete.go, generic/registry/store.go).
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any

import msgspec

from localmodel.runtime.client import (
    APPLY_PATCH,
    DEFAULT_WRITE,
    MERGE_PATCH,
    STRATEGIC_MERGE_PATCH,
    PatchType,
    Preconditions,
    Propagation,
    WriteOptions,
)
from localmodel.runtime.clock import Clock, RealClock
from localmodel.runtime.errors import ApiError, BadRequestError, NotFoundError, RequestEntityTooLargeError
from localmodel.runtime.listwatch import ListOptions, WatchEvent, WatchOptions
from localmodel.runtime.objects import GroupVersionKind

from .answers import (
    already_exists,
    bad_request,
    conflict,
    forbidden_value,
    invalid_options,
    nameless,
    not_found,
    required,
    too_large_resource_version,
    uid_conflict,
)
from .checking import tell_first_of_decoding
from .clientsideapply import apply_as
from .definitions import NOBODY, AdmissionPlugin, Json, ResourceDefinition, UserInfo
from .identity import check_identity, check_patched, check_preconditions
from .listing import Page, list_objects, parse_resource_version
from .merging import sent_version
from .metadata import generated_name
from .patch import check_declared, check_patch, patched
from .selection import Selection
from .store import Entry, RevisionMismatchError, VersionedStore
from .watching import Watch
from .writerequest import WriteRequest, Written
from .writing import Writer

_GENERATE_NAME_TRIES = 8
"""KEP-4420."""


class Registry:
    """Objects of the registered resources. Thread-safe. Objects given to it become its own: do not change them."""

    def __init__(self, store: VersionedStore | None = None, *, clock: Clock | None = None) -> None:
        self.store = store or VersionedStore()
        self.clock: Clock = clock or RealClock()
        self.admission: list[AdmissionPlugin] = []
        """Run before validation, in order; may change the object."""
        self.validating_admission: list[AdmissionPlugin] = []
        """Run after validation, in order; only refuse."""
        self._writer = Writer(self.store, self.clock, self.admission, self.validating_admission)
        self._lock = threading.Lock()
        # By (group, version, plural). Replaced as a whole, so that readers need no lock.
        self._definitions: dict[tuple[str, str, str], ResourceDefinition] = {}
        self._watches: weakref.WeakSet[Watch] = weakref.WeakSet()

    def register(self, definition: ResourceDefinition) -> None:
        """Serves a resource in one version; replaces an earlier definition of it."""
        gvk = definition.mapping.gvk
        with self._lock:
            self._definitions = {**self._definitions, (gvk.group, gvk.version, definition.mapping.plural): definition}

    def unregister_version(self, definition: ResourceDefinition) -> None:
        """Serves a resource no more in this version; its other versions go on. Its watches: see `finish_watches`."""
        with self._lock:
            left = {key: known for key, known in self._definitions.items() if known is not definition}
            self._definitions = left

    def unregister(self, group_resource: str) -> None:
        """Serves a resource no more, in any version, and ends its watches. Its objects stay in the store."""
        with self._lock:
            left = {k: d for k, d in self._definitions.items() if d.group_resource != group_resource}
            self._definitions = left
        self.finish_watches(group_resource)

    def finish_watches(self, group_resource: str) -> None:
        """Ends the running watches of a resource, each behind the changes that it still has to tell of."""
        with self._lock:
            watches = list(self._watches)
        for watch in watches:
            if watch.group_resource == group_resource:
                watch.finish()

    def lookup(self, group: str, version: str, plural: str) -> ResourceDefinition | None:
        return self._definitions.get((group, version, plural))

    def definitions(self) -> list[ResourceDefinition]:
        """In the order of registration."""
        return list(self._definitions.values())

    def get_raw(
        self, definition: ResourceDefinition, namespace: str, name: str, *, resource_version: str = ""
    ) -> bytes:
        """The object's JSON. Raises NotFoundError, ServerTimeoutError (not yet at `resource_version`)."""
        wanted = parse_resource_version(resource_version)
        if wanted > self.store.revision:
            raise too_large_resource_version(wanted, self.store.revision)
        return definition.present(self._entry(definition, namespace, name).value)

    def get(self, definition: ResourceDefinition, namespace: str, name: str, *, resource_version: str = "") -> Json:
        """The object, as a private copy. Raises like `get_raw`."""
        obj: Json = msgspec.json.decode(self.get_raw(definition, namespace, name, resource_version=resource_version))
        return obj

    def list(self, definition: ResourceDefinition, options: ListOptions | None = None) -> Page:
        """Raises BadRequestError, InvalidError (options), ExpiredError, ServerTimeoutError (future version)."""
        return list_objects(self.store, definition, options or ListOptions())

    def watch(
        self,
        definition: ResourceDefinition,
        options: WatchOptions | None = None,
        on_event: Callable[[WatchEvent], None] | None = None,
        *,
        on_end: Callable[[], None] | None = None,
    ) -> Watch:
        """Begins a watch; see `Watch` for its two ways of receiving.

        Raises BadRequestError (selectors), ExpiredError (too old), ServerTimeoutError (future version).
        """
        options = options or WatchOptions()
        selection = Selection.of(definition, options.namespace, options.label_selector, options.field_selector)
        watch = Watch(self.store, selection, options, clock=self.clock, on_event=on_event, on_end=on_end)
        with self._lock:
            self._watches.add(watch)
        watch.start()
        return watch

    def end_watches(self, group_resource: str = "", error: Exception | None = None) -> int:
        """Ends the running watches of one resource, or all; their number. Readers get `error`, or a quiet end."""
        with self._lock:
            watches = list(self._watches)
        ended = [w for w in watches if not w.ended and group_resource in ("", w.group_resource)]
        for watch in ended:
            watch.end(error)
        return len(ended)

    def seed(self, definition: ResourceDefinition, obj: Json) -> Written:
        """Stores an object as it is, with status, finalizers and deletion timestamp; fills in what is missing.

        For the state that a test begins with. Raises InvalidError for an object that could not exist: being deleted
        without a finalizer. Replaces an object that is there.
        """
        metadata = obj.setdefault("metadata", {})
        check_identity(definition, _scope(definition, metadata.get("namespace") or ""), "", obj)
        return self._writer.seed(definition, obj)

    def create(
        self,
        definition: ResourceDefinition,
        namespace: str,
        obj: Json,
        options: WriteOptions = DEFAULT_WRITE,
        *,
        user: UserInfo = NOBODY,
    ) -> Written:
        """Raises AlreadyExistsError, InvalidError, BadRequestError, and what admission raises."""
        namespace = _scope(definition, namespace)
        metadata = check_identity(definition, namespace, "", obj)
        version = metadata.get("resourceVersion") or ""
        if version.isdigit() and version.strip("0"):
            raise bad_request("resourceVersion should not be set on objects to be created")
        base = "" if metadata.get("name") else str(metadata.get("generateName") or "")
        write = WriteRequest(definition, namespace, str(metadata.get("name") or ""), options, user)
        write.is_nameless = bool(base)
        for _ in range(_GENERATE_NAME_TRIES if base else 1):
            if base:
                write.name = metadata["name"] = generated_name(base)
            try:
                # A retry begins with what the client sent.
                return self._writer.create(write, {**obj, "metadata": dict(metadata)})
            except RevisionMismatchError:
                continue
        there = self.store.get(definition.resource, namespace, write.name)
        terminating = there is not None and bool(definition.decode(there.value)["metadata"].get("deletionTimestamp"))
        raise already_exists(definition, write.name, generated=bool(base), terminating=terminating)

    def update(
        self,
        definition: ResourceDefinition,
        namespace: str,
        name: str,
        obj: Json,
        options: WriteOptions = DEFAULT_WRITE,
        *,
        subresource: str = "",
        user: UserInfo = NOBODY,
        is_admitted: bool = False,
    ) -> Written:
        """PUT. Raises NotFoundError, ConflictError (stale), InvalidError, BadRequestError, what admission raises."""
        namespace = _scope(definition, namespace)
        metadata = check_identity(definition, namespace, name, obj)
        write = WriteRequest(definition, namespace, name, options, user, subresource, is_admitted=is_admitted)

        def change(_: Json) -> Json:
            return {**obj, "metadata": dict(metadata)}

        def create() -> Json:
            if not definition.allow_create_on_update or subresource:
                uid = metadata.get("uid")
                raise uid_conflict(definition, namespace, name, uid, "") if uid else not_found(definition, name)
            if sent_version(metadata):
                raise conflict(definition, name)
            return {**obj, "metadata": dict(metadata)}

        try:
            return self._modify(write, change, create)
        except ApiError as error:
            tell_first_of_decoding(write, {**obj, "metadata": metadata}, error)
            raise

    def patch(
        self,
        definition: ResourceDefinition,
        namespace: str,
        name: str,
        patch: Any,
        patch_type: PatchType,
        options: WriteOptions = DEFAULT_WRITE,
        *,
        force: bool = False,
        subresource: str = "",
        owned_through: str = "",
        user: UserInfo = NOBODY,
        is_admitted: bool = False,
    ) -> Written:
        """Applies a patch to the newest version, again if that has changed meanwhile, unless the patch names one.

        Server-side apply (APPLY_PATCH) creates what is missing; `force` takes fields over from other managers.
        `owned_through` is the subresource that the manager is noted with, if it is not the one that is written.
        Raises NotFoundError, ConflictError, InvalidError, BadRequestError, UnsupportedMediaTypeError.
        """
        namespace = _scope(definition, namespace)
        try:
            check_patch(definition, patch, patch_type)
        except (BadRequestError, RequestEntityTooLargeError):
            if patch_type != APPLY_PATCH:
                self._entry(definition, namespace, name)  # which is looked for before the patch is read
            raise
        write = WriteRequest(
            definition,
            namespace,
            name,
            options,
            user,
            subresource,
            owned_through=owned_through,
            is_admitted=is_admitted,
        )
        if patch_type == APPLY_PATCH:
            return self._apply(write, patch, force=force)
        if force:
            why = forbidden_value("force", "may not be specified for non-apply patch")
            raise invalid_options("PatchOptions", [why])
        write.is_patch = True

        def change(obj: Json) -> Json:
            new = patched(definition, obj, patch, patch_type)
            if patch_type == STRATEGIC_MERGE_PATCH:
                # It is applied to a typed object, which has no other kind than its own.
                new |= {key: obj[key] for key in ("apiVersion", "kind") if key in obj}
            check_patched(definition, name, new, stored=obj["metadata"])
            check_identity(definition, namespace, name, new, stored=obj["metadata"])
            return new

        is_quick = patch_type == MERGE_PATCH and subresource == "status" and not options.dry_run
        return self._modify(write, change, None, status_patch=patch if is_quick else None)

    def delete(
        self,
        definition: ResourceDefinition,
        namespace: str,
        name: str,
        *,
        preconditions: Preconditions | None = None,
        propagation: Propagation | None = None,
        grace_period_seconds: int | None = None,
        options: WriteOptions = DEFAULT_WRITE,
        user: UserInfo = NOBODY,
        is_admitted: bool = False,
        in_collection: bool = False,
    ) -> Written:
        """Deletes at once, or marks the object and leaves it to finalizers and the kubelet (`deleted` is False).

        `propagation` None means the default, Background. Raises NotFoundError, ConflictError (preconditions).
        """
        write = WriteRequest(
            definition,
            _scope(definition, namespace),
            name,
            options,
            user,
            delete_options=_delete_options(preconditions, propagation, grace_period_seconds),
            is_admitted=is_admitted,
            is_nameless=in_collection,
        )
        while True:
            entry = self._entry(definition, namespace, name)
            check_preconditions(definition, entry, preconditions)
            try:
                return self._writer.delete(write, entry, propagation, grace_period_seconds)
            except RevisionMismatchError:
                continue

    def delete_collection(
        self,
        definition: ResourceDefinition,
        list_options: ListOptions | None = None,
        *,
        propagation: Propagation | None = None,
        grace_period_seconds: int | None = None,
        options: WriteOptions = DEFAULT_WRITE,
        user: UserInfo = NOBODY,
    ) -> tuple[Written, ...]:
        """Deletes what a list with these options finds, and gives it as it was; what has gone meanwhile is left out."""
        found = []
        for raw in self.list(definition, list_options).items:
            metadata = msgspec.json.decode(raw)["metadata"]
            try:
                written = self.delete(
                    definition,
                    metadata.get("namespace", ""),
                    metadata["name"],
                    propagation=propagation,
                    grace_period_seconds=grace_period_seconds,
                    options=options,
                    user=user,
                    in_collection=True,
                )
            except NotFoundError:
                continue
            found.append(Written(raw, deleted=written.deleted))
        return tuple(found)

    def admit(
        self,
        definition: ResourceDefinition,
        namespace: str,
        name: str,
        subresource: str,
        kind: GroupVersionKind,
        obj: Json,
        old: Json | None = None,
        options: WriteOptions = DEFAULT_WRITE,
        *,
        user: UserInfo = NOBODY,
    ) -> Json:
        """Asks admission about the object of a subresource that is no part of its parent: a create, or an update of
        `old`. The object as admission leaves it; the write that follows is then `is_admitted`."""
        write = WriteRequest(definition, _scope(definition, namespace), name, options, user, subresource)
        return self._writer.admit(write, kind, obj, old)

    def _entry(self, definition: ResourceDefinition, namespace: str, name: str) -> Entry:
        entry = self.store.get(definition.resource, _scope(definition, namespace), name)
        if entry is None:
            raise not_found(definition, name)
        return entry

    def _apply(self, write: WriteRequest, patch: Json, *, force: bool) -> Written:
        if not write.options.field_manager:
            raise invalid_options("PatchOptions", [required("fieldManager", "is required for apply patch")])
        manager = write.manager("Apply")
        if patch.get("metadata") is None:
            patch = {**patch, "metadata": {}}

        def applied(live: Json | None) -> Json:
            check_declared(write.definition, patch)
            result = apply_as(write.definition, live, patch, manager, self.clock.now(), force=force)
            write.managed_fields = result.managed_fields
            check_identity(write.definition, write.namespace, write.name, result.object)
            return result.object

        def create() -> Json:
            if uid := patch["metadata"].get("uid"):
                why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                raise conflict(write.definition, write.name, why)
            if not patch["metadata"].get("name"):
                raise nameless(write.name)
            return applied(None)

        return self._modify(write, applied, create if not write.subresource else None)

    def _modify(
        self,
        write: WriteRequest,
        change: Callable[[Json], Json],
        create: Callable[[], Json] | None,
        *,
        status_patch: Json | None = None,
    ) -> Written:
        """Replaces the object by what `change` makes of it (given a private copy), or creates it if it is missing.

        `status_patch` is what `change` does, if that is a merge patch of a status, which may be done in a quicker way.
        """
        definition = write.definition
        while True:
            entry = self.store.get(definition.resource, write.namespace, write.name)
            try:
                if entry is None:
                    if create is None:
                        raise not_found(definition, write.name)
                    return self._writer.create(write, create())
                if status_patch is not None and (written := self._writer.patch_status(write, entry, status_patch)):
                    return written
                base = definition.decode(entry.value)
                return self._writer.replace(write, entry, base, change(base))
            except RevisionMismatchError:
                continue


def _delete_options(
    preconditions: Preconditions | None, propagation: Propagation | None, grace_period: int | None
) -> Json:
    """DeleteOptions as admission is told them."""
    wanted = {"uid": preconditions.uid, "resourceVersion": preconditions.resource_version} if preconditions else {}
    wanted = {key: value for key, value in wanted.items() if value is not None}
    options = {"gracePeriodSeconds": grace_period, "propagationPolicy": propagation, "preconditions": wanted or None}
    return {key: value for key, value in options.items() if value is not None}


def _scope(definition: ResourceDefinition, namespace: str) -> str:
    return namespace if definition.mapping.namespaced else ""
