"""What an API server refuses in a schema that is structural: lists whose items cannot be told apart, and bad defaults.

Found here, it is an error with the path of the field in the type, while the definition is made; found by the API server
it is one at the installation. Rules: validation.go of k8s.io/apiextensions-apiserver/pkg/apis/apiextensions.
"""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

_TYPES: dict[str, tuple[type, ...]] = {
    "array": (list,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "object": (dict,),
    "string": (str,),
}


def list_fault(schema: Json) -> str:
    """What is wrong with the list type of a schema; empty if nothing is."""
    items = schema.get("items", {})
    match schema.get("x-kubernetes-list-type"):
        case "map":
            return _map_fault(items, schema.get("x-kubernetes-list-map-keys", ()))
        case "set" if items.get("nullable"):
            return "the items of a set cannot be null"
        case "set" if items.get("type") == "object" and items.get("x-kubernetes-map-type") != "atomic":
            return 'a set of objects merges wrongly: take list_map, or schema_of(**{"x-kubernetes-map-type": "atomic"})'
        case "set" if items.get("x-kubernetes-list-type", "atomic") != "atomic":
            return "the items of a set are scalars, or ATOMIC lists"
    return ""


def _map_fault(items: Json, keys: tuple[str, ...]) -> str:
    properties = items.get("properties", {})
    for key in keys:
        found = properties.get(key)
        if found is None:
            return f"the items of the list have no field {key}, which list_map names (by its JSON name)"
        if found.get("type") in ("array", "object"):
            return f"the field {key}, which list_map names, must be a scalar"
        if found.get("nullable") or (key not in items.get("required", ()) and "default" not in found):
            return f"the field {key}, which list_map names, must always be there: mark it REQUIRED, or server_default"
    return ""


def default_fault(schema: Json, value: Any, path: str = "the default") -> str:
    """Why a value does not fit its schema, or would lose a field; empty if it fits."""
    if value is None:
        return "" if schema.get("nullable") else f"{path} is null, and the field is not NULLABLE"
    if schema.get("x-kubernetes-int-or-string"):
        return "" if isinstance(value, int | str) and not isinstance(value, bool) else f"{path} is no int or str"
    wanted = schema.get("type")
    if wanted and (not isinstance(value, _TYPES[wanted]) or (isinstance(value, bool) and wanted != "boolean")):
        return f"{path} is {value!r}, and the field's type is {wanted}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{path} is {value!r}, which is none of {schema['enum']}"
    if wanted in ("integer", "number") and (fault := _bound_fault(schema, value)):
        return f"{path} is {value!r}, and must be {fault}"
    return _inner_fault(schema, value, path)


def _bound_fault(schema: Json, value: float) -> str:
    lower, upper = schema.get("minimum"), schema.get("maximum")
    if lower is not None and (value < lower or (value == lower and schema.get("exclusiveMinimum"))):
        return f"above {lower}" if schema.get("exclusiveMinimum") else f"at least {lower}"
    if upper is not None and (value > upper or (value == upper and schema.get("exclusiveMaximum"))):
        return f"below {upper}" if schema.get("exclusiveMaximum") else f"at most {upper}"
    return ""


def _inner_fault(schema: Json, value: Any, path: str) -> str:
    """Of the parts of a list or an object."""
    parts: list[tuple[Json, Any, str]] = []
    if isinstance(value, list) and "items" in schema:
        parts = [(schema["items"], item, f"{path}[{index}]") for index, item in enumerate(value)]
    elif isinstance(value, dict):
        properties, others = schema.get("properties", {}), schema.get("additionalProperties")
        missing = [
            name for name in schema.get("required", ()) if name not in value and "default" not in properties[name]
        ]
        unknown = [name for name in value if name not in properties]
        if missing:
            return f"{path} lacks {', '.join(missing)}"
        if unknown and not others and not schema.get("x-kubernetes-preserve-unknown-fields"):
            return f"{path} has fields that the type does not have: {', '.join(unknown)}"
        parts = [(properties.get(name, others), item, f"{path}.{name}") for name, item in value.items()]
    faults = (default_fault(part, item, inner) for part, item, inner in parts if isinstance(part, dict))
    return next(filter(None, faults), "")
