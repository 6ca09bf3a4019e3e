"""Custom resources: follows the CustomResourceDefinition objects and serves what they define.

A definition is registered, and its conditions NamesAccepted and Established are set, right after the write that created
or changed it; when it is deleted its objects go first. It may have one version, without scale and conversion by
webhook; `crdchecks` refuses the rest.
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

from . import schema as structural
from .acceptance import Acceptor
from .builtins import ALL_VERBS, STATUS
from .cel import RuleSet
from .crdchecks import crd_faults
from .definitions import API_RESOURCE, PRINTER, SCHEMA, resource_of
from .discovery import ApiResource
from .jsonpath import compile_path
from .table import custom_printer
from .validation import MISSING, validate

log = structlog.get_logger(__name__)

Json = dict[str, Any]

MAPPING = RESTMapping.of("apiextensions.k8s.io", "v1", "CustomResourceDefinition", namespaced=False)


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
            validate=lambda new, old, subresource: [] if subresource else crd_faults(new, old),
            holds_deletion=self._has_objects,
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
            self._registry.unregister(group_resource(crd))
            self._changed()
        elif crd["metadata"].get("deletionTimestamp"):
            self._remove_objects(crd)
        else:
            self._serve(crd)

    def _serve(self, crd: Json) -> None:
        taken = self._taken_name(crd)
        if taken is None:
            new = definition_of(crd)
            old = self._registry.lookup(new.mapping.gvk.group, new.mapping.gvk.version, new.mapping.plural)
            if old is None or old.extra["spec"] != crd["spec"]:
                self._registry.register(new)
                self._changed()
        status = self._status(crd, taken)
        if status != crd.get("status"):
            self._write_status(crd, status)

    def _taken_name(self, crd: Json) -> str | None:
        """What a name of the new definition collides with in its group, None if nothing."""
        names = crd["spec"]["names"]
        wanted = {names["plural"], names.get("singular"), *(names.get("shortNames") or ())}
        for definition in self._registry.definitions():
            gvk = definition.mapping.gvk
            if gvk.group != crd["spec"]["group"] or definition.mapping.plural == names["plural"]:
                continue
            resource = resource_of(definition)
            both = wanted & {resource.plural, resource.singular, *resource.short_names}
            if both or gvk.kind == names["kind"]:
                return f'"{min(both) if both else names["kind"]}" is already in use'
        return None

    def _status(self, crd: Json, taken: str | None) -> Json:
        status = copy.deepcopy(crd.get("status") or {})
        versions = [version["name"] for version in crd["spec"]["versions"] if version.get("storage")]
        status["storedVersions"] = sorted({*(status.get("storedVersions") or ()), *versions})
        if taken is None:
            status["acceptedNames"] = copy.deepcopy(crd["spec"]["names"])
        conditions = status.setdefault("conditions", [])
        accepted = ("True", "NoConflicts", "no conflicts found") if taken is None else ("False", "Conflict", taken)
        self._set_condition(conditions, "NamesAccepted", *accepted)
        if taken is None:
            self._set_condition(conditions, "Established", "True", "InitialNamesAccepted", _ESTABLISHED)
        elif not any(c["type"] == "Established" for c in conditions):
            self._set_condition(conditions, "Established", "False", "NotAccepted", "not all names are accepted")
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
        status = crd["status"] = {**(crd.get("status") or {})}
        conditions = status["conditions"] = copy.deepcopy(status.get("conditions") or [])
        text = "CustomResource deletion is in progress"
        self._set_condition(conditions, "Terminating", "True", "InstanceDeletionInProgress", text)

    def _has_objects(self, crd: Json) -> bool:
        _, entries = self._registry.store.list(group_resource(crd))
        return bool(entries)

    def _remove_objects(self, crd: Json) -> None:
        """Deletes all objects of the kind; the definition itself goes with the last of them."""
        version = crd["spec"]["versions"][0]["name"]
        definition = self._registry.lookup(crd["spec"]["group"], version, crd["spec"]["names"]["plural"])
        if definition is None:
            return
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

    def _finish(self, name: str) -> None:
        """Any write lets go of a deleted definition that nothing holds any more."""
        try:
            crd = self._registry.get(self._crds, "", name)
            self._registry.update(self._crds, "", name, crd)
        except (ConflictError, NotFoundError):
            log.debug("definition is gone already", name=name)


_ESTABLISHED = "the initial names have been accepted"


def group_resource(crd: Json) -> str:
    return f"{crd['spec']['names']['plural']}.{crd['spec']['group']}"


def definition_of(crd: Json) -> ResourceDefinition:
    """What the registry needs to serve a definition's one version."""
    spec = crd["spec"]
    names, version = spec["names"], spec["versions"][0]
    mapping = RESTMapping.of(
        spec["group"], version["name"], names["kind"], names["plural"], namespaced=spec["scope"] == "Namespaced"
    )
    raw = (version.get("schema") or {}).get("openAPIV3Schema") or {}
    tree = structural.compile_schema(raw)
    rules = RuleSet(tree)
    accepts = Acceptor(tree)
    # Objects written since then are as this schema wants them; of older ones nothing is known.
    known_since = int(crd["metadata"].get("resourceVersion") or 0)
    has_status = "status" in (version.get("subresources") or {})

    def is_accepted(new: Json, old: Json | None) -> bool:
        is_known = old is not None and int(old["metadata"]["resourceVersion"]) > known_since
        return accepts(new, old if is_known else None)

    def default(obj: Json) -> None:
        structural.default(tree, obj)
        structural.drop_nulls(tree, obj)

    def check(new: Json, old: Json | None, _: str) -> Causes:
        causes = [] if accepts(new, old) else validate(tree, new, MISSING if old is None else old)
        # Rules may rely on a value being of its type: they are asked about valid objects only.
        return causes or rules.validate(new, old)

    shown = ApiResource(
        group=spec["group"],
        version=version["name"],
        kind=names["kind"],
        plural=names["plural"],
        singular=names.get("singular") or names["kind"].lower(),
        namespaced=mapping.namespaced,
        verbs=ALL_VERBS,
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        subresources=(STATUS,) if has_status else (),
    )
    fields = [selectable["jsonPath"] for selectable in version.get("selectableFields") or ()]
    return ResourceDefinition(
        mapping=mapping,
        status_subresource=has_status,
        is_accepted=is_accepted,
        prune=lambda obj: structural.prune(tree, obj),
        default=default,
        validate=check,
        fields={path.removeprefix("."): _selectable(path) for path in fields},
        schema=structural.merge_schema(tree),
        extra={
            API_RESOURCE: shown,
            PRINTER: custom_printer(version.get("additionalPrinterColumns") or ()),
            SCHEMA: raw,
            "spec": spec,
        },
    )


def _selectable(path: str) -> Callable[[Json], str]:
    find = compile_path(path)

    def value(obj: Json) -> str:
        found = find(obj)
        if not found or found[0] is None:
            return ""
        return str(found[0]).lower() if isinstance(found[0], bool) else str(found[0])

    return value
