"""Validation of CustomResourceDefinitions: what kube-apiserver refuses, and what this server cannot serve.

The second kind of refusal is a Forbidden cause that says so: conversion by webhook. Paths are those of a real server,
which moves what all versions have in common to the spec before it validates (`spec.validation.openAPIV3Schema`, not
`spec.versions[0].schema...`). Source: apiextensions-apiserver's pkg/apis/apiextensions/validation/validation.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from localmodel.runtime.testing.metadata import dns1123_subdomain

from .fielderrors import (
    Cause,
    GoValue,
    duplicate,
    forbidden,
    go_strings,
    go_struct,
    invalid,
    not_supported,
    required,
    too_many,
)
from .names import dns1035_label
from .schemachecks import schema_faults

Json = dict[str, Any]

APPROVAL = "api-approved.kubernetes.io"
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
_SCOPES = ("Cluster", "Namespaced")
_MAX_SELECTABLE = 8
_SHARED = ("schema", "subresources", "additionalPrinterColumns", "selectableFields")
_SHARED_NAMES = {"schema": "validation"}
_VERSION_LIST = "[]apiextensions.CustomResourceDefinitionVersion"
_VERSIONS = go_struct(_VERSION_LIST)
_SELECTABLE_TYPES = (
    "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed."
)


def crd_faults(new: Json, old: Json | None) -> list[Cause]:
    """The faults of a definition; those of a spec that is as it was have been looked for before."""
    spec = new.get("spec") or {}
    causes = _own_name_faults(new["metadata"].get("name") or "", spec) if old is None else []
    if old is None or spec != old.get("spec"):
        causes += _spec_faults(spec)
        if old is not None:
            causes += _immutable_faults(spec, old["spec"], established=_is_established(old))
    causes += _stored_faults(new)
    causes += _approval_faults(new, old)
    if spec.get("preserveUnknownFields"):
        text = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        causes.append(invalid("spec.preserveUnknownFields", True, text))
    return causes


def _own_name_faults(name: str, spec: Json) -> list[Cause]:
    wanted = f"{(spec.get('names') or {}).get('plural') or ''}.{spec.get('group') or ''}"
    return [] if name == wanted else [invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group')]


def status_faults(status: Json) -> list[Cause]:
    """The faults of a status that is written by itself."""
    return list(_name_faults(status.get("acceptedNames") or {}, "status.acceptedNames"))


def _is_established(crd: Json) -> bool:
    conditions = (crd.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "Established" and c.get("status") == "True" for c in conditions)


def _spec_faults(spec: Json) -> Iterator[Cause]:
    group, scope, versions = spec.get("group") or "", spec.get("scope") or "", spec.get("versions") or []
    if not group:
        yield required("spec.group")
    elif wrong := dns1123_subdomain(group):
        yield invalid("spec.group", group, ",".join(wrong))
    elif "." not in group:
        yield invalid("spec.group", group, "should be a domain with at least one dot")
    if not scope:
        yield required("spec.scope")
    elif scope not in _SCOPES:
        yield not_supported("spec.scope", scope, _SCOPES)
    shared = _shared(versions)
    yield from _schema_presence(versions)
    for index, version in enumerate(versions):
        yield from _version_faults(version, f"spec.versions[{index}]", shared)
    names = [version.get("name") for version in versions]
    if len(set(names)) < len(names):
        yield invalid("spec.versions", _VERSIONS, "must contain unique version names")
    if sum(bool(version.get("storage")) for version in versions) != 1:
        shown = GoValue(f"{_VERSION_LIST}(nil)") if spec.get("versions") is None else _VERSIONS
        yield invalid("spec.versions", shown, "must have exactly one version marked as storage version")
    if versions and (wrong := dns1035_label(versions[0].get("name") or "")) and versions[0].get("name"):
        yield invalid("spec.version", versions[0]["name"], ",".join(wrong))
    kinds = spec.get("names") or {}
    for field in ("plural", "singular", "kind", "listKind"):
        if not kinds.get(field):
            yield required(f"spec.names.{field}")
    yield from _name_faults(kinds, "spec.names")
    has_status = any("status" in (version.get("subresources") or {}) for version in versions)
    yield from _part_faults(shared, "spec", has_status=has_status)
    yield from _conversion_faults(spec.get("conversion") or {})


def _shared(versions: list[Json]) -> Json:
    """The parts that are the same in all versions."""
    first = versions[0] if versions else {}
    return {
        part: first.get(part)
        for part in _SHARED
        if all((v.get(part) or None) == (first.get(part) or None) for v in versions)
    }


def _schema_presence(versions: list[Json]) -> Iterator[Cause]:
    for index, version in enumerate(versions):
        if (version.get("schema") or {}).get("openAPIV3Schema") is None:
            yield required(f"spec.versions[{index}].schema.openAPIV3Schema", "schemas are required")


def _version_faults(version: Json, path: str, shared: Json) -> Iterator[Cause]:
    if wrong := dns1035_label(version.get("name") or ""):
        yield invalid(f"{path}.name", version.get("name") or "", ",".join(wrong))
    warning = version.get("deprecationWarning")
    if warning is not None and not version.get("deprecated"):
        yield invalid(f"{path}.deprecationWarning", warning, "can only be set for deprecated versions")
    elif warning is not None:
        for why in _warning_faults(warning):
            yield invalid(f"{path}.deprecationWarning", warning, why)
    own = {part: version.get(part) for part in _SHARED if part not in shared}
    yield from _part_faults(own, path, has_status="status" in (version.get("subresources") or {}))


def _warning_faults(text: str) -> Iterator[str]:
    if len(text.encode()) > 256:
        yield "must be <= 256 characters long"
    if not text:
        yield "must not be an empty string"
    position = next((i for i, character in enumerate(text) if not character.isprintable()), None)
    if position is not None:
        yield f"must only contain printable UTF-8 characters; non-printable character found at index {position}"


def _part_faults(parts: Json, path: str, *, has_status: bool) -> Iterator[Cause]:
    """The faults of schema, subresources, columns and selectable fields, of one version or shared by all."""
    wrapper = parts.get("schema") or {}
    raw = wrapper.get("openAPIV3Schema")
    place = f"{path}.validation" if path == "spec" else f"{path}.schema"
    if raw is not None:
        yield from schema_faults(raw, place, has_status=has_status)
    yield from _scale_faults((parts.get("subresources") or {}).get("scale"), f"{path}.subresources.scale")
    for index, column in enumerate(parts.get("additionalPrinterColumns") or ()):
        yield from _column_faults(column, f"{path}.additionalPrinterColumns[{index}]")
    yield from _selectable_faults(parts.get("selectableFields") or [], raw or {}, f"{path}.selectableFields")


def _name_faults(names: Json, path: str) -> Iterator[Cause]:
    for field in ("plural", "singular"):
        if names.get(field) and (wrong := dns1035_label(names[field])):
            yield invalid(f"{path}.{field}", names[field], ",".join(wrong))
    for field in ("kind", "listKind"):
        if names.get(field) and (wrong := dns1035_label(names[field].lower())):
            text = "may have mixed case, but should otherwise match: " + ",".join(wrong)
            yield invalid(f"{path}.{field}", names[field], text)
    for index, name in enumerate(names.get("shortNames") or ()):
        if wrong := dns1035_label(name):
            yield invalid(f"{path}.shortNames[{index}]", name, ",".join(wrong))
    if names.get("kind") and names["kind"] == names.get("listKind"):
        yield invalid(f"{path}.listKind", names["listKind"], "kind and listKind may not be the same")
    for index, name in enumerate(names.get("categories") or ()):
        if wrong := dns1035_label(name):
            yield invalid(f"{path}.categories[{index}]", name, ",".join(wrong))


def _json_path_faults(path: str, field: str) -> Iterator[Cause]:
    if not path.startswith("."):
        yield invalid(field, path, "must be a simple json path starting with .")


def _scale_faults(scale: Json | None, path: str) -> Iterator[Cause]:
    if scale is None:
        return
    for name, roots in (("specReplicasPath", ("spec",)), ("statusReplicasPath", ("status",))):
        field, value = f"{path}.{name}", scale.get(name) or ""
        if not value:
            yield required(field)
        elif wrong := list(_json_path_faults(value, field)):
            yield from wrong
        elif not value.startswith(f".{roots[0]}."):
            yield invalid(field, value, f"should be a json path under .{roots[0]}")
    if selector := scale.get("labelSelectorPath"):
        field = f"{path}.labelSelectorPath"
        if wrong := list(_json_path_faults(selector, field)):
            yield from wrong
        elif not selector.startswith((".spec.", ".status.")):
            yield invalid(field, selector, "should be a json path under either .spec or .status")


def _column_faults(column: Json, path: str) -> Iterator[Cause]:
    if not column.get("name"):
        yield required(f"{path}.name")
    type_, format_ = column.get("type") or "", column.get("format") or ""
    text = f"must be one of {','.join(_COLUMN_TYPES)}"
    if not type_:
        yield required(f"{path}.type", text)
    elif type_ not in _COLUMN_TYPES:
        yield invalid(f"{path}.type", type_, text)
    if format_ and format_ not in _COLUMN_FORMATS:
        yield invalid(f"{path}.format", format_, f"must be one of {','.join(_COLUMN_FORMATS)}")
    if not column.get("jsonPath"):
        yield required(f"{path}.JSONPath")
    else:
        yield from _json_path_faults(column["jsonPath"], f"{path}.JSONPath")


def _selectable_faults(fields: list[Json], raw: Json, path: str) -> Iterator[Cause]:
    seen: set[str] = set()
    for index, selectable in enumerate(fields):
        field, json_path = f"{path}[{index}].jsonPath", selectable.get("jsonPath") or ""
        if not json_path:
            yield required(field)
            continue
        found, why = _field_schema(json_path, raw)
        if found is None:
            yield invalid(field, json_path, f"is an invalid path: {why}")
            continue
        if json_path.lstrip(".").split(".")[0] == "metadata":
            yield invalid(field, json_path, "must not point to fields in metadata")
        if found.get("type") not in ("string", "boolean", "integer"):
            yield invalid(field, json_path, _SELECTABLE_TYPES)
        if json_path in seen:
            yield duplicate(field, json_path)
        seen.add(json_path)
    if len(seen) > _MAX_SELECTABLE:
        yield too_many(path, len(seen), _MAX_SELECTABLE)


def _field_schema(path: str, raw: Json) -> tuple[Json | None, str]:
    """The schema of the field at a path, or why there is none."""
    if not path.startswith("."):
        return None, f"expected [ or . but got: {path.split('.')[0]}"
    current, names = raw, path[1:].split(".")
    for name in names:
        if "[" in name:
            return None, "array notation is not allowed"
        known = (current.get("properties") or {}).get(name)
        if known is None:
            return None, "does not refer to a valid field"
        current = known
    return current, ""


def _conversion_faults(conversion: Json) -> Iterator[Cause]:
    strategy = conversion.get("strategy") or ""
    if not strategy:
        yield required("spec.conversion.strategy")
    elif strategy == "Webhook":
        yield forbidden("spec.conversion.strategy", "this server does not convert by webhooks: it serves strategy None")
    elif strategy != "None":
        yield not_supported("spec.conversion.strategy", strategy, ("None", "Webhook"))
    elif webhook := conversion.get("webhook"):
        text = "should not be set when strategy is not set to Webhook"
        if webhook.get("clientConfig") is not None:
            yield forbidden("spec.conversion.webhookClientConfig", text)
        if webhook.get("conversionReviewVersions"):
            yield forbidden("spec.conversion.conversionReviewVersions", text)


def _immutable_faults(spec: Json, before: Json, *, established: bool) -> Iterator[Cause]:
    text = "field is immutable"
    if established:
        if spec.get("scope") != before.get("scope"):
            yield invalid("spec.scope", spec.get("scope") or "", text)
        if spec["names"].get("kind") != before["names"].get("kind"):
            yield invalid("spec.names.kind", spec["names"].get("kind") or "", text)
    if spec.get("group") != before.get("group"):
        yield invalid("spec.group", spec.get("group") or "", text)
    if spec["names"].get("plural") != before["names"].get("plural"):
        yield invalid("spec.names.plural", spec["names"].get("plural") or "", text)


def _stored_faults(crd: Json) -> Iterator[Cause]:
    """Versions that objects have been stored in must go on being there."""
    stored = list((crd.get("status") or {}).get("storedVersions") or ())
    versions = (crd.get("spec") or {}).get("versions") or ()
    path = "status.storedVersions"
    if not stored:
        yield invalid(path, GoValue("[]string(nil)"), "must have at least one stored version")
        return
    for version in versions:
        if version.get("storage") and version.get("name") not in stored:
            yield invalid(path, go_strings(stored), f"must have the storage version {version.get('name')}")
    names = {version.get("name") for version in versions}
    for index, name in enumerate(stored):
        if name not in names:
            yield invalid(f"{path}[{index}]", name, "must appear in spec.versions")


def approval(crd: Json) -> tuple[str, str]:
    """The state of a definition's approval (Missing, Unapproved, Approved, Invalid) and what is to be said of it."""
    said = ((crd.get("metadata") or {}).get("annotations") or {}).get(APPROVAL) or ""
    see = "see https://github.com/kubernetes/enhancements/pull/1111"
    if not said:
        return "Missing", f'protected groups must have approval annotation "{APPROVAL}", {see}'
    if said.startswith("unapproved"):
        return "Unapproved", f'not approved: "{said}"'
    parts = urlsplit(said)
    if parts.scheme and parts.netloc:
        return "Approved", f"approved in {said}"
    text = f'protected groups must have approval annotation "{APPROVAL}" with either a URL or a reason starting with '
    return "Invalid", f'{text}"unapproved", {see}'


def is_protected(group: str) -> bool:
    """A group of the Kubernetes community, whose definitions carry an approval."""
    return f".{group}".endswith((".k8s.io", ".kubernetes.io"))


def _approval_faults(new: Json, old: Json | None) -> Iterator[Cause]:
    if not is_protected((new.get("spec") or {}).get("group") or ""):
        return
    state, text = approval(new)
    if old is not None and approval(old)[0] == state:
        return
    field = f"metadata.annotations[{APPROVAL}]"
    if state == "Missing":
        yield required(field, text)
    elif state == "Invalid":
        yield invalid(field, new["metadata"]["annotations"][APPROVAL], text)
