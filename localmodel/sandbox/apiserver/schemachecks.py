"""What kube-apiserver refuses in a CRD's openAPIV3Schema: constructs that it does not support, contradicting list and
map types, defaults that are no values of their schema.

`schema_faults` is the whole check of one schema: it adds the rules of `structural` and, where nothing is wrong before,
the compilation of CEL rules. Source: apiextensions-apiserver's pkg/apis/apiextensions/validation/validation.go and
pkg/apiserver/schema/defaulting/validation.go.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from .cel import RuleSet, rule_faults
from .embedded import coerce, embedded_faults
from .fielderrors import Cause, below, forbidden, go_strings, go_struct, invalid, join, not_supported, required
from .schema import Json, Schema, compile_schema, prune_value
from .structural import JUNCTIONS, structural_faults
from .validation import MISSING, validate

_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_UNSUPPORTED = ("id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref")
_META_FIELDS = ("apiVersion", "kind", "metadata")
_ROOT_FIELDS = {
    "description": "Description", "type": "Type", "format": "Format", "title": "Title", "maximum": "Maximum",
    "exclusiveMaximum": "ExclusiveMaximum", "minimum": "Minimum", "exclusiveMinimum": "ExclusiveMinimum",
    "maxLength": "MaxLength", "minLength": "MinLength", "pattern": "Pattern", "maxItems": "MaxItems",
    "minItems": "MinItems", "uniqueItems": "UniqueItems", "multipleOf": "MultipleOf", "required": "Required",
    "items": "Items", "properties": "Properties", "externalDocs": "ExternalDocs", "example": "Example",
    "x-kubernetes-preserve-unknown-fields": "XPreserveUnknownFields", "x-kubernetes-validations": "XValidations",
}  # fmt: skip
"""What may stand at the root beside a status subresource: validations of the status must not depend on more."""
_POINTERS = ("default", "not", "additionalProperties", "maxProperties", "minProperties")


def schema_faults(raw: Json, path: str, *, has_status: bool) -> list[Cause]:
    """The faults of the schema whose wrapper (spec.validation, or spec.versions[0].schema) is at `path`."""
    field = f"{path}.openAPIV3Schema"
    causes = list(_root_faults(raw, path)) if has_status else []
    if raw.get("nullable"):
        causes.append(forbidden(f"{field}.nullable", "nullable cannot be true at the root"))
    structural = [] if _unsupported_below(raw) else structural_faults(raw, field)
    causes += structural
    tree = None if structural or _unsupported_below(raw) else compile_schema(raw)
    if tree is not None:
        whole = compile_schema(_without_int_or_string({**raw, "x-kubernetes-embedded-resource": True}))
        causes += _default_faults(whole, field, _Surrounding())
    causes += _Walk().check(raw, field, _Place(is_root=True))
    if not causes and _unsupported_below(raw):
        causes.append(invalid(field, "", "OpenAPIV3Schema 'schema' is not supported"))
    if not causes and tree is not None:
        causes += rule_faults(tree, field)
    return causes


def _root_faults(raw: Json, path: str) -> Iterator[Cause]:
    if raw.get("type") != "object":
        text = 'only "object" is allowed as the type at the root of the schema if the status subresource is enabled'
        yield invalid(f"{path}.openAPIV3Schema.type", raw.get("type") or "", text)
    elif any(_is_said(key, value) for key, value in raw.items() if key not in _ROOT_FIELDS):
        allowed = " ".join(_ROOT_FIELDS.values())
        text = f"only [{allowed}] fields are allowed at the root of the schema if the status subresource is enabled"
        yield invalid(f"{path}.openAPIV3Schema", go_struct("apiextensions.JSONSchemaProps"), text)


def _is_said(key: str, value: Any) -> bool:
    """Whether a keyword has a value other than that of its Go type."""
    return value is not None and (key in _POINTERS or bool(value))


def _unsupported_below(raw: Any) -> bool:
    """Something that cannot be made into a structural schema at all; the other checks name it."""
    if not isinstance(raw, dict):
        return False
    if any(raw.get(key) for key in (*_UNSUPPORTED, "$schema")) or isinstance(raw.get("items"), list):
        return True
    if raw.get("x-kubernetes-preserve-unknown-fields") is False:
        return True
    return any(_unsupported_below(child) for _, child in _children(raw))


def _children(raw: Json) -> Iterator[tuple[str, Any]]:
    """The schemas directly below one, with their paths from it."""
    if isinstance(raw.get("additionalProperties"), dict):
        yield "additionalProperties", raw["additionalProperties"]
    for name, child in (raw.get("properties") or {}).items():
        yield f"properties[{name}]", child
    if isinstance(raw.get("not"), dict):
        yield "not", raw["not"]
    for key in JUNCTIONS:
        for index, child in enumerate(raw.get(key) or ()):
            yield f"{key}[{index}]", child
    if isinstance(raw.get("items"), dict):
        yield "items", raw["items"]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the schema a check stands."""

    is_root: bool = False
    inside_meta: bool = False
    """Below apiVersion, kind or metadata, of the object or of an embedded one."""
    no_defaults: str | None = None
    """Why defaults are forbidden here."""


class _Walk:
    """ValidateCustomResourceDefinitionOpenAPISchema: each node for itself."""

    def check(self, raw: Json, path: str, place: _Place) -> list[Cause]:
        causes = [*_construct_faults(raw, path, place), *_mutual_faults(raw, path)]
        for name, child in _children(raw):
            causes += self.check(child, f"{path}.{name}", _below(raw, name, place))
        causes += _map_type_faults(raw, path)
        causes += _list_type_faults(raw, path)
        causes += _map_key_faults(raw, path)
        causes += _item_faults(raw, path)
        return causes


def _below(raw: Json, name: str, place: _Place) -> _Place:
    place_below = replace(place, is_root=False)
    if name == "additionalProperties" and place.inside_meta:
        return replace(place_below, no_defaults="inside additionalProperties applying to object metadata")
    field = name.removeprefix("properties[").removesuffix("]") if name.startswith("properties[") else ""
    if field in _META_FIELDS and (place.is_root or raw.get("x-kubernetes-embedded-resource")):
        place_below = replace(place_below, inside_meta=True)
        if place.is_root:
            place_below = replace(place_below, no_defaults=f"in top-level {field}")
    return place_below


def _construct_faults(raw: Json, path: str, place: _Place) -> Iterator[Cause]:
    type_ = raw.get("type")
    if type_ and type_ not in _TYPES:
        yield not_supported(f"{path}.type", type_, _TYPES)
    if raw.get("default") is not None and place.no_defaults is not None:
        yield forbidden(f"{path}.default", f"must not be set {place.no_defaults}")
    for key in _UNSUPPORTED:
        if raw.get(key):
            yield forbidden(f"{path}.{key}", f"{key} is not supported")
    if type_ == "null":
        yield forbidden(f"{path}.type", "type cannot be set to null, use nullable as an alternative")
    if isinstance(raw.get("items"), list):
        yield forbidden(f"{path}.items", "items must be a schema object and not an array")
    if place.inside_meta and raw.get("x-kubernetes-embedded-resource"):
        yield forbidden(f"{path}.x-kubernetes-embedded-resource", "must not be used inside of resource meta")


def _mutual_faults(raw: Json, path: str) -> Iterator[Cause]:
    if raw.get("uniqueItems"):
        text = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        yield forbidden(f"{path}.uniqueItems", text)
    additional = raw.get("additionalProperties")
    if raw.get("properties") and additional is not None and additional is not True:
        yield forbidden(f"{path}.additionalProperties", "additionalProperties and properties are mutual exclusive")


def _map_type_faults(raw: Json, path: str) -> Iterator[Cause]:
    if raw.get("x-kubernetes-preserve-unknown-fields") is False:
        yield invalid(f"{path}.x-kubernetes-preserve-unknown-fields", False, "must be true or undefined")
    map_type = raw.get("x-kubernetes-map-type")
    if map_type is None:
        return
    if raw.get("type") != "object":
        yield _wrong_type(raw, path, "must be object if x-kubernetes-map-type is specified")
    if map_type not in ("atomic", "granular"):
        yield not_supported(f"{path}.x-kubernetes-map-type", map_type, ("atomic", "granular"))


def _wrong_type(raw: Json, path: str, text: str) -> Cause:
    return invalid(f"{path}.type", raw["type"], text) if raw.get("type") else required(f"{path}.type", text)


def _list_type_faults(raw: Json, path: str) -> Iterator[Cause]:
    list_type, items = raw.get("x-kubernetes-list-type"), raw.get("items")
    if list_type is None:
        return
    if raw.get("type") != "array":
        yield _wrong_type(raw, path, "must be array if x-kubernetes-list-type is specified")
    elif list_type == "set" and isinstance(items, dict):
        nested, text = (
            items.get("x-kubernetes-list-type"),
            "must be atomic as item of a list with x-kubernetes-list-type=set",
        )
        if items.get("type") == "array" and nested not in (None, "atomic"):
            yield invalid(f"{path}.items.x-kubernetes-list-type", nested, text)
        if items.get("type") == "object" and items.get("x-kubernetes-map-type") != "atomic":
            yield invalid(f"{path}.items.x-kubernetes-map-type", nested, text)
    if list_type not in ("atomic", "set", "map"):
        yield not_supported(f"{path}.x-kubernetes-list-type", list_type, ("atomic", "set", "map"))


def _map_key_faults(raw: Json, path: str) -> Iterator[Cause]:
    list_type, keys = raw.get("x-kubernetes-list-type"), raw.get("x-kubernetes-list-map-keys") or []
    if keys and list_type != "map":
        text, field = "must be map if x-kubernetes-list-map-keys is non-empty", f"{path}.x-kubernetes-list-type"
        yield required(field, text) if list_type is None else invalid(field, list_type, text)
    if list_type != "map":
        return
    field = f"{path}.x-kubernetes-list-map-keys"
    if not keys:
        yield required(field, "must not be empty if x-kubernetes-list-type is map")
    items = raw.get("items")
    if items is None:
        yield required(f"{path}.items", "must have a schema if x-kubernetes-list-type is map")
        return
    if not isinstance(items, dict):
        yield invalid(f"{path}.items", go_struct("apiextensions.JSONSchemaPropsOrArray"), _ONE_SCHEMA)
        return
    if items.get("type") != "object":
        text = "must be object if parent array's x-kubernetes-list-type is map"
        yield invalid(f"{path}.items.type", items.get("type") or "", text)
        return
    known = items.get("properties") or {}
    for index, key in enumerate(keys):
        if key not in known:
            yield invalid(field, go_strings(keys), "entries must all be names of item properties")
        elif known[key].get("type") in ("array", "object"):
            text = "must be a scalar type if parent array's x-kubernetes-list-type is map"
            yield invalid(f"{path}.items.properties[{key}].type", items["type"], text)
        if key in keys[:index]:
            yield invalid(field, go_strings(keys), "must not contain duplicate entries")


_ONE_SCHEMA = "must only have a single schema if x-kubernetes-list-type is map"


def _item_faults(raw: Json, path: str) -> Iterator[Cause]:
    """Items of sets and map lists are there, and so are the keys of the latter."""
    list_type, items = raw.get("x-kubernetes-list-type"), raw.get("items")
    if list_type not in ("set", "map") or not isinstance(items, dict):
        return
    if items.get("nullable"):
        yield forbidden(f"{path}.items.nullable", f"cannot be nullable when x-kubernetes-list-type is {list_type}")
    if list_type != "map":
        return
    known = items.get("properties") or {}
    for key in raw.get("x-kubernetes-list-map-keys") or ():
        if key not in known:
            continue
        field = f"{path}.items.properties[{key}]"
        if key not in (items.get("required") or ()) and known[key].get("default") is None:
            text = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            yield required(f"{field}.default", text)
        if known[key].get("nullable"):
            text = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable"
            yield forbidden(f"{field}.nullable", text)


@dataclass(frozen=True, slots=True)
class _Surrounding:
    """Where a default stands in its whole object, which checks of defaults in metadata need."""

    path: tuple[str, ...] = ()
    """From the object, or the embedded one, to the default; "[]" is an item of a list."""

    @property
    def inside_meta(self) -> bool:
        return bool(self.path) and self.path[0] in _META_FIELDS

    def below(self, name: str) -> _Surrounding:
        return _Surrounding((*self.path, name))

    def around(self, value: Any) -> Json:
        """A whole object that has nothing but the value."""
        for name in reversed(self.path):
            value = [value] if name == "[]" else {name: value}
        return {"apiVersion": "validation/v1", "kind": "Validation", **value}


def _default_faults(schema: Schema, path: str, place: _Surrounding) -> Iterator[Cause]:
    """Defaults are values of their own schema, without unknown fields. None are looked for below additionalProperties:
    there they are of no effect."""
    if schema.embedded:
        place = _Surrounding()
    if schema.raw.get("default") is not None:
        yield from _one_default(schema, f"{path}.default", place)
    if schema.items is not None:
        yield from _default_faults(schema.items, f"{path}.items", place.below("[]"))
    for name, child in schema.properties.items():
        yield from _default_faults(child, f"{path}.properties[{name}]", place.below(name))


def _one_default(schema: Schema, path: str, place: _Surrounding) -> Iterator[Cause]:
    written = schema.raw["default"]
    value = copy.deepcopy(written)
    if place.inside_meta:
        obj = place.around(copy.deepcopy(written))
        if found := _metadata_faults(_WHOLE_OBJECT, obj, ""):
            yield invalid(path, written, f"must result in valid metadata: {', '.join(map(join, found))}")
            return
    else:
        if prune_value(schema, value):
            yield invalid(path, written, "must not have unknown fields")
            value = copy.deepcopy(written)
        if found := _metadata_faults(schema, value, path):
            yield from found
            return
    found = below(path, validate(schema, value, MISSING))
    yield from found or below(path, RuleSet(schema).validate(value, None))


def _without_int_or_string(raw: Json) -> Json:
    """The schema as defaults are held against it: a real server forgets the types of int-or-string for them."""
    copied = {key: value for key, value in raw.items() if key != "x-kubernetes-int-or-string"}
    for key in ("items", "additionalProperties"):
        if isinstance(copied.get(key), dict):
            copied[key] = _without_int_or_string(copied[key])
    if copied.get("properties"):
        copied["properties"] = {name: _without_int_or_string(child) for name, child in copied["properties"].items()}
    return copied


_WHOLE_OBJECT = compile_schema({"type": "object", "x-kubernetes-embedded-resource": True})


def _metadata_faults(schema: Schema, value: Any, path: str) -> list[Cause]:
    wrong = coerce(schema, value, path, [])
    return [wrong] if wrong is not None else embedded_faults(schema, value, path)
