"""The fast acceptance of objects: yes is said only where pruning, defaulting and validation have nothing to do."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localmodel.api.crd import crds
from localmodel.sandbox.apiserver import schema as structural
from localmodel.sandbox.apiserver.acceptance import Acceptor
from localmodel.sandbox.apiserver.validation import MISSING, list_faults, validate

Json = dict[str, Any]

NAMES = ("a", "b", "c-d")
STRINGS = st.sampled_from(
    ["", "a", "b", "ab", "abcd", "2026-01-01T00:00:00Z", "10Gi", "5s", "é", "aGk=", "2026-01-01", "x" * 9]
)
NUMBERS = st.sampled_from([0, 1, -1, 3, 2**31, 2**63, -(2**63) - 1, 0.5, 1.0, 1e300])


def with_common(base: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    return st.builds(
        lambda raw, nullable, default: raw | ({"nullable": True} if nullable else {}) | default,
        base,
        st.booleans(),
        st.sampled_from([{}, {}, {}, {"default": "a"}, {"default": 1}]),
    )


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries({}, optional=fields)


strings = st.builds(
    lambda more: {"type": "string"} | more,
    optional(
        minLength=st.integers(0, 2),
        maxLength=st.integers(0, 4),
        pattern=st.sampled_from(["^a", "b$", "^[a-z]+$", r"^\d+Gi\z"]),
        format=st.sampled_from(["date-time", "date", "duration", "byte", "int32", "unheard-of"]),
        enum=st.sampled_from([["a", "b"], ["ab", 1], [None, "a"]]),
    ),
)
numbers = st.builds(
    lambda type_, more: {"type": type_} | more,
    st.sampled_from(["integer", "number"]),
    optional(
        minimum=st.sampled_from([0, 1, 0.5, -(2**70)]),
        maximum=st.sampled_from([1, 3, 2.5, 2**64]),
        exclusiveMinimum=st.booleans(),
        exclusiveMaximum=st.booleans(),
        multipleOf=st.sampled_from([1, 2]),
        format=st.sampled_from(["int32", "int64", "double"]),
        enum=st.sampled_from([[1, 3], [0.5]]),
    ),
)
special = st.sampled_from(
    [
        {"type": "boolean"},
        {"x-kubernetes-int-or-string": True},
        {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}], "pattern": "^[0-9]"},
        {"x-kubernetes-int-or-string": True, "minimum": 1},
        {"x-kubernetes-preserve-unknown-fields": True},
        {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True},
        {"type": "string", "oneOf": [{"pattern": "^a"}, {"minLength": 2}]},
        {"type": "object", "properties": {"a": {"type": "string"}}, "not": {"required": ["a"]}},
        {"type": "object", "properties": {"a": {"type": "string"}}, "allOf": [{"required": ["a"]}]},
    ]
)


def containers(inner: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    objects = st.builds(
        lambda properties, more: {"type": "object", "properties": properties} | more,
        st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
        optional(
            **{
                "required": st.lists(st.sampled_from(NAMES), max_size=2, unique=True),
                "minProperties": st.integers(0, 2),
                "maxProperties": st.integers(0, 2),
                "x-kubernetes-preserve-unknown-fields": st.just(True),
            }
        ),
    )
    maps = st.builds(
        lambda values, more: {"type": "object", "additionalProperties": values} | more,
        inner,
        optional(required=st.just(["a"]), maxProperties=st.integers(0, 2)),
    )
    lists = st.builds(
        lambda items, more: {"type": "array", "items": items} | more,
        inner,
        optional(
            **{
                "minItems": st.integers(0, 1),
                "maxItems": st.integers(0, 2),
                "x-kubernetes-list-type": st.sampled_from(["set", "atomic"]),
            }
        ),
    )
    map_lists = st.just(
        {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["a"],
            "items": {"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}},
        }
    )
    return with_common(st.one_of(objects, maps, lists, map_lists))


schemas = st.recursive(with_common(st.one_of(strings, numbers, special)), containers, max_leaves=6)
values = st.recursive(
    st.one_of(STRINGS, NUMBERS, st.booleans(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from((*NAMES, "z")), inner)),
    max_leaves=6,
)


def has_nothing_to_do(tree: structural.Schema, obj: Json) -> bool:
    """What the acceptor says, found out by those whose work it saves."""
    left = copy.deepcopy(obj)
    dropped = structural.prune(tree, left)
    structural.drop_nulls(tree, left)
    structural.default(tree, left)
    return not dropped and left == obj and not (validate(tree, left, MISSING) or list_faults(tree, left))


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(schemas, values)
def test_it_never_accepts_what_would_be_changed_or_refused(raw: Json, value: Any) -> None:
    tree = structural.compile_schema({"type": "object", "properties": {"spec": raw}})
    obj = {"apiVersion": "v", "kind": "K", "metadata": {"name": "n"}, "spec": value}
    if Acceptor(tree)(obj, None):
        assert has_nothing_to_do(tree, obj)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(schemas, values)
def test_it_never_accepts_a_field_in_which_validation_finds_faults(raw: Json, value: Any) -> None:
    tree = structural.compile_schema({"type": "object", "properties": {"status": raw}})
    if Acceptor(tree).field("status", value):
        assert not validate(tree.properties["status"], value)
        assert not list_faults(tree.properties["status"], value)


def test_a_field_without_a_schema_is_not_accepted() -> None:
    assert not Acceptor(structural.compile_schema({"type": "object"})).field("status", {})


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(schemas, values, values)
def test_what_it_accepted_before_does_not_help_what_came_of_it(raw: Json, first: Any, second: Any) -> None:
    tree = structural.compile_schema({"type": "object", "properties": {"spec": raw}})
    obj = {"apiVersion": "v", "kind": "K", "metadata": {"name": "n"}, "spec": first}
    acceptor = Acceptor(tree)
    acceptor(obj, None)
    obj["spec"] = second
    assert acceptor(obj, None) == Acceptor(tree)(obj, None)


@given(
    st.sampled_from([["a"], ["a", "b"]]),
    st.lists(st.dictionaries(st.sampled_from(["a", "b"]), values, max_size=2) | st.none(), max_size=4),
)
def test_items_of_a_map_list_are_told_apart_by_their_keys_alone(keys: list[str], items: list[Json | None]) -> None:
    node = structural.compile_schema(
        {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys}
    )
    found = [{key: item[key] for key in keys if key in item} if item else {} for item in items]
    texts = [msgspec.json.encode(identity, order="sorted") for identity in found]
    assert bool(list_faults(node, items)) is (len(set(texts)) < len(texts))


PLAIN = {
    "type": "object",
    "required": ["size"],
    "properties": {
        "size": {"type": "string", "enum": ["S", "M"]},
        "count": {"type": "integer", "minimum": 1, "format": "int32"},
        "at": {"type": "string", "format": "date-time", "nullable": True},
        "items": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "labels": {"type": "object", "additionalProperties": {"type": "string", "maxLength": 3}},
        "limit": {
            "x-kubernetes-int-or-string": True,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": "^[0-9]+(Gi)?$",
        },
    },
}


@pytest.mark.parametrize(
    ("spec", "accepted"),
    [
        ({"size": "S"}, True),
        ({"size": "M", "count": 1, "at": "2026-01-01T00:00:00Z", "items": ["a"], "labels": {"a": "b"}}, True),
        ({"size": "S", "at": None, "limit": 5}, True),
        ({"size": "S", "limit": "5Gi"}, True),
        ({}, False),
        ({"size": "XL"}, False),
        ({"size": "S", "count": 0}, False),
        ({"size": "S", "count": None}, False),
        ({"size": "S", "count": True}, False),
        ({"size": "S", "at": "yesterday"}, False),
        ({"size": "S", "items": ["a", "a"]}, False),
        ({"size": "S", "labels": {"a": "long"}}, False),
        ({"size": "S", "limit": "much"}, False),
        ({"size": "S", "unknown": 1}, False),
    ],
)
def test_it_accepts_what_is_in_order(spec: Json, accepted: bool) -> None:
    tree = structural.compile_schema({"type": "object", "properties": {"spec": PLAIN}})
    obj = {"apiVersion": "v", "kind": "K", "metadata": {"name": "n"}, "spec": spec}
    assert Acceptor(tree)(obj, None) is accepted
    assert has_nothing_to_do(tree, obj) is accepted


def test_what_is_as_in_the_old_object_is_not_looked_at() -> None:
    tree = structural.compile_schema(
        {"type": "object", "properties": {"spec": PLAIN, "status": {"type": "object", "additionalProperties": PLAIN}}}
    )
    old = {"metadata": {}, "spec": {"size": "of a former schema"}}
    assert Acceptor(tree)({**old, "status": {"x": {"size": "S"}}}, old)
    assert not Acceptor(tree)({**old, "status": {"x": {"size": "S"}}}, None)


@pytest.mark.parametrize("metadata", [{"name": "n", "odd": 1}, {"name": "n", "Labels": {}}])
def test_unknown_metadata_is_not_accepted(metadata: Json) -> None:
    tree = structural.compile_schema({"type": "object", "properties": {"spec": PLAIN}})
    assert not Acceptor(tree)({"metadata": metadata, "spec": {"size": "S"}}, None)


@pytest.mark.parametrize("crd", crds(), ids=lambda crd: crd["spec"]["names"]["kind"])
def test_the_projects_own_schemas_compile(crd: Json) -> None:
    raw = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    tree = structural.compile_schema(raw)
    obj: Json = {"apiVersion": "v", "kind": "K", "metadata": {"name": "n"}, "spec": {}, "status": {}}
    assert Acceptor(tree)(obj, None) <= has_nothing_to_do(tree, obj)
