"""OpenAPI v2, the one document of all schemas that kubectl before 1.27 knows.

`document` makes it of the v3 document of everything that is served: what v2 has no word for is left out, as
kube-apiserver leaves it out (apiextensions-apiserver, pkg/controller/openapi/v2/conversion.go). `encode` writes it in
the protobuf form that clients ask for; the field numbers are those of gnostic's openapiv2/OpenAPIv2.proto. Values of
any type (defaults, enums, vendor extensions) are YAML there, for which JSON will do.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from . import schemas

Json = dict[str, Any]

PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
"""The type of an encoded document. Clients ask for it with an @, which no media type may contain."""

_DEFINITIONS = "#/definitions/"
_EXTENSION = "x-"


# v3 to v2 -----------------------------------------------------------------------------------------------------------


def document(v3: Json) -> Json:
    """The v2 document of a v3 document. Of the operations it has PATCH of whole objects, which clients look up."""
    return {
        "swagger": "2.0",
        "info": v3["info"],
        "paths": {
            path: {"patch": _operation(item["patch"])}
            for path, item in v3["paths"].items()
            if "patch" in item and path.endswith("/{name}")
        },
        "definitions": {name: _schema(schema) for name, schema in v3["components"]["schemas"].items()},
    }


def _operation(v3: Json) -> Json:
    operation = {key: value for key, value in v3.items() if key in _OPERATION or key.startswith(_EXTENSION)}
    if "parameters" in v3:
        # A parameter's schema has no place of its own in v2.
        operation["parameters"] = [
            {"name": parameter["name"], "in": parameter["in"], **parameter["schema"]} for parameter in v3["parameters"]
        ]
    if "requestBody" in v3:
        operation["consumes"] = list(v3["requestBody"]["content"])
    return operation


def _schema(v3: Json) -> Json:
    name = schemas.reference(v3)
    if name is not None:
        described = {"description": v3["description"]} if "description" in v3 else {}
        return {"$ref": _DEFINITIONS + name, **described}
    kept = {key: value for key, value in v3.items() if key in _SCHEMA or key.startswith(_EXTENSION)}
    if v3.get("nullable"):
        # A type would refuse null, and properties need a type.
        for key in ("type", "items", "properties"):
            kept.pop(key, None)
    elif v3.get("x-kubernetes-preserve-unknown-fields"):
        # kubectl takes what is listed for all that there may be.
        for key in ("items", "properties"):
            kept.pop(key, None)
    if "properties" in kept:
        kept["properties"] = {key: _schema(schema) for key, schema in kept["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(kept.get(key), dict):
            kept[key] = _schema(kept[key])
    return kept


# v2 to protobuf -----------------------------------------------------------------------------------------------------

Encoder = Callable[[int, Any], bytes]
"""Writes a field with its number."""
Table = Mapping[str, tuple[int, Encoder]]
"""The fields of a message by their JSON names."""


def encode(swagger: Json) -> bytes:
    """The protobuf form of a v2 document."""
    return _fields(_DOCUMENT, 16, swagger)


def _varint(value: int) -> bytes:
    value &= 2**64 - 1
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _bytes(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _string(number: int, value: str) -> bytes:
    return _bytes(number, value.encode())


def _integer(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(int(value))


def _double(number: int, value: float) -> bytes:
    return _varint(number << 3 | 1) + struct.pack("<d", value)


def _any(number: int, value: Any) -> bytes:
    """An Any: field 2 is YAML."""
    return _bytes(number, _bytes(2, msgspec.json.encode(value)))


def _each(encoder: Encoder) -> Encoder:
    """A repeated field."""
    return lambda number, values: b"".join([encoder(number, value) for value in values])


def _within(encoder: Encoder, *numbers: int) -> Encoder:
    """A value inside messages that have nothing else, named by the numbers of their one field, outermost first."""

    def write(number: int, value: Any) -> bytes:
        *outer, innermost = number, *numbers
        written = encoder(innermost, value)
        for outer_number in reversed(outer):
            written = _bytes(outer_number, written)
        return written

    return write


def _pairs(encoder: Encoder) -> Encoder:
    """An object as a repeated field of messages with name (1) and value (2)."""

    def write(number: int, values: Json) -> bytes:
        return b"".join([_bytes(number, _string(1, name) + encoder(2, value)) for name, value in values.items()])

    return write


_EXTENSIONS = _pairs(_any)


def _message(table: Table, *, extensions: int) -> Encoder:
    """A message; its vendor extensions are the field of that number."""

    def write(number: int, value: Json) -> bytes:
        return _bytes(number, _fields(table, extensions, value))

    return write


def _fields(table: Table, extensions: int, value: Json) -> bytes:
    extended = {key: item for key, item in value.items() if key.startswith(_EXTENSION)}
    fields = [table[key][1](table[key][0], item) for key, item in value.items() if key not in extended]
    return b"".join(fields) + _EXTENSIONS(extensions, extended)


def _schema_message(number: int, value: Json) -> bytes:
    return _bytes(number, _fields(_SCHEMA, 31, value))


def _additional_properties(number: int, value: Json | bool) -> bytes:
    """An AdditionalPropertiesItem."""
    return _bytes(number, _integer(2, value) if isinstance(value, bool) else _schema_message(1, value))


_SCHEMA: Table = {
    "$ref": (1, _string),
    "format": (2, _string),
    "title": (3, _string),
    "description": (4, _string),
    "default": (5, _any),
    "multipleOf": (6, _double),
    "maximum": (7, _double),
    "exclusiveMaximum": (8, _integer),
    "minimum": (9, _double),
    "exclusiveMinimum": (10, _integer),
    "maxLength": (11, _integer),
    "minLength": (12, _integer),
    "pattern": (13, _string),
    "maxItems": (14, _integer),
    "minItems": (15, _integer),
    "uniqueItems": (16, _integer),
    "maxProperties": (17, _integer),
    "minProperties": (18, _integer),
    "required": (19, _each(_string)),
    "enum": (20, _each(_any)),
    "additionalProperties": (21, _additional_properties),
    "type": (22, _within(_string, 1)),
    "items": (23, _within(_schema_message, 1)),
    "properties": (25, _within(_pairs(_schema_message), 1)),
}
"""Schema; allOf, which Kubernetes does not publish in v2, is left out."""
_QUERY_PARAMETER: Table = {
    "in": (2, _string),
    "name": (4, _string),
    "type": (6, _string),
    "uniqueItems": (20, _integer),
}
_RESPONSE: Table = {"description": (1, _string)}
_OPERATION: Table = {
    "consumes": (7, _each(_string)),
    # ParametersItem.parameter, Parameter.non_body_parameter, NonBodyParameter.query_parameter_sub_schema
    "parameters": (8, _each(_within(_message(_QUERY_PARAMETER, extensions=23), 1, 2, 3))),
    "responses": (9, _within(_pairs(_within(_message(_RESPONSE, extensions=5), 1)), 1)),
}
_PATH: Table = {"patch": (8, _message(_OPERATION, extensions=13))}
_DOCUMENT: Table = {
    "swagger": (1, _string),
    "info": (2, _message({"title": (1, _string), "version": (2, _string)}, extensions=7)),
    "paths": (8, _within(_pairs(_message(_PATH, extensions=10)), 2)),
    "definitions": (9, _within(_pairs(_schema_message), 1)),
}
