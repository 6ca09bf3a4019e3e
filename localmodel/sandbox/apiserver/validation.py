"""Validates a custom resource against its structural schema, in kube-apiserver's words and with its causes.

`validate` knows about types and values, `list_faults` about sets and map lists; embedded objects' metadata is in
`embedded`, CEL rules are in `cel`. Unchanged parts of an updated object are not looked at again (CRD validation
ratcheting, Kubernetes 1.30): an object that a stricter schema would refuse can still be changed elsewhere. Sources:
apiextensions-apiserver's pkg/apiserver/validation and pkg/apiserver/schema/listtype, and kube-openapi's
pkg/validation/validate, as of Kubernetes 1.32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from localmodel.runtime.testing.jsonvalues import is_same

from .fielderrors import Cause, duplicate, go_float, invalid, not_supported, required, too_long, too_many, type_invalid
from .formats import format_of
from .patterns import compile_pattern
from .schema import Json, Schema

MISSING: Any = object()
"""There is no old value to compare with."""

_GO_FORMATS = {"integer": "int64", "number": "float64"}
"""The format that a JSON number has by itself, which is what an error about a format shows."""


def validate(schema: Schema, new: Any, old: Any = MISSING, path: str = "") -> list[Cause]:
    """The faults of a value; none where it equals the old one."""
    causes: list[Cause] = []
    _validate(schema, new, old, path, causes)
    return causes


def _validate(schema: Schema, value: Any, old: Any, path: str, causes: list[Cause]) -> int:
    """Adds the faults; returns the number of checks passed, by which the nearest alternative of anyOf is chosen."""
    if old is not MISSING and is_same(old, value):
        return 0
    score = _check_type(schema, value, path, causes)
    if value is None:
        _check_enum(schema, value, path, causes)
        return score
    if schema.branches:
        score += _check_junctions(schema, value, path, causes)
    if isinstance(value, str):
        _check_string(schema.raw, value, path, causes)
    elif isinstance(value, dict):
        score += _validate_object(schema, value, old, path, causes)
    elif isinstance(value, list):
        score += _validate_list(schema, value, old, path, causes)
    elif not isinstance(value, bool):
        score += _check_number(schema.raw, value, path, causes)
    _check_enum(schema, value, path, causes)
    return score + 1


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


def _place(path: str) -> str:
    return path.removeprefix(".") or "<nil>"


def _check_type(schema: Schema, value: Any, path: str, causes: list[Cause]) -> int:
    expected = schema.type_name
    if not expected:
        return 0
    found = json_type(value)
    if found == expected or (value is None and schema.nullable):
        return 1
    types = expected.split(",")
    if found in types or (found == "integer" and "number" in types):
        return 1
    if found == "number" and "integer" in types and value == int(value):
        return 1
    format_ = schema.raw.get("format") or ""
    if value is not None and format_of(format_) is not None:
        if isinstance(value, str | list) and not {"number", "integer"} & set(types):
            return 1
        if not isinstance(value, str | list):
            expected, found = format_, _GO_FORMATS.get(found, "")
    causes.append(type_invalid(_place(path), found, f'{path} in body must be of type {expected}: "{found}"'))
    return 0


def _check_enum(schema: Schema, value: Any, path: str, causes: list[Cause]) -> None:
    enum = schema.raw.get("enum")
    if enum and not any(_equals(item, value) for item in enum):
        causes.append(not_supported(_place(path), value, enum))


def _equals(allowed: Any, value: Any) -> bool:
    """Numbers are compared in the type of the allowed one; null is never equal."""
    if value is None or isinstance(allowed, bool) is not isinstance(value, bool):
        return False
    if type(allowed) is int and type(value) is float:
        return allowed == int(value)
    return bool(allowed == value)


def _validate_object(schema: Schema, value: Json, old: Any, path: str, causes: list[Cause]) -> int:
    _check_size(schema.raw, len(value), path, causes, "properties", "Properties")
    if schema.raw.get("additionalProperties") is False:
        unknown = (key for key in value if key not in schema.properties)
        causes += [invalid(_place(path), key, f"{path}.{key} in body is a forbidden property") for key in unknown]
    before = old if isinstance(old, dict) else {}
    prefix, properties, additional = f"{path}." if path else "", schema.properties, schema.additional
    score = 0
    for key, item in value.items():
        child = properties.get(key)
        if child is not None:
            score += _validate(child, item, before.get(key, MISSING), prefix + key, causes)
        elif additional is not None:
            score += _validate(additional, item, before.get(key, MISSING), f"{path}.{key}", causes)
    causes += [required(_place(f"{path}.{name}")) for name in schema.raw.get("required") or () if name not in value]
    return score


def _validate_list(schema: Schema, value: list[Any], old: Any, path: str, causes: list[Cause]) -> int:
    score = 1
    if schema.items is not None:
        counterpart = _correlate(schema, old)
        for index, item in enumerate(value):
            score += _validate(schema.items, item, counterpart(item), f"{path}[{index}]", causes)
    _check_size(schema.raw, len(value), path, causes, "items", "Items")
    return score


def _correlate(schema: Schema, old: Any) -> Callable[[Any], Any]:
    """Finds an item's old state: by key in a map list; no other list has items that last."""
    keys = schema.list_map_keys
    if schema.list_type != "map" or not isinstance(old, list):
        return lambda _: MISSING
    by_key = {_identity(item, keys): item for item in old if isinstance(item, dict)}
    return lambda item: by_key.get(_identity(item, keys), MISSING) if isinstance(item, dict) else MISSING


def _identity(item: Json, keys: tuple[str, ...]) -> bytes:
    return msgspec.json.encode([item.get(key) for key in keys])


def _check_string(raw: Json, value: str, path: str, causes: list[Cause]) -> None:
    """The first of length and pattern that fails; and the format."""
    if (limit := raw.get("maxLength")) is not None and len(value) > limit:
        causes.append(too_long(_place(path), limit))
    elif (limit := raw.get("minLength")) is not None and len(value) < limit:
        causes.append(invalid(_place(path), value, f"{path} in body should be at least {limit} chars long"))
    elif (pattern := raw.get("pattern")) and not compile_pattern(pattern)(value):
        causes.append(invalid(_place(path), value, f"{path} in body should match '{pattern}'"))
    if format_ := raw.get("format"):
        check = format_of(format_)
        if check is not None and not check(value):
            text = f"{path} in body must be of type {format_}: {msgspec.json.encode(value).decode()}"
            causes.append(type_invalid(_place(path), value, text))


def _check_number(raw: Json, value: float, path: str, causes: list[Cause]) -> int:
    if (factor := raw.get("multipleOf")) is not None:
        if isinstance(value, int):
            factor = _int64(factor)
        if factor <= 0:
            text = f"factor MultipleOf declared for {path} must be positive: {go_float(factor)}"
            causes.append(invalid(_place(path), factor, text))
        elif not _is_multiple(value, factor):
            text = f"{path} in body should be a multiple of {go_float(factor)}"
            causes.append(invalid(_place(path), value, text))
    for keyword, comparison, fails in (("minimum", "greater", _is_below), ("maximum", "less", _is_above)):
        if (limit := raw.get(keyword)) is None:
            continue
        exclusive = bool(raw.get(f"exclusive{keyword.capitalize()}"))
        # A whole number is compared with the whole part of the limit, as in Go's int64.
        bound = _int64(limit) if isinstance(value, int) else float(limit)
        if fails(value, bound) or (exclusive and value == bound):
            text = f"{path} in body should be {comparison} than {'' if exclusive else 'or equal to '}{go_float(bound)}"
            causes.append(invalid(_place(path), value, text))
    return 1


def _int64(limit: float) -> int:
    """Go's conversion, which gives the least number for what does not fit."""
    return int(limit) if -(2**63) <= limit < 2**63 else -(2**63)


def _is_below(value: float, bound: float) -> bool:
    return value < bound


def _is_above(value: float, bound: float) -> bool:
    return value > bound


def _is_multiple(value: float, factor: float) -> bool:
    if isinstance(value, int):
        return value % factor == 0
    quotient = value * (1 / factor) if factor < 1 else value / factor
    return abs(quotient - round(quotient)) < 1e-9


def _check_size(raw: Json, size: int, path: str, causes: list[Cause], noun: str, suffix: str) -> None:
    if (limit := raw.get(f"min{suffix}")) is not None and size < limit:
        causes.append(invalid(_place(path), size, f"{path} in body should have at least {limit} {noun}"))
    if (limit := raw.get(f"max{suffix}")) is not None and size > limit:
        causes.append(too_many(_place(path), size, limit))


def _check_junctions(schema: Schema, value: Any, path: str, causes: list[Cause]) -> int:
    score = 1
    found: list[Cause] = []
    if any_of := schema.branches.get("anyOf"):
        score += _check_any(any_of, value, path, found)
    if one_of := schema.branches.get("oneOf"):
        score += _check_one(one_of, value, path, found)
    if all_of := schema.branches.get("allOf"):
        score += _check_all(all_of, value, path, found)
    if (negated := schema.branches.get("not")) and not validate(negated[0], value, MISSING, path):
        found.append(_junction(f'"{path}" must not validate the schema (not)'))
    # The alternatives may say the same several times, and the same as the schema around them.
    causes += [cause for index, cause in enumerate(found) if cause not in found[:index] and cause not in causes]
    return score


def _junction(text: str) -> Cause:
    """A fault of a junction has no place but in its text."""
    return invalid("<nil>", "", text)


def _tried(branch: Schema, value: Any, path: str) -> tuple[int, list[Cause]]:
    causes: list[Cause] = []
    return _validate(branch, value, MISSING, path, causes), causes


def _nearest(tried: list[tuple[int, list[Cause]]]) -> tuple[int, list[Cause]]:
    """The alternative with the most checks passed, the first of several."""
    return max(tried, key=lambda result: result[0])


def _check_any(branches: tuple[Schema, ...], value: Any, path: str, causes: list[Cause]) -> int:
    tried = []
    for branch in branches:
        score, faults = _tried(branch, value, path)
        if not faults:
            return score
        tried.append((score, faults))
    causes.append(_junction(f'"{path}" must validate at least one schema (anyOf)'))
    score, faults = _nearest(tried)
    causes += faults
    return score


def _check_one(branches: tuple[Schema, ...], value: Any, path: str, causes: list[Cause]) -> int:
    tried = [_tried(branch, value, path) for branch in branches]
    valid = [score for score, faults in tried if not faults]
    if len(valid) == 1:
        return valid[0]
    found = f"Found {len(valid)} valid alternatives" if valid else "Found none valid"
    causes.append(_junction(f'"{path}" must validate one and only one schema (oneOf). {found}'))
    if valid:
        return 0
    score, faults = _nearest(tried)
    causes += faults
    return score


def _check_all(branches: tuple[Schema, ...], value: Any, path: str, causes: list[Cause]) -> int:
    tried = [_tried(branch, value, path) for branch in branches]
    for _, faults in tried:
        causes += faults
    if any(faults for _, faults in tried):
        none = "" if any(not faults for _, faults in tried) else ". None validated"
        causes.append(_junction(f'"{path}" must validate all the schemas (allOf){none}'))
    return sum(score for score, _ in tried)


def list_faults(schema: Schema, value: Any, path: str = "") -> list[Cause]:
    """Repeated items of sets, repeated keys of map lists."""
    causes: list[Cause] = []
    if schema.has_unique_lists_below:
        _check_lists(schema, value, path, causes)
    return causes


def _check_lists(schema: Schema, value: Any, path: str, causes: list[Cause]) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            child = schema.properties.get(key)
            if child is not None and child.has_unique_lists_below:
                _check_lists(child, item, f"{path}.{key}" if path else key, causes)
            elif child is None and schema.additional is not None:
                _check_lists(schema.additional, item, f"{path}[{key}]", causes)
    elif isinstance(value, list):
        if schema.list_type == "set":
            causes += [duplicate(f"{path}[{index}]", value[index]) for index in _repeated(value)]
        elif schema.list_type == "map":
            causes += _map_list_faults(schema, value, path)
        if schema.items is not None and schema.items.has_unique_lists_below:
            for index, item in enumerate(value):
                _check_lists(schema.items, item, f"{path}[{index}]", causes)


def _map_list_faults(schema: Schema, value: list[Any], path: str) -> list[Cause]:
    for index, item in enumerate(value):
        if item is not None and not isinstance(item, dict):
            return [invalid(f"{path}[{index}]", item, "must be an object for an array of list-type map")]
    if len(schema.list_map_keys) == 1 and _differ(value, schema.list_map_keys[0]):
        return []
    keys = [{key: item[key] for key in schema.list_map_keys if key in item} if item else {} for item in value]
    return [duplicate(f"{path}[{index}]", keys[index]) for index in _repeated(keys)]


def _differ(items: list[Any], key: str) -> bool:
    """Whether all items have a text under the key, each another."""
    values = [item.get(key) if item else None for item in items]
    return all(type(value) is str for value in values) and len(set(values)) == len(values)


def _repeated(items: list[Any]) -> list[int]:
    """Where items come for the second time; further times are not told."""
    seen: dict[bytes, int] = {}
    repeated = []
    for index, item in enumerate(items):
        identity = msgspec.json.encode(item, order="sorted")
        seen[identity] = seen.get(identity, 0) + 1
        if seen[identity] == 2:
            repeated.append(index)
    return repeated
