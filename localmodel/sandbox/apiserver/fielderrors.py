"""Field errors: the causes of a 422, in the words of apimachinery's `field` package.

A cause is what a Status carries in details.causes: {"reason", "message", "field"}. `localmodel.runtime.errors` turns a
list of them into an InvalidError; `join` gives the text of one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

Cause = dict[str, Any]

OMITTED: Any = object()
"""Stands for a value that is not shown."""


class GoValue(str):
    """A value that is already written as Go shows it: a struct, a typed slice."""


def go_struct(type_: str) -> GoValue:
    """A Go struct, whose content (with the addresses of its parts) is nothing to show."""
    return GoValue(f"{type_}{{...}}")


def go_strings(values: Iterable[str]) -> GoValue:
    """A []string."""
    return GoValue(f"[]string{{{', '.join(map(_quoted, values))}}}")


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def go_float(value: float) -> str:
    """A float64 as Go's %v shows it."""
    if value == int(value) and abs(value) < 1e21:
        return str(int(value))
    mantissa, exponent, digits = repr(value).partition("e")
    return f"{mantissa.removesuffix('.0')}e{int(digits):+03d}" if exponent else mantissa


_HTML = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"})


def go_json(value: Any) -> str:
    """A value as encoding/json writes it: keys in order, no characters that mean something in HTML."""
    match value:
        case str():
            return _quoted(value).translate(_HTML)
        case float():
            if value.is_integer() and abs(value) < 1e21:
                return str(int(value))
            text = go_float(value)
            return format(Decimal(text), "f") if 1e-6 <= abs(value) < 1e21 else text.replace("e-0", "e-")
        case dict():
            return "{" + ",".join(f"{go_json(key)}:{go_json(value[key])}" for key in sorted(value)) + "}"
        case list():
            return "[" + ",".join(map(go_json, value)) + "]"
        case _:
            return json.dumps(value)


def go_syntax(value: Any, *, nested: bool = False) -> str:
    """A value as a field error shows it: Go's %v of a scalar, %#v of anything else."""
    match value:
        case GoValue():
            return str(value)
        case None:
            return "interface {}(nil)" if nested else '"null"'
        case bool():
            return str(value).lower()
        case float():
            return go_float(value)
        case dict():
            pairs = (f"{_quoted(key)}:{go_syntax(item, nested=True)}" for key, item in sorted(value.items()))
            return f"map[string]interface {{}}{{{', '.join(pairs)}}}"
        case list():
            return "[]interface {}{" + ", ".join(go_syntax(item, nested=True) for item in value) + "}"
        case _:
            return json.dumps(value, ensure_ascii=False)


def _cause(reason: str, field: str, text: str, detail: str = "") -> Cause:
    return {"reason": reason, "message": f"{text}: {detail}" if detail else text, "field": field}


def required(field: str, detail: str = "") -> Cause:
    return _cause("FieldValueRequired", field, "Required value", detail)


def invalid(field: str, value: Any, detail: str) -> Cause:
    text = "Invalid value" if value is OMITTED else f"Invalid value: {go_syntax(value)}"
    return _cause("FieldValueInvalid", field, text, detail)


def type_invalid(field: str, value: Any, detail: str) -> Cause:
    """A value of the wrong JSON type."""
    return _cause("FieldValueTypeInvalid", field, f"Invalid value: {go_syntax(value)}", detail)


def not_supported(field: str, value: Any, supported: Iterable[Any]) -> Cause:
    texts = [item if isinstance(item, str) else json.dumps(item, separators=(",", ":")) for item in supported]
    detail = "supported values: " + ", ".join(map(_quoted, texts)) if texts else ""
    return _cause("FieldValueNotSupported", field, f"Unsupported value: {go_syntax(value)}", detail)


def duplicate(field: str, value: Any) -> Cause:
    return _cause("FieldValueDuplicate", field, f"Duplicate value: {go_syntax(value)}")


def forbidden(field: str, detail: str) -> Cause:
    return _cause("FieldValueForbidden", field, "Forbidden", detail)


def too_long(field: str, limit: int) -> Cause:
    return _cause("FieldValueTooLong", field, "Too long", f"may not be more than {limit} bytes")


def too_many(field: str, actual: int, limit: int) -> Cause:
    return _cause("FieldValueTooMany", field, f"Too many: {actual}", f"must have at most {limit} items")


def not_found(field: str, value: Any) -> Cause:
    return _cause("FieldValueNotFound", field, f"Not found: {go_syntax(value)}")


def join(cause: Cause) -> str:
    """`field: message`, as it stands in an error's text."""
    return f"{cause['field']}: {cause['message']}"


def below(field: str, causes: Iterable[Cause]) -> list[Cause]:
    """Causes found in a value on its own, as faults of the field that holds it."""
    return [{**cause, "field": field if cause["field"] == "<nil>" else f"{field}.{cause['field']}"} for cause in causes]
