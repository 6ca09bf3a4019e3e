"""Whether a CRD's openAPIV3Schema is structural: the invariants that pruning, defaulting and validation rely on.

The faults are sorted, as on a real server. What a schema must keep to beyond this (forbidden constructs, list types) is
in `schemachecks`, defaults in `defaultchecks`. Sources: apiextensions-apiserver's pkg/apiserver/schema (validation.go,
complete.go) and
https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from .fielderrors import Cause, forbidden, invalid, join, required
from .patterns import PatternError, compile_pattern

Json = dict[str, Any]
_Level = Literal["root", "item", "field"]

JUNCTIONS = ("anyOf", "allOf", "oneOf")
_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
_NO_TYPE = {
    "root": "must not be empty at the root",
    "item": "must not be empty for specified array items",
    "field": "must not be empty for specified object fields",
}
_METADATA = "must not specify anything other than name and generateName, but metadata is implicitly specified"
_NOT_NESTED = (
    ("type", "must be empty to be structural"),
    ("default", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("nullable", "must be false to be structural"),
    ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
    ("x-kubernetes-embedded-resource", "must be false to be structural"),
    ("x-kubernetes-int-or-string", "must be false to be structural"),
    ("x-kubernetes-list-map-keys", "must be empty to be structural"),
    ("x-kubernetes-list-type", "must be undefined to be structural"),
    ("x-kubernetes-map-type", "must be undefined to be structural"),
    ("x-kubernetes-validations", "must be empty to be structural"),
)
"""What value validations under a junction may not say, and how the refusal reads."""


def structural_faults(raw: Json, path: str) -> list[Cause]:
    """The faults of the root schema at `path` (spec.validation.openAPIV3Schema)."""
    return sorted((*_invariants(raw, "root", path), *_completeness(raw, raw, path, path)), key=join)


def _invariants(raw: Json, level: _Level, path: str) -> Iterator[Cause]:
    items, additional = raw.get("items"), raw.get("additionalProperties")
    if isinstance(items, dict):
        yield from _invariants(items, "item", f"{path}.items")
    elif raw.get("type") == "array":
        yield required(f"{path}.items", "must be specified")
    for name, child in (raw.get("properties") or {}).items():
        yield from _invariants(child, "field", f"{path}.properties[{name}]")
    if additional is not None and level == "root":
        yield forbidden(f"{path}.additionalProperties", "must not be used at the root")
    if isinstance(additional, dict):
        yield from _invariants(additional, "field", f"{path}.additionalProperties")
    yield from _extensions(raw, path)
    yield from _values(
        raw, path, skip_any=raw.get("anyOf") == _INT_OR_STRING, skip_all=_is_all_of_int_or_string(raw.get("allOf"))
    )
    yield from _type(raw, level, path)
    yield from _metadata(raw, level, path)


def _is_all_of_int_or_string(branches: Any) -> bool:
    return bool(branches) and branches[0].get("anyOf") == _INT_OR_STRING


def _extensions(raw: Json, path: str) -> Iterator[Cause]:
    if not raw.get("x-kubernetes-int-or-string"):
        return
    for name in ("x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"):
        if raw.get(name):
            yield invalid(f"{path}.{name}", True, "must be false if x-kubernetes-int-or-string is true")


def _type(raw: Json, level: _Level, path: str) -> Iterator[Cause]:
    type_, embedded = raw.get("type"), raw.get("x-kubernetes-embedded-resource")
    preserves = raw.get("x-kubernetes-preserve-unknown-fields")
    if embedded and type_ != "object":
        text = "must be object if x-kubernetes-embedded-resource is true"
        yield invalid(f"{path}.type", type_, text) if type_ else required(f"{path}.type", text)
    elif not type_ and not raw.get("x-kubernetes-int-or-string") and not preserves:
        yield required(f"{path}.type", _NO_TYPE[level])
    if embedded and raw.get("additionalProperties") is not None:
        text = "must not be used if x-kubernetes-embedded-resource is set"
        yield forbidden(f"{path}.additionalProperties", text)
    if level == "root" and type_ and type_ != "object":
        yield invalid(f"{path}.type", type_, "must be object at the root")
    if embedded and not preserves and not raw.get("properties"):
        text = "must not be empty if x-kubernetes-embedded-resource is true without "
        yield required(f"{path}.properties", text + "x-kubernetes-preserve-unknown-fields")


def _metadata(raw: Json, level: _Level, path: str) -> Iterator[Cause]:
    """What may be said of apiVersion, kind and metadata of a whole object."""
    properties = raw.get("properties") or {}
    is_object = level == "root" or raw.get("x-kubernetes-embedded-resource")
    for name in ("kind", "apiVersion"):
        if is_object and name in properties and properties[name].get("type") != "string":
            yield invalid(f"{path}.properties[{name}].type", properties[name].get("type") or "", "must be string")
    metadata, field = properties.get("metadata"), f"{path}.properties[metadata]"
    if metadata is None:
        return
    if is_object and metadata.get("type") != "object":
        yield invalid(f"{field}.type", metadata.get("type") or "", "must be object")
    if level == "root":
        names = set(metadata.get("properties") or {})
        said = {key for key, value in metadata.items() if value not in (None, "", False, [], {})}
        if names - {"name", "generateName"} or said - {"type", "properties", "default"}:
            yield forbidden(field, _METADATA)


def _values(raw: Json, path: str, *, skip_any: bool, skip_all: bool) -> Iterator[Cause]:
    """Value validations of one node. Those of the int-or-string idiom may name types, and are passed over."""
    for index, branch in enumerate(() if skip_any else raw.get("anyOf") or ()):
        yield from _nested(branch, f"{path}.anyOf[{index}]")
    for index, branch in enumerate(raw.get("allOf") or ()):
        yield from _nested(branch, f"{path}.allOf[{index}]", skip_any=skip_all and index == 0)
    for index, branch in enumerate(raw.get("oneOf") or ()):
        yield from _nested(branch, f"{path}.oneOf[{index}]")
    if isinstance(raw.get("not"), dict):
        yield from _nested(raw["not"], f"{path}.not")
    if pattern := raw.get("pattern"):
        try:
            compile_pattern(pattern)
        except PatternError as error:
            text = f"must be a valid regular expression, but isn't: {error}"
            yield invalid(f"{path}.pattern", pattern, text)


def _nested(raw: Json, path: str, *, skip_any: bool = False) -> Iterator[Cause]:
    yield from _values(raw, path, skip_any=skip_any, skip_all=False)
    if isinstance(raw.get("items"), dict):
        yield from _nested(raw["items"], f"{path}.items")
    for name, child in (raw.get("properties") or {}).items():
        yield from _nested(child, f"{path}.properties[{name}]")
    if raw.get("additionalProperties"):
        yield forbidden(f"{path}.additionalProperties", "must be undefined to be structural")
    for key, text in _NOT_NESTED:
        if raw.get(key) or (key == "default" and raw.get(key) is not None):
            yield forbidden(f"{path}.{key}", text)
    if "metadata" in (raw.get("properties") or {}):
        yield forbidden(f"{path}.properties[metadata]", "must not be specified in a nested context")


def _completeness(values: Json, raw: Json | None, path: str, where: str) -> Iterator[Cause]:
    """Every field that a value validation names must be a field of the structure beside it."""
    branches = [(f"{where}.{key}[{index}]", b) for key in JUNCTIONS for index, b in enumerate(values.get(key) or ())]
    if isinstance(values.get("not"), dict):
        branches.append((f"{where}.not", values["not"]))
    for place, branch in branches:
        yield from _nested_completeness(branch, raw, path, place)


def _nested_completeness(values: Json, raw: Json | None, path: str, where: str) -> Iterator[Cause]:
    if raw is None:
        yield required(path, f"because it is defined in {where}")
        return
    yield from _completeness(values, raw, path, where)
    if isinstance(values.get("items"), dict):
        items = raw.get("items")
        yield from _nested_completeness(
            values["items"], items if isinstance(items, dict) else None, f"{path}.items", f"{where}.items"
        )
    known = raw.get("properties") or {}
    for name, child in (values.get("properties") or {}).items():
        field = f"properties[{name}]"
        yield from _nested_completeness(child, known.get(name), f"{path}.{field}", f"{where}.{field}")
