"""Decodes Kubernetes' protobuf bodies, which `kubectl create` and `auth can-i` send and cannot be talked out of.

A body is the four bytes `k8s\\0` and a runtime.Unknown message that names apiVersion and kind and carries the object.
The messages that matter are in the tables of `protobuftables`; a field outside them is refused, never dropped in
silence. Answers stay JSON, which these clients accept.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from localmodel.runtime.errors import BadRequestError, UnsupportedMediaTypeError
from localmodel.runtime.objects import format_micro_time, format_time

from .negotiation import unrecognized
from .protobuftables import KINDS, MESSAGES, Field

Json = dict[str, Any]

MAGIC = b"k8s\x00"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_DEPTH = 64


class _MalformedError(ValueError):
    """The bytes are not a protobuf message."""


def decode_object(body: bytes, wanted: str = "Status") -> Json:
    """The object of a body, which is to be of kind `wanted`, as JSON types.

    Raises BadRequestError, or UnsupportedMediaTypeError for a kind or field that is not in the tables.
    """
    if not body.startswith(MAGIC):
        shown = " ".join(str(byte) for byte in MAGIC)
        why = f"provided data does not appear to be a protobuf message, expected prefix [{shown}]"
        raise unrecognized(body, wanted, why)
    try:
        if len(body) == len(MAGIC):
            raise _MalformedError("empty body")
        api_version, kind, raw = _unknown(body[len(MAGIC) :])
    except (_MalformedError, UnicodeDecodeError) as error:
        raise unrecognized(body, wanted, str(error)) from None
    if not kind and not raw:
        return {}
    message = KINDS.get((api_version, kind))
    if message is None and kind != wanted:
        return {"apiVersion": api_version, "kind": kind}  # refused for its kind
    if message is None:
        raise UnsupportedMediaTypeError.of(
            f"this server cannot decode the protobuf form of {api_version} {kind}: send application/json"
        )
    try:
        return {"apiVersion": api_version, "kind": kind, **_message(raw, message)}
    except (_MalformedError, ValueError, OverflowError, IndexError) as error:
        version = api_version.rpartition("/")[2]
        raise BadRequestError.of(f'{kind} in version "{version}" cannot be handled as a {wanted}: {error}') from None


def _unknown(data: bytes) -> tuple[str, str, bytes]:
    """apiVersion, kind and the object's bytes of a runtime.Unknown."""
    api_version, kind, raw = "", "", b""
    for number, wire, value in _fields(data):
        if number == 1 and wire == _BYTES:
            for inner, _, text in _fields(value):
                if inner == 1:
                    api_version = text.decode()
                elif inner == 2:
                    kind = text.decode()
        elif number == 2 and wire == _BYTES:
            raw = value
    return api_version, kind, raw


def _fields(data: bytes) -> Iterator[tuple[int, int, Any]]:
    """(field number, wire type, value): ints for varints, bytes for everything else."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, position = _varint(data, position)
            yield number, wire, value
            continue
        if wire == _BYTES:
            size, position = _varint(data, position)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise _MalformedError(f"wire type {wire} at byte {position}")
        if position + size > len(data):
            raise _MalformedError("unexpected EOF")
        yield number, wire, data[position : position + size]
        position += size


def _varint(data: bytes, position: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        if shift > 63:
            raise _MalformedError("proto: integer overflow")
        if position >= len(data):
            raise _MalformedError("unexpected EOF")
        byte = data[position]
        result |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            return result & (2**64 - 1), position
        shift += 7


def _message(data: bytes, name: str, depth: int = 0) -> Json:
    if depth > _MAX_DEPTH:
        raise _MalformedError("the message is nested too deeply")
    table = MESSAGES[name]
    result: Json = {}
    for number, wire, value in _fields(data):
        field = table.get(number)
        if field is None:
            raise UnsupportedMediaTypeError.of(
                f"this server cannot decode field {number} of the protobuf form of {name}: send application/json"
            )
        if wire != field.wire:
            raise _MalformedError(f"field {number} of {name} has wire type {wire}")
        _store(result, field, value, depth)
    return result


def _store(result: Json, field: Field, value: Any, depth: int) -> None:
    if field.is_map:
        key, item = b"", b""
        for number, _, part in _fields(value):
            key, item = (part, item) if number == 1 else (key, part)
        result.setdefault(field.name, {})[key.decode()] = _convert(field.type, item, depth)
        return
    converted = _convert(field.type, value, depth)
    if field.is_list:
        result.setdefault(field.name, []).append(converted)
    # Go writes fields that are not pointers even if they are empty; in JSON omitempty leaves them out.
    elif not (field.omit_empty and converted in ("", 0, False, None, {})):
        if field.name:
            result[field.name] = converted
        else:
            result.update(converted)


def _convert(type_: str, value: Any, depth: int) -> Any:
    match type_:
        case "string":
            return value.decode()
        case "bytes":
            return base64.b64encode(value).decode()
        case "bool":
            return bool(value)
        case "int":
            return value - 2**64 if value >= 2**63 else value
        case "time" | "microtime":
            return _time(value, micro=type_ == "microtime")
        case "json":
            return json.loads(base64.b64decode(_message(value, "RawJSON", depth + 1).get("raw", "")) or b"null")
        case "quantity":
            return _message(value, "Quantity", depth + 1).get("string", "0")
        case "intorstring":
            parts = _message(value, "IntOrString", depth + 1)
            return parts.get("strVal", "") if parts.get("type") == 1 else parts.get("intVal", 0)
        case _:
            return _message(value, type_, depth + 1)


def _time(value: bytes, *, micro: bool) -> str | None:
    parts = _message(value, "Timestamp")
    if not parts:
        return None
    moment = datetime.fromtimestamp(parts.get("seconds", 0) + parts.get("nanos", 0) / 1e9, UTC)
    return format_micro_time(moment) if micro else format_time(moment)
