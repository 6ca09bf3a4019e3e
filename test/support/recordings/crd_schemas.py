"""Schemas of CRDs, right and wrong: what a create in dry run answers."""

# A case is a line.
# ruff: noqa: E501

from __future__ import annotations

from typing import Any

from support.realanswers import Case, Step

Json = dict[str, Any]
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def crd(schema: Json, *, status: bool = False, **version: Any) -> Json:
    subresources = {"subresources": {"status": {}}} if status else {}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "shapes.schemas.example.com"},
        "spec": {
            "group": "schemas.example.com",
            "scope": "Namespaced",
            "names": {"plural": "shapes", "kind": "Shape"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    **subresources,
                    **version,
                }
            ],
        },
    }


def of(**properties: Json) -> Json:
    """A root schema whose spec has these properties."""
    return {"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}


STRING = {"type": "string"}
INTEGER = {"type": "integer"}
OBJECT = {"type": "object"}


def array(items: Any, **more: Any) -> Json:
    return {"type": "array", "items": items, **more}


def obj(properties: Any = None, **more: Any) -> Json:
    return {"type": "object", **({"properties": properties} if properties is not None else {}), **more}


def map_list(items: Json, *keys: str) -> Json:
    return array(items, **{"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)})


def of_set(items: Json) -> Json:
    return array(items, **{"x-kubernetes-list-type": "set"})


INT_OR_STRING = {"x-kubernetes-int-or-string": True}
PRESERVE = {"x-kubernetes-preserve-unknown-fields": True}
EMBEDDED = {"x-kubernetes-embedded-resource": True}
ANY_OF_BOTH = [{"type": "integer"}, {"type": "string"}]

FIELDS: dict[str, Json] = {
    "no type": {},
    "empty type": {"type": ""},
    "type null": {"type": "null"},
    "unknown type": {"type": "text"},
    "array without items": {"type": "array"},
    "array with list of items": array([STRING]),
    "items without type": array({}),
    "set of strings": of_set(STRING),
    "set of objects": of_set(obj({"a": STRING})),
    "set of atomic objects": of_set(obj({"a": STRING}, **{"x-kubernetes-map-type": "atomic"})),
    "set of lists": of_set(array(STRING)),
    "set of sets": of_set(of_set(STRING)),
    "set of nullable strings": of_set({"type": "string", "nullable": True}),
    "unknown list type": array(STRING, **{"x-kubernetes-list-type": "bag"}),
    "list type on string": {"type": "string", "x-kubernetes-list-type": "set"},
    "list type without type": {"x-kubernetes-list-type": "set", **PRESERVE},
    "map list": map_list(obj({"name": STRING}, required=["name"]), "name"),
    "map list without keys": array(obj({"name": STRING}), **{"x-kubernetes-list-type": "map"}),
    "map list without items": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a"]},
    "map list of strings": map_list(STRING, "name"),
    "map list with unknown keys": map_list(obj({"name": STRING}, required=["name"]), "a", "b"),
    "map list with repeated keys": map_list(obj({"name": STRING}, required=["name"]), "name", "name"),
    "map list with optional key": map_list(obj({"name": STRING}), "name"),
    "map list with defaulted key": map_list(obj({"name": {"type": "string", "default": "a"}}), "name"),
    "map list with nullable key": map_list(
        obj({"name": {"type": "string", "nullable": True}}, required=["name"]), "name"
    ),
    "map list with object key": map_list(obj({"name": obj({"a": STRING})}, required=["name"]), "name"),
    "map list with list key": map_list(obj({"name": array(STRING)}, required=["name"]), "name"),
    "map list of nullable items": map_list(obj({"name": STRING}, required=["name"], nullable=True), "name"),
    "map keys without list type": array(obj({"name": STRING}), **{"x-kubernetes-list-map-keys": ["name"]}),
    "map keys of a set": array(STRING, **{"x-kubernetes-list-type": "set", "x-kubernetes-list-map-keys": ["name"]}),
    "map type on string": {"type": "string", "x-kubernetes-map-type": "atomic"},
    "map type without type": {"x-kubernetes-map-type": "atomic", **PRESERVE},
    "unknown map type": obj({"a": STRING}, **{"x-kubernetes-map-type": "loose"}),
    "granular map": obj({"a": STRING}, **{"x-kubernetes-map-type": "granular"}),
    "uniqueItems": array(STRING, uniqueItems=True),
    "uniqueItems false": array(STRING, uniqueItems=False),
    "properties and additionalProperties": obj({"a": STRING}, additionalProperties=STRING),
    "properties and additionalProperties true": obj({"a": STRING}, additionalProperties=True),
    "properties and additionalProperties false": obj({"a": STRING}, additionalProperties=False),
    "additionalProperties true": obj(additionalProperties=True),
    "additionalProperties false": obj(additionalProperties=False),
    "additionalProperties without type": obj(additionalProperties={}),
    "$ref": {"$ref": "#/definitions/x"},
    "$schema": {"type": "string", "$schema": "http://json-schema.org/schema#"},
    "id": {"type": "string", "id": "x"},
    "definitions": {"type": "string", "definitions": {"a": STRING}},
    "dependencies": {"type": "object", "dependencies": {"a": ["b"]}},
    "patternProperties": {"type": "object", "patternProperties": {"^a": STRING}},
    "additionalItems": array(STRING, additionalItems=STRING),
    "title, example, externalDocs": {"type": "string", "title": "T", "example": "e", "externalDocs": {"url": "http://a"}},
    "unknown keyword": {"type": "string", "readOnly": True, "xml": {"name": "a"}, "deprecated": True},
    "int or string": INT_OR_STRING,
    "int or string with anyOf": {**INT_OR_STRING, "anyOf": ANY_OF_BOTH},
    "int or string with allOf": {**INT_OR_STRING, "allOf": [{"anyOf": ANY_OF_BOTH}, {"pattern": "^a"}]},
    "int or string with other order": {**INT_OR_STRING, "anyOf": ANY_OF_BOTH[::-1]},
    "int or string with type": {**INT_OR_STRING, "type": "string"},
    "int or string that preserves": {**INT_OR_STRING, **PRESERVE},
    "int or string that is embedded": {**INT_OR_STRING, **EMBEDDED},
    "anyOf of both without extension": {"type": "string", "anyOf": ANY_OF_BOTH},
    "preserve": PRESERVE,
    "preserve on object": obj(**PRESERVE),
    "preserve false": obj(**{"x-kubernetes-preserve-unknown-fields": False}),
    "embedded": obj({"spec": obj({"a": STRING})}, **EMBEDDED),
    "embedded that preserves": obj(**EMBEDDED, **PRESERVE),
    "embedded without properties": obj(**EMBEDDED),
    "embedded string": {"type": "string", **EMBEDDED, **PRESERVE},
    "embedded without type": {**EMBEDDED, **PRESERVE},
    "embedded with additionalProperties": obj(additionalProperties=STRING, **EMBEDDED),
    "embedded with metadata": obj({"metadata": obj({"name": {"type": "string", "pattern": "^a"}})}, **EMBEDDED),
    "embedded with labels": obj({"metadata": obj({"labels": obj(additionalProperties=STRING)})}, **EMBEDDED),
    "embedded with metadata string": obj({"metadata": STRING, "kind": INTEGER, "apiVersion": {}}, **EMBEDDED),
    "embedded in embedded metadata": obj({"metadata": obj({"a": obj(**EMBEDDED, **PRESERVE)})}, **EMBEDDED),
    "field called metadata": obj({"metadata": STRING}),
    "anyOf with required": obj({"a": STRING, "b": STRING}, anyOf=[{"required": ["a"]}, {"required": ["b"]}]),
    "oneOf with unknown property": obj({"a": STRING}, oneOf=[{"properties": {"b": {"minLength": 1}}}]),
    "anyOf with deep unknown property": obj(
        {"a": obj({"b": STRING})}, anyOf=[{"properties": {"a": {"properties": {"c": {"minLength": 1}}}}}]
    ),
    "allOf in anyOf with unknown": obj({"a": STRING}, anyOf=[{"allOf": [{"properties": {"z": {}}}]}]),
    "not with items of no list": obj({"a": STRING}, **{"not": {"items": {"minLength": 1}}}),
    "not with unknown items": array(STRING, **{"not": {"items": {"properties": {"q": {}}}}}),
    "type in allOf": obj({"a": STRING}, allOf=[{"type": "object"}]),
    "everything forbidden in oneOf": obj(
        {"a": STRING},
        oneOf=[
            {
                "type": "object", "default": {}, "title": "t", "description": "d", "nullable": True,
                "additionalProperties": STRING, "x-kubernetes-preserve-unknown-fields": True,
                "x-kubernetes-embedded-resource": True, "x-kubernetes-int-or-string": True,
                "x-kubernetes-list-type": "set", "x-kubernetes-list-map-keys": ["a"], "x-kubernetes-map-type": "atomic",
            }
        ],
    ),
    "additionalProperties false in not": obj({"a": STRING}, **{"not": {"additionalProperties": False}}),
    "rules in anyOf": {"type": "string", "anyOf": [{"x-kubernetes-validations": [{"rule": "self == 'a'"}]}]},
    "metadata in anyOf": obj({"metadata": obj({})}, anyOf=[{"properties": {"metadata": {"minProperties": 1}}}]),
    "enum in anyOf": {"type": "string", "anyOf": [{"enum": ["a"]}, {"pattern": "^b"}]},
    "pattern": {"type": "string", "pattern": "^[a-z]+$"},
    "pattern with open bracket": {"type": "string", "pattern": "[a"},
    "pattern with open group": {"type": "string", "pattern": "(a"},
    "pattern with closed group": {"type": "string", "pattern": "a)"},
    "pattern with lookahead": {"type": "string", "pattern": "(?=a)b"},
    "pattern with back reference": {"type": "string", "pattern": "(a)\\1"},
    "pattern with star": {"type": "string", "pattern": "*a"},
    "pattern with double star": {"type": "string", "pattern": "a**"},
    "pattern with large repeat": {"type": "string", "pattern": "a{1001}"},
    "pattern with reversed range": {"type": "string", "pattern": "[z-a]"},
    "pattern with trailing backslash": {"type": "string", "pattern": "a\\"},
    "pattern with Python's end": {"type": "string", "pattern": "a\\Z"},
    "pattern with unknown class": {"type": "string", "pattern": "\\pX"},
    "pattern in anyOf": {"type": "string", "anyOf": [{"pattern": "(a"}]},
    "minimum above maximum": {"type": "integer", "minimum": 5, "maximum": 1},
    "lengths on an integer": {"type": "integer", "maxLength": 5, "minItems": 1},
    "multipleOf zero": {"type": "integer", "multipleOf": 0},
    "negative lengths": {"type": "string", "maxLength": -1, "minLength": -2},
    "unknown format": {"type": "string", "format": "odd"},
    "empty enum": {"type": "string", "enum": []},
    "enum of wrong type": {"type": "string", "enum": [1, 2]},
    "enum with repeats": {"type": "string", "enum": ["a", "a"]},
    "required without property": obj({"a": STRING}, required=["b", "b"]),
    "nullable": {"type": "string", "nullable": True},
    "default": {"type": "string", "default": "a"},
    "default of wrong type": {"type": "string", "default": 1},
    "default null": {"type": "string", "default": None},
    "default null of nullable": {"type": "string", "nullable": True, "default": None},
    "default outside enum": {"type": "string", "enum": ["a", "b"], "default": "c"},
    "default too long": {"type": "string", "maxLength": 1, "default": "abc"},
    "default below minimum": {"type": "integer", "minimum": 3, "default": 1},
    "default with bad format": {"type": "string", "format": "date-time", "default": "now"},
    "default with unknown field": obj({"a": STRING}, default={"b": "c", "d": {"e": 1}}),
    "default without required field": obj({"a": STRING, "b": STRING}, required=["a"], default={"b": "x"}),
    "default with wrong field": obj({"a": obj({"b": INTEGER})}, default={"a": {"b": "c"}}),
    "default list": array(STRING, default=["a"]),
    "default list with wrong item": array(STRING, default=["a", 1]),
    "default list of objects with unknown": array(obj({"a": STRING}), default=[{"b": 1}]),
    "default in items": array({"type": "string", "default": "a"}),
    "default in items object": array(obj({"a": {"type": "string", "default": 5}})),
    "default in additionalProperties": obj(additionalProperties={"type": "string", "default": 5}),
    "default int or string": {**INT_OR_STRING, "default": "50%"},
    "default bool of int or string": {**INT_OR_STRING, "default": True},
    "default float of integer": {"type": "integer", "default": 1.5},
    "default whole float of integer": {"type": "integer", "default": 2.0},
    "default embedded": obj(**EMBEDDED, **PRESERVE, default={"apiVersion": "v1", "kind": "Pod"}),
    "default embedded without kind": obj(**EMBEDDED, **PRESERVE, default={"apiVersion": "v1"}),
    "default embedded with bad metadata": obj(
        **EMBEDDED, **PRESERVE, default={"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": {"a": 1}}}
    ),
    "default embedded with bad name": obj(
        **EMBEDDED, **PRESERVE, default={"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a/b"}}
    ),
    "default in embedded metadata": obj(
        {"metadata": obj({"labels": obj({"a": {"type": "string", "default": "!bad!"}})})}, **EMBEDDED
    ),
    "default preserved": obj(**PRESERVE, default={"a": {"b": 1}}),
    "default set with repeats": {**of_set(STRING), "default": ["a", "a"]},
    "default that fails a rule": {
        "type": "string", "default": "b", "x-kubernetes-validations": [{"rule": "self == 'a'"}],
    },
    "rule": {"type": "string", "x-kubernetes-validations": [{"rule": "self == 'a'", "message": "a!"}]},
    "empty rule": {"type": "string", "x-kubernetes-validations": [{"rule": " "}]},
    "type number": {"type": 5},
    "maximum string": {"type": "integer", "maximum": "a"},
    "items string": {"type": "array", "items": "string"},
    "properties list": {"type": "object", "properties": []},
    "additionalProperties string": {"type": "object", "additionalProperties": "a"},
    "nested wrong type": array(obj({"a": {"type": ["string"]}})),
    "deep": obj({"a": obj({"b": obj({"c": obj({"d": obj({"e": obj({"f": {}})})})})})}),
}  # fmt: skip

ROOTS: dict[str, Json] = {
    "no type": {"properties": {}},
    "string": {"type": "string"},
    "empty object": {},
    "nullable": {"type": "object", "nullable": True},
    "additionalProperties": {"type": "object", "additionalProperties": True},
    "preserve": {"type": "object", **PRESERVE},
    "metadata": {"type": "object", "properties": {"metadata": {"type": "object"}}},
    "metadata name": obj({"metadata": obj({"name": {"type": "string", "maxLength": 5}})}),
    "metadata labels": obj({"metadata": obj({"labels": obj(additionalProperties=STRING)})}),
    "metadata name and more": obj({"metadata": obj({"name": STRING, "labels": obj()})}),
    "metadata required": obj({"metadata": obj({"name": STRING}, required=["name"])}),
    "metadata description": obj({"metadata": obj({}, description="d")}),
    "metadata string": obj({"metadata": STRING}),
    "metadata default": obj({"metadata": obj({}, default={})}),
    "metadata name default": obj({"metadata": obj({"name": {"type": "string", "default": "a"}})}),
    "kind integer": obj({"kind": INTEGER, "apiVersion": INTEGER}),
    "kind default": obj({"kind": {"type": "string", "default": "a"}}),
    "default": {"type": "object", "default": {"spec": {}}},
    "default invalid": {"type": "object", "default": {"apiVersion": "v1", "kind": "A", "spec": 1}, "properties": {"spec": OBJECT}},
    "anyOf metadata": {
        "type": "object",
        "properties": {"spec": OBJECT},
        "anyOf": [{"properties": {"metadata": {"properties": {"name": {"pattern": "a"}}}}}],
    },
    "embedded": {"type": "object", **EMBEDDED, "properties": {"spec": OBJECT}},
    "several faults": {
        "properties": {
            "a": {"type": "array"}, "b": {"type": "object", "properties": {"c": {}}},
            "d": {"type": "string", "pattern": "("},
        },
    },
}  # fmt: skip

WITH_STATUS: dict[str, Json] = {
    "plain": of(a=STRING),
    "string": {"type": "string"},
    "enum": {"type": "object", "enum": [{}]},
    "anyOf": {**of(a=STRING), "anyOf": [{"required": ["spec"]}]},
    "required": {**of(a=STRING), "required": ["spec"], "description": "d", "maxProperties": 9},
    "default": {**of(a=STRING), "default": {}},
    "preserve": {**of(a=STRING), **PRESERVE},
    "nullable": {**of(a=STRING), "nullable": True},
}


def _post(schema: Any, **more: Any) -> tuple[Step, ...]:
    return (Step("POST", f"{CRDS}?dryRun=All", crd(schema, **more)),)


CASES = [
    *(Case(f"field: {name}", _post(of(x=field))) for name, field in FIELDS.items()),
    *(Case(f"root: {name}", _post(root)) for name, root in ROOTS.items()),
    *(Case(f"with status: {name}", _post(root, status=True)) for name, root in WITH_STATUS.items()),
]
