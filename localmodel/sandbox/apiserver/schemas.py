"""The packaged OpenAPI schemas of the built-in kinds, which `kubectl explain` shows and OpenAPI v2 and v3 publish.

What they consist of (fields, types, references, defaults, enums, kinds of lists) is that of kube-apiserver 1.32 in
`data/openapi.json.gz`, made by `hack/update-openapi-structure`; descriptions are those of the `kubernetes` package in
`data/schemas.json.gz`, made by `hack/update-builtin-schemas`, which knows later fields, too: those are not published.
What bodies decode to is in `gotypes`. The files are read with the first request that needs them.
"""

from __future__ import annotations

import gzip
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from localmodel.runtime.objects import GroupVersionKind

Json = dict[str, Any]

REF_PREFIX = "#/components/schemas/"


@lru_cache(maxsize=1)
def components() -> Json:
    """All schemas by name."""
    found, described = _packaged("openapi.json.gz"), _packaged("schemas.json.gz")
    for name, schema in found.items():
        texts = described.get(name) or {}
        _describe(schema, texts)
        for field, property_ in (schema.get("properties") or {}).items():
            _describe(property_, (texts.get("properties") or {}).get(field) or {})
    return found


def _packaged(file: str) -> Json:
    data = Path(__file__).with_name("data").joinpath(file).read_bytes()
    decoded: Json = msgspec.json.decode(gzip.decompress(data))
    return decoded


def _describe(schema: Json, described: Json) -> None:
    if description := described.get("description"):
        schema["description"] = description


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
