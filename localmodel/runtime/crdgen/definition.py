"""Definitions: `crd_for` makes the CustomResourceDefinition of a kind out of the types of its versions."""

from __future__ import annotations

import copy
from dataclasses import KW_ONLY, dataclass
from typing import Any

from localmodel.runtime.errors import RuntimeLibraryError
from localmodel.runtime.objects import Object

from .markers import Marker, joined_rules
from .schema import structural_schema

Json = dict[str, Any]

AGE: Json = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}
"""The column that kubectl shows by itself if a kind has no columns."""


class DefinitionError(RuntimeLibraryError, ValueError):
    """The versions of a kind contradict each other."""


def column(name: str, path: str, type_: str = "string", *, wide: bool = False, description: str = "") -> Json:
    """A printer column; a wide one is shown by `kubectl get -o wide` only.

    `path` is a simple JSONPath, `type_` one of string, integer, number, boolean, date.
    """
    content: Json = {"name": name, "type": type_, "jsonPath": path}
    if description:
        content["description"] = description
    return {**content, "priority": 1} if wide else content


def condition_column(name: str, type_: str, part: str = "status", *, wide: bool = False) -> Json:
    """A column with a part of the condition of that type."""
    return column(name, f'.status.conditions[?(@.type=="{type_}")].{part}', wide=wide)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The scale subresource, for `kubectl scale` and autoscalers: where the numbers are."""

    spec_replicas: str = ".spec.replicas"
    status_replicas: str = ".status.replicas"
    label_selector: str = ""
    """Of the selector in its text form; autoscalers need it."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a kind, and what its type does not say."""

    type: type[Object]
    _: KW_ONLY
    served: bool = True
    storage: bool | None = None
    """Objects are stored in this version; of several versions one must say so."""
    deprecated: str = ""
    """The warning that users of this version get; it is not deprecated when empty."""
    columns: tuple[Json, ...] = ()
    """`column`, `condition_column`, `AGE`; in this order."""
    rules: tuple[Marker, ...] = ()
    """`rule`s about the whole object. Of metadata they see name and generateName."""
    scale: Scale | None = None
    selectable_fields: tuple[str, ...] = ()
    """JSONPaths of fields that field selectors may name (Kubernetes 1.31)."""
    schema: Json | None = None
    """In place of the schema that the type gives; `rules` are added to it."""


def crd_for(
    *versions: type[Object] | Version,
    short_names: tuple[str, ...] = (),
    categories: tuple[str, ...] = (),
    singular: str = "",
    list_kind: str = "",
) -> Json:
    """The definition, as a plain JSON object that belongs to the caller; a type alone stands for a version of it.

    Group, kind, plural and scope are those of the types' mapping. A version whose type has a field `status` gets the
    status subresource. Raises DefinitionError, SchemaError.
    """
    given = [version if isinstance(version, Version) else Version(version) for version in versions]
    _check(given)
    mapping = given[0].type.mapping
    kind = mapping.gvk.kind
    names: Json = {
        "kind": kind,
        "listKind": list_kind or f"{kind}List",
        "plural": mapping.plural,
        "singular": singular or kind.lower(),
    }
    if short_names:
        names["shortNames"] = list(short_names)
    if categories:
        names["categories"] = list(categories)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": mapping.group_resource},
        "spec": {
            "group": mapping.gvk.group,
            "scope": "Namespaced" if mapping.namespaced else "Cluster",
            "names": names,
            "versions": [_version(version, storage=len(given) == 1 or bool(version.storage)) for version in given],
        },
    }


def _check(versions: list[Version]) -> None:
    if not versions:
        raise DefinitionError("a definition needs a version: give crd_for the type of the kind")
    mappings = [version.type.mapping for version in versions]
    kinds = {(m.gvk.group, m.gvk.kind, m.plural, m.namespaced) for m in mappings}
    if len(kinds) > 1:
        raise DefinitionError(f"versions of one kind have the same group, kind, plural and scope, not {sorted(kinds)}")
    names = [m.gvk.version for m in mappings]
    kind = mappings[0].gvk.kind
    if len(set(names)) < len(names):
        raise DefinitionError(f"{kind} has a version twice: {', '.join(names)}")
    stored = [version for version in versions if version.storage]
    if len(stored) != 1 and (len(versions) > 1 or versions[0].storage is False):
        raise DefinitionError(f"{kind} has {len(stored)} storage versions: say storage=True for one of its versions")


def _version(version: Version, *, storage: bool) -> Json:
    result: Json = {"name": version.type.mapping.gvk.version, "served": version.served, "storage": storage}
    if version.deprecated:
        result |= {"deprecated": True, "deprecationWarning": version.deprecated}
    if version.columns:
        result["additionalPrinterColumns"] = copy.deepcopy(list(version.columns))
    schema = structural_schema(version.type) if version.schema is None else version.schema
    for marker in version.rules:
        schema = {**schema, **joined_rules(schema, marker.content)}
    result["schema"] = {"openAPIV3Schema": copy.deepcopy(schema)}
    if subresources := _subresources(version):
        result["subresources"] = subresources
    if version.selectable_fields:
        result["selectableFields"] = [{"jsonPath": path} for path in version.selectable_fields]
    return result


def _subresources(version: Version) -> Json:
    result: Json = {"status": {}} if "status" in version.type.model_fields else {}
    if version.scale is not None:
        result["scale"] = {
            "specReplicasPath": version.scale.spec_replicas,
            "statusReplicasPath": version.scale.status_replicas,
        }
        if version.scale.label_selector:
            result["scale"]["labelSelectorPath"] = version.scale.label_selector
    return result
