"""Server-side apply, and the record of who owns which field (metadata.managedFields).

An applier owns the fields it applied last; any other writer owns the fields it changed last. An apply merges its fields
into the object, conflicts where it would change a field that somebody else owns, and removes the fields that it applied
before, does not apply now, and nobody else owns.

Sources: k8s.io/apimachinery/pkg/util/managedfields (conflict texts in conflict.go) and
sigs.k8s.io/structured-merge-diff/merge/update.go. Not covered: conversion of sets between versions.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from localmodel.runtime.errors import BadRequestError, ConflictError, make_status
from localmodel.runtime.objects import format_time

from .answers import bad_request, untyped_patch
from .definitions import Json, ResourceDefinition
from .fieldset import (
    FieldSet,
    check_unique,
    contains,
    difference_of,
    fields_of,
    intersect,
    is_field_set,
    items_by_key,
    paths,
    subtract,
    union,
)
from .schema import MergeSchema, Path
from .zerovalues import with_zero_value

MAX_UPDATERS = 10
"""Updaters that are kept apart in one object."""
BEFORE_FIRST_APPLY = "before-first-apply"
"""The manager of what an object without record had when it was first applied."""
ANCIENT = "ancient-changes"
"""The manager of what older updaters own."""
_UNOWNED_METADATA = frozenset(
    {
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "generation",
        "managedFields",
        "resourceVersion",
    }
)
_UNOWNED = frozenset({"apiVersion", "kind", "metadata"})
"""Fields of an object of which nobody owns the whole."""
_MISSING = object()


class Manager(msgspec.Struct, frozen=True):
    """Who writes: two writers are one if all four agree."""

    name: str
    operation: str
    api_version: str
    subresource: str = ""


class Ownership(msgspec.Struct, frozen=True):
    """What one manager owns, and since when."""

    fields: FieldSet
    time: str = ""
    entry: Any = None
    """Just this as it is stored in managedFields, if it is: a map, or JSON (msgspec.Raw)."""


Managers = dict[Manager, Ownership]


def read_managers(metadata: Json, *, stored: bool = False) -> Managers:
    """The managers that an object's metadata names; none if one of the entries is malformed.

    Entries that are `stored` are what `write_managers` gave.
    """
    found: Managers = {}
    for entry in metadata.get("managedFields") or []:
        if not (stored or _is_wellformed(entry)):
            return {}
        manager = Manager(
            entry.get("manager", ""), entry["operation"], entry["apiVersion"], entry.get("subresource", "")
        )
        fields, time = entry.get("fieldsV1") or {}, entry.get("time") or ""
        found[manager] = Ownership(fields, time, entry if stored else None)
    return found


def _is_wellformed(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and entry.get("operation") in ("Apply", "Update")
        and bool(entry.get("apiVersion"))
        and entry.get("fieldsType") == "FieldsV1"
        and is_field_set(entry.get("fieldsV1") or {})
    )


def in_force(sent: Any, stored: list[Json] | None) -> list[Json]:
    """The managedFields before a write: those that the client sent, if they make sense, else those stored.

    An empty list, or one with one empty entry, is how a client gives all fields up.
    """
    if sent is stored:
        return stored or []
    if isinstance(sent, list) and sent in ([], [{}]):
        return []
    if isinstance(sent, list) and read_managers({"managedFields": sent}):
        return sent
    return stored or []


def write_managers(managers: Managers) -> list[Json]:
    """metadata.managedFields: appliers first, then by time and name; owners of nothing are left out."""
    owners = [(manager, owned) for manager, owned in managers.items() if owned.fields]
    if len(owners) > 1:
        owners.sort(key=lambda item: (item[0].operation, item[1].time, item[0].name, item[0].subresource))
    return [_entry(manager, owned) if owned.entry is None else owned.entry for manager, owned in owners]


def _entry(manager: Manager, owned: Ownership) -> Json:
    entry = {
        "manager": manager.name,
        "operation": manager.operation,
        "apiVersion": manager.api_version,
        "time": owned.time,
        "fieldsType": "FieldsV1",
        "fieldsV1": owned.fields,
        "subresource": manager.subresource,
    }
    return {key: value for key, value in entry.items() if value != ""}


_NOTHING = Ownership({})


def track_update(
    definition: ResourceDefinition, old: Json | None, new: Json, manager: Manager, now: datetime
) -> list[Json]:
    """The managedFields after a write that is not an apply: the writer owns what it changed, the others no more.

    `new` carries the managedFields that were in force before. Looks only into what differs.
    """
    in_force = new["metadata"].get("managedFields")
    is_stored = old is not None and in_force is old["metadata"].get("managedFields")
    managers = read_managers(new["metadata"], stored=is_stored)
    if old is not None and not managers:
        return []  # Nobody keeps record of this object, until the next apply.
    try:
        changed, removed = _difference(definition, old or {}, new)
    except BadRequestError:
        # An item without its key: nothing can be said of this write. Validation may still refuse it.
        return write_managers(managers)
    return updated_managers(managers, changed, removed, manager, now)


def updated_managers(
    managers: Managers, changed: FieldSet | None, removed: FieldSet | None, manager: Manager, now: datetime
) -> list[Json]:
    """managedFields after an update by a manager, which changed and removed these fields (`difference_of`)."""
    return write_managers(_capped(_owned_by_updater(managers, changed, removed, manager, now)))


def _difference(definition: ResourceDefinition, old: Json, new: Json) -> tuple[FieldSet | None, FieldSet | None]:
    """The fields, of those that somebody can own, that an update changed and removed."""
    old, new = with_zero_value(old, definition.zero), with_zero_value(new, definition.zero)
    return difference_of(_differing(old, new), _differing(new, old), definition.schema)


def _owned_by_updater(
    managers: Managers, changed: FieldSet | None, removed: FieldSet | None, manager: Manager, now: datetime
) -> Managers:
    """Who owns what after an update by a manager."""
    if changed is None and removed is None:
        return managers
    changed, removed = changed or {}, removed or {}
    taken = union(changed, removed)
    through_scale = manager.subresource == "scale"
    if through_scale and not any(intersect(owned.fields, taken) for owned in managers.values()):
        # A Scale has the owners of the replicas as its own managedFields: without any, no record of it is kept.
        return managers
    after_all = dict(managers)
    for other, owned in managers.items():
        if other != manager and (left := subtract(owned.fields, taken)) is not owned.fields:
            after_all[other] = Ownership(left, owned.time)
    mine = managers.get(manager, _NOTHING)
    kept = subtract(mine.fields, removed)
    if changed:
        time = "" if through_scale else format_time(now)
        after_all[manager] = Ownership(kept if contains(kept, changed) else union(kept, changed), time)
    elif manager in managers:
        after_all[manager] = Ownership(kept, mine.time)
    return after_all


def _differing(obj: Json, other: Json) -> Json:
    """The parts of an object that somebody owns, without those that it shares with the other.

    There is always metadata: a map that comes new is owned itself, this one is not.
    """
    part = {k: v for k, v in obj.items() if k not in _UNOWNED and other.get(k, _MISSING) is not v}
    part["metadata"] = _owned_metadata(obj)
    return part


def _capped(managers: Managers) -> Managers:
    """At most ten updaters: the oldest of more are merged into one for each version (fieldmanager/capmanagers.go)."""
    updaters = [manager for manager, owned in managers.items() if manager.operation == "Update" and owned.fields]
    if len(updaters) <= MAX_UPDATERS:
        return managers
    updaters.sort(key=lambda manager: (managers[manager].time, manager.name))
    merged = dict(managers)
    first_of: dict[str, Manager] = {}
    excess = len(updaters) - MAX_UPDATERS
    for manager in updaters:
        if excess <= 0:
            break
        first = first_of.setdefault(manager.api_version, manager)
        if first is manager:
            continue
        bucket = Manager(ANCIENT, "Update", manager.api_version)
        if bucket not in merged:
            merged[bucket] = merged.pop(first)
        owned = merged.pop(manager)
        merged[bucket] = Ownership(union(owned.fields, merged[bucket].fields), owned.time)
        excess -= 1
    return merged


@dataclass(frozen=True, slots=True)
class Applied:
    """The object after an apply, and its managedFields."""

    object: Json
    managed_fields: list[Json]


def server_side_apply(
    definition: ResourceDefinition, live: Json | None, patch: Json, manager: Manager, now: datetime, *, force: bool
) -> Applied:
    """Applies `patch` (an object with just the fields wanted) to `live`, or makes a new object of it.

    Raises ConflictError naming the other owners unless `force`, BadRequestError for a patch that cannot be applied.
    """
    schema = definition.schema
    if (patch.get("metadata") or {}).get("managedFields") is not None:
        raise bad_request("metadata.managedFields must be nil")
    wanted = _reset(definition, patch, manager.subresource)
    try:
        check_unique(wanted, schema)
        fields = fields_of(_owned_part(wanted), schema)
    except BadRequestError as error:
        raise untyped_patch(definition, patch, [str(error)]) from error
    base = live or {}
    managers = read_managers(base.get("metadata") or {})
    if live is not None and not managers:
        # Nobody kept record: what is there belongs to those who came before.
        first = Manager(BEFORE_FIRST_APPLY, "Update", manager.api_version)
        unowned = {**live, "metadata": {k: v for k, v in live["metadata"].items() if k != "managedFields"}}
        managers = _owned_by_updater({}, *_difference(definition, {}, unowned), first, now)
    merged = _merge(base, wanted, schema, ())
    changed, removed = difference_of(_owned_part(base), _owned_part(merged), schema)
    _take_over(managers, manager, union(changed or {}, removed or {}), force=force)
    before = managers.pop(manager, Ownership({}))
    kept = fields
    for owned in managers.values():
        kept = union(kept, owned.fields)
    _remove(merged, subtract(before.fields, kept), kept, schema, ())
    # What changes nothing in the object renews no time, even if the manager comes to own more.
    same = live is not None and _owned_part(merged) == _owned_part(live)
    managers[manager] = Ownership(fields, before.time if same else format_time(now))
    return Applied(merged, write_managers(managers))


def owned_fields(definition: ResourceDefinition, obj: Json) -> FieldSet:
    """The fields that somebody who applies this object comes to own."""
    return fields_of(_owned_part(obj), definition.schema)


def _owned_part(obj: Json) -> Json:
    """The object without what nobody owns: its type and identity, and what the server sets."""
    metadata = _owned_metadata(obj)
    part = {key: value for key, value in obj.items() if key not in _UNOWNED}
    return {"metadata": metadata, **part} if metadata else part


def _owned_metadata(obj: Json) -> Json:
    return {key: value for key, value in (obj.get("metadata") or {}).items() if key not in _UNOWNED_METADATA}


def _reset(definition: ResourceDefinition, patch: Json, subresource: str) -> Json:
    """The patch without the fields that this endpoint does not write (the strategies' reset fields)."""
    if subresource == "status":
        identity = {k: v for k, v in (patch.get("metadata") or {}).items() if k in _UNOWNED_METADATA}
        kept: Json = {key: patch[key] for key in ("apiVersion", "kind", "status") if key in patch}
        return {**kept, "metadata": identity}
    if definition.status_subresource and not subresource:
        return {key: value for key, value in patch.items() if key != "status"}
    return patch


def _take_over(managers: Managers, applier: Manager, changed: FieldSet, *, force: bool) -> None:
    """Takes the changed fields from the other managers; ConflictError unless forced."""
    conflicts = {
        other: common
        for other, owned in managers.items()
        if other != applier and (common := intersect(owned.fields, changed))
    }
    if conflicts and not force:
        raise _conflict(conflicts)
    for other, common in conflicts.items():
        managers[other] = Ownership(subtract(managers[other].fields, common), managers[other].time)


def _conflict(conflicts: dict[Manager, FieldSet]) -> ConflictError:
    found = [(_describe(other), path) for other, common in conflicts.items() for path in paths(common)]
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {who}", "field": path} for who, path in found
    ]
    if len(found) == 1:
        message = f"Apply failed with 1 conflict: conflict with {found[0][0]}: {found[0][1]}"
    else:
        parts = []
        for who in sorted({who for who, _ in found}):
            listed = "\n".join(f"- {path}" for other, path in found if other == who)
            parts.append(f"conflicts with {who}:\n{listed}")
        message = f"Apply failed with {len(found)} conflicts: " + "\n".join(parts)
    return ConflictError(make_status("Conflict", 409, message, {"causes": causes}))


def _describe(manager: Manager) -> str:
    """How conflict messages name a manager."""
    text = f'"{manager.name}"'
    if manager.subresource:
        text += f' with subresource "{manager.subresource}"'
    if manager.operation == "Update":
        text += f" using {manager.api_version}"
    return text


def _merge(live: Any, wanted: Any, schema: MergeSchema, path: Path) -> Any:
    """`wanted` laid over `live`, with lists merged as the schema says. Makes new containers along changed paths."""
    if isinstance(wanted, dict) and isinstance(live, dict) and not schema.is_atomic(path):
        laid = {key: _merge(live.get(key), value, schema, (*path, key)) for key, value in wanted.items()}
        return {**live, **laid}
    if isinstance(wanted, list) and isinstance(live, list):
        kind = schema.list_type(path)
        new = items_by_key(wanted, kind, path)
        current = items_by_key(live, kind, path)
        if new is not None and current is not None:
            laid = {key: _merge(current.get(key), item, schema, path) for key, item in new.items()}
            return _in_order(current, laid)
    return wanted


def _in_order(current: Json, new: Json) -> list[Any]:
    """The items of both, those in both as they are in `new`, in the order of typed/merge.go.

    That is the order of `new`; an item that is in the current list only stands behind the common one that it follows
    there, as far as the common ones are in the same order.
    """
    common = [key for key in new if key in current]
    ordered: list[Any] = []
    taken = 0
    for key, item in current.items():
        if key not in new:
            ordered.append(item)
        elif common and key == common[0]:
            common.pop(0)
            upto = list(new).index(key) + 1
            ordered += list(new.values())[taken:upto]
            taken = upto
    return [*ordered, *list(new.values())[taken:]]


def _remove(value: Json, fields: FieldSet, kept: FieldSet, schema: MergeSchema, path: Path) -> None:
    """Removes the fields from a map, in place, and with them what is left empty. `kept` are fields that are owned.

    A map or list in which nobody owns anything goes as a whole, with what defaulting put into it.
    """
    for element, node in fields.items():
        name = element[2:]
        if element[:2] != "f:" or name not in value:
            continue
        inner_path, others = (*path, name), kept.get(element)
        if others is None and inner_path != ("metadata",):
            del value[name]
            continue
        child = value[name]
        if isinstance(child, dict):
            child = value[name] = dict(child)
            _remove(child, node, others or {}, schema, inner_path)
        elif isinstance(child, list):
            child = value[name] = _remove_items(child, node, others or {}, schema, inner_path)
        else:
            continue
        if not child:
            del value[name]


def _remove_items(items: list[Any], fields: FieldSet, kept: FieldSet, schema: MergeSchema, path: Path) -> list[Any]:
    """The list without the items that nobody else has a part in, and without the fields of the others."""
    known = items_by_key(items, schema.list_type(path), path)
    if known is None:
        return items
    left = []
    for element, item in known.items():
        node = fields.get(element)
        if node is not None and element not in kept and (not node or "." in node):
            continue
        if node and isinstance(item, dict):
            item = dict(item)  # noqa: PLW2901
            _remove(item, node, kept.get(element) or {}, schema, path)
        left.append(item)
    return left
