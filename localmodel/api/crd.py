"""The CustomResourceDefinitions of the five kinds, made out of the types.

`crds()` gives the full set, with structural schemas, and `crds(minimal=True)` one with opaque spec and status for
clusters where the size of CRDs matters, as KServe ships both. A schema is pydantic's, rewritten into what the API
server accepts: references resolved, optional fields without a null alternative, required fields by their mark,
descriptions kept. What no type can say stands in `_KINDS`: short names, columns, and rules about whole objects.

`config/crd` holds the result; `hack/update-crds` writes it.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from .caches import LocalModelCache, LocalModelNamespaceCache
from .container import ClusterStorageContainer
from .model import REQUIRED_MARK, ApiObject
from .node import LocalModelNode
from .nodegroup import LocalModelNodeGroup

Json = dict[str, Any]

_DROPPED = ("title", "default", "$defs", "additionalProperties", REQUIRED_MARK)

_TYPE_META: Json = {
    "apiVersion": {
        "type": "string",
        "description": "The group and version of the schema that this object is written in.",
    },
    "kind": {"type": "string", "description": "The kind of this object, in CamelCase."},
    "metadata": {"type": "object"},
}

_AGE: Json = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}


def _column(name: str, path: str, type_: str = "string", *, wide: bool = False) -> Json:
    """A printer column; a wide one is shown by `kubectl get -o wide` only."""
    column: Json = {"name": name, "type": type_, "jsonPath": path}
    return {**column, "priority": 1} if wide else column


def _condition(name: str, type_: str, part: str = "status", *, wide: bool = False) -> Json:
    return _column(name, f'.status.conditions[?(@.type=="{type_}")].{part}', wide=wide)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """What a definition needs beside the type."""

    type: type[ApiObject]
    short_names: tuple[str, ...]
    columns: tuple[Json, ...]
    rules: tuple[Json, ...] = ()
    """CEL rules about the object as a whole."""
    minimal_rules: tuple[Json, ...] = ()
    status: bool = True
    """The kind has a status and the subresource for it."""


# A rule on the field alone is not asked when the field is not there before and after (D-28): without these, an object
# put without a spec, then with another, would have changed its URI.
_KEEPS_SPEC: Json = {
    "rule": "!has(oldSelf.spec) || has(self.spec)",
    "message": "spec cannot be removed: StorageUri is immutable",
}
_KEEPS_URI: Json = {
    "rule": (
        "!has(oldSelf.spec) || !has(oldSelf.spec.sourceModelUri) || (has(self.spec)"
        " && has(self.spec.sourceModelUri) && self.spec.sourceModelUri == oldSelf.spec.sourceModelUri)"
    ),
    "message": "StorageUri is immutable",
}

_CACHE_COLUMNS = (
    _column("URI", ".spec.sourceModelUri"),
    _column("Size", ".spec.modelSize"),
    _column("Available", ".status.copies.available", "integer"),
    _column("Total", ".status.copies.total", "integer"),
    _column("Failed", ".status.copies.failed", "integer", wide=True),
    _condition("Ready", "Ready"),
    _condition("Reason", "Ready", "reason"),
    _condition("Message", "Ready", "message", wide=True),
    _AGE,
)

_KINDS: tuple[_Kind, ...] = (
    _Kind(
        type=LocalModelCache,
        short_names=("lmc",),
        columns=_CACHE_COLUMNS,
        rules=(_KEEPS_SPEC,),
        minimal_rules=(_KEEPS_URI,),
    ),
    _Kind(
        type=LocalModelNamespaceCache,
        short_names=("lmnc",),
        columns=_CACHE_COLUMNS,
        rules=(_KEEPS_SPEC,),
        minimal_rules=(_KEEPS_URI,),
    ),
    _Kind(
        type=LocalModelNodeGroup,
        short_names=("lmng",),
        columns=(
            _column("Limit", ".spec.storageLimit"),
            _column("Nodes", ".status.nodes", "integer"),
            _column("Used", ".status.used"),
            _column("Available", ".status.available"),
            _condition("Ready", "Ready"),
            _condition("Message", "Ready", "message", wide=True),
            _AGE,
        ),
    ),
    _Kind(
        type=LocalModelNode,
        short_names=("lmn",),
        columns=(
            _column("Used", ".status.disk.used"),
            _column("Available", ".status.disk.available"),
            _column("Limit", ".status.disk.limit", wide=True),
            _condition("Storage", "StorageReady"),
            _AGE,
        ),
    ),
    _Kind(
        type=ClusterStorageContainer,
        short_names=("csc",),
        columns=(
            _column("Workload", ".spec.workloadType"),
            _column("Image", ".spec.container.image"),
            _column("Disabled", ".disabled", "boolean", wide=True),
            _AGE,
        ),
        status=False,
    ),
)


def crds(minimal: bool = False) -> list[Json]:
    """The five definitions as plain JSON objects, in a fixed order. They belong to the caller."""
    return [copy.deepcopy(_definition(kind, minimal=minimal)) for kind in _KINDS]


def _definition(kind: _Kind, *, minimal: bool) -> Json:
    mapping = kind.type.mapping
    version: Json = {
        "name": mapping.gvk.version,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": list(kind.columns),
        "schema": {"openAPIV3Schema": _minimal_schema(kind) if minimal else _full_schema(kind)},
    }
    if kind.status:
        version["subresources"] = {"status": {}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": mapping.group_resource},
        "spec": {
            "group": mapping.gvk.group,
            "scope": "Namespaced" if mapping.namespaced else "Cluster",
            "names": {
                "kind": mapping.gvk.kind,
                "listKind": f"{mapping.gvk.kind}List",
                "plural": mapping.plural,
                "singular": mapping.gvk.kind.lower(),
                "shortNames": list(kind.short_names),
            },
            "versions": [version],
        },
    }


def _full_schema(kind: _Kind) -> Json:
    generated = kind.type.model_json_schema(by_alias=True, mode="validation")
    schema = _structural(generated, generated.get("$defs", {}))
    schema["properties"] = {**schema["properties"], **_TYPE_META}
    if kind.rules:
        schema["x-kubernetes-validations"] = list(kind.rules)
    return schema


def _minimal_schema(kind: _Kind) -> Json:
    opaque: Json = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    properties: Json = {**_TYPE_META, "spec": dict(opaque)}
    if kind.status:
        properties["status"] = dict(opaque)
    schema: Json = {**opaque, "description": _text(kind.type.__doc__ or ""), "properties": properties}
    if kind.minimal_rules:
        # A rule sees declared fields only.
        properties["spec"]["properties"] = {"sourceModelUri": {"type": "string"}}
        schema["x-kubernetes-validations"] = list(kind.minimal_rules)
    return schema


def _structural(schema: Json, definitions: Json) -> Json:
    """One schema as the API server accepts it. The input is not changed."""
    schema = _resolved(schema, definitions)
    result: Json = {key: value for key, value in schema.items() if key not in _DROPPED}
    if "description" in result:
        result["description"] = _text(result["description"])
    if isinstance(schema.get("additionalProperties"), dict):
        result["additionalProperties"] = _structural(schema["additionalProperties"], definitions)
    if "items" in schema:
        result["items"] = _structural(schema["items"], definitions)
    if "properties" in schema:
        parts = {name: _resolved(part, definitions) for name, part in schema["properties"].items()}
        result["properties"] = {name: _structural(part, definitions) for name, part in parts.items()}
        needed = sorted({*schema.get("required", ()), *(n for n, part in parts.items() if part.get(REQUIRED_MARK))})
        if needed:
            result["required"] = needed
    return result


def _resolved(schema: Json, definitions: Json) -> Json:
    """The schema with its reference, or its only alternative to null, put in place; its own words go first."""
    if "$ref" in schema:
        target = definitions[schema["$ref"].rpartition("/")[2]]
        return {**_resolved(target, definitions), **{key: value for key, value in schema.items() if key != "$ref"}}
    alternatives = [part for part in schema.get("anyOf", ()) if part.get("type") != "null"]
    if len(alternatives) == 1:
        outer = {key: value for key, value in schema.items() if key != "anyOf"}
        return {**_resolved(alternatives[0], definitions), **outer}
    return schema


def _text(description: str) -> str:
    """A docstring's first paragraph on one line."""
    return " ".join(description.partition("\n\n")[0].split())
