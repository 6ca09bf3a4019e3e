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


@dataclass(slots=True, eq=False)
class Schema:
    """One node. `raw` is the schema as written; value checks (pattern, minimum, ...) are read from it."""

    raw: Json
    properties: dict[str, Schema] = field(default_factory=dict)
    additional: Schema | None = None
    """The schema of values under any other key; None if there is none, see `closed`."""
    items: Schema | None = None
    branches: dict[str, tuple[Schema, ...]] = field(default_factory=dict)
    """The value validations under anyOf, allOf, oneOf and not."""
    closed: bool = False
    """Unknown fields are pruned here."""
    rules: tuple[Json, ...] = ()
    defaulted: tuple[tuple[str, Schema], ...] = ()
    """The properties that have a default."""
    has_rules_below: bool = False
    """This node or one below has x-kubernetes-validations; likewise the next three."""
    has_defaults_below: bool = False
    has_embedded_below: bool = False
    has_unique_lists_below: bool = False
    type: str = field(init=False)
    nullable: bool = field(init=False)
    int_or_string: bool = field(init=False)
    embedded: bool = field(init=False)
    """A whole Kubernetes object: apiVersion, kind and metadata are known fields of it."""
    list_type: str = field(init=False)
    list_map_keys: tuple[str, ...] = field(init=False)
    type_name: str = field(init=False)
    """As error messages name the expected type."""

    def __post_init__(self) -> None:
        raw = self.raw
        self.type = str(raw.get("type") or "")
        self.nullable = bool(raw.get("nullable"))
        self.int_or_string = bool(raw.get("x-kubernetes-int-or-string"))
        self.embedded = bool(raw.get("x-kubernetes-embedded-resource"))
        self.list_type = str(raw.get("x-kubernetes-list-type") or "atomic")
        self.list_map_keys = tuple(raw.get("x-kubernetes-list-map-keys") or ())
        self.type_name = "integer,string" if self.int_or_string else self.type

    @property
    def children(self) -> list[Schema]:
        nested = [child for child in (self.additional, self.items) if child is not None]
        return [*self.properties.values(), *nested]


_UNKNOWN = Schema({}, closed=True)
"""Of a value about which the schema says nothing: no field of it is known."""


def compile_schema(raw: Json) -> Schema:
    """The tree of a structural schema, or of a value validation in one."""
    node = Schema(raw)
    node.properties = {name: compile_schema(child) for name, child in (raw.get("properties") or {}).items()}
    additional = raw.get("additionalProperties")
    if additional is not None:
        node.additional = compile_schema(additional) if isinstance(additional, dict) else _UNKNOWN
    if isinstance(raw.get("items"), dict):
        node.items = compile_schema(raw["items"])
    node.branches = {
        key: tuple(map(compile_schema, raw[key] if key != "not" else (raw[key],)))
        for key in ("anyOf", "oneOf", "allOf", "not")
        if raw.get(key)
    }
    node.closed = not raw.get("x-kubernetes-preserve-unknown-fields")
    node.rules = tuple(raw.get("x-kubernetes-validations") or ())
    node.defaulted = tuple((n, c) for n, c in node.properties.items() if c.raw.get("default") is not None)
    below = node.children
    node.has_rules_below = bool(node.rules) or any(child.has_rules_below for child in below)
    node.has_defaults_below = raw.get("default") is not None or any(child.has_defaults_below for child in below)
    node.has_embedded_below = node.embedded or any(child.has_embedded_below for child in below)
    node.has_unique_lists_below = node.list_type != "atomic" or any(child.has_unique_lists_below for child in below)
    return node


_META_FIELDS = ("apiVersion", "kind", "metadata")


def prune(schema: Schema, obj: Json) -> list[str]:
    """Removes the fields that the schema does not have, in place, from a whole object; returns their sorted paths.

    apiVersion, kind and metadata of whole objects stay: those are not for the schema to say.
    """
    dropped: list[str] = []
    _prune_object(schema, obj, "", dropped, is_resource=True)
    return sorted(dropped)


def prune_value(schema: Schema, value: Any) -> list[str]:
    """The same for a value that is no whole object."""
    dropped: list[str] = []
    _prune(schema, value, "", dropped)
    return sorted(dropped)


def _prune(schema: Schema, value: Any, path: str, dropped: list[str]) -> None:
    if isinstance(value, dict):
        _prune_object(schema, value, path, dropped, is_resource=schema.embedded)
    elif isinstance(value, list):
        items = schema.items or _UNKNOWN
        for index, item in enumerate(value):
            if isinstance(item, dict | list):
                _prune(items, item, f"{path}[{index}]", dropped)


def _prune_object(schema: Schema, value: Json, path: str, dropped: list[str], *, is_resource: bool) -> None:
    prefix = f"{path}." if path else ""
    for key in list(value):
        if is_resource and key in _META_FIELDS:
            continue
        child = schema.properties.get(key) or schema.additional
        if child is not None:
            if isinstance(value[key], dict | list):
                _prune(child, value[key], prefix + key, dropped)
        elif schema.closed:
            del value[key]
            dropped.append(prefix + key)


def default(schema: Schema, value: Any) -> None:
    """Fills in defaults below `value`, in place. A null that the schema does not allow gives way to the default."""
    if not schema.has_defaults_below:
        return
    if isinstance(value, dict):
        for name, child in schema.defaulted:
            if name not in value or (value[name] is None and not child.nullable):
                value[name] = copy.deepcopy(child.raw["default"])
        for key, item in value.items():
            known = schema.properties.get(key) or schema.additional
            if known is None or not known.has_defaults_below:
                continue
            if item is None and not known.nullable and key not in schema.properties:
                value[key] = copy.deepcopy(known.raw.get("default"))
            default(known, value[key])
    elif isinstance(value, list) and schema.items is not None:
        for index, item in enumerate(value):
            if item is None and not schema.items.nullable:
                value[index] = copy.deepcopy(schema.items.raw.get("default"))
            default(schema.items, value[index])


def drop_nulls(schema: Schema, value: Any) -> None:
    """Removes nulls of fields that are neither nullable nor defaulted, as kube-apiserver does before it defaults."""
    if isinstance(value, dict):
        for key in list(value):
            child, item = schema.properties.get(key) or schema.additional, value[key]
            if child is None:
                continue
            if item is None:
                if not child.nullable and child.raw.get("default") is None:
                    del value[key]
            elif isinstance(item, dict | list):
                drop_nulls(child, item)
    elif isinstance(value, list) and schema.items is not None:
        for item in value:
            if isinstance(item, dict | list):
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
