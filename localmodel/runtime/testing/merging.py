"""From the object that is stored and the one that was sent to the one that shall be, and whether that is another."""

from __future__ import annotations

from localmodel.runtime.errors import NotFoundError

from .answers import bad_request, bad_value, conflict, invalid, uid_conflict, unconditional
from .apply import in_force
from .definitions import Json, ResourceDefinition
from .jsonvalues import is_same
from .store import Entry
from .writerequest import WriteRequest


def sent_version(metadata: Json) -> str:
    """The resource version that a body names as its condition, empty if none; BadRequestError unless it is a number."""
    version = str(metadata.get("resourceVersion") or "")
    if version and not (version.isascii() and version.isdigit()):
        raise bad_request(f'strconv.ParseUint: parsing "{version}": invalid syntax')
    return "" if version.strip("0") == "" else version


def merge(request: WriteRequest, entry: Entry, base: Json, new: Json) -> Json:
    """The object to store, of what was sent to the object itself or to a subresource; ConflictError if it is stale."""
    definition, metadata = request.definition, new["metadata"]
    version, uid, stored_uid = sent_version(metadata), metadata.get("uid"), base["metadata"].get("uid")
    if uid and uid != stored_uid:
        if request.is_patch:
            raise invalid(definition, request.name, [bad_value("metadata.uid", uid, "field is immutable")])
        raise uid_conflict(definition, request.namespace, request.name, uid, stored_uid)
    if version and version != str(entry.revision):
        raise conflict(definition, request.name)
    if not version and not definition.allow_unconditional_update:
        raise unconditional(definition, request.name)
    managed, managed_before = metadata.get("managedFields"), base["metadata"].get("managedFields")
    if request.subresource:
        merge_part = definition.subresource(request.subresource)
        if merge_part is None:
            raise NotFoundError.of("the server could not find the requested resource")
        new = merge_part(base, new)
        new["metadata"] = {**new["metadata"]}
    elif definition.status_subresource:
        request.unknown = unknown_status(definition, base, new)
        new.pop("status", None)
        if "status" in base:
            new["status"] = base["status"]
    if not request.subresource:
        for part, field_name in definition.kept_fields:
            _keep(new, base, part, field_name)
    new["metadata"]["resourceVersion"] = str(entry.revision)
    new["metadata"]["managedFields"] = in_force(None if request.subresource else managed, managed_before)
    return new


def _keep(new: Json, old: Json, part: str, field_name: str) -> None:
    """Leaves one field below a part of the object as it was."""
    before = (old.get(part) or {}).get(field_name)
    inner = dict(new.get(part) or {}) if isinstance(new.get(part), dict | None) else {}
    inner.pop(field_name, None)
    if before is not None:
        inner[field_name] = before
    new[part] = inner


def unknown_status(definition: ResourceDefinition, base: Json, new: Json) -> list[str]:
    """The status that a write of the object itself brings along is dropped, but is a fault if there is none at all."""
    sent = new.get("status")
    if definition.strategic or definition.prune is None or not sent or sent == base.get("status"):
        return []
    head: Json = {key: new[key] for key in ("apiVersion", "kind") if key in new}
    return [path for path in definition.prune({**head, "metadata": {}, "status": sent}) if path == "status"]


def share_equal(new: Json, old: Json) -> None:
    """Lets the old object have the new one's parts that equal its own: from here on both are compared often, which
    takes no time where they are one, and changed no more."""
    for key, value in new.items():
        if key != "metadata" and key in old and is_same(old[key], value):
            old[key] = value


def spec_changed(definition: ResourceDefinition, new: Json, old: Json) -> bool:
    ignored = ("metadata", "status") if definition.status_subresource else ("metadata",)
    for key in new.keys() | old.keys():
        if key not in ignored and not (key in new and key in old and is_same(new[key], old[key])):
            return True
    return False


def is_unchanged(new: Json, old: Json) -> bool:
    """Whether there is nothing to write.

    An apply that defaulting brought back to what was there only renews managedFields' times: no write, as in
    kube-apiserver (fieldmanager.IgnoreManagedFieldsTimestampsTransformer).
    """
    if new.keys() != old.keys():
        return False
    for key, value in new.items():
        if key != "metadata" and not is_same(value, old[key]):
            return False
    return new["metadata"] == old["metadata"] or _without_times(new["metadata"]) == _without_times(old["metadata"])


def _without_times(metadata: Json) -> Json:
    managers = metadata.get("managedFields")
    if not managers:
        return metadata
    untimed = [{key: value for key, value in manager.items() if key != "time"} for manager in managers]
    return {**metadata, "managedFields": untimed}
