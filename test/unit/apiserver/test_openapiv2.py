"""OpenAPI v2: what kubectl before 1.27 reads of it, as JSON and in protobuf."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.apicore import InProcess, widget_crd

from localmodel.sandbox.apiserver import openapiv2
from localmodel.sandbox.apiserver.messages import Response
from localmodel.sandbox.apiserver.openapiv2 import document, encode

Json = dict[str, Any]

ASKED = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
"""What client-go says."""


@pytest.fixture
def api() -> InProcess:
    return InProcess()


def served(api: InProcess, accept: str) -> Response:
    response = api.request("GET", "/openapi/v2", accept=accept)
    assert isinstance(response, Response)
    return response


def converted(schema: Json) -> Json:
    """A v3 schema as v2 has it."""
    v3 = {"info": {}, "paths": {}, "components": {"schemas": {"x": schema}}}
    result: Json = document(v3)["definitions"]["x"]
    return result


def decoded(message: bytes) -> dict[int, list[Any]]:
    """The values of a protobuf message by field number: ints and bytes."""
    values: dict[int, list[Any]] = {}
    position = 0

    def varint() -> int:
        nonlocal position
        result = shift = 0
        while True:
            byte = message[position]
            position += 1
            result |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return result

    while position < len(message):
        tag = varint()
        if tag & 7 == 0:
            values.setdefault(tag >> 3, []).append(varint())
            continue
        size = 8 if tag & 7 == 1 else varint()
        values.setdefault(tag >> 3, []).append(message[position : position + size])
        position += size
    return values


def one(message: bytes, *numbers: int) -> Any:
    """The only value at a path of field numbers."""
    for number in numbers:
        (message,) = decoded(message)[number]
    return message


def named(pairs: list[bytes]) -> dict[str, bytes]:
    """The values of messages with a name and a value."""
    return {one(pair, 1).decode(): one(pair, 2) for pair in pairs}


def encoded(schema: Json) -> dict[int, list[Any]]:
    """The fields of a v2 schema in protobuf."""
    message = encode({"definitions": {"x": schema}})
    return decoded(named([one(message, 9, 1)])["x"])


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("application/json, */*", "application/json"),
        (ASKED, openapiv2.PROTOBUF),
        (openapiv2.PROTOBUF, openapiv2.PROTOBUF),
        (f"{ASKED}, application/json", openapiv2.PROTOBUF),
    ],
)
def test_the_form_is_the_one_that_is_asked_for(api: InProcess, accept: str, content_type: str) -> None:
    response = served(api, accept)
    assert (response.status, response.content_type) == (200, content_type)
    assert response.body.startswith(b"{" if content_type == "application/json" else b"\x0a\x032.0")


def test_another_form_is_not_acceptable(api: InProcess) -> None:
    assert served(api, "text/html").status == 406


def test_every_definition_and_path_is_in_the_protobuf_form(api: InProcess) -> None:
    swagger, message = json.loads(served(api, "").body), served(api, ASKED).body
    assert named(decoded(one(message, 9))[1]).keys() == swagger["definitions"].keys()
    assert named(decoded(one(message, 8))[2]).keys() == swagger["paths"].keys()


def test_every_reference_is_defined(api: InProcess) -> None:
    text = served(api, "").body.decode()
    wanted = {part.split('"')[0] for part in text.split('"$ref":"#/definitions/')[1:]}
    assert wanted <= json.loads(text)["definitions"].keys()
    assert "#/components" not in text


def test_a_custom_resource_is_there_as_long_as_its_definition(api: InProcess) -> None:
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    api.create(crds, widget_crd(a={"type": "string"}))
    schema = json.loads(served(api, "").body)["definitions"]["com.example.v1.Widget"]
    assert schema["x-kubernetes-group-version-kind"] == [{"group": "example.com", "version": "v1", "kind": "Widget"}]
    assert schema["properties"]["spec"]["properties"]["a"] == {"type": "string"}
    assert schema["properties"]["metadata"]["$ref"].endswith(".ObjectMeta")
    api.call("DELETE", f"{crds}/widgets.example.com")
    assert "com.example.v1.Widget" not in json.loads(served(api, "").body)["definitions"]


def test_a_patch_operation_names_its_kind_and_that_it_can_be_tried(api: InProcess) -> None:
    """kubectl's dry run on the server looks for the dryRun parameter of a kind's PATCH."""
    paths = named(decoded(one(served(api, ASKED).body, 8))[2])
    operation = one(paths["/api/v1/nodes/{name}"], 8)
    extension = named(decoded(operation)[13])["x-kubernetes-group-version-kind"]
    assert json.loads(one(extension, 2)) == {"group": "", "version": "v1", "kind": "Node"}
    parameters = [one(parameter, 1, 2, 3) for parameter in decoded(operation)[8]]
    assert {one(parameter, 4) for parameter in parameters} == {b"dryRun", b"fieldManager", b"fieldValidation"}
    assert b"application/strategic-merge-patch+json" in decoded(operation)[7]


@pytest.mark.parametrize(
    ("v3", "v2"),
    [
        pytest.param(
            {"allOf": [{"$ref": "#/components/schemas/y"}], "description": "d", "default": {}},
            {"$ref": "#/definitions/y", "description": "d"},
            id="a described reference",
        ),
        pytest.param(
            {"type": "object", "nullable": True, "properties": {"a": {"type": "string"}}, "description": "d"},
            {"description": "d"},
            id="nullable is anything",
        ),
        pytest.param(
            {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {"a": {}}},
            {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            id="unknown fields: no field is listed",
        ),
        pytest.param(
            {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
            {"x-kubernetes-int-or-string": True},
            id="int or string has no type",
        ),
        pytest.param(
            {"type": "array", "items": {"type": "integer", "oneOf": [], "minimum": 1}},
            {"type": "array", "items": {"type": "integer", "minimum": 1}},
            id="items",
        ),
        pytest.param(
            {"type": "object", "additionalProperties": {"type": "string", "nullable": True}},
            {"type": "object", "additionalProperties": {}},
            id="a map",
        ),
        pytest.param(
            {"type": "object", "properties": {"nullable": {"type": "boolean"}}},
            {"type": "object", "properties": {"nullable": {"type": "boolean"}}},
            id="a field with the name of a keyword",
        ),
    ],
)
def test_a_schema_keeps_what_v2_has_words_for(v3: Json, v2: Json) -> None:
    assert converted(v3) == v2


@pytest.mark.parametrize(
    ("schema", "fields"),
    [
        ({"$ref": "#/definitions/y"}, {1: [b"#/definitions/y"]}),
        ({"type": "string", "format": "byte"}, {22: [b"\x0a\x06string"], 2: [b"byte"]}),
        ({"maximum": 0.5}, {7: [b"\0\0\0\0\0\0\xe0?"]}),
        ({"maxLength": 300, "uniqueItems": True}, {11: [300], 16: [1]}),
        ({"required": ["a", "b"]}, {19: [b"a", b"b"]}),
        ({"enum": ["a", 1]}, {20: [b'\x12\x03"a"', b"\x12\x011"]}),
        ({"default": {}}, {5: [b"\x12\x02{}"]}),
        ({"items": {"title": "t"}}, {23: [b"\x0a\x03\x1a\x01t"]}),
        ({"properties": {"p": {"title": "t"}}}, {25: [b"\x0a\x08\x0a\x01p\x12\x03\x1a\x01t"]}),
        ({"additionalProperties": {"title": "t"}}, {21: [b"\x0a\x03\x1a\x01t"]}),
        ({"additionalProperties": True}, {21: [b"\x10\x01"]}),
        ({"x-a": 1}, {31: [b"\x0a\x03x-a\x12\x03\x12\x011"]}),
    ],
)
def test_a_schema_in_protobuf(schema: Json, fields: dict[int, list[Any]]) -> None:
    assert encoded(schema) == fields
