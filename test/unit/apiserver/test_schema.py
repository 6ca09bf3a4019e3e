"""Structural schemas: pruning, defaulting, validation texts, structural checks."""

from __future__ import annotations

from typing import Any

import pytest

from localmodel.sandbox.apiserver import schema as structural
from localmodel.sandbox.apiserver.fielderrors import join
from localmodel.sandbox.apiserver.schema import compile_schema
from localmodel.sandbox.apiserver.structural import structural_faults
from localmodel.sandbox.apiserver.validation import list_faults, validate

Json = dict[str, Any]


def of_spec(**properties: Json) -> structural.Schema:
    spec = {"type": "object", "properties": properties}
    return compile_schema({"type": "object", "properties": {"spec": spec}})


def faults(schema: structural.Schema, spec: Any, old: Any = None) -> list[str]:
    new = {"spec": spec}
    found = validate(schema, new) if old is None else validate(schema, new, {"spec": old})
    return [join(cause) for cause in (*found, *list_faults(schema, new))]


class TestPrune:
    def test_drops_unknown_fields_and_names_their_paths(self) -> None:
        schema = of_spec(items={"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}})
        obj = {"apiVersion": "v1", "metadata": {"name": "x"}, "spec": {"items": [{"a": "1", "b": 2}]}, "x": 1}
        assert structural.prune(schema, obj) == ["spec.items[0].b", "x"]
        assert obj == {"apiVersion": "v1", "metadata": {"name": "x"}, "spec": {"items": [{"a": "1"}]}}

    def test_keeps_what_the_schema_preserves(self) -> None:
        schema = of_spec(
            open={"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            map={"type": "object", "additionalProperties": {"type": "string"}},
        )
        obj = {"spec": {"open": {"a": {"b": 1}}, "map": {"k": "v"}}}
        assert structural.prune(schema, obj) == []
        assert obj == {"spec": {"open": {"a": {"b": 1}}, "map": {"k": "v"}}}


class TestDefault:
    def test_fills_missing_fields_but_not_missing_parents(self) -> None:
        schema = of_spec(
            size={"type": "integer", "default": 1},
            inner={"type": "object", "properties": {"x": {"type": "string", "default": "y"}}},
        )
        obj: Json = {"spec": {}}
        structural.default(schema, obj)
        assert obj == {"spec": {"size": 1}}

    def test_defaults_items_and_gives_each_object_its_own_copy(self) -> None:
        schema = of_spec(
            items={
                "type": "array",
                "items": {"type": "object", "properties": {"tags": {"type": "array", "default": [], "items": {}}}},
            }
        )
        obj: Json = {"spec": {"items": [{}, {}]}}
        structural.default(schema, obj)
        first, second = obj["spec"]["items"]
        first["tags"].append("a")
        assert second == {"tags": []}

    def test_a_null_gives_way_to_the_default_or_is_dropped_unless_nullable(self) -> None:
        schema = of_spec(
            a={"type": "integer", "default": 1},
            b={"type": "integer"},
            c={"type": "integer", "nullable": True, "default": 3},
        )
        obj: Json = {"spec": {"a": None, "b": None, "c": None}}
        structural.default(schema, obj)
        structural.drop_nulls(schema, obj)
        assert obj == {"spec": {"a": 1, "c": None}}


TEXTS = [
    ({"type": "string"}, 5, 'spec.x: Invalid value: "integer": spec.x in body must be of type string: "integer"'),
    (
        {"x-kubernetes-int-or-string": True},
        True,
        'spec.x: Invalid value: "boolean": spec.x in body must be of type integer,string: "boolean"',
    ),
    ({"type": "string", "enum": ["S", "M"]}, "X", 'spec.x: Unsupported value: "X": supported values: "S", "M"'),
    ({"type": "string", "maxLength": 2}, "abc", "spec.x: Too long: may not be more than 2 bytes"),
    (
        {"type": "string", "minLength": 1},
        "",
        'spec.x: Invalid value: "": spec.x in body should be at least 1 chars long',
    ),
    ({"type": "string", "pattern": "^a$"}, "b", "spec.x: Invalid value: \"b\": spec.x in body should match '^a$'"),
    (
        {"type": "integer", "minimum": 1},
        0,
        "spec.x: Invalid value: 0: spec.x in body should be greater than or equal to 1",
    ),
    (
        {"type": "integer", "maximum": 9, "exclusiveMaximum": True},
        9,
        "spec.x: Invalid value: 9: spec.x in body should be less than 9",
    ),
    (
        {"type": "array", "minItems": 1, "items": {"type": "string"}},
        [],
        "spec.x: Invalid value: 0: spec.x in body should have at least 1 items",
    ),
    (
        {"type": "array", "maxItems": 1, "items": {"type": "string"}},
        ["a", "b"],
        "spec.x: Too many: 2: must have at most 1 items",
    ),
    (
        {"type": "string", "format": "date-time"},
        "now",
        'spec.x: Invalid value: "now": spec.x in body must be of type date-time: "now"',
    ),
    (
        {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        ["a", "a"],
        'spec.x[1]: Duplicate value: "a"',
    ),
    (
        {"type": "object", "properties": {"y": {"type": "array", "items": {"type": "object", "required": ["z"]}}}},
        {"y": [{}]},
        "spec.x.y[0].z: Required value",
    ),
]


class TestValidate:
    @pytest.mark.parametrize(("schema", "value", "text"), TEXTS, ids=[text.split(": ")[1] for *_, text in TEXTS])
    def test_speaks_as_kube_apiserver(self, schema: Json, value: Any, text: str) -> None:
        assert faults(of_spec(x=schema), {"x": value}) == [text]

    def test_map_lists_have_unique_keys(self) -> None:
        schema = of_spec(
            x={
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "properties": {"name": {"type": "string"}}},
            }
        )
        found = faults(schema, {"x": [{"name": "a"}, {"name": "a"}]})
        assert found == ['spec.x[1]: Duplicate value: map[string]interface {}{"name":"a"}']

    def test_one_of_wants_exactly_one(self) -> None:
        properties = {"a": {"type": "string"}, "b": {"type": "string"}}
        spec = {"type": "object", "properties": properties, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}
        schema = compile_schema({"type": "object", "properties": {"spec": spec}})
        assert faults(schema, {"a": "1"}) == []
        assert '"spec" must validate one and only one schema (oneOf). Found none valid' in faults(schema, {})[0]
        assert "Found 2 valid alternatives" in faults(schema, {"a": "1", "b": "2"})[0]

    def test_nullable_takes_null(self) -> None:
        assert faults(of_spec(x={"type": "string", "nullable": True}), {"x": None}) == []

    def test_unchanged_faults_pass_and_changed_ones_do_not(self) -> None:
        schema = of_spec(x={"type": "integer", "maximum": 1}, y={"type": "integer", "maximum": 1})
        assert faults(schema, {"x": 5, "y": 0}, {"x": 5, "y": 1}) == []
        assert len(faults(schema, {"x": 5, "y": 7}, {"x": 5, "y": 1})) == 1


class TestStructural:
    def test_accepts_the_int_or_string_idiom(self) -> None:
        raw = {
            "type": "object",
            "properties": {
                "x": {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}
            },
        }
        assert structural_faults(raw, "s") == []

    @pytest.mark.parametrize(
        ("child", "field"),
        [
            ({}, "s.properties[x].type"),
            ({"type": "array"}, "s.properties[x].items"),
            ({"type": "string", "pattern": "("}, "s.properties[x].pattern"),
            ({"type": "object", "properties": {}, "anyOf": [{"type": "object"}]}, "s.properties[x].anyOf[0].type"),
        ],
    )
    def test_refuses_what_is_not_structural(self, child: Json, field: str) -> None:
        causes = structural_faults({"type": "object", "properties": {"x": child}}, "s")
        assert [cause["field"] for cause in causes] == [field]

    def test_the_root_is_an_object(self) -> None:
        assert structural_faults({"type": "string"}, "s")[0]["field"] == "s.type"


def test_apply_learns_how_lists_merge() -> None:
    schema = of_spec(
        ports={
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["port", "protocol"],
            "items": {
                "type": "object",
                "properties": {"port": {"type": "integer"}, "protocol": {"type": "string", "default": "TCP"}},
            },
        },
        tags={"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        whole={"type": "object", "x-kubernetes-map-type": "atomic"},
    )
    merge = structural.merge_schema(schema)
    assert merge.list_type(("spec", "ports")).keys == ("port", "protocol")
    assert merge.list_type(("spec", "ports")).defaults == {"protocol": "TCP"}
    assert merge.list_type(("spec", "tags")).type == "set"
    assert merge.is_atomic(("spec", "whole"))
