"""Validates a custom resource against its structural schema, in kube-apiserver's words and with its causes.

Unchanged parts of an updated object are not looked at again (CRD validation ratcheting, Kubernetes 1.30): an object
that a stricter schema would refuse can still be changed elsewhere. Sources: apiextensions-apiserver's validation and
go-openapi's messages, as of Kubernetes 1.32.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec

from .ages import parse_time
from .fielderrors import Cause, duplicate, invalid, not_supported, required, too_long, too_many, type_invalid
from .schema import Json, Schema

MISSING: Any = object()
"""There is no old value to compare with."""


def validate(schema: Schema, new: Any, old: Any = MISSING, path: str = "") -> list[Cause]:
    """The faults of a value; none where it equals the old one."""
    causes: list[Cause] = []
    _validate(schema, new, old, path, causes)
    return causes


def _validate(schema: Schema, value: Any, old: Any, path: str, causes: list[Cause]) -> None:
    if old is not MISSING and old == value:
        return
    if value is None and schema.nullable:
        return
    if not _check_type(schema, value, path, causes):
        return
    _check_value(schema.raw, value, path, causes)
    if isinstance(value, dict):
        _validate_object(schema, value, old, path, causes)
    elif isinstance(value, list):
        _validate_list(schema, value, old, path, causes)


def json_type(value: Any) -> str:
    """The JSON type; a whole number is an integer."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def _check_type(schema: Schema, value: Any, path: str, causes: list[Cause]) -> bool:
    found = json_type(value)
    expected = schema.type_name
    if not expected or found in expected.split(",") or (expected == "number" and found == "integer"):
        return True
    if found == "number" and "integer" in expected and value == int(value):
        return True
    causes.append(type_invalid(path or "<nil>", found, f'{path} in body must be of type {expected}: "{found}"'))
    return False


def _validate_object(schema: Schema, value: Json, old: Any, path: str, causes: list[Cause]) -> None:
    prefix = f"{path}." if path else ""
    causes += [required(prefix + name) for name in schema.raw.get("required") or () if name not in value]
    before = old if isinstance(old, dict) else {}
    for key, item in value.items():
        if not path and key == "metadata":
            continue
        child = schema.properties.get(key) or schema.additional
        if child is not None:
            _validate(child, item, before.get(key, MISSING), prefix + key, causes)


def _validate_list(schema: Schema, value: list[Any], old: Any, path: str, causes: list[Cause]) -> None:
    if schema.items is None:
        return
    counterpart = _correlate(schema, old)
    for index, item in enumerate(value):
        _validate(schema.items, item, counterpart(item), f"{path}[{index}]", causes)
    _check_unique(schema, value, path, causes)


def _correlate(schema: Schema, old: Any) -> Callable[[Any], Any]:
    """Finds an item's old state: by key in a map list; no other list has items that last."""
    keys = schema.list_map_keys
    if schema.list_type != "map" or not isinstance(old, list):
        return lambda _: MISSING
    by_key = {_identity(item, keys): item for item in old if isinstance(item, dict)}
    return lambda item: by_key.get(_identity(item, keys), MISSING) if isinstance(item, dict) else MISSING


def _identity(item: Json, keys: tuple[str, ...]) -> bytes:
    return msgspec.json.encode([item.get(key) for key in keys])


def _check_unique(schema: Schema, value: list[Any], path: str, causes: list[Cause]) -> None:
    if schema.list_type not in ("set", "map"):
        return
    keys = schema.list_map_keys
    seen: set[bytes] = set()
    for index, item in enumerate(value):
        is_keyed = schema.list_type == "map" and isinstance(item, dict)
        shown = {key: item[key] for key in keys if key in item} if is_keyed else item
        identity = _identity(item, keys) if is_keyed else msgspec.json.encode(item)
        if identity in seen:
            causes.append(duplicate(f"{path}[{index}]", shown))
        seen.add(identity)


def _check_value(raw: Json, value: Any, path: str, causes: list[Cause]) -> None:
    """Value validations of one node, those under allOf, anyOf, oneOf and not included."""
    if "enum" in raw and value not in raw["enum"]:
        causes.append(not_supported(path, value, raw["enum"]))
    if isinstance(value, str):
        _check_string(raw, value, path, causes)
    elif isinstance(value, bool):
        pass
    elif isinstance(value, int | float):
        _check_number(raw, value, path, causes)
    elif isinstance(value, list):
        _check_size(raw, len(value), path, causes, "items", "Items")
    elif isinstance(value, dict):
        _check_size(raw, len(value), path, causes, "properties", "Properties")
    _check_junctions(raw, value, path, causes)


@lru_cache(maxsize=1024)
def _pattern(pattern: str) -> re.Pattern[str]:
    """Go's pattern as Python's: \\z is the only anchor that differs and occurs."""
    return re.compile(pattern.replace("\\z", "\\Z"))


def _check_string(raw: Json, value: str, path: str, causes: list[Cause]) -> None:
    if (limit := raw.get("maxLength")) is not None and len(value) > limit:
        causes.append(too_long(path, limit))
    if (limit := raw.get("minLength")) is not None and len(value) < limit:
        causes.append(invalid(path, value, f"{path} in body should be at least {limit} chars long"))
    if (pattern := raw.get("pattern")) and not _pattern(pattern).search(value):
        causes.append(invalid(path, value, f"{path} in body should match '{pattern}'"))
    check = _FORMATS.get(raw.get("format", ""))
    if check is not None and not check(value):
        causes.append(invalid(path, value, f'{path} in body must be of type {raw["format"]}: "{value}"'))


def _check_number(raw: Json, value: float, path: str, causes: list[Cause]) -> None:
    if (limit := raw.get("maximum")) is not None:
        exclusive = raw.get("exclusiveMaximum")
        if value > limit or (exclusive and value == limit):
            causes.append(
                invalid(
                    path, value, f"{path} in body should be less than {'' if exclusive else 'or equal to '}{limit:g}"
                )
            )
    if (limit := raw.get("minimum")) is not None:
        exclusive = raw.get("exclusiveMinimum")
        if value < limit or (exclusive and value == limit):
            text = f"{path} in body should be greater than {'' if exclusive else 'or equal to '}{limit:g}"
            causes.append(invalid(path, value, text))
    if (factor := raw.get("multipleOf")) is not None and value % factor:
        causes.append(invalid(path, value, f"{path} in body should be a multiple of {factor:g}"))
    bounds = _INTEGER_FORMATS.get(raw.get("format", ""))
    if bounds is not None and not bounds[0] <= value <= bounds[1]:
        causes.append(invalid(path, value, f'{path} in body must be of type {raw["format"]}: "{value}"'))


_INTEGER_FORMATS = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}


def _check_size(raw: Json, size: int, path: str, causes: list[Cause], noun: str, suffix: str) -> None:
    if (limit := raw.get(f"max{suffix}")) is not None and size > limit:
        causes.append(too_many(path, size, limit))
    if (limit := raw.get(f"min{suffix}")) is not None and size < limit:
        causes.append(invalid(path, size, f"{path} in body should have at least {limit} {noun}"))


def _check_junctions(raw: Json, value: Any, path: str, causes: list[Cause]) -> None:
    if all_of := raw.get("allOf"):
        faults = [fault for branch in all_of for fault in _branch_faults(branch, value, path)]
        if faults:
            causes += faults
            causes.append(invalid(path, "", f'"{path}" must validate all the schemas (allOf)'))
    # int-or-string fields are written with an anyOf of both types, which the type check has seen to.
    if (any_of := raw.get("anyOf")) and not any(not _branch_faults(branch, value, path) for branch in any_of):
        causes.append(invalid(path, "", f'"{path}" must validate at least one schema (anyOf)'))
        causes += _branch_faults(any_of[0], value, path)
    if one_of := raw.get("oneOf"):
        valid = sum(not _branch_faults(branch, value, path) for branch in one_of)
        if valid != 1:
            found = "Found none valid" if not valid else f"Found {valid} valid alternatives"
            text = f'"{path}" must validate one and only one schema (oneOf). {found}'
            causes.append(invalid(path, "", text))
            if not valid:
                causes += _branch_faults(one_of[0], value, path)
    if (negated := raw.get("not")) is not None and not _branch_faults(negated, value, path):
        causes.append(invalid(path, "", f'"{path}" must not validate the schema (not)'))


def _branch_faults(raw: Json, value: Any, path: str) -> list[Cause]:
    """The faults of a value against a value-validation schema (which has no defaults, lists or rules)."""
    causes: list[Cause] = []
    expected = raw.get("type")
    found = json_type(value)
    if expected and found != expected and not (expected == "number" and found == "integer"):
        return [type_invalid(path, found, f'{path} in body must be of type {expected}: "{found}"')]
    _check_value(raw, value, path, causes)
    prefix = f"{path}." if path else ""
    if isinstance(value, dict):
        causes += [required(prefix + name) for name in raw.get("required") or () if name not in value]
        for name, child in (raw.get("properties") or {}).items():
            if name in value:
                causes += _branch_faults(child, value[name], prefix + name)
    elif isinstance(value, list) and isinstance(raw.get("items"), dict):
        for index, item in enumerate(value):
            causes += _branch_faults(raw["items"], item, f"{path}[{index}]")
    return causes


def _is_byte(value: str) -> bool:
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


_DURATION = re.compile(r"^[+-]?(\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)((\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h))*$")
_DATE = re.compile(r"^\d{4}-\d{2}-\d{2}$")
_UUID = re.compile(r"^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$", re.IGNORECASE)
_EMAIL = re.compile(r"^[^@\s]+@[^@\s]+$")
_FORMATS: dict[str, Callable[[str], bool]] = {
    "date-time": lambda value: "T" in value.upper() and parse_time(value) is not None,
    "date": lambda value: bool(_DATE.match(value)) and parse_time(value) is not None,
    "byte": _is_byte,
    "duration": lambda value: value == "0" or bool(_DURATION.match(value)),
    "uuid": lambda value: bool(_UUID.match(value)),
    "email": lambda value: bool(_EMAIL.match(value)),
}
