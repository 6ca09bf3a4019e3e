"""Validation of CustomResourceDefinitions: what kube-apiserver refuses, and what this server cannot serve.

The second kind of refusal is a Forbidden cause that says so: several versions, the scale subresource, conversion by
webhook.
"""

from __future__ import annotations

from typing import Any

from .cel import rule_faults
from .fielderrors import Cause, forbidden, invalid, not_supported, required
from .jsonpath import JsonPathError, compile_path
from .schema import compile_schema
from .structural import structural_faults

Json = dict[str, Any]

_COLUMN_TYPES = ("integer", "number", "string", "boolean", "date")


def crd_faults(new: Json, old: Json | None) -> list[Cause]:
    """The faults of a definition."""
    spec = new.get("spec") or {}
    if old is not None and spec == old.get("spec"):
        return []
    names = spec.get("names") or {}
    causes = [required(f"spec.{field}") for field in ("group", "scope") if not spec.get(field)]
    causes += [required(f"spec.names.{field}") for field in ("plural", "kind") if not names.get(field)]
    if causes:
        return causes
    expected = f"{names['plural']}.{spec['group']}"
    name = new["metadata"].get("name", "")
    if name != expected:
        causes.append(invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group'))
    if "." not in spec["group"]:
        causes.append(invalid("spec.group", spec["group"], "should be a domain with at least one dot"))
    if spec["scope"] not in ("Cluster", "Namespaced"):
        causes.append(not_supported("spec.scope", spec["scope"], ("Cluster", "Namespaced")))
    if (spec.get("conversion") or {}).get("strategy", "None") != "None":
        causes.append(forbidden("spec.conversion.strategy", "this server does not convert: it serves one version"))
    if spec.get("preserveUnknownFields"):
        text = "must be false in order to use defaults in the schema"
        causes.append(invalid("spec.preserveUnknownFields", True, text))
    causes += _version_faults(spec.get("versions") or [])
    if old is not None:
        causes += _immutable_faults(spec, old["spec"])
    return causes


def _immutable_faults(spec: Json, before: Json) -> list[Cause]:
    causes = [
        invalid(f"spec.{field}", spec[field], "field is immutable")
        for field in ("group", "scope")
        if spec[field] != before[field]
    ]
    causes += [
        invalid(f"spec.names.{field}", spec["names"][field], "field is immutable")
        for field in ("plural", "kind")
        if spec["names"][field] != before["names"][field]
    ]
    return causes


def _version_faults(versions: list[Json]) -> list[Cause]:
    if not versions:
        return [invalid("spec.versions", versions, "must have exactly one version marked as storage version")]
    if len(versions) > 1:
        return [forbidden("spec.versions", "this server serves one version per CustomResourceDefinition")]
    version, path = versions[0], "spec.versions[0]"
    causes = []
    if not version.get("name"):
        causes.append(required(f"{path}.name"))
    if not version.get("storage") or not version.get("served"):
        causes.append(
            invalid("spec.versions", OMITTED_VERSIONS, "must have exactly one version marked as storage version")
        )
    subresources = version.get("subresources") or {}
    if "scale" in subresources:
        causes.append(forbidden(f"{path}.subresources.scale", "this server does not serve scale of custom resources"))
    schema_path = f"{path}.schema.openAPIV3Schema"
    raw = (version.get("schema") or {}).get("openAPIV3Schema")
    faults = structural_faults(raw, schema_path)
    causes += faults or rule_faults(compile_schema(raw or {}), schema_path)
    causes += _column_faults(version.get("additionalPrinterColumns") or [], path)
    for index, selectable in enumerate(version.get("selectableFields") or ()):
        causes += _path_faults(selectable.get("jsonPath"), f"{path}.selectableFields[{index}].jsonPath")
    return causes


OMITTED_VERSIONS: list[Json] = []


def _column_faults(columns: list[Json], path: str) -> list[Cause]:
    causes = []
    for index, column in enumerate(columns):
        field = f"{path}.additionalPrinterColumns[{index}]"
        if not column.get("name"):
            causes.append(required(f"{field}.name"))
        if column.get("type") not in _COLUMN_TYPES:
            causes.append(not_supported(f"{field}.type", column.get("type", ""), _COLUMN_TYPES))
        causes += _path_faults(column.get("jsonPath"), f"{field}.jsonPath")
    return causes


def _path_faults(path: Any, field: str) -> list[Cause]:
    if not path:
        return [required(field)]
    try:
        compile_path(path)
    except JsonPathError as error:
        return [invalid(field, path, str(error))]
    return []
