"""Checks that a CRD's openAPIV3Schema is structural, as kube-apiserver does before it accepts the definition.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema
"""

from __future__ import annotations

import re
from typing import Any

from .fielderrors import Cause, forbidden, invalid, not_supported, required

Json = dict[str, Any]

_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_FORBIDDEN = (
    "$ref",
    "$schema",
    "id",
    "definitions",
    "dependencies",
    "deprecated",
    "discriminator",
    "readOnly",
    "writeOnly",
    "xml",
    "patternProperties",
    "additionalItems",
)
_JUNCTIONS = ("allOf", "anyOf", "oneOf")
_NOT_IN_JUNCTIONS = ("description", "type", "default", "additionalProperties", "nullable")
_LIST_TYPES = ("atomic", "map", "set")


def structural_faults(raw: Any, path: str) -> list[Cause]:
    """The faults of the root schema at `path` (spec.versions[0].schema.openAPIV3Schema)."""
    if not isinstance(raw, dict):
        return [required(path, "schemas are required")]
    causes: list[Cause] = []
    if raw.get("type") != "object":
        causes.append(invalid(f"{path}.type", raw.get("type", ""), 'must be "object" at the root'))
    _check_metadata(raw, path, causes)
    _check(raw, path, causes)
    return causes


def _check_metadata(raw: Json, path: str, causes: list[Cause]) -> None:
    metadata = (raw.get("properties") or {}).get("metadata")
    if not isinstance(metadata, dict):
        return
    allowed = {"type", "description", "properties"}
    if metadata.get("type", "object") != "object" or set(metadata) - allowed:
        text = "must not specify anything other than name and generateName, but metadata is implicitly specified"
        causes.append(forbidden(f"{path}.properties[metadata]", text))
    for name in set(metadata.get("properties") or ()) - {"name", "generateName"}:
        text = "must not specify anything other than name and generateName, but metadata is implicitly specified"
        causes.append(forbidden(f"{path}.properties[metadata].properties[{name}]", text))


def _check(raw: Json, path: str, causes: list[Cause]) -> None:
    causes += [forbidden(f"{path}.{key}", "must not be used") for key in _FORBIDDEN if key in raw]
    if raw.get("uniqueItems"):
        causes.append(
            forbidden(
                f"{path}.uniqueItems",
                "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
            )
        )
    _check_type(raw, path, causes)
    _check_list_type(raw, path, causes)
    _check_pattern(raw, path, causes)
    _check_junctions(raw, path, causes)
    if raw.get("properties") and "additionalProperties" in raw:
        causes.append(
            forbidden(f"{path}.additionalProperties", "additionalProperties and properties are mutual exclusive")
        )
    for name, child in (raw.get("properties") or {}).items():
        _check(child, f"{path}.properties[{name}]", causes)
    if isinstance(raw.get("additionalProperties"), dict):
        _check(raw["additionalProperties"], f"{path}.additionalProperties", causes)
    items = raw.get("items")
    if isinstance(items, dict):
        _check(items, f"{path}.items", causes)
    elif raw.get("type") == "array":
        causes.append(required(f"{path}.items", "must be specified"))


def _check_type(raw: Json, path: str, causes: list[Cause]) -> None:
    type_ = raw.get("type")
    if raw.get("x-kubernetes-int-or-string"):
        if type_:
            causes.append(forbidden(f"{path}.type", "must be empty if x-kubernetes-int-or-string is true"))
    elif not type_:
        if not raw.get("x-kubernetes-preserve-unknown-fields"):
            text = "must not be empty for specified object fields"
            causes.append(required(f"{path}.type", text))
    elif type_ not in _TYPES:
        causes.append(not_supported(f"{path}.type", type_, _TYPES))
    if raw.get("x-kubernetes-embedded-resource"):
        if type_ != "object":
            causes.append(
                invalid(f"{path}.type", type_ or "", "must be object if x-kubernetes-embedded-resource is true")
            )
        if not raw.get("properties") and not raw.get("x-kubernetes-preserve-unknown-fields"):
            text = "must not be empty if x-kubernetes-embedded-resource is true without "
            causes.append(required(f"{path}.properties", text + "x-kubernetes-preserve-unknown-fields"))


def _check_list_type(raw: Json, path: str, causes: list[Cause]) -> None:
    list_type, keys = raw.get("x-kubernetes-list-type"), raw.get("x-kubernetes-list-map-keys") or []
    if list_type is not None and list_type not in _LIST_TYPES:
        causes.append(not_supported(f"{path}.x-kubernetes-list-type", list_type, _LIST_TYPES))
    if list_type is not None and raw.get("type") != "array":
        causes.append(invalid(f"{path}.type", raw.get("type", ""), "must be array if x-kubernetes-list-type is set"))
    if list_type == "map" and not keys:
        causes.append(
            required(f"{path}.x-kubernetes-list-map-keys", "must not be empty if x-kubernetes-list-type is map")
        )
    if list_type != "map":
        if keys:
            text = "must be map if x-kubernetes-list-map-keys is non-empty"
            causes.append(invalid(f"{path}.x-kubernetes-list-type", list_type or "", text))
        return
    items = raw.get("items") if isinstance(raw.get("items"), dict) else {}
    properties = (items or {}).get("properties") or {}
    for index, key in enumerate(keys):
        if key not in properties:
            causes.append(
                invalid(
                    f"{path}.x-kubernetes-list-map-keys[{index}]", key, "entries must all be names of item properties"
                )
            )
        elif key not in ((items or {}).get("required") or ()) and "default" not in properties[key]:
            text = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            causes.append(required(f"{path}.items.properties[{key}].default", text))


def _check_pattern(raw: Json, path: str, causes: list[Cause]) -> None:
    if pattern := raw.get("pattern"):
        try:
            re.compile(pattern.replace("\\z", "\\Z"))
        except re.error as error:
            causes.append(
                invalid(f"{path}.pattern", pattern, f"must be a valid regular expression, but isn't: {error}")
            )


def _check_junctions(raw: Json, path: str, causes: list[Cause]) -> None:
    branches = [(f"{key}[{index}]", branch) for key in _JUNCTIONS for index, branch in enumerate(raw.get(key) or ())]
    if isinstance(raw.get("not"), dict):
        branches.append(("not", raw["not"]))
    for name, branch in branches:
        _check_branch(branch, f"{path}.{name}", causes, int_or_string=bool(raw.get("x-kubernetes-int-or-string")))
        missing = set(branch.get("properties") or ()) - set(raw.get("properties") or ())
        causes += [
            required(f"{path}.properties[{key}]", f"because it is defined in {path}.{name}.properties[{key}]")
            for key in sorted(missing)
        ]


def _check_branch(branch: Json, path: str, causes: list[Cause], *, int_or_string: bool) -> None:
    # The one type that may stand below is that of the int-or-string idiom.
    allowed = {"type"} if int_or_string and branch.get("type") in ("integer", "string") else set()
    causes += [
        forbidden(f"{path}.{key}", "must be empty to be structural")
        for key in _NOT_IN_JUNCTIONS
        if key in branch and key not in allowed
    ]
    for name, child in (branch.get("properties") or {}).items():
        _check_branch(child, f"{path}.properties[{name}]", causes, int_or_string=False)
    for junction in _JUNCTIONS:
        for index, child in enumerate(branch.get(junction) or ()):
            _check_branch(child, f"{path}.{junction}[{index}]", causes, int_or_string=int_or_string)
