"""Custom resources: follows the CustomResourceDefinition objects and serves what they define.

A definition is registered in each served version, and its conditions are set, right after the write that created or
changed it. All versions show the same stored objects (conversion strategy None; `crdchecks` refuses webhooks): an
object is stored in the storage version and read with the apiVersion that is asked for. When a definition is deleted
its objects go first, then the finalizer, then the definition itself. What a version does with an object is in
`customversions`, which names it gets in `crdnames`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import structlog

from localmodel.runtime.errors import ConflictError, NotFoundError
from localmodel.runtime.listwatch import WatchEvent, WatchOptions
from localmodel.runtime.objects import RESTMapping, format_time
from localmodel.runtime.testing.definitions import Causes, ResourceDefinition
from localmodel.runtime.testing.registry import Registry

from .crdnames import accept_names
from .definitions import resource_of

log = structlog.get_logger(__name__)

Json = dict[str, Any]

MAPPING = RESTMapping.of("apiextensions.k8s.io", "v1", "CustomResourceDefinition", namespaced=False)
CLEANUP_FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
_ESTABLISHED = "the initial names have been accepted"
_PENDING = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"


class CustomResources:
    """Keeps the registry's definitions in step with the CRDs. `changed` is called when what is served has changed."""

    def __init__(self, registry: Registry, changed: Callable[[], None]) -> None:
        self._registry = registry
        self._changed = changed
        base = registry.lookup(MAPPING.gvk.group, MAPPING.gvk.version, MAPPING.plural)
        if base is None:
            raise LookupError(f"{MAPPING.group_resource} is not registered")
        self._crds: ResourceDefinition = replace(
            base,
            prepare=_keep_stored_versions,
            subresources={**base.subresources, "status": _take_status},
            validate=_validate,
            holds_deletion=lambda crd: not crd["metadata"].get("deletionTimestamp"),
            on_deleting=self._mark_terminating,
        )
        registry.register(self._crds)

    def start(self) -> None:
        """Serves the definitions that are there, and from then on those that come."""
        options = WatchOptions(timeout_seconds=2**31, allow_bookmarks=False)
        self._registry.watch(self._crds, options, self._on_event)

    def _on_event(self, event: WatchEvent) -> None:
        crd: Json = msgspec.json.decode(event.object)
        if event.type == "DELETED":
            if self._is_served(crd):
                self._registry.unregister(group_resource(crd))
                self._changed()
            self._reconsider_others(crd)
        elif crd["metadata"].get("deletionTimestamp"):
            if CLEANUP_FINALIZER in (crd["metadata"].get("finalizers") or ()):
                self._remove_objects(crd)
        else:
            self._serve(crd)

    def _is_served(self, crd: Json) -> bool:
        return any(self._definitions(crd))

    def _definitions(self, crd: Json) -> list[ResourceDefinition]:
        """The registered definitions of a CRD's kind."""
        uid = crd["metadata"].get("uid")
        return [definition for definition in self._registry.definitions() if definition.extra.get("crd_uid") == uid]

    def _serve(self, crd: Json) -> None:
        status = self._status(crd)
        if status != crd.get("status"):
            # The event of this write comes here too, and finds nothing left to write.
            self._write_status(crd, status)
            return
        if not _is_true(status, "Established"):
            return
        # Brings CEL, which is slow to import.
        from .customversions import definitions_of

        before, after = self._definitions(crd), definitions_of(crd)
        if [d.extra["crd"] for d in before] == [d.extra["crd"] for d in after]:
            return
        versions = {definition.mapping.gvk.version for definition in after}
        for definition in before:
            if definition.mapping.gvk.version not in versions:
                self._registry.unregister_version(definition)
        for definition in after:
            self._registry.register(definition)
        if before:
            # A real server serves a changed definition from a new storage; the watches of the old one end.
            self._registry.finish_watches(group_resource(crd))
        self._changed()

    def _reconsider_others(self, crd: Json) -> None:
        """Names that a definition had are free now."""
        for other in self._registry.list(self._crds).items:
            decoded = msgspec.json.decode(other)
            if decoded["spec"]["group"] == crd["spec"]["group"] and not decoded["metadata"].get("deletionTimestamp"):
                self._serve(decoded)

    def _used_names(self, crd: Json) -> tuple[set[str], set[str]]:
        """The names of resources and of kinds that others in the group have."""
        group, uid = crd["spec"]["group"], crd["metadata"].get("uid")
        names: set[str] = set()
        kinds: set[str] = set()
        for definition in self._registry.definitions():
            if definition.mapping.gvk.group == group and "crd_uid" not in definition.extra:
                resource = resource_of(definition)
                names |= {resource.plural, resource.singular, *resource.short_names}
                kinds |= {resource.kind, f"{resource.kind}List"}
        for raw in self._registry.list(self._crds).items:
            other = msgspec.json.decode(raw)
            if other["spec"]["group"] == group and other["metadata"].get("uid") != uid:
                taken = (other.get("status") or {}).get("acceptedNames") or {}
                names |= {taken.get("plural", ""), taken.get("singular", ""), *(taken.get("shortNames") or ())}
                kinds |= {taken.get("kind", ""), taken.get("listKind", "")}
        return names, kinds

    def _status(self, crd: Json) -> Json:
        from .crdchecks import approval, is_protected

        status: Json = copy.deepcopy(crd.get("status") or {})
        status["conditions"] = conditions = status.get("conditions") or []
        has_names = status.get("acceptedNames")
        if has_names != crd["spec"]["names"] or not any(c["type"] == "NamesAccepted" for c in conditions):
            accepted, condition = accept_names(crd["spec"]["names"], has_names or {}, *self._used_names(crd))
            status["acceptedNames"] = accepted
            self._set_condition(conditions, "NamesAccepted", *condition)
            if condition[0] == "True":
                if not _is_true(status, "Established"):
                    self._set_condition(conditions, "Established", "True", "InitialNamesAccepted", _ESTABLISHED)
            elif not any(c["type"] == "Established" for c in conditions):
                self._set_condition(conditions, "Established", "False", "NotAccepted", "not all names are accepted")
        if is_protected(crd["spec"]["group"]):
            state, text = approval(crd)
            is_approved = "True" if state == "Approved" else "False"
            type_ = "KubernetesAPIApprovalPolicyConformant"
            self._set_condition(conditions, type_, is_approved, f"{state}Annotation", text)
        return status

    def _set_condition(self, conditions: list[Json], type_: str, status: str, reason: str, message: str) -> None:
        wanted = {"status": status, "reason": reason, "message": message}
        for condition in conditions:
            if condition["type"] == type_:
                if condition["status"] != status:
                    condition["lastTransitionTime"] = format_time(self._registry.clock.now())
                condition.update(wanted)
                return
        moment = format_time(self._registry.clock.now())
        conditions.append({"lastTransitionTime": moment, "message": message, "reason": reason, "status": status})
        conditions[-1]["type"] = type_

    def _write_status(self, crd: Json, status: Json) -> None:
        name = crd["metadata"]["name"]
        try:
            self._registry.update(self._crds, "", name, {**crd, "status": status}, subresource="status")
        except (ConflictError, NotFoundError):
            # Somebody wrote it meanwhile: that write's event comes here too.
            log.debug("definition changed while its status was written", name=name)

    def _mark_terminating(self, crd: Json) -> None:
        """The first delete of a definition; unlike those of other kinds it has no grace period and no generation."""
        metadata = crd["metadata"]
        finalizers = metadata.get("finalizers") or []
        if CLEANUP_FINALIZER in finalizers:
            return
        metadata["finalizers"] = [*finalizers, CLEANUP_FINALIZER]
        metadata["generation"] -= 1
        del metadata["deletionGracePeriodSeconds"]
        self._set_terminating(crd, "True", "InstanceDeletionPending", _PENDING)

    def _set_terminating(self, crd: Json, *condition: str) -> None:
        status = crd["status"] = {**(crd.get("status") or {})}
        conditions = status["conditions"] = copy.deepcopy(status.get("conditions") or [])
        status_value, reason, message = condition
        self._set_condition(conditions, "Terminating", status_value, reason, message)

    def _has_objects(self, crd: Json) -> bool:
        _, entries = self._registry.store.list(group_resource(crd))
        return bool(entries)

    def _remove_objects(self, crd: Json) -> None:
        """Deletes all objects of the kind; the definition itself goes with the last of them."""
        current = next((c["reason"] for c in crd["status"]["conditions"] if c["type"] == "Terminating"), "")
        if current != "InstanceDeletionPending":
            return
        served = self._definitions(crd)
        if not served:
            self._finish(crd["metadata"]["name"], "NeverEstablished", "resource was never established")
            return
        from .customversions import definitions_of

        for definition in definitions_of(crd):
            self._registry.register(definition)
        self._set_terminating(crd, "True", "InstanceDeletionInProgress", "CustomResource deletion is in progress")
        self._write_status(crd, crd["status"])
        definition = next(d for d in self._definitions(crd))
        if self._has_objects(crd):
            watch_from = WatchOptions(timeout_seconds=2**31, resource_version=str(self._registry.store.revision))
            watch = self._registry.watch(definition, watch_from, lambda event: self._object_gone(crd, event))
            self._registry.delete_collection(definition)
            if self._has_objects(crd):
                return
            watch.close()
        self._finish(crd["metadata"]["name"])

    def _object_gone(self, crd: Json, event: WatchEvent) -> None:
        if event.type == "DELETED" and not self._has_objects(crd):
            self._finish(crd["metadata"]["name"])

    def _finish(
        self, name: str, reason: str = "InstanceDeletionCompleted", text: str = "removed all instances"
    ) -> None:
        """Notes that the objects are gone and takes the finalizer away, with which the definition goes."""
        try:
            crd = self._registry.get(self._crds, "", name)
            self._set_terminating(crd, "False", reason, text)
            finalizers = crd["metadata"].get("finalizers") or []
            crd["metadata"]["finalizers"] = [finalizer for finalizer in finalizers if finalizer != CLEANUP_FINALIZER]
            self._registry.update(self._crds, "", name, crd, subresource="status")
        except (ConflictError, NotFoundError):
            log.debug("definition is gone already", name=name)


def _take_status(old: Json, new: Json) -> Json:
    """The status subresource of definitions takes metadata too, which is how their finalizer goes."""
    return {**old, "metadata": new["metadata"], "status": new.get("status") or {}}


def _is_true(status: Json, type_: str) -> bool:
    return any(c["type"] == type_ and c["status"] == "True" for c in status.get("conditions") or ())


def _validate(new: Json, old: Json | None, subresource: str) -> Causes:
    # Brings CEL, which is slow to import.
    from .crdchecks import crd_faults, status_faults

    return status_faults(new.get("status") or {}) if subresource else crd_faults(new, old)


def _keep_stored_versions(new: Json, old: Json | None) -> None:
    """The storage version is noted as one that objects may be stored in."""
    if old is None:
        new["status"] = {"conditions": None, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": []}
    elif new.get("spec") == old.get("spec"):
        return
    stored = list((new.get("status") or {}).get("storedVersions") or ())
    storage = [version["name"] for version in (new.get("spec") or {}).get("versions") or () if version.get("storage")]
    if storage and storage[0] not in stored:
        new.setdefault("status", {})["storedVersions"] = [*stored, storage[0]]


def group_resource(crd: Json) -> str:
    return f"{crd['spec']['names']['plural']}.{crd['spec']['group']}"
