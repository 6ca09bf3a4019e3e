"""`WriteRequest`: one write on its way through the registry; `Written`: what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import msgspec

from localmodel.runtime.client import WriteOptions

from .apply import Manager
from .definitions import Json, ResourceDefinition, UserInfo


class Written(msgspec.Struct, frozen=True, gc=False):
    """What a write did. `raw` is the object as it is now stored (or would be, in a dry run), or as it last was."""

    raw: bytes
    created: bool = False
    deleted: bool = False
    """The object is gone."""
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        # Without the object, which may be large, and a Secret.
        return f"Written(created={self.created}, deleted={self.deleted}, warnings={self.warnings})"

    @property
    def object(self) -> Json:
        """`raw` decoded, as a private copy."""
        decoded: Json = msgspec.json.decode(self.raw)
        return decoded


@dataclass(slots=True)
class WriteRequest:
    """One request, as all steps need it. `warnings` are collected on the way."""

    definition: ResourceDefinition
    namespace: str
    name: str
    options: WriteOptions
    user: UserInfo
    subresource: str = ""
    owned_through: str = ""
    warnings: list[str] = field(default_factory=list)
    delete_options: Json = field(default_factory=dict)
    """Of a delete, as admission is told them."""
    is_admitted: bool = False
    """Admission has been asked about this write already, under another name (a Scale, an Eviction)."""
    is_nameless: bool = False
    """The client named no object: the server generates the name, or deletes a collection."""
    unknown: list[str] = field(default_factory=list)
    """Paths of fields that were sent, are unknown, and are gone already."""
    is_normalised: bool = False
    """What was sent has been looked at for unknown fields."""
    is_patch: bool = False
    """What does not fit is the patch's fault (422), not that of a body (400)."""
    managed_fields: list[Json] | None = None
    """Set for an apply, which has settled who owns what; else the writer comes to own what it changes."""

    def manager(self, operation: Literal["Apply", "Update"]) -> Manager:
        api_version = self.definition.mapping.gvk.api_version
        through = self.owned_through or self.subresource
        return Manager(self.options.field_manager or "unknown", operation, api_version, through)

    def done(self, raw: bytes, *, created: bool = False, deleted: bool = False) -> Written:
        warnings = tuple(dict.fromkeys(self.warnings)) if self.warnings else ()
        return Written(raw, created=created, deleted=deleted, warnings=warnings)
