"""`ResourceDefinition`: what the registry must know of one resource in one version, and what admission is told.

A definition is data and hooks; it holds no objects. The embedded API server makes one per built-in kind and per served
version of each CustomResourceDefinition; `FakeClient` derives one from a typed kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from localmodel.runtime.client import DEFAULT_WRITE, WriteOptions
from localmodel.runtime.objects import GroupVersionKind, RESTMapping

from .schema import UNTYPED, MergeSchema

Json = dict[str, Any]
Causes = list[dict[str, str]]
"""Status causes: `reason` (FieldValueInvalid, ...), `message` and `field` of each fault found."""

SubresourceMerge = Callable[[Json, Json], Json]
"""(stored object, object sent to the subresource) -> the object to store; both arguments are private copies."""


def take_status(old: Json, new: Json) -> Json:
    """The status subresource: status (and managedFields, which the registry keeps itself) of the new object only."""
    merged = {key: value for key, value in old.items() if key != "status"}
    if "status" in new:
        merged["status"] = new["status"]
    return merged


@dataclass(frozen=True, kw_only=True)
class ResourceDefinition:
    """One resource in one version. All hooks run outside locks and may be called several times for one write."""

    mapping: RESTMapping
    storage: RESTMapping | None = None
    """The mapping under which objects are stored, if it is not `mapping`: another version, or another group's view."""
    from_storage: Callable[[Json], Json] | None = None
    """Gives a stored object the fields of this version, where they differ; may change its argument or share from it."""
    to_storage: Callable[[Json], Json] | None = None
    """The opposite of `from_storage`."""
    status_subresource: bool = True
    """Writes of the object ignore status; writes of /status ignore the rest."""
    kept_fields: tuple[tuple[str, str], ...] = ()
    """Fields that only a subresource writes, as (spec, finalizers); writes of the object leave them as they are."""
    status_on_create: bool = False
    """A create keeps the status it was sent (nodes) although there is a status subresource."""
    subresources: Mapping[str, SubresourceMerge] = field(default_factory=dict)
    """Further subresources that `Registry.update` and `patch` serve, and how each merges."""
    generation: bool = True
    """metadata.generation counts changes of anything but metadata (and status, where it is a subresource)."""
    is_accepted: Callable[[Json, Json | None], bool] | None = None
    """(new, old or None) -> True if `prune`, `default` and `validate` have nothing to do; asked first, to save time."""
    accepts_status: Callable[[Json, int, str, bytes], bool] | None = None
    """(status, and of the object that is to get it in place of another: revision, uid, generation in JSON) -> True if
    `prune`, `default`, `prepare` and `validate` have nothing to do with this change; asked first, to save time."""
    prune: Callable[[Json], list[str]] | None = None
    """Removes unknown fields in place; returns their paths, which field validation reports or refuses."""
    drop_nulls: Callable[[Json], None] | None = None
    """Removes the nulls that decoding drops, in place. What an apply makes is not decoded, and keeps them."""
    default: Callable[[Json], None] | None = None
    """Fills in defaults, in place."""
    prepare: Callable[[Json, Json | None], None] | None = None
    """The strategy's PrepareForCreate (old is None) or PrepareForUpdate, in place, before validation."""
    validate: Callable[[Json, Json | None, str], Causes] | None = None
    """(new, old or None, subresource) -> faults; any of them is a 422."""
    warn: Callable[[Json, Json | None], list[str]] | None = None
    """(new, old or None) -> what to warn the client of, about an object that is right but odd."""
    validate_name: Callable[[str], list[str]] | None = None
    """Messages about a bad name; DNS-1123 subdomain if None."""
    grace_period: Callable[[Json, int | None], int] | None = None
    """(object, requested seconds) -> seconds that a deleted object stays for its kubelet; 0 at once if None."""
    holds_deletion: Callable[[Json], bool] | None = None
    """Whether something beside metadata.finalizers keeps a deleted object (a namespace's spec.finalizers)."""
    on_deleting: Callable[[Json], None] | None = None
    """Called when deletionTimestamp is set, to note it in the object (a namespace's phase Terminating), in place."""
    fields: Mapping[str, Callable[[Json], str]] = field(default_factory=dict)
    """Field selectors beside metadata.name and metadata.namespace."""
    allow_unconditional_update: bool = False
    """A PUT without resourceVersion overwrites (built-in kinds); else it is a 422 (custom resources)."""
    allow_create_on_update: bool = False
    """A PUT of a missing object creates it (leases, services' endpoints, nodes' leases)."""
    strategic: bool = False
    """Strategic merge patches are served (built-in kinds); else 415."""
    schema: MergeSchema = UNTYPED
    """Which lists merge by key or as sets, for apply and strategic merge patches."""
    zero: Json = field(default_factory=dict)
    """What an object has before anything is set (`zerovalues`)."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What others want to keep here (short names, categories, columns)."""

    @property
    def group_resource(self) -> str:
        return self.mapping.group_resource

    @property
    def stored_as(self) -> RESTMapping:
        return self.storage or self.mapping

    @property
    def resource(self) -> str:
        """The name under which the store keeps the objects."""
        return (self.storage or self.mapping).group_resource

    def present(self, value: bytes) -> bytes:
        """A stored object as this version shows it."""
        return value if self.storage is None else msgspec.json.encode(self.decode(value))

    def decode(self, value: bytes) -> Json:
        """A stored object as this version shows it, as a private copy."""
        obj: Json = msgspec.json.decode(value)
        if self.storage is not None:
            obj["apiVersion"], obj["kind"] = self.mapping.gvk.api_version, self.mapping.gvk.kind
        return self.from_storage(obj) if self.from_storage else obj

    def subresource(self, name: str) -> SubresourceMerge | None:
        """How a subresource merges into the object; None if it is not served."""
        if name == "status":
            return self.subresources.get(name, take_status) if self.status_subresource else None
        return self.subresources.get(name)


@dataclass(frozen=True, slots=True)
class UserInfo:
    """Who asks."""

    name: str = ""
    """Empty for the server itself, whose writes are not subject to webhooks and policies."""
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, Sequence[str]] = field(default_factory=dict, hash=False, compare=False)


NOBODY = UserInfo()


class AdmissionAttributes(msgspec.Struct, kw_only=True):
    """One write before it happens. A mutating plugin changes `object` in place or replaces it."""

    operation: Literal["CREATE", "UPDATE", "DELETE"]
    definition: ResourceDefinition
    namespace: str
    name: str
    """Empty for a create whose name the server generates, and for what a deletecollection deletes."""
    subresource: str = ""
    kind: GroupVersionKind | None = None
    """Of the objects, where that is not the definition's: a Scale, a Binding."""
    object: Json | None
    """None for DELETE."""
    old_object: Json | None
    """None for CREATE. Not to be changed."""
    options: WriteOptions = DEFAULT_WRITE
    delete_options: Mapping[str, Any] = msgspec.field(default_factory=dict)
    """Of a delete: gracePeriodSeconds, propagationPolicy, preconditions, as far as the client named them."""
    user: UserInfo = NOBODY
    warnings: list[str] = msgspec.field(default_factory=list)
    """Warnings for the client; plugins append."""


AdmissionPlugin = Callable[[AdmissionAttributes], None]
"""Raises an ApiError to refuse the write.

A plugin may have a method `handles(operation, definition, subresource) -> bool` (admission.Interface has one, too): it
is not called where that says no, and need not ask again.
"""
