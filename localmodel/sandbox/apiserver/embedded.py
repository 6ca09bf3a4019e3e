"""apiVersion, kind and metadata of whole objects inside custom resources (x-kubernetes-embedded-resource).

`coerce` does to them what decoding does to a built-in kind: unknown fields of metadata go, wrong types are refused;
`embedded_faults` validates what is left. Source: apiextensions-apiserver's pkg/apiserver/schema/objectmeta.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from localmodel.runtime.testing import metadata as meta

from .fielderrors import Cause, invalid, required
from .gotypes import decode_metadata
from .names import dns1035_label
from .schema import Json, Schema


def coerce(schema: Schema, value: Any, path: str, dropped: list[str]) -> Cause | None:
    """Drops unknown metadata fields of embedded objects, in place, and adds their paths; the first wrong type found."""
    if not schema.has_embedded_below:
        return None
    if isinstance(value, dict):
        prefix = f"{path}." if path else ""
        if schema.embedded:
            fault = _coerce_object(value, prefix, dropped)
            if fault is not None:
                return fault
        for key, item in value.items():
            child = schema.properties.get(key)
            field = prefix + key
            if child is None:
                child, field = schema.additional, f"{path}[{key}]"
            fault = coerce(child, item, field, dropped) if child is not None else None
            if fault is not None:
                return fault
    elif isinstance(value, list) and schema.items is not None:
        for index, item in enumerate(value):
            fault = coerce(schema.items, item, f"{path}[{index}]", dropped)
            if fault is not None:
                return fault
    return None


def _coerce_object(value: Json, prefix: str, dropped: list[str]) -> Cause | None:
    for key in ("apiVersion", "kind"):
        if key in value and not isinstance(value[key], str):
            return invalid(prefix + key, value[key], "must be a string")
    if "metadata" not in value:
        return None
    unknown: list[str] = []
    if value["metadata"] is None:
        value["metadata"] = {}
    wrong = decode_metadata(value["metadata"], unknown)
    if wrong is not None:
        return invalid(f"{prefix}metadata", value["metadata"], wrong)
    if value["metadata"].get("creationTimestamp") is None:
        value["metadata"].pop("creationTimestamp", None)
    dropped += sorted(f"{prefix}metadata.{name}" for name in unknown)
    return None


def embedded_faults(schema: Schema, value: Any, path: str = "") -> list[Cause]:
    """The faults of type and metadata of embedded objects."""
    return list(_faults(schema, value, path)) if schema.has_embedded_below else []


def _faults(schema: Schema, value: Any, path: str) -> Iterator[Cause]:
    if isinstance(value, dict):
        prefix = f"{path}." if path else ""
        if schema.embedded:
            yield from _object_faults(value, prefix)
        for key, item in value.items():
            child = schema.properties.get(key)
            if child is not None:
                yield from _faults(child, item, prefix + key)
            elif schema.additional is not None:
                yield from _faults(schema.additional, item, f"{path}[{key}]")
    elif isinstance(value, list) and schema.items is not None:
        for index, item in enumerate(value):
            yield from _faults(schema.items, item, f"{path}[{index}]")


def _object_faults(value: Json, prefix: str) -> Iterator[Cause]:
    for key in ("apiVersion", "kind"):
        if key not in value:
            yield required(prefix + key, "must not be empty")
        elif not isinstance(value[key], str):
            yield invalid(prefix + key, value[key], "must be a string")
        elif not value[key]:
            yield invalid(prefix + key, "", "must not be empty")
    api_version, kind = value.get("apiVersion"), value.get("kind")
    if isinstance(api_version, str) and api_version.count("/") > 1:
        yield invalid(f"{prefix}apiVersion", api_version, f"unexpected GroupVersion string: {api_version}")
    if isinstance(kind, str) and kind and (wrong := dns1035_label(kind.lower())):
        text = "may have mixed case, but should otherwise match: " + ",".join(wrong)
        yield invalid(f"{prefix}kind", kind, text)
    if isinstance(value.get("metadata"), dict):
        yield from _metadata_faults(value["metadata"], f"{prefix}metadata")


def _metadata_faults(metadata: Json, path: str) -> Iterator[Cause]:
    """ValidateObjectMeta for an object that may be of any kind."""
    name = metadata.get("name") or ""
    for why in meta.path_segment(name):
        yield invalid(f"{path}.name", name, why)
    if metadata.get("namespace"):
        for why in meta.dns1123_label(metadata["namespace"]):
            yield invalid(f"{path}.namespace", metadata["namespace"], why)
    for cause in meta.metadata_faults(metadata):
        yield {**cause, "field": path + cause["field"].removeprefix("metadata")}
