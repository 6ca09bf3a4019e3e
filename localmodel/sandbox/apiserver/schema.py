"""Structural schemas: a CustomResourceDefinition's openAPIV3Schema compiled to a tree that prunes, defaults and
validates objects.

A `Schema` node is made once per CRD and is immutable. `prune` and `default` change the object in place; `validation`
walks the same tree for faults and `cel` for its rules. Which schemas are structural is checked in `structural`, before
they get here. Rules: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from localmodel.runtime.testing.schema import SET, ListType, MergeSchema, Path, map_list

Json = dict[str, Any]

METADATA_FIELDS = frozenset(
    {
        "annotations",
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generateName",
        "generation",
        "labels",
        "managedFields",
        "name",
        "namespace",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "uid",
    }
)


@dataclass(slots=True, eq=False)
class Schema:
    """One node. `raw` is the schema as written; value checks (pattern, minimum, ...) are read from it."""

    raw: Json
    properties: dict[str, Schema] = field(default_factory=dict)
    additional: Schema | None = None
    """The schema of values under any other key; None if there is none, see `closed`."""
    items: Schema | None = None
    closed: bool = False
    """Unknown fields are pruned here."""
    rules: tuple[Json, ...] = ()
    has_rules_below: bool = False
    """This node or one below has x-kubernetes-validations."""
    has_defaults_below: bool = False

    @property
    def type(self) -> str:
        return str(self.raw.get("type", ""))

    @property
    def nullable(self) -> bool:
        return bool(self.raw.get("nullable"))

    @property
    def int_or_string(self) -> bool:
        return bool(self.raw.get("x-kubernetes-int-or-string"))

    @property
    def embedded(self) -> bool:
        """A whole Kubernetes object: apiVersion, kind and metadata are known fields of it."""
        return bool(self.raw.get("x-kubernetes-embedded-resource"))

    @property
    def list_type(self) -> str:
        return str(self.raw.get("x-kubernetes-list-type", "atomic"))

    @property
    def list_map_keys(self) -> tuple[str, ...]:
        return tuple(self.raw.get("x-kubernetes-list-map-keys") or ())

    @property
    def type_name(self) -> str:
        """As error messages name the expected type."""
        return "integer,string" if self.int_or_string else self.type


def compile_schema(raw: Json) -> Schema:
    """The tree of a structural schema."""
    node = Schema(raw)
    node.properties = {name: compile_schema(child) for name, child in (raw.get("properties") or {}).items()}
    additional = raw.get("additionalProperties")
    if isinstance(additional, dict):
        node.additional = compile_schema(additional)
    if isinstance(raw.get("items"), dict):
        node.items = compile_schema(raw["items"])
    preserves = bool(raw.get("x-kubernetes-preserve-unknown-fields")) or additional is True
    node.closed = not preserves and node.additional is None and raw.get("type") == "object"
    node.rules = tuple(raw.get("x-kubernetes-validations") or ())
    below = [*node.properties.values(), *(child for child in (node.additional, node.items) if child is not None)]
    node.has_rules_below = bool(node.rules) or any(child.has_rules_below for child in below)
    node.has_defaults_below = "default" in raw or any(child.has_defaults_below for child in below)
    return node


def prune(schema: Schema, obj: Json) -> list[str]:
    """Removes the fields that the schema does not have, in place, from a whole object; returns their paths."""
    dropped: list[str] = []
    _prune_object(schema, obj, "", dropped, is_resource=True)
    return dropped


def _prune(schema: Schema, value: Any, path: str, dropped: list[str]) -> None:
    if isinstance(value, dict):
        _prune_object(schema, value, path, dropped, is_resource=schema.embedded)
    elif isinstance(value, list) and schema.items is not None:
        for index, item in enumerate(value):
            _prune(schema.items, item, f"{path}[{index}]", dropped)


def _prune_object(schema: Schema, value: Json, path: str, dropped: list[str], *, is_resource: bool) -> None:
    prefix = f"{path}." if path else ""
    for key in list(value):
        if is_resource and key in ("apiVersion", "kind", "metadata"):
            if key == "metadata" and isinstance(value[key], dict):
                _prune_metadata(value[key], prefix, dropped)
            continue
        child = schema.properties.get(key) or schema.additional
        if child is not None:
            _prune(child, value[key], prefix + key, dropped)
        elif schema.closed:
            del value[key]
            dropped.append(prefix + key)


def _prune_metadata(metadata: Json, prefix: str, dropped: list[str]) -> None:
    for key in [key for key in metadata if key not in METADATA_FIELDS]:
        del metadata[key]
        dropped.append(f"{prefix}metadata.{key}")


def default(schema: Schema, value: Any) -> None:
    """Fills in defaults below `value`, in place. A null that the schema does not allow gives way to the default."""
    if not schema.has_defaults_below:
        return
    if isinstance(value, dict):
        for name, child in schema.properties.items():
            if "default" in child.raw and (name not in value or (value[name] is None and not child.nullable)):
                value[name] = copy.deepcopy(child.raw["default"])
            if name in value:
                default(child, value[name])
        if schema.additional is not None:
            for key in value.keys() - schema.properties.keys():
                default(schema.additional, value[key])
    elif isinstance(value, list) and schema.items is not None:
        for item in value:
            default(schema.items, item)


def drop_nulls(schema: Schema, value: Any) -> None:
    """Removes nulls of fields that are neither nullable nor defaulted, as kube-apiserver does before validation."""
    if isinstance(value, dict):
        for key in list(value):
            child = schema.properties.get(key)
            if child is None:
                if schema.additional is not None:
                    drop_nulls(schema.additional, value[key])
            elif (
                value[key] is None and not child.nullable and not child.raw.get("x-kubernetes-preserve-unknown-fields")
            ):
                del value[key]
            else:
                drop_nulls(child, value[key])
    elif isinstance(value, list) and schema.items is not None:
        for item in value:
            drop_nulls(schema.items, item)


def merge_schema(schema: Schema) -> MergeSchema:
    """How server-side apply merges the lists and maps of this schema."""
    lists: dict[Path, ListType] = {}
    atomic: set[Path] = set()
    _collect_merges(schema, (), lists, atomic)
    return MergeSchema(lists=lists, atomic_maps=frozenset(atomic))


def _collect_merges(schema: Schema, path: Path, lists: dict[Path, ListType], atomic: set[Path]) -> None:
    if schema.raw.get("x-kubernetes-map-type") == "atomic":
        atomic.add(path)
    if schema.list_type == "set":
        lists[path] = SET
    elif schema.list_type == "map":
        lists[path] = map_list(*schema.list_map_keys, **_key_defaults(schema))
    for name, child in schema.properties.items():
        _collect_merges(child, (*path, name), lists, atomic)
    if schema.additional is not None:
        _collect_merges(schema.additional, (*path, "*"), lists, atomic)
    if schema.items is not None:
        _collect_merges(schema.items, path, lists, atomic)


def _key_defaults(schema: Schema) -> dict[str, str]:
    if schema.items is None:
        return {}
    known = {key: schema.items.properties.get(key) for key in schema.list_map_keys}
    return {key: child.raw["default"] for key, child in known.items() if child and "default" in child.raw}
