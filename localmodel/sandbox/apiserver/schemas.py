"""The packaged OpenAPI schemas of the built-in kinds: `data/schemas.json.gz`, made by `hack/update-builtin-schemas`.

They serve `kubectl explain` and, here, decoding: a body of a built-in kind loses the fields that its type does not
have, and a value of the wrong type is refused, as when kube-apiserver decodes JSON into a Go struct. The file is read
with the first request that needs it.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

import msgspec

from localmodel.runtime.errors import BadRequestError
from localmodel.runtime.objects import GroupVersionKind

Json = dict[str, Any]

REF_PREFIX = "#/components/schemas/"
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
_GO_NAMES = {"string": "string", "boolean": "bool", "integer": "number", "number": "number"}


@lru_cache(maxsize=1)
def components() -> Json:
    """All schemas by name."""
    data = resources.files(__package__).joinpath("data", "schemas.json.gz").read_bytes()
    decoded: Json = msgspec.json.decode(gzip.decompress(data))
    return decoded


@lru_cache(maxsize=1)
def _names_by_kind() -> dict[tuple[str, str], str]:
    named = {}
    for name, schema in components().items():
        for gvk in schema.get("x-kubernetes-group-version-kind") or ():
            named[gvk["group"], gvk["kind"]] = name
    return named


def schema_name(gvk: GroupVersionKind) -> str | None:
    """The component of a built-in kind, as io.k8s.api.core.v1.Pod."""
    return _names_by_kind().get((gvk.group, gvk.kind))


def reference(schema: Json) -> str | None:
    """The component that a property refers to, directly or through the allOf that carries a description."""
    target = schema.get("$ref") or next((branch.get("$ref") for branch in schema.get("allOf") or ()), None)
    return str(target).removeprefix(REF_PREFIX) if target else None


@dataclass(frozen=True, slots=True)
class _Walk:
    """One decoding: the Go type at hand is only for messages."""

    kind: str
    version: str
    dropped: list[str]

    def refuse(self, found: str, type_: str, path: str, wanted: str) -> BadRequestError:
        field = f"{type_.rpartition('.')[2]}.{path}" if type_ else path
        return BadRequestError.of(
            f'{self.kind} in version "{self.version}" cannot be handled as a {self.kind}: json: cannot unmarshal '
            f"{found} into Go struct field {field} of type {wanted}"
        )

    def named(self, name: str, value: Any, path: str, owner: str) -> None:
        if name == _QUANTITY:
            if isinstance(value, bool | list | dict):
                raise self.refuse(_found(value), owner, path, "resource.Quantity")
        elif name == _INT_OR_STRING:
            if not isinstance(value, int | str) or isinstance(value, bool):
                raise self.refuse(_found(value), owner, path, "intstr.IntOrString")
        else:
            self.typed(components()[name], value, path, name)

    def typed(self, schema: Json, value: Any, path: str, owner: str) -> None:
        if value is None or schema.get("x-kubernetes-preserve-unknown-fields"):
            return
        if name := reference(schema):
            self.named(name, value, path, owner)
            return
        match schema.get("type"):
            case "object":
                self.object(schema, value, path, owner)
            case "array":
                if not isinstance(value, list):
                    raise self.refuse(
                        _found(value), owner, path, "[]" + _GO_NAMES.get(schema["items"].get("type"), "struct")
                    )
                for index, item in enumerate(value):
                    if item is None:
                        value[index] = _zero(schema["items"])
                    self.typed(schema["items"], item, f"{path}[{index}]", owner)
            case type_:
                if not _fits(type_, value):
                    raise self.refuse(_found(value), owner, path, _go_type(schema))

    def object(self, schema: Json, value: Any, path: str, owner: str) -> None:
        if not isinstance(value, dict):
            raise self.refuse(_found(value), owner, path, owner.rpartition(".")[2])
        properties, additional = schema.get("properties"), schema.get("additionalProperties")
        prefix = f"{path}." if path else ""
        if properties is None:
            # A type without fields of its own is opaque (managedFields' fieldsV1); a map has typed values.
            for key, item in value.items() if additional else ():
                if item is None:
                    value[key] = _zero(additional or {})
                self.typed(additional or {}, item, prefix + key, owner)
            return
        for key in list(value):
            if key not in properties:
                del value[key]
                self.dropped.append(prefix + key)
            elif value[key] is None:
                # A null is Go's zero value, which is left out when the object is written.
                del value[key]
            else:
                self.typed(properties[key], value[key], prefix + key, owner)


def _zero(schema: Json) -> Any:
    """Go's zero value, which stands for a null in a list or map."""
    name = reference(schema)
    if name == _QUANTITY:
        return "0"
    zeros = {"string": "", "integer": 0, "number": 0, "boolean": False, "array": []}
    return zeros.get(schema.get("type", ""), {}) if name is None else {}


def _fits(type_: str | None, value: Any) -> bool:
    match type_:
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case _:
            return True


def _found(value: Any) -> str:
    match value:
        case bool():
            return "bool"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def _go_type(schema: Json) -> str:
    if schema.get("format") == "date-time":
        return "v1.Time"
    return {"integer": "int64", "number": "float64", "boolean": "bool"}.get(schema.get("type", ""), "string")


def prune(gvk: GroupVersionKind, obj: Json) -> list[str]:
    """Removes unknown fields in place and returns their paths; raises BadRequestError for a value of the wrong type."""
    name = schema_name(gvk)
    if name is None:
        return []
    walk = _Walk(gvk.kind, gvk.version, [])
    walk.typed(components()[name], obj, "", name)
    return walk.dropped
