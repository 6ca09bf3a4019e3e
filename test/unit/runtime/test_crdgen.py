"""Structural schemas and definitions made of types."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, create_model
from support.apicore import InProcess

from localmodel.runtime.crdgen import (
    AGE,
    ATOMIC,
    EMBEDDED_RESOURCE,
    LIST_SET,
    NULLABLE,
    PRESERVE_UNKNOWN_FIELDS,
    REQUIRED,
    Conditions,
    DefinitionError,
    Embedded,
    IntOrString,
    Quantity,
    Scale,
    SchemaError,
    Version,
    column,
    condition_column,
    crd_for,
    list_map,
    rule,
    schema_of,
    server_default,
    structural_schema,
)
from localmodel.runtime.objects import Condition, Model, Object, ObjectMeta, OwnerReference, RESTMapping
from localmodel.sandbox.apiserver.structural import structural_faults

Json = dict[str, Any]
GREETERS = "/apis/example.com/v1/namespaces/default/greeters"


class Mood(StrEnum):
    """How a greeting sounds."""

    WARM = "Warm"
    COOL = "Cool"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Person(Model):
    """Somebody to greet.

    This is for the readers of the code.
    """

    model_config = ConfigDict(use_attribute_docstrings=True)

    name: str
    """What the person
    is called."""
    port: IntOrString = 80


class GreeterSpec(Model):
    """What to say, and to whom."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    greeting: Annotated[str, REQUIRED, rule("self == oldSelf", message="greeting is immutable")] = Field(
        default="", max_length=40
    )
    """The words."""
    interval: Annotated[int, Field(ge=1, le=3600), server_default(60)] = 60
    people: Annotated[list[Person], list_map("name")] = Field(default_factory=list)
    mood: Mood = Mood.WARM
    size: Quantity = ""


class GreeterStatus(Model):
    replicas: int = 0
    conditions: Conditions = Field(default_factory=list[Condition])


class Greeter(Object):
    """Greets people."""

    mapping: ClassVar[RESTMapping] = RESTMapping.of("example.com", "v1", "Greeter")

    spec: Annotated[GreeterSpec, REQUIRED, rule("self.interval < 600 || size(self.people) == 0", message="too slow")]
    status: GreeterStatus = Field(default_factory=GreeterStatus)


class OldGreeter(Object):
    mapping: ClassVar[RESTMapping] = RESTMapping.of("example.com", "v1alpha1", "Greeter")

    spec: Embedded = Field(default_factory=dict)


class Node(Model):
    """Contains itself."""

    children: list[Node] = Field(default_factory=list)


def schema_for(annotation: Any, default: Any = ...) -> Json:
    """The schema of a field of that type."""
    spec = create_model("Spec", __base__=Model, field=(annotation, default))
    kind = create_model("Thing", __base__=Object, spec=(spec, ...))
    kind.mapping = RESTMapping.of("example.com", "v1", "Thing")
    schema = structural_schema(kind)
    assert structural_faults(schema, "schema") == []
    field: Json = schema["properties"]["spec"]["properties"]["field"]
    return field


# one field ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (str, {"type": "string"}),
        (bool, {"type": "boolean"}),
        (float, {"type": "number"}),
        (int | float, {"type": "number"}),
        (datetime, {"type": "string", "format": "date-time"}),
        (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
        (Literal["a"], {"type": "string", "enum": ["a"]}),
        (Mood, {"type": "string", "enum": ["Warm", "Cool"], "description": "How a greeting sounds."}),
        (Level, {"type": "integer", "enum": [1, 2]}),
        (Any, {"x-kubernetes-preserve-unknown-fields": True}),
        (dict[str, Any], {"type": "object", "x-kubernetes-preserve-unknown-fields": True}),
        (Embedded, {"type": "object", "x-kubernetes-preserve-unknown-fields": True}),
        (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
        (list[str], {"type": "array", "items": {"type": "string"}}),
        (set[str], {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"}),
        (list[int | None], {"type": "array", "items": {"type": "integer", "nullable": True}}),
        (
            int | str,
            {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True},
        ),
        (IntOrString, {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True}),
        (Annotated[int, Field(ge=1, le=5)], {"type": "integer", "minimum": 1, "maximum": 5}),
        (
            Annotated[float, Field(gt=0, lt=1)],
            {"type": "number", "minimum": 0, "exclusiveMinimum": True, "maximum": 1, "exclusiveMaximum": True},
        ),
        (Annotated[int, Field(ge=3, gt=1)], {"type": "integer", "minimum": 3}),
        (Annotated[int, Field(multiple_of=5)], {"type": "integer", "multipleOf": 5}),
        (
            Annotated[str, Field(min_length=1, max_length=5, pattern="^a")],
            {"type": "string", "minLength": 1, "maxLength": 5, "pattern": "^a"},
        ),
        (
            Annotated[list[int], Field(min_length=1, max_length=3)],
            {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 3},
        ),
        (
            Annotated[dict[str, int], Field(max_length=3)],
            {"type": "object", "additionalProperties": {"type": "integer"}, "maxProperties": 3},
        ),
    ],
    ids=str,
)
def test_the_schema_of_a_type(annotation: Any, expected: Json) -> None:
    assert schema_for(annotation) == expected


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (Annotated[list[str], LIST_SET], {"x-kubernetes-list-type": "set"}),
        (Annotated[list[str], ATOMIC], {"x-kubernetes-list-type": "atomic"}),
        (
            Annotated[list[Person], list_map("name")],
            {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
        (Annotated[Person, PRESERVE_UNKNOWN_FIELDS], {"x-kubernetes-preserve-unknown-fields": True}),
        (
            Annotated[Embedded, EMBEDDED_RESOURCE],
            {"x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True},
        ),
        (Annotated[str, NULLABLE], {"nullable": True}),
        (Annotated[int, schema_of(format="int32", minimum=0)], {"format": "int32", "minimum": 0}),
        (Annotated[int, server_default(0)], {"default": 0}),
        (
            Annotated[str, rule("self != ''"), rule("self == oldSelf", message="m", optional_old_self=True)],
            {
                "x-kubernetes-validations": [
                    {"rule": "self != ''"},
                    {"rule": "self == oldSelf", "message": "m", "optionalOldSelf": True},
                ]
            },
        ),
    ],
    ids=str,
)
def test_a_marker_adds_to_the_schema(annotation: Any, expected: Json) -> None:
    schema = schema_for(annotation)
    assert {key: schema.get(key) for key in expected} == expected
    assert not [key for key in schema if key.startswith("x-") and not key.startswith("x-kubernetes-")]


def test_null_goes_away_where_a_missing_field_says_the_same() -> None:
    assert schema_for(int | None, None) == {"type": "integer"}
    assert schema_for(int | None) == {"type": "integer", "nullable": True}
    assert schema_for(int | None, 5) == {"type": "integer", "nullable": True}
    assert schema_for(dict[str, Any] | None, None)["nullable"], "where unknown fields are kept, nulls are kept too"


def test_null_beside_listed_values_is_said_without_an_enum_which_an_api_server_would_refuse_it_by() -> None:
    assert schema_for(Literal["a.b", "c"] | None) == {"type": "string", "nullable": True, "pattern": r"^(a\.b|c)$"}
    rule = {"rule": "self in [1, 2]", "message": "must be null or one of [1, 2]"}
    assert schema_for(Literal[1, 2] | None) == {
        "type": "integer",
        "nullable": True,
        "x-kubernetes-validations": [rule],
    }


def test_rules_of_a_part_and_of_the_field_that_holds_it_are_all_asked() -> None:
    class Part(BaseModel):
        model_config = ConfigDict(json_schema_extra={"x-kubernetes-validations": [{"rule": "inner"}]})
        name: str = ""

    rules = schema_for(Annotated[Part, rule("outer")])["x-kubernetes-validations"]
    assert rules == [{"rule": "inner"}, {"rule": "outer"}]


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        (tuple[int, str], r"Thing\.spec\.field: a tuple"),
        (Person | GreeterStatus, r"Thing\.spec\.field: a union"),
        (list[bool | str], r"Thing\.spec\.field\[\]: a union"),
        (Decimal, r"Thing\.spec\.field: a union"),
        (dict[Mood, int], r"Thing\.spec\.field: keys"),
        (timedelta, r"Thing\.spec\.field: an ISO 8601 duration"),
        (bytes, r"Thing\.spec\.field: bytes"),
        (None, r"Thing\.spec\.field: a value needs one type"),
        (Node, r"Thing\.spec\.field\.children\[\]: Node contains itself"),
    ],
    ids=str,
)
def test_a_type_without_a_structural_schema_is_refused_by_the_path_of_its_field(annotation: Any, said: str) -> None:
    with pytest.raises(SchemaError, match=said):
        schema_for(annotation)


# the whole ------------------------------------------------------------------------------------------------------


class Port(Model):
    name: str = ""
    number: Annotated[int, server_default(80)] = 80


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        (Annotated[list[Port], list_map("name")], "Thing.spec.field: the field name, .* must always be there"),
        (Annotated[list[Port], list_map("nam")], "no field nam"),
        (Annotated[list[str], list_map("name")], "no field name"),
        (Annotated[list[Port], LIST_SET], "a set of objects"),
        (set[int | None], "cannot be null"),
        (Annotated[int, server_default("a")], "Thing.spec.field: the default is 'a', and the field's type is integer"),
        (Annotated[int, server_default(True)], "type is integer"),
        (Annotated[int | None, server_default(None)], "not NULLABLE"),
        (Annotated[int, Field(gt=5), server_default(5)], "above 5"),
        (Annotated[int, Field(le=5), server_default(6)], "at most 5"),
        (Annotated[Mood, server_default("Hot")], "none of"),
        (Annotated[Port, server_default({"nam": "a"})], "fields that the type does not have: nam"),
        (Annotated[list[Port], server_default([{"number": "80"}])], r"the default\[0\].number is '80'"),
        (Annotated[Person, server_default({})], "the default lacks name"),
        (Annotated[IntOrString, server_default(1.5)], "no int or str"),
    ],
)
def test_what_an_api_server_would_refuse_is_refused_by_the_path_of_its_field(annotation: Any, said: str) -> None:
    with pytest.raises(SchemaError, match=said):
        schema_for(annotation, None)


@pytest.mark.parametrize(
    ("annotation", "default"),
    [
        (Annotated[list[Port], list_map("number")], None),
        (Annotated[Port, server_default({})], {}),
        (Annotated[dict[str, int], server_default({"a": 1})], {"a": 1}),
        (Annotated[int | None, NULLABLE, server_default(None)], None),
        (Annotated[IntOrString, server_default("50%")], "50%"),
        (Annotated[float, server_default(1)], 1),
        (Annotated[dict[str, Any], server_default({"a": [1]})], {"a": [1]}),
    ],
)
def test_defaults_and_keys_that_an_api_server_takes(annotation: Any, default: Any) -> None:
    assert schema_for(annotation, None).get("default") == default


@pytest.mark.parametrize("type_", [ObjectMeta, OwnerReference])
def test_metadata_within_an_object_is_not_pruned(type_: type) -> None:
    schema = schema_for(type_)
    assert schema == {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    assert structural_faults({"type": "object", "properties": {"template": schema}}, "") == []


def test_what_is_required_and_described() -> None:
    schema = structural_schema(Greeter)
    assert (schema["required"], schema["description"]) == (["spec"], "Greets people.")
    spec = schema["properties"]["spec"]
    assert spec["required"] == ["greeting"]
    assert spec["properties"]["greeting"]["description"] == "The words."
    person = spec["properties"]["people"]["items"]
    assert (person["required"], person["description"]) == (["name"], "Somebody to greet.")
    assert person["properties"]["name"]["description"] == "What the person is called."


def test_the_definition_of_a_kind() -> None:
    crd = crd_for(
        Version(
            Greeter,
            columns=(column("Greeting", ".spec.greeting"), condition_column("Why", "Ready", "reason", wide=True), AGE),
            rules=(rule("self.metadata.name != 'nobody'", message="nobody greets"),),
            selectable_fields=(".spec.mood",),
        ),
        short_names=("gr",),
        categories=("all", "social"),
    )
    version = crd["spec"]["versions"][0]
    assert crd["metadata"]["name"] == "greeters.example.com"
    assert crd["spec"]["scope"] == "Namespaced"
    assert crd["spec"]["names"] == {
        "kind": "Greeter",
        "listKind": "GreeterList",
        "plural": "greeters",
        "singular": "greeter",
        "shortNames": ["gr"],
        "categories": ["all", "social"],
    }
    assert (version["name"], version["served"], version["storage"]) == ("v1", True, True)
    assert version["subresources"] == {"status": {}}
    assert version["selectableFields"] == [{"jsonPath": ".spec.mood"}]
    assert version["additionalPrinterColumns"][1] == {
        "name": "Why",
        "type": "string",
        "jsonPath": '.status.conditions[?(@.type=="Ready")].reason',
        "priority": 1,
    }
    assert version["schema"]["openAPIV3Schema"]["x-kubernetes-validations"] == [
        {"rule": "self.metadata.name != 'nobody'", "message": "nobody greets"}
    ]


def test_several_versions_one_of_them_stored() -> None:
    crd = crd_for(
        Version(OldGreeter, deprecated="example.com/v1alpha1 Greeter is deprecated"), Version(Greeter, storage=True)
    )
    old, new = crd["spec"]["versions"]
    assert (old["name"], old["storage"], new["name"], new["storage"]) == ("v1alpha1", False, "v1", True)
    assert (old["deprecated"], old["deprecationWarning"]) == (True, "example.com/v1alpha1 Greeter is deprecated")
    assert "subresources" not in old


def test_the_scale_subresource() -> None:
    crd = crd_for(Version(Greeter, scale=Scale(label_selector=".status.selector")))
    assert crd["spec"]["versions"][0]["subresources"]["scale"] == {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }


class OtherGreeter(Object):
    mapping: ClassVar[RESTMapping] = RESTMapping.of("example.com", "v2", "Greeter", namespaced=False)


@pytest.mark.parametrize(
    ("versions", "said"),
    [
        ((), "needs a version"),
        ((Greeter, OldGreeter), "0 storage versions"),
        ((Version(Greeter, storage=True), Version(OldGreeter, storage=True)), "2 storage versions"),
        ((Version(Greeter, storage=False),), "0 storage versions"),
        ((Greeter, Greeter), "a version twice: v1, v1"),
        ((Greeter, OtherGreeter), "the same group, kind, plural and scope"),
    ],
)
def test_versions_that_contradict_each_other_are_refused(versions: tuple[Any, ...], said: str) -> None:
    with pytest.raises(DefinitionError, match=said):
        crd_for(*versions)


# asked of an API server -----------------------------------------------------------------------------------------


@pytest.fixture
def server() -> InProcess:
    server = InProcess()
    server.create(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        crd_for(Version(Greeter, columns=(column("Greeting", ".spec.greeting"), AGE)), short_names=("gr",)),
    )
    return server


def greeter(**spec: Any) -> Json:
    return {"apiVersion": "example.com/v1", "kind": "Greeter", "metadata": {"name": "a"}, "spec": spec}


def test_an_api_server_takes_the_definition_and_fills_in_its_defaults(server: InProcess) -> None:
    created = server.create(GREETERS, greeter(greeting="Hello", people=[{"name": "Ada", "port": "http"}], size=5))
    assert created["spec"]["interval"] == 60
    assert Greeter.from_dict(created).spec.people[0].port == "http"


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({}, "spec.greeting"),
        ({"greeting": "x" * 41}, "spec.greeting"),
        ({"greeting": "a", "interval": 0}, "spec.interval"),
        ({"greeting": "a", "mood": "Hot"}, "spec.mood"),
        ({"greeting": "a", "size": "many"}, "spec.size"),
        ({"greeting": "a", "people": [{"name": "A"}, {"name": "A"}]}, "spec.people[1]"),
        ({"greeting": "a", "people": [{"name": "A", "port": True}]}, "spec.people[0].port"),
        ({"greeting": "a", "interval": 601, "people": [{"name": "A"}]}, "spec"),
    ],
)
def test_an_api_server_refuses_what_the_type_refuses_by_field(server: InProcess, spec: Json, field: str) -> None:
    status, answer = server.call("POST", GREETERS, greeter(**spec))
    assert status == 422, answer
    assert field in {cause["field"] for cause in answer["details"]["causes"]}


def test_an_api_server_asks_rules_about_changes(server: InProcess) -> None:
    created = server.create(GREETERS, greeter(greeting="Hello"))
    created["spec"]["greeting"] = "Bye"
    status, answer = server.call("PUT", f"{GREETERS}/a", created)
    assert (status, answer["details"]["causes"][0]["message"]) == (
        422,
        'Invalid value: "string": greeting is immutable',
    )
