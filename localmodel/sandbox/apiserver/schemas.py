"""The packaged OpenAPI schemas of the built-in kinds: `data/schemas.json.gz`, made by `hack/update-builtin-schemas`.

They serve `kubectl explain`; what bodies decode to is in `gotypes`. The file is read with the first request that needs
it.
"""

from __future__ import annotations

import gzip
from functools import lru_cache
from importlib import resources
from typing import Any

import msgspec

from localmodel.runtime.objects import GroupVersionKind

Json = dict[str, Any]

REF_PREFIX = "#/components/schemas/"


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
