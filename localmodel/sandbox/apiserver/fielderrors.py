"""Field errors: the causes of a 422, in the words of apimachinery's `field` package.

A cause is what a Status carries in details.causes: {"reason", "message", "field"}. `localmodel.runtime.errors` turns a
list of them into an InvalidError; `join` gives the text of one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

Cause = dict[str, Any]

OMITTED: Any = object()
"""Stands for a value that is not shown."""


def go_syntax(value: Any) -> str:
    """A value as Go's %#v shows unstructured content."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return (
            "map[string]interface {}{"
            + ", ".join(f"{go_syntax(key)}:{go_syntax(item)}" for key, item in value.items())
            + "}"
        )
    if isinstance(value, list):
        return "[]interface {}{" + ", ".join(map(go_syntax, value)) + "}"
    if value is None:
        return "null"
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
    values = ", ".join(f'"{item}"' if isinstance(item, str) else f'"{go_syntax(item)}"' for item in supported)
    return _cause(
        "FieldValueNotSupported", field, f"Unsupported value: {go_syntax(value)}", f"supported values: {values}"
    )


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
