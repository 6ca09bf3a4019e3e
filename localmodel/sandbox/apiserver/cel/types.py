"""From structural schemas to the types of expressions: objects become message types, so that the compiler knows their
fields; and values to what expressions see of them.

Lists of lists and maps of lists, for which messages have no fields, are checked as lists and maps of anything.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any

from localmodel.sandbox.apiserver.ages import parse_time
from localmodel.sandbox.apiserver.schema import Json, Schema

from .conversions import parse_duration
from .values import EvaluationError

PACKAGE = "kubernetes"
_WELL_KNOWN = ".google.protobuf."
_INT64, _DOUBLE, _BOOL, _STRING, _BYTES, _MESSAGE = 3, 1, 8, 9, 12, 11
_FILES = ("google/protobuf/struct.proto", "google/protobuf/timestamp.proto", "google/protobuf/duration.proto")
_RESERVED = (
    "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import",
    "let", "loop", "package", "namespace", "return", "var", "void", "while",
)  # fmt: skip
_IDENTIFIER = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
_SCALARS = {"boolean": ("bool", _BOOL), "integer": ("int", _INT64), "number": ("double", _DOUBLE)}
_FORMATS = {
    "byte": ("bytes", _BYTES, ""),
    "date": ("timestamp", _MESSAGE, f"{_WELL_KNOWN}Timestamp"),
    "date-time": ("timestamp", _MESSAGE, f"{_WELL_KNOWN}Timestamp"),
    "duration": ("duration", _MESSAGE, f"{_WELL_KNOWN}Duration"),
}
_METADATA = Schema({"type": "object"}, {name: Schema({"type": "string"}) for name in ("name", "generateName")})
_RESOURCE = {"apiVersion": Schema({"type": "string"}), "kind": Schema({"type": "string"}), "metadata": _METADATA}


def escape(name: str) -> str | None:
    """A field's name in CEL; None if rules cannot name it.

    https://kubernetes.io/docs/reference/using-api/cel/#escaping
    """
    if name in _RESERVED:
        return f"__{name}__"
    escaped = (
        name.replace("__", "__underscores__").replace(".", "__dot__").replace("-", "__dash__").replace("/", "__slash__")
    )
    return escaped if _IDENTIFIER.match(escaped) else None


def fields_of(schema: Schema, *, is_resource: bool) -> dict[str, Schema]:
    """The fields of an object; of a whole resource also those that it need not declare."""
    return {**schema.properties, **_RESOURCE} if is_resource or schema.embedded else schema.properties


class Messages:
    """Collects the message types that schemas need. `file` are all of them, as a FileDescriptorProto."""

    def __init__(self, *, is_escaped: bool = True) -> None:
        """Fields of schemas are escaped for rules; admission's own types stand as they are."""
        from google.protobuf import descriptor_pb2

        self._is_escaped = is_escaped
        self._file = descriptor_pb2.FileDescriptorProto(
            name="localmodel/schemas.proto", package=PACKAGE, syntax="proto3", dependency=_FILES
        )

    @property
    def file(self) -> bytes:
        data: bytes = self._file.SerializeToString()
        return data

    def type_of(self, schema: Schema, *, is_resource: bool = False) -> str:
        """The type of a value, as `Environment` takes it; `is_resource` at the root of a kind's schema."""
        if schema.int_or_string or not schema.type:
            return "dyn"
        if schema.type == "array":
            return f"list<{self.type_of(schema.items)}>" if schema.items is not None else "list<dyn>"
        if schema.type != "object":
            return _scalar_type(schema)[0]
        if schema.additional is not None:
            return f"map<string,{self.type_of(schema.additional)}>"
        return self.message(fields_of(schema, is_resource=is_resource))

    def message(self, fields: dict[str, Schema], name: str = "") -> str:
        """A message type with these fields; its name."""
        name = name or f"Object{len(self._file.message_type)}"
        message = self._file.message_type.add(name=name)
        # Names like fooBar and foo_bar are two fields in JSON.
        message.options.deprecated_legacy_json_field_conflicts = True
        for number, (key, child) in enumerate(fields.items(), start=1):
            escaped = escape(key) if self._is_escaped else key
            # A field without a type cannot be named, as in kube-apiserver.
            if escaped is not None and (child.type or child.int_or_string):
                # Numbers from 19000 on are reserved.
                self._field(message, escaped, number if number < 19000 else number + 1000, child)
        return f"{PACKAGE}.{name}"

    def _field(self, message: Any, name: str, number: int, schema: Schema) -> None:
        field = message.field.add(name=name, number=number, label=1, json_name=f"{name}.{number}")
        if schema.type == "array":
            item = schema.items
            if item is None or item.type == "array" or (item.type == "object" and item.additional is not None):
                field.type, field.type_name = _MESSAGE, f"{_WELL_KNOWN}ListValue"
            else:
                field.label = 3
                self._typed(field, item)
        elif schema.type == "object" and schema.additional is not None:
            value = schema.additional
            if value.type == "array" or (value.type == "object" and value.additional is not None):
                field.type, field.type_name = _MESSAGE, f"{_WELL_KNOWN}Struct"
            else:
                self._map_field(message, field, value)
        else:
            self._typed(field, schema)

    def _map_field(self, message: Any, field: Any, value: Schema) -> None:
        # A map is a list of entries, whose type's name protocol buffers prescribe.
        name = "".join(part[:1].upper() + part[1:] for part in field.name.split("_")) + "Entry"
        entry = message.nested_type.add(name=name)
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, label=1, type=_STRING)
        self._typed(entry.field.add(name="value", number=2, label=1), value)
        field.label, field.type = 3, _MESSAGE
        field.type_name = f".{PACKAGE}.{message.name}.{name}"

    def _typed(self, field: Any, schema: Schema) -> None:
        if schema.int_or_string or not schema.type:
            field.type, field.type_name = _MESSAGE, f"{_WELL_KNOWN}Value"
        elif schema.type == "object":
            field.type = _MESSAGE
            field.type_name = "." + self.message(fields_of(schema, is_resource=False))
        else:
            _, field.type, type_name = _scalar_type(schema)
            if type_name:
                field.type_name = type_name


def _scalar_type(schema: Schema) -> tuple[str, int, str]:
    if schema.type == "string":
        return _FORMATS.get(str(schema.raw.get("format", "")), ("string", _STRING, ""))
    name, number = _SCALARS[schema.type]
    return name, number, ""


Convert = Callable[[Any], Any]


def to_cel(schema: Schema, value: Any, *, is_resource: bool = False) -> Any:
    """A value as rules see it: fields by their CEL names, numbers, times and durations in the type of the schema."""
    return converter(schema, is_resource=is_resource)(value)


def converter(schema: Schema, *, is_resource: bool = False) -> Convert:
    """What makes a value of the schema one that rules see; it may share parts with what it is made of."""
    return _conversion(schema, is_resource=is_resource) or _same


def _same(value: Any) -> Any:
    return value


def _conversion(schema: Schema, *, is_resource: bool = False) -> Convert | None:
    """None where a value is seen as it is."""
    has_fields = schema.type == "object" and schema.additional is None
    fields: dict[str, tuple[str, Convert | None]] = {}
    if has_fields:
        for key, child in fields_of(schema, is_resource=is_resource).items():
            if name := escape(key):
                fields[key] = name, _conversion(child)
    scalar = _scalar_conversion(schema)
    items = _conversion(schema.items) if schema.items else None
    values = _conversion(schema.additional) if schema.additional else None
    if not has_fields and scalar is items is values is None:
        return None

    plain = {key for key, (name, inner) in fields.items() if key == name and inner in (None, _whole_number)}
    whole = [key for key in plain if fields[key][1] is _whole_number]

    def is_plain(value: Json) -> bool:
        """Whether it looks the same to rules, as most objects without objects in them do."""
        return value.keys() <= plain and None not in value.values() and all(type(value.get(k, 0)) is int for k in whole)

    def convert(value: Any) -> Any:
        if isinstance(value, dict):
            if plain and is_plain(value):
                return value
            if has_fields:
                return _renamed(fields, value)
            return value if values is None else {key: values(item) for key, item in value.items()}
        if isinstance(value, list):
            return value if items is None else [items(item) for item in value]
        return value if scalar is None else scalar(value)

    return convert


def _renamed(fields: dict[str, tuple[str, Convert | None]], value: Json) -> Json:
    # Fields outside the schema cannot be named; null fields are as if they were not there.
    seen: Json = {}
    for key, item in value.items():
        if item is not None and (field := fields.get(key)):
            name, convert = field
            seen[name] = item if convert is None else convert(item)
    return seen


def _scalar_conversion(schema: Schema) -> Convert | None:
    if schema.type == "number":
        return lambda value: float(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if schema.type == "integer":
        return _whole_number
    convert = _TEXTS.get(str(schema.raw.get("format", ""))) if schema.type == "string" else None
    return convert and (lambda value: convert(value) if isinstance(value, str) else value)


def _whole_number(value: Any) -> Any:
    return int(value) if isinstance(value, float) else value


def _time(text: str) -> Any:
    return parse_time(text) or text


def _decoded(text: str) -> Any:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return text


def _duration(text: str) -> Any:
    try:
        return parse_duration(text)
    except EvaluationError:
        return text


_TEXTS: dict[str, Convert] = {"date-time": _time, "date": _time, "duration": _duration, "byte": _decoded}
"""By format."""
