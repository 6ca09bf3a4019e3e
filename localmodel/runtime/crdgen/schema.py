"""Structural schemas: pydantic's JSON schema of a type, rewritten into what an API server accepts in a definition.

References are put in place; a null alternative goes away where a missing field says the same, and becomes `nullable`
elsewhere; bounds that JSON schema writes as numbers become flags; unions other than int-or-string, tuples and recursive
types are refused. Rules:
https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema
"""

from __future__ import annotations

import json
import re
from typing import Any

from localmodel.runtime.errors import RuntimeLibraryError
from localmodel.runtime.objects import Object

from .checks import default_fault, list_fault
from .markers import DEFAULT_KEY, REQUIRED_KEY, joined_rules

Json = dict[str, Any]

OPAQUE: Json = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
"""The schema of an object about which nothing is said."""

_KEPT = frozenset((
    "description", "type", "format", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum", "maxLength",
    "minLength", "pattern", "maxItems", "minItems", "multipleOf", "enum", "maxProperties", "minProperties", "required",
    "items", "allOf", "oneOf", "anyOf", "not", "properties", "externalDocs", "example", "nullable",
))  # fmt: skip
"""Of JSONSchemaProps; also what begins with x-kubernetes-. The rest of pydantic's words is left out."""
_FORMATS = frozenset((
    "int32", "int64", "float", "double", "byte", "date", "date-time", "email", "hostname", "ipv4", "ipv6", "cidr",
    "mac", "password", "uri", "uuid", "uuid3", "uuid4", "uuid5",
))  # fmt: skip
"""That API servers know. Of the others of pydantic, those in `_FOREIGN_FORMATS` mean another thing there."""
_FOREIGN_FORMATS = {
    "duration": "an ISO 8601 duration is not Go's: take a str, or a number of seconds",
    "binary": "bytes are not base64 in JSON: take a str with the format byte",
}
_INEXPRESSIBLE = {
    "oneOf": "a tagged union has no structural schema: take optional fields, and a rule that one is set",
    "prefixItems": "a tuple has no structural schema: take a list, or an object",
    "patternProperties": "keys cannot be constrained: take dict[str, ...], and a rule",
    "propertyNames": "keys cannot be constrained: take dict[str, ...], and a rule",
}

_TYPE_META: Json = {
    "apiVersion": {
        "type": "string",
        "description": "The group and version of the schema that this object is written in.",
    },
    "kind": {"type": "string", "description": "The kind of this object, in CamelCase."},
    "metadata": {"type": "object"},
}


class SchemaError(RuntimeLibraryError, TypeError):
    """A type that a structural schema cannot express; the message names the field, and what to do."""

    def __init__(self, path: str, text: str) -> None:
        super().__init__(f"{path}: {text}")


def type_meta() -> Json:
    """The properties that every root schema has."""
    return {name: dict(schema) for name, schema in _TYPE_META.items()}


def structural_schema(kind: type[Object]) -> Json:
    """The root schema of a kind, with apiVersion, kind and metadata; raises SchemaError."""
    generated = kind.model_json_schema(by_alias=True, mode="validation")
    schema = _Translation(generated.get("$defs", {})).translate(generated, kind.mapping.gvk.kind)
    schema["properties"] = {**schema["properties"], **type_meta()}
    return schema


def first_paragraph(text: str) -> str:
    """A docstring's first paragraph on one line."""
    return " ".join(text.partition("\n\n")[0].split())


class _Translation:
    """Of one generated schema; `definitions` are its `$defs`."""

    def __init__(self, definitions: Json) -> None:
        self._definitions = definitions
        self._open: list[str] = []
        """The definitions that are being put in place, to notice a circle."""

    def translate(self, schema: Json, path: str) -> Json:
        """One schema as the API server accepts it, still with the mark of a required property. The input stays."""
        opened = len(self._open)
        schema = self._resolved(schema, path)
        if not schema.keys() - {"description", "title", "default", REQUIRED_KEY, DEFAULT_KEY}:
            schema = {**schema, "x-kubernetes-preserve-unknown-fields": True}
        self._check(schema, path)
        result = {key: value for key, value in schema.items() if key in _KEPT or key.startswith("x-kubernetes-")}
        if schema.get(REQUIRED_KEY):
            result[REQUIRED_KEY] = True
        self._translate_value(schema, result)
        self._translate_children(schema, result, path)
        fault = list_fault(result) or (default_fault(result, result["default"]) if "default" in result else "")
        if fault:
            raise SchemaError(path, fault)
        del self._open[opened:]
        return result

    def _resolved(self, schema: Json, path: str) -> Json:
        """With its reference, or its only alternative to null, put in place; its own words go first."""
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            if name in self._open:
                raise SchemaError(path, f"{name} contains itself: structural schemas end; take Embedded at some depth")
            self._open.append(name)
            outer = {key: value for key, value in schema.items() if key != "$ref"}
            return self._merged(self._resolved(self._definitions[name], path), outer)
        if "anyOf" not in schema or schema.get("x-kubernetes-int-or-string"):
            return schema
        alternatives = [part for part in schema["anyOf"] if part.get("type") != "null"]
        outer = {key: value for key, value in schema.items() if key != "anyOf"}
        if len(alternatives) == 1:
            result = self._merged(self._resolved(alternatives[0], path), outer)
        else:
            result = {**outer, **_union(alternatives, path)}
        # Null says what a missing field says, if null is what a missing field becomes; then API servers drop it.
        is_dropped = "default" in schema and schema["default"] is None and not _is_opaque(result)
        if len(alternatives) < len(schema["anyOf"]) and not is_dropped:
            result["nullable"] = True
        return result

    @staticmethod
    def _merged(inner: Json, outer: Json) -> Json:
        return {**inner, **outer, **joined_rules(inner, outer)}

    @staticmethod
    def _check(schema: Json, path: str) -> None:
        """Raises SchemaError for what has no structural schema."""
        for key, advice in _INEXPRESSIBLE.items():
            if key in schema:
                raise SchemaError(path, advice)
        if schema.get("format") in _FOREIGN_FORMATS:
            raise SchemaError(path, _FOREIGN_FORMATS[schema["format"]])
        typed = schema.get("x-kubernetes-int-or-string") or schema.get("x-kubernetes-preserve-unknown-fields")
        if schema.get("type", "null") == "null" and not typed:
            raise SchemaError(path, "a value needs one type: take str, or Any for values that nobody checks")

    @staticmethod
    def _translate_value(schema: Json, result: Json) -> None:
        """Pydantic's words about one value in those of OpenAPI 3.0."""
        if "description" in result:
            result["description"] = first_paragraph(result["description"])
        if DEFAULT_KEY in schema:
            result["default"] = schema[DEFAULT_KEY]
        if "const" in schema:
            result["enum"] = [schema["const"]]
        if result.get("nullable") and "enum" in result:
            _admit_null(result)
        if result.get("format") not in _FORMATS:
            result.pop("format", None)
        if schema.get("uniqueItems"):
            result.setdefault("x-kubernetes-list-type", "set")
        for bound, exclusive, stricter in (("minimum", "exclusiveMinimum", max), ("maximum", "exclusiveMaximum", min)):
            limit = result.pop(exclusive, None)
            if limit is not None and stricter(limit, result.get(bound, limit)) == limit:
                result[bound], result[exclusive] = limit, True

    def _translate_children(self, schema: Json, result: Json, path: str) -> None:
        values = schema.get("additionalProperties")
        if "properties" in schema and (schema["properties"] or values is not True):
            self._translate_properties(schema, result, path)
        elif isinstance(values, dict):
            result["additionalProperties"] = self._translate_item(values, path)
        elif values is True or (schema.get("type") == "object" and values is None and "properties" not in schema):
            # ObjectMeta and OwnerReference say no more than that they are objects: else they were pruned to nothing.
            result.pop("properties", None)
            result["x-kubernetes-preserve-unknown-fields"] = True
        if "items" in schema:
            result["items"] = self._translate_item(schema["items"], path)

    def _translate_item(self, schema: Json, path: str) -> Json:
        """Of a list or map, where nothing is required by name."""
        result = self.translate(schema, f"{path}[]")
        result.pop(REQUIRED_KEY, None)
        return result

    def _translate_properties(self, schema: Json, result: Json, path: str) -> None:
        properties, needed = {}, set(schema.get("required", ()))
        for name, part in schema["properties"].items():
            properties[name] = self.translate(part, f"{path}.{name}")
            if properties[name].pop(REQUIRED_KEY, False):
                needed.add(name)
        result["properties"] = properties
        if needed:
            result["required"] = sorted(needed)


def _is_opaque(schema: Json) -> bool:
    """Where unknown fields are kept, nulls are kept too."""
    is_map = schema.get("additionalProperties") is True and not schema.get("properties")
    return is_map or bool(schema.get("x-kubernetes-preserve-unknown-fields"))


def _admit_null(schema: Json) -> None:
    """Says an enum by other means, in place: API servers refuse a null whatever the enum lists, and ask no other
    constraint about one."""
    values = [value for value in schema.pop("enum") if value is not None]
    if all(isinstance(value, str) for value in values):
        schema["pattern"] = f"^({'|'.join(re.escape(value) for value in values)})$"
    else:
        listed = json.dumps(values)
        rule = {"rule": f"self in {listed}", "message": f"must be null or one of {listed}"}
        schema["x-kubernetes-validations"] = [*schema.get("x-kubernetes-validations", ()), rule]


def _union(alternatives: list[Json], path: str) -> Json:
    """The schema of several alternatives, none of them null."""
    types = {part.get("type") for part in alternatives}
    if all(part.keys() <= {"type", "title"} for part in alternatives):
        if types == {"integer", "string"}:
            return {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True}
        if types == {"integer", "number"}:
            return {"type": "number"}
    raise SchemaError(path, "a union has no structural schema, but int | str: take optional fields, Quantity, or Any")
