"""Decoding bodies of built-in kinds as kube-apiserver does: into Go structs and back to JSON.

`decode` changes an object to what a client would read again: unknown fields go, empty values of `omitempty` fields go,
structs that are never left out come in (`status: {}`, `creationTimestamp: null`), quantities and times get their
canonical text. A value of the wrong type is refused with the text of Go's JSON decoder. The types are those of
`data/gotypes.json.gz`, made by `hack/update-go-types`; a decoder is compiled from them on first use. What `kubectl
explain` shows is another file, see `schemas`.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import re
from collections.abc import Callable
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import msgspec

from localmodel.runtime.errors import BadRequestError
from localmodel.runtime.objects import GroupVersionKind
from localmodel.runtime.testing.metadatatypes import go_name

from .gotimes import TimeError, micro_time, whole_seconds
from .quantities import QuantityError, canonical

Json = dict[str, Any]
_Decode = Callable[[Any, list[str]], Any]
"""(value that is not null, paths of unknown fields so far) -> the value to keep; may change it in place."""

_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_EXTENSIONS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1."
_RESOURCES = "io.k8s.apimachinery.pkg.api.resource."
OBJECT_META = f"{_META}ObjectMeta"
_PACKAGES = {
    "": "io.k8s.api.core.v1",
    "rbac.authorization.k8s.io": "io.k8s.api.rbac.v1",
    "apiextensions.k8s.io": _EXTENSIONS.rstrip("."),
}
_RANGES = {"int32": 2**31, "int64": 2**63, "int": 2**63}


class _WrongTypeError(Exception):
    """A JSON value that does not fit its Go type; the fields on the way there are put together on the way out."""

    def __init__(self, found: str, wanted: str) -> None:
        super().__init__(found, wanted)
        self.found, self.wanted = found, wanted
        self.struct = ""
        self.fields: list[str] = []

    def __str__(self) -> str:
        where = f"Go struct field {self.struct}.{'.'.join(self.fields)}" if self.struct else "Go value"
        return f"json: cannot unmarshal {self.found} into {where} of type {self.wanted}"


class _RefusedError(Exception):
    """What a type with a decoder of its own says."""


@lru_cache(maxsize=1)
def _types() -> dict[str, dict[str, tuple[str, bool]]]:
    data = Path(__file__).with_name("data").joinpath("gotypes.json.gz").read_bytes()
    found: dict[str, dict[str, tuple[str, bool]]] = msgspec.json.decode(gzip.decompress(data))
    return found


def go_type(gvk: GroupVersionKind) -> str:
    """The Go type of a built-in kind, by its OpenAPI name."""
    if gvk.kind == "DeleteOptions":
        return f"{_META}DeleteOptions"
    package = _PACKAGES.get(gvk.group) or f"io.k8s.api.{gvk.group.split('.')[0]}.v1"
    return f"{package}.{gvk.kind}"


def decode(gvk: GroupVersionKind, obj: Json) -> list[str]:
    """Decodes in place; the paths of the unknown fields. Raises BadRequestError for a value of the wrong type."""
    name = go_type(gvk)
    if name not in _types():
        return []
    dropped: list[str] = []
    try:
        _compiled(name)(obj, dropped)
    except (_WrongTypeError, _RefusedError) as fault:
        text = f'{gvk.kind} in version "{gvk.version}" cannot be handled as a {gvk.kind}: {fault}'
        raise BadRequestError.of(text) from None
    return dropped


def decode_metadata(metadata: Any, dropped: list[str]) -> str | None:
    """The same for the metadata of a custom resource or an embedded object: what is wrong with it, or None."""
    try:
        _compiled(OBJECT_META)(metadata, dropped)
    except (_WrongTypeError, _RefusedError) as fault:
        return str(fault)
    return None


def _shown(expression: str) -> str:
    """A type as Go prints it."""
    if expression.startswith("*"):
        return _shown(expression[1:])
    if expression.startswith("="):
        return expression[1:].partition("=")[0]
    for prefix in ("[]", "map[string]"):
        if expression.startswith(prefix):
            inner = expression.removeprefix(prefix)
            return prefix + ("*" if inner.startswith("*") else "") + _shown(inner)
    scalar, _, name = expression.partition(":")
    if name:
        return name
    if scalar == "byte":
        return "uint8"
    return ".".join(scalar.split(".")[-2:])


class _Field(msgspec.Struct):
    decode: _Decode
    omits: bool
    """An empty value is left out: omitempty, and neither pointer nor struct."""


class _Struct(msgspec.Struct):
    """The decoder of one struct type; filled in after it was made, since types refer to themselves."""

    name: str
    fields: dict[str, _Field] = msgspec.field(default_factory=dict)
    zeros: list[tuple[str, str]] = msgspec.field(default_factory=list)
    """Fields that are always there, and their types."""

    def __call__(self, value: Any, dropped: list[str]) -> Json:
        if not isinstance(value, dict):
            raise _WrongTypeError(go_name(value), ".".join(self.name.split(".")[-2:]))
        fields = self.fields
        for key in list(value):
            item = value[key]
            known = fields.get(key)
            if known is None:
                del value[key]
                dropped.append(key)
                continue
            if item is None:
                del value[key]
                continue
            before = len(dropped)
            try:
                new = known.decode(item, dropped)
            except _WrongTypeError as fault:
                fault.struct = fault.struct or self.name.rpartition(".")[2]
                fault.fields.insert(0, key)
                raise
            if len(dropped) > before:
                _prefix(dropped, before, key)
            if known.omits and not new:
                del value[key]
            elif new is not item:
                value[key] = new
        for key, expression in self.zeros:
            if key not in value:
                value[key] = _zero(expression)
        return value


def _prefix(dropped: list[str], start: int, name: str) -> None:
    for index in range(start, len(dropped)):
        path = dropped[index]
        dropped[index] = f"{name}{path}" if path.startswith("[") else f"{name}.{path}"


@cache
def _compiled(name: str) -> _Struct:
    struct = _Struct(name.rpartition("/")[2])
    _BUILDING[name] = struct
    for key, (expression, omitempty) in _types()[name].items():
        is_struct = expression in _types()
        omits = omitempty and not expression.startswith("*") and not is_struct
        struct.fields[key] = _Field(_decoder(expression), omits)
        if not omitempty or is_struct:
            struct.zeros.append((key, expression))
    return struct


_BUILDING: dict[str, _Struct] = {}
"""Struct decoders by name, those being made included."""


def _zero(expression: str) -> Any:
    """Go's zero value, as it is written."""
    scalar = expression.partition(":")[0]
    if scalar in ("string", "bool", "float64", *_RANGES):
        return {"string": "", "bool": False}.get(scalar, 0)
    if expression in _SPECIAL:
        return {f"{_RESOURCES}Quantity": "0", "io.k8s.apimachinery.pkg.util.intstr.IntOrString": 0}.get(expression)
    if expression in _types():
        return _compiled(expression)({}, [])
    return None


def _decoder(expression: str) -> _Decode:
    if expression.startswith("="):
        return _collection(expression[1:].partition("=")[2], _shown(expression))
    if expression.startswith("*"):
        return _decoder(expression[1:])
    if expression.startswith(("[]", "map[")):
        return _collection(expression, _shown(expression))
    if expression in _SPECIAL:
        return _SPECIAL[expression]
    scalar = expression.partition(":")[0]
    if scalar in _RANGES:
        return _integer(scalar, _shown(expression))
    if scalar in _SCALARS:
        return _scalar(_SCALARS[scalar], _shown(expression))
    return _BUILDING.get(expression) or _compiled(expression)


_SCALARS: dict[str, tuple[type, ...]] = {"string": (str,), "bool": (bool,), "float64": (int, float)}


def _scalar(types: tuple[type, ...], shown: str) -> _Decode:
    def decode(value: Any, _: list[str]) -> Any:
        if type(value) not in types:
            raise _WrongTypeError(go_name(value), shown)
        return value

    return decode


def _integer(scalar: str, shown: str) -> _Decode:
    limit = _RANGES[scalar]

    def decode(value: Any, _: list[str]) -> Any:
        if type(value) is int and -limit <= value < limit:
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            raise _WrongTypeError(f"number {value}", shown)
        raise _WrongTypeError(go_name(value), shown)

    return decode


def _collection(expression: str, shown: str) -> _Decode:
    if expression == "[]byte":
        return _bytes
    if expression.startswith("[]"):
        return _list(expression.removeprefix("[]"), shown)
    return _map(expression.removeprefix("map[string]"), shown)


def _list(inner: str, shown: str) -> _Decode:
    decode_item = _decoder(inner)

    def decode(value: Any, dropped: list[str]) -> Any:
        if not isinstance(value, list):
            raise _WrongTypeError(go_name(value), shown)
        for index, item in enumerate(value):
            if item is None:
                value[index] = _zero(inner)
                continue
            before = len(dropped)
            value[index] = decode_item(item, dropped)
            if len(dropped) > before:
                _prefix(dropped, before, f"[{index}]")
        return value

    return decode


def _map(inner: str, shown: str) -> _Decode:
    decode_item = _decoder(inner)

    def decode(value: Any, dropped: list[str]) -> Any:
        if not isinstance(value, dict):
            raise _WrongTypeError(go_name(value), shown)
        for key, item in value.items():
            if item is None:
                value[key] = _zero(inner)
                continue
            before = len(dropped)
            value[key] = decode_item(item, dropped)
            if len(dropped) > before:
                _prefix(dropped, before, key)
        return value

    return decode


def _bytes(value: Any, _: list[str]) -> Any:
    if not isinstance(value, str):
        raise _WrongTypeError(go_name(value), "[]uint8")
    text = value.replace("\n", "").replace("\r", "")
    try:
        return base64.b64encode(base64.b64decode(text, validate=True)).decode()
    except (binascii.Error, ValueError):
        raise _RefusedError(f"illegal base64 data at input byte {_first_bad_byte(value)}") from None


_BASE64 = re.compile(r"[A-Za-z0-9+/\r\n]*")


def _first_bad_byte(text: str) -> int:
    """Where Go's decoder stops: at the first foreign character, else at the end of the last whole group."""
    match = _BASE64.match(text)
    end = match.end() if match else 0
    return end if end < len(text) and text[end] != "=" else end // 4 * 4


def _quantity(value: Any, _: list[str]) -> Any:
    if isinstance(value, bool | list | dict):
        raise _RefusedError(str(QuantityError(_QUANTITY_FAULT)))
    try:
        return canonical(str(value).strip())
    except QuantityError as error:
        raise _RefusedError(str(error)) from None


_QUANTITY_FAULT = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


def _time(convert: Callable[[str], str]) -> _Decode:
    def decode(value: Any, _: list[str]) -> Any:
        if not isinstance(value, str):
            raise _WrongTypeError(go_name(value), "string")
        try:
            return convert(value)
        except TimeError as error:
            raise _RefusedError(str(error)) from None

    return decode


def _int_or_string(value: Any, dropped: list[str]) -> Any:
    return value if isinstance(value, str) else _integer("int32", "int32")(value, dropped)


def _anything(value: Any, _: list[str]) -> Any:
    return value


def _own(decode: _Decode) -> _Decode:
    """The decoder of a type that decodes its JSON itself: unknown fields in it are not told, nor paths into it."""

    def decode_apart(value: Any, _: list[str]) -> Any:
        try:
            return decode(value, [])
        except _WrongTypeError as fault:
            fault.struct, fault.fields = "", []
            raise

    return decode_apart


def _schema(value: Any, dropped: list[str]) -> Any:
    return _compiled(f"{_EXTENSIONS}JSONSchemaProps")(value, dropped)


def _schema_or_bool(value: Any, dropped: list[str]) -> Any:
    if isinstance(value, bool):
        return value
    if not isinstance(value, dict):
        raise _RefusedError("boolean or JSON schema expected")
    return _schema(value, dropped)


def _schema_or_array(value: Any, dropped: list[str]) -> Any:
    if isinstance(value, list):
        return [_schema(item, dropped) for item in value]
    # Anything else is taken, and is no schema.
    return _schema(value, dropped) if isinstance(value, dict) else None


def _schema_or_strings(value: Any, dropped: list[str]) -> Any:
    return _list("string", "[]string")(value, dropped) if isinstance(value, list) else _schema(value, dropped)


_SPECIAL: dict[str, _Decode] = {
    f"{_META}Time": _time(whole_seconds),
    f"{_META}MicroTime": _time(micro_time),
    f"{_META}FieldsV1": _anything,
    f"{_RESOURCES}Quantity": _quantity,
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": _int_or_string,
    "io.k8s.apimachinery.pkg.runtime.RawExtension": _anything,
    f"{_EXTENSIONS}JSON": _anything,
    f"{_EXTENSIONS}JSONSchemaPropsOrBool": _own(_schema_or_bool),
    f"{_EXTENSIONS}JSONSchemaPropsOrArray": _own(_schema_or_array),
    f"{_EXTENSIONS}JSONSchemaPropsOrStringArray": _own(_schema_or_strings),
}
