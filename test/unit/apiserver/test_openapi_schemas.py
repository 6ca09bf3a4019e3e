"""What OpenAPI publishes of built-in kinds is what is served of them."""

from __future__ import annotations

from typing import Any

import pytest
from support.apicore import InProcess
from support.recordings.crds import CRDS, crd, version

from localmodel.sandbox.apiserver import gotypes, schemas
from localmodel.sandbox.apiserver.builtins import BUILTIN_KINDS

Json = dict[str, Any]
PATHS = sorted({f"apis/{g.group}/{g.version}" if g.group else "api/v1" for g in (k.mapping.gvk for k in BUILTIN_KINDS)})


@pytest.fixture(scope="module")
def server() -> InProcess:
    return InProcess()


def published(server: InProcess, path: str) -> Json:
    status, document = server.call("GET", f"/openapi/v3/{path}")
    assert status == 200
    found: Json = document["components"]["schemas"]
    return found


@pytest.mark.parametrize("path", PATHS)
def test_the_fields_that_are_shown_are_those_that_are_kept(server: InProcess, path: str) -> None:
    kept = gotypes._types()
    shown = {
        name: set(schema.get("properties") or ()) for name, schema in published(server, path).items() if name in kept
    }
    assert shown
    assert {name: fields ^ kept[name].keys() for name, fields in shown.items() if fields != kept[name].keys()} == {}


@pytest.mark.parametrize("path", PATHS)
def test_every_kind_that_is_served_is_shown_and_every_reference_leads_somewhere(server: InProcess, path: str) -> None:
    found = published(server, path)
    kinds = {gvk["kind"] for schema in found.values() for gvk in schema.get("x-kubernetes-group-version-kind") or ()}
    group = path.split("/")[1] if path.startswith("apis") else ""
    served = [kind for kind in BUILTIN_KINDS if kind.mapping.gvk.group == group]
    assert {kind.mapping.gvk.kind for kind in served} <= kinds
    assert {f"{kind.mapping.gvk.kind}List" for kind in served if kind.is_stored} <= kinds
    assert not {f"{kind.mapping.gvk.kind}List" for kind in served if not kind.is_stored} & kinds
    assert references(found) <= found.keys()


def references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"].removeprefix(schemas.REF_PREFIX)} if isinstance(node.get("$ref"), str) else set()
        return own.union(*map(references, node.values()))
    return set().union(*map(references, node)) if isinstance(node, list) else set()


def test_enums_defaults_and_kinds_of_lists_are_shown(server: InProcess) -> None:
    found = published(server, "api/v1")
    spec, port = found["io.k8s.api.core.v1.PodSpec"]["properties"], found["io.k8s.api.core.v1.ContainerPort"]
    assert spec["restartPolicy"]["enum"] == ["Always", "Never", "OnFailure"]
    assert spec["containers"]["x-kubernetes-patch-merge-key"] == "name"
    assert spec["tolerations"]["x-kubernetes-list-type"] == "atomic"
    assert port["properties"]["protocol"]["default"] == "TCP"


def test_a_custom_kind_is_shown_with_its_rules_and_selectable_fields() -> None:
    server = InProcess()
    rule = {"rule": "self.a == 'x'", "message": "m"}
    spec = {"type": "object", "properties": {"a": {"type": "string", "enum": ["x"], "default": "x"}}}
    schema = {"type": "object", "properties": {"spec": {**spec, "x-kubernetes-validations": [rule]}}}
    shown = version(schema={"openAPIV3Schema": schema}, selectableFields=[{"jsonPath": ".spec.a"}])
    server.create(CRDS, crd("shown.example.com", shown))
    found = published(server, "apis/shown.example.com/v1")
    cog = found["com.example.shown.v1.Cog"]
    assert cog["properties"]["spec"] == {**spec, "x-kubernetes-validations": [rule]}
    for name in ("Cog", "CogList"):
        fields = found[f"com.example.shown.v1.{name}"]["x-kubernetes-selectable-fields"]
        assert fields == [{"fieldPath": "spec.a"}]
