"""`MergeSchema`: how the lists of a kind merge, which server-side apply and strategic merge patches must know.

A list is atomic (replaced as a whole, the default), a set (of scalars), or a map (its items are told apart by the
values of key fields). Paths are the field names from the root, without list positions; `*` stands for any key of a map.
Sources: x-kubernetes-list-type, x-kubernetes-list-map-keys and x-kubernetes-map-type in the Kubernetes API conventions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

Path = tuple[str, ...]


class ListType(msgspec.Struct, frozen=True):
    """`keys` are the key fields of a map list; the first is the patch merge key of a strategic merge patch."""

    type: Literal["atomic", "set", "map"] = "atomic"
    keys: tuple[str, ...] = ()
    defaults: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Values of key fields that an item may leave out (protocol: TCP)."""


ATOMIC = ListType()
SET = ListType("set")


def map_list(*keys: str, **defaults: str) -> ListType:
    return ListType("map", keys, defaults)


_METADATA: Mapping[Path, ListType] = {
    ("metadata", "finalizers"): SET,
    ("metadata", "ownerReferences"): map_list("uid"),
}
_OWNERS: Path = ("metadata", "ownerReferences")


@dataclass(frozen=True)
class MergeSchema:
    """Exact paths, as a CustomResourceDefinition declares them. Everything not named is atomic (lists) or granular."""

    lists: Mapping[Path, ListType] = field(default_factory=dict)
    atomic_maps: frozenset[Path] = frozenset()
    """Objects that are owned and replaced as a whole."""

    def list_type(self, path: Path) -> ListType:
        """How server-side apply treats the list at this path."""
        return _METADATA.get(path) or self.lists.get(path) or self._with_wildcards(path)

    def patch_type(self, path: Path) -> ListType:
        """How a strategic merge patch treats the list at this path."""
        return self.list_type(path)

    def is_atomic(self, path: Path) -> bool:
        """A map at this path, or an item of the list there, is owned as a whole."""
        return path in self.atomic_maps or path == _OWNERS

    def _with_wildcards(self, path: Path) -> ListType:
        for known, list_type in self.lists.items():
            if (
                "*" in known
                and len(known) == len(path)
                and all(a in ("*", b) for a, b in zip(known, path, strict=True))
            ):
                return list_type
        return ATOMIC


UNTYPED = MergeSchema()


@dataclass(frozen=True)
class BuiltinSchema(MergeSchema):
    """The built-in kinds: lists known by their own name and, where that is not enough, by their parent's.

    A table by name, because a pod template lies at a different depth in each workload kind. Sources: the patchMergeKey
    and listMapKey tags of k8s.io/api (core/v1, apps/v1, batch/v1, admissionregistration/v1).
    """

    def list_type(self, path: Path) -> ListType:
        return _METADATA.get(path) or _by_name(_APPLY, path) or ATOMIC

    def patch_type(self, path: Path) -> ListType:
        return _METADATA.get(path) or _by_name(_PATCH_ONLY, path) or _by_name(_APPLY, path) or ATOMIC

    def is_atomic(self, path: Path) -> bool:
        return path == _OWNERS or path[-1:] in _ATOMIC_MAPS or path[-2:] in _ATOMIC_MAPS


def _by_name(table: Mapping[Path, ListType], path: Path) -> ListType | None:
    return table.get(path[-2:]) or table.get(path[-1:])


_CONTAINER_PORTS = map_list("containerPort", "protocol", protocol="TCP")

_APPLY: Mapping[Path, ListType] = {
    ("conditions",): map_list("type"),
    ("containers",): map_list("name"),
    ("initContainers",): map_list("name"),
    ("ephemeralContainers",): map_list("name"),
    ("containers", "ports"): _CONTAINER_PORTS,
    ("initContainers", "ports"): _CONTAINER_PORTS,
    ("ephemeralContainers", "ports"): _CONTAINER_PORTS,
    ("spec", "ports"): map_list("port", "protocol", protocol="TCP"),
    ("env",): map_list("name"),
    ("volumes",): map_list("name"),
    ("volumeMounts",): map_list("mountPath"),
    ("volumeDevices",): map_list("devicePath"),
    ("spec", "imagePullSecrets"): map_list("name"),
    ("secrets",): map_list("name"),
    ("hostAliases",): map_list("ip"),
    ("podIPs",): map_list("ip"),
    ("hostIPs",): map_list("ip"),
    ("podCIDRs",): SET,
    ("schedulingGates",): map_list("name"),
    ("resourceClaims",): map_list("name"),
    ("topologySpreadConstraints",): map_list("topologyKey", "whenUnsatisfiable"),
    ("accessModes",): ATOMIC,
    ("webhooks",): map_list("name"),
    ("matchConditions",): map_list("name"),
    ("variables",): map_list("name"),
    ("spec", "drivers"): map_list("name"),
    ("x-kubernetes-validations",): map_list("rule"),
    ("endpoints", "addresses"): SET,
    ("status", "addresses"): map_list("type"),
}

_PATCH_ONLY: Mapping[Path, ListType] = {
    ("endpoints", "addresses"): ATOMIC,
}

_ATOMIC_MAPS: frozenset[Path] = frozenset(
    {
        ("imagePullSecrets",),
        ("secrets",),
        ("selector",),
        ("labelSelector",),
        ("nodeSelector",),
        ("namespaceSelector",),
        ("objectSelector",),
        ("fieldRef",),
        ("resourceFieldRef",),
        ("secretKeyRef",),
        ("configMapKeyRef",),
        ("secretRef",),
        ("involvedObject",),
        ("regarding",),
        ("related",),
        ("nodeSelectorTerms",),
        ("nodeAffinity", "required"),
    }
)

BUILTIN = BuiltinSchema()
