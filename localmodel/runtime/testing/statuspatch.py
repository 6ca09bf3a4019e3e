"""Patches of a status, of which the rest of the object is neither decoded nor looked at.

Controllers write status over and over, mostly into objects whose specifications are much larger: decoding them and
encoding them again would be most of the work. What is done here ends as `Writer.replace` would end it; whatever it is
not sure of is left to that.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec

from localmodel.runtime.errors import BadRequestError

from .apply import Manager, Managers, Ownership, updated_managers
from .definitions import Json, take_status
from .fieldset import FieldSet, difference_of
from .patch import merge_patch
from .store import Entry
from .writerequest import WriteRequest

_parts = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ABSENT = msgspec.Raw(b"null")


class _Managed(msgspec.Struct, rename="camel"):
    """One entry of managedFields."""

    operation: str
    api_version: str
    fields_v1: msgspec.Raw = msgspec.field(name="fieldsV1", default=_ABSENT)
    manager: str = ""
    subresource: str = ""
    time: str = ""


_entries = msgspec.json.Decoder(list[msgspec.Raw])
_managed = msgspec.json.Decoder(_Managed)


class PatchedStatus:
    """An object with another status. `encode` gives its JSON, at the revision that it gets."""

    def __init__(self, parts: Json, metadata: Json, status: Json) -> None:
        del parts["metadata"]
        parts.pop("status", None)
        head = {key: parts.pop(key) for key in ("apiVersion", "kind")}
        self._metadata = metadata
        self._object: Json = {**head, "metadata": metadata, **parts, "status": status}

    def encode(self, revision: int) -> bytes:
        self._metadata["resourceVersion"] = str(revision)
        return msgspec.json.encode(self._object)


def patch_status(request: WriteRequest, entry: Entry, patch: Json, now: datetime) -> PatchedStatus | bytes | None:
    """What a merge patch of /status makes of an object: bytes if it changes nothing, None if it is not sure of it."""
    definition, wanted = request.definition, patch.get("status")
    accepts = definition.accepts_status
    if accepts is None or definition.storage is not None or definition.subresource("status") is not take_status:
        return None
    if not isinstance(wanted, dict):
        return None
    parts = _parts.decode(entry.value)
    metadata: Json = _parts.decode(parts["metadata"])
    if "deletionTimestamp" in metadata or bytes(metadata.get("ownerReferences", b"")).count(b'"uid"') > 1:
        return None
    if len(patch) > 1 and not _says_nothing_else(patch, parts, metadata):
        return None
    old = msgspec.json.decode(parts["status"]) if "status" in parts else None
    status = merge_patch(old, wanted)
    if not accepts(status, entry.revision, _text(metadata["uid"]), bytes(metadata["generation"])):
        return None
    if msgspec.json.encode(status) == bytes(parts.get("status", b"")):
        return entry.value
    if status == old:  # but for true in the place of 1, or an order of keys
        return None
    if "managedFields" in metadata:
        managed = _managed_fields(request, metadata["managedFields"], old, status, now)
        if not managed:
            return None
        metadata["managedFields"] = managed
    return PatchedStatus(parts, metadata, status)


def _says_nothing_else(patch: Json, parts: Json, metadata: Json) -> bool:
    """Whether the patch names, beside the status, only which object it means."""
    named = patch.get("metadata", {})
    if not isinstance(named, dict) or patch.keys() - {"status", "metadata", "apiVersion", "kind"}:
        return False
    known: list[tuple[str, Json, Json]] = [(key, parts, patch) for key in ("apiVersion", "kind") if key in patch]
    known += [(key, metadata, named) for key in named]
    return all(
        isinstance(said[key], str) and key in there and key not in ("labels", "annotations")
        and bytes(there[key]) == msgspec.json.encode(said[key])
        for key, there, said in known
    )  # fmt: skip


def _text(raw: msgspec.Raw) -> str:
    text: str = msgspec.json.decode(raw, type=str)
    return text


def _managed_fields(
    request: WriteRequest, stored: msgspec.Raw, old: Json | None, new: Json, now: datetime
) -> list[Any] | None:
    """managedFields after the write; what does not change in it stays undecoded. None if nothing can be said."""
    managers: Managers = {}
    for raw in _entries.decode(stored):
        entry = _managed.decode(raw)
        manager = Manager(entry.manager, entry.operation, entry.api_version, entry.subresource)
        managers[manager] = Ownership(_fields(bytes(entry.fields_v1)), entry.time, raw)
    schema = request.definition.schema
    before = {} if old is None else {"status": old}
    try:
        changed, removed = difference_of({"metadata": {}, **before}, {"metadata": {}, "status": new}, schema)
    except BadRequestError:  # an item without its key
        return None
    return updated_managers(managers, changed, removed, request.manager("Update"), now)


@lru_cache(maxsize=1024)
def _fields(raw: bytes) -> FieldSet:
    """Objects that the same programs write have the same owners."""
    fields: FieldSet = msgspec.json.decode(raw) or {}
    return fields
