"""The JSON types of metadata's fields, which hold for every kind and are checked before anything looks at them.

A Go server decodes metadata into ObjectMeta; a value of another type refuses the whole body. A null is the zero value
of its type: it is left out, or within a map or list an empty string.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from .answers import bad_request
from .definitions import Json, ResourceDefinition

_STRINGS = ("name", "generateName", "namespace", "selfLink", "uid", "resourceVersion")
_NUMBERS = ("generation", "deletionGracePeriodSeconds")
_TIMES = ("creationTimestamp", "deletionTimestamp")
_MAPS = ("labels", "annotations")
_LISTS = {"finalizers": "string", "ownerReferences": "v1.OwnerReference", "managedFields": "v1.ManagedFieldsEntry"}
_OWNER = {**dict.fromkeys(("apiVersion", "kind", "name", "uid"), "string"),
          **dict.fromkeys(("controller", "blockOwnerDeletion"), "bool")}  # fmt: skip
_MANAGED = {**dict.fromkeys(("manager", "operation", "apiVersion", "fieldsType", "subresource"), "string"),
            "time": "v1.Time", "fieldsV1": "v1.FieldsV1"}  # fmt: skip
_MAX_INT = 2**63
_TYPES: dict[str, type] = {"string": str, "bool": bool, "int64": int, "v1.Time": str, "v1.FieldsV1": dict}


def check_types(definition: ResourceDefinition, metadata: Any) -> Json:
    """The metadata of a body, without nulls; raises BadRequestError for a value of the wrong type."""
    check = _Check(definition)
    if not isinstance(metadata, dict):
        gvk = definition.mapping.gvk
        raise check.refuse(metadata, f"{gvk.kind}.metadata", "v1.ObjectMeta")
    return check.metadata(metadata)


class _Check:
    """One decoding; knows how messages name the kind."""

    def __init__(self, definition: ResourceDefinition) -> None:
        self._gvk = definition.mapping.gvk
        # Custom resources have their metadata decoded apart from the rest.
        self._prefix = "ObjectMeta.metadata" if definition.strategic else "ObjectMeta"

    def refuse(self, value: Any, field: str, wanted: str) -> Exception:
        return self._error(f"json: cannot unmarshal {go_name(value)} into Go struct field {field} of type {wanted}")

    def _error(self, why: str) -> Exception:
        gvk = self._gvk
        return bad_request(f'{gvk.kind} in version "{gvk.version}" cannot be handled as a {gvk.kind}: {why}')

    def metadata(self, metadata: Json) -> Json:
        clean = {key: value for key, value in metadata.items() if value is not None}
        for key, value in clean.items():
            field = f"{self._prefix}.{key}"
            if key in _STRINGS:
                self._scalar(value, field, "string")
            elif key in _NUMBERS:
                self._scalar(value, field, "int64")
            elif key in _TIMES:
                self._scalar(value, field, "v1.Time")
            elif key in _MAPS:
                clean[key] = self._map(value, field)
            elif key in _LISTS:
                clean[key] = self._list(key, value, field)
        return clean

    def _scalar(self, value: Any, field: str, wanted: str) -> None:
        fits = isinstance(value, _TYPES[wanted])
        if wanted == "int64":
            fits = fits and not isinstance(value, bool) and -_MAX_INT <= value < _MAX_INT
        if not fits:
            shown = f"number {value}" if wanted == "int64" and go_name(value) == "number" else None
            if shown:
                raise self._error(f"json: cannot unmarshal {shown} into Go struct field {field} of type int64")
            raise self.refuse(value, field, wanted)
        if wanted == "v1.Time":
            self._time(value)

    def _time(self, text: str) -> None:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None or "T" not in text:
            raise self._error(f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse "{text}" as "2006"')

    def _map(self, value: Any, field: str) -> Json:
        if not isinstance(value, dict):
            raise self.refuse(value, field, "map[string]string")
        for item in value.values():
            if not isinstance(item, str | None):
                raise self.refuse(item, field, "string")
        return {key: item or "" for key, item in value.items()}

    def _list(self, key: str, value: Any, field: str) -> list[Any]:
        wanted = _LISTS[key]
        if not isinstance(value, list):
            raise self.refuse(value, field, f"[]{wanted}")
        if wanted == "string":
            for item in value:
                if not isinstance(item, str | None):
                    raise self.refuse(item, field, wanted)
            return [item or "" for item in value]
        fields = _OWNER if key == "ownerReferences" else _MANAGED
        return [self._struct(item, fields, field, wanted) for item in value]

    def _struct(self, value: Any, fields: dict[str, str], field: str, wanted: str) -> Json:
        if not isinstance(value, dict | None):
            raise self.refuse(value, field, wanted)
        clean = {key: item for key, item in (value or {}).items() if item is not None}
        for key, item in clean.items():
            if key in fields:
                self._scalar(item, f"{wanted.removeprefix('v1.')}.{field.partition('.')[2]}.{key}", fields[key])
        return clean


def go_name(value: Any) -> str:
    """What Go's decoder calls a JSON value in its messages."""
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
