"""What rules see of a value."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from localmodel.sandbox.apiserver.cel.types import to_cel
from localmodel.sandbox.apiserver.schema import compile_schema

TEXT = {"type": "string"}


def formatted(name: str) -> dict[str, str]:
    return {"type": "string", "format": name}


@pytest.mark.parametrize(
    ("schema", "value", "seen"),
    [
        (TEXT, "a", "a"),
        ({"type": "integer"}, 1.0, 1),
        ({"type": "number"}, 1, 1.0),
        ({"type": "number"}, True, True),
        (formatted("date-time"), "2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (formatted("duration"), "90s", timedelta(seconds=90)),
        (formatted("byte"), "aGk=", b"hi"),
        (formatted("byte"), "no base64", "no base64"),
        (formatted("date-time"), "yesterday", "yesterday"),
        (formatted("date-time"), None, None),
        ({"x-kubernetes-int-or-string": True}, 5, 5),
        ({"type": "array", "items": {"type": "number"}}, [1, 2], [1.0, 2.0]),
        ({"type": "array", "items": TEXT}, ["a"], ["a"]),
        ({"type": "object", "additionalProperties": {"type": "number"}}, {"a-b": 1}, {"a-b": 1.0}),
        ({"type": "object", "additionalProperties": TEXT}, {"a": "b"}, {"a": "b"}),
        (
            {"type": "object", "properties": {"a-b": TEXT, "in": TEXT, "c": {"type": "integer"}}},
            {"a-b": "x", "in": "y", "c": 2.0},
            {"a__dash__b": "x", "__in__": "y", "c": 2},
        ),
        (
            {"type": "object", "properties": {"o": {"type": "object", "properties": {"x.y": TEXT}}}},
            {"o": {"x.y": "z"}},
            {"o": {"x__dot__y": "z"}},
        ),
    ],
)
def test_a_value_is_seen_in_the_type_of_its_schema(schema: Any, value: Any, seen: Any) -> None:
    found = to_cel(compile_schema(schema), value)
    assert found == seen
    assert type(found) is type(seen)


def test_fields_that_are_null_or_that_the_schema_does_not_have_are_not_seen() -> None:
    schema = compile_schema({"type": "object", "properties": {"a": TEXT, "1": TEXT}})
    assert to_cel(schema, {"a": None, "1": "cannot be named", "other": 1}) == {}


def test_a_whole_resource_has_its_type_and_metadata() -> None:
    schema = compile_schema({"type": "object", "properties": {}})
    obj = {"apiVersion": "v1", "kind": "K", "metadata": {"name": "n", "labels": {"a": "b"}}}
    assert to_cel(schema, obj, is_resource=True) == {"apiVersion": "v1", "kind": "K", "metadata": {"name": "n"}}


def test_the_value_itself_stays_as_it_is() -> None:
    schema = compile_schema({"type": "object", "properties": {"a-b": {"type": "array", "items": {"type": "number"}}}})
    value = {"a-b": [1]}
    to_cel(schema, value)
    assert value == {"a-b": [1]}
    assert type(value["a-b"][0]) is int
