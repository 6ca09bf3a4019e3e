"""The CustomResourceDefinitions of the five kinds, made out of the types.

`crds()` gives the full set, with structural schemas, and `crds(minimal=True)` one with opaque spec and status for
clusters where the size of CRDs matters, as KServe ships both. `runtime.crdgen` makes them; what no type can say stands
in `_KINDS`: short names, columns, and rules about whole objects.

`config/crd` holds the result; `hack/update-crds` writes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from localmodel.runtime.crdgen import AGE, OPAQUE, Marker, Version, column, condition_column, crd_for, rule
from localmodel.runtime.crdgen.schema import first_paragraph, type_meta

from .caches import LocalModelCache, LocalModelNamespaceCache
from .container import ClusterStorageContainer
from .model import ApiObject
from .node import STORAGE_READY, LocalModelNode
from .nodegroup import LocalModelNodeGroup

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """What a definition needs beside the type."""

    type: type[ApiObject]
    short_name: str
    columns: tuple[Json, ...]
    rules: tuple[Marker, ...] = ()
    """About the object as a whole."""
    minimal_rules: tuple[Marker, ...] = ()


# A rule on the field alone is not asked when the field is not there before and after (D-28): without these, an object
# put without a spec, then with another, would have changed its URI.
_KEEPS_SPEC = rule(
    "!has(oldSelf.spec) || has(self.spec)",
    message="spec cannot be removed: StorageUri is immutable",
)
_KEEPS_URI = rule(
    "!has(oldSelf.spec) || !has(oldSelf.spec.sourceModelUri) || (has(self.spec)"
    " && has(self.spec.sourceModelUri) && self.spec.sourceModelUri == oldSelf.spec.sourceModelUri)",
    message="StorageUri is immutable",
)

_CACHE_COLUMNS = (
    column("URI", ".spec.sourceModelUri"),
    column("Size", ".spec.modelSize"),
    column("Available", ".status.copies.available", "integer"),
    column("Total", ".status.copies.total", "integer"),
    column("Failed", ".status.copies.failed", "integer", wide=True),
    condition_column("Ready", "Ready"),
    condition_column("Reason", "Ready", "reason"),
    condition_column("Message", "Ready", "message", wide=True),
    AGE,
)

_KINDS: tuple[_Kind, ...] = (
    _Kind(
        type=LocalModelCache,
        short_name="lmc",
        columns=_CACHE_COLUMNS,
        rules=(_KEEPS_SPEC,),
        minimal_rules=(_KEEPS_URI,),
    ),
    _Kind(
        type=LocalModelNamespaceCache,
        short_name="lmnc",
        columns=_CACHE_COLUMNS,
        rules=(_KEEPS_SPEC,),
        minimal_rules=(_KEEPS_URI,),
    ),
    _Kind(
        type=LocalModelNodeGroup,
        short_name="lmng",
        columns=(
            column("Limit", ".spec.storageLimit"),
            column("Nodes", ".status.nodes", "integer"),
            column("Used", ".status.used"),
            column("Available", ".status.available"),
            condition_column("Ready", "Ready"),
            condition_column("Agents", "AgentReady"),
            condition_column("Message", "Ready", "message", wide=True),
            condition_column("Agents-Message", "AgentReady", "message", wide=True),
            AGE,
        ),
    ),
    _Kind(
        type=LocalModelNode,
        short_name="lmn",
        columns=(
            column("Used", ".status.disk.used"),
            column("Available", ".status.disk.available"),
            column("Limit", ".status.disk.limit", wide=True),
            condition_column("Storage", STORAGE_READY),
            AGE,
        ),
    ),
    _Kind(
        type=ClusterStorageContainer,
        short_name="csc",
        columns=(
            column("Workload", ".spec.workloadType"),
            column("Image", ".spec.container.image"),
            column("Disabled", ".disabled", "boolean", wide=True),
            AGE,
        ),
    ),
)


def crds(minimal: bool = False) -> list[Json]:
    """The five definitions as plain JSON objects, in a fixed order. They belong to the caller."""
    return [
        crd_for(
            Version(
                kind.type,
                columns=kind.columns,
                rules=kind.minimal_rules if minimal else kind.rules,
                schema=_minimal_schema(kind) if minimal else None,
            ),
            short_names=(kind.short_name,),
        )
        for kind in _KINDS
    ]


def _minimal_schema(kind: _Kind) -> Json:
    parts = {name: dict(OPAQUE) for name in ("spec", "status") if name in kind.type.model_fields}
    if kind.minimal_rules:
        # A rule sees declared fields only.
        parts["spec"]["properties"] = {"sourceModelUri": {"type": "string"}}
    return {**OPAQUE, "description": first_paragraph(kind.type.__doc__ or ""), "properties": {**type_meta(), **parts}}
