"""The generated CustomResourceDefinitions."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localmodel.api.crd import crds

ROOT = Path(__file__).resolve().parents[3]


def by_name(*, minimal: bool = False) -> dict[str, Any]:
    return {crd["metadata"]["name"].partition(".")[0]: crd for crd in crds(minimal=minimal)}


def schema(plural: str, *, minimal: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = by_name(minimal=minimal)[plural]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def walk(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, node
    for name, part in node.get("properties", {}).items():
        yield from walk(part, f"{path}.{name}")
    for name in ("items", "additionalProperties"):
        if isinstance(node.get(name), dict):
            yield from walk(node[name], f"{path}[]")


def test_config_crd_is_what_the_types_say() -> None:
    check = subprocess.run(
        [sys.executable, "hack/update-crds", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, check.stderr


def test_kinds_scopes_and_names_are_kserves() -> None:
    names = {
        plural: (crd["spec"]["names"]["kind"], crd["spec"]["names"]["listKind"], crd["spec"]["scope"])
        for plural, crd in by_name().items()
    }
    assert names == {
        "localmodelcaches": ("LocalModelCache", "LocalModelCacheList", "Cluster"),
        "localmodelnamespacecaches": ("LocalModelNamespaceCache", "LocalModelNamespaceCacheList", "Namespaced"),
        "localmodelnodegroups": ("LocalModelNodeGroup", "LocalModelNodeGroupList", "Cluster"),
        "localmodelnodes": ("LocalModelNode", "LocalModelNodeList", "Cluster"),
        "clusterstoragecontainers": ("ClusterStorageContainer", "ClusterStorageContainerList", "Cluster"),
    }


@pytest.mark.parametrize("minimal", [False, True])
@pytest.mark.parametrize("plural", list(by_name()))
def test_every_schema_is_structural(plural: str, minimal: bool) -> None:
    for path, part in walk(schema(plural, minimal=minimal)):
        assert part.get("type") or part.get("x-kubernetes-int-or-string"), path
        assert not {"$ref", "$defs", "title", "default", "x-required"} & part.keys(), path
        assert not ("properties" in part and "additionalProperties" in part), path
        assert "anyOf" not in part or part.get("x-kubernetes-int-or-string"), path


@pytest.mark.parametrize("plural", list(by_name()))
def test_every_field_is_described(plural: str) -> None:
    for path, part in walk(schema(plural)):
        if path not in (".metadata",) and not path.endswith("[]"):
            assert part.get("description"), f"{plural}{path}"


def test_required_fields_are_kserves() -> None:
    assert schema("localmodelcaches")["properties"]["spec"]["required"] == ["modelSize", "nodeGroups", "sourceModelUri"]
    assert "required" not in schema("localmodelcaches")
    node = schema("localmodelnodes")["properties"]["spec"]
    assert node["required"] == ["localModels"]
    assert node["properties"]["localModels"]["items"]["required"] == ["modelName", "sourceModelUri"]
    group = schema("localmodelnodegroups")["properties"]["spec"]
    assert group["required"] == ["persistentVolumeClaimSpec", "persistentVolumeSpec", "storageLimit"]


def test_enums_have_no_value_that_kserve_lacks() -> None:
    cache, node = schema("localmodelcaches"), schema("localmodelnodes")
    assert cache["properties"]["status"]["properties"]["nodeStatus"]["additionalProperties"]["enum"] == [
        "",
        "NodeNotReady",
        "NodeDownloadPending",
        "NodeDownloading",
        "NodeDownloaded",
        "NodeDownloadError",
    ]
    assert node["properties"]["status"]["properties"]["modelStatus"]["additionalProperties"]["enum"] == [
        "",
        "ModelDownloadPending",
        "ModelDownloading",
        "ModelDownloaded",
        "ModelDownloadError",
    ]


def test_the_uri_is_immutable_and_the_spec_cannot_be_taken_away_d28() -> None:
    for plural in ("localmodelcaches", "localmodelnamespacecaches"):
        root = schema(plural)
        uri = root["properties"]["spec"]["properties"]["sourceModelUri"]
        assert uri["x-kubernetes-validations"] == [{"rule": "self == oldSelf", "message": "StorageUri is immutable"}]
        assert [r["rule"] for r in root["x-kubernetes-validations"]] == ["!has(oldSelf.spec) || has(self.spec)"]
        small = schema(plural, minimal=True)
        assert [r["message"] for r in small["x-kubernetes-validations"]] == ["StorageUri is immutable"]


def test_embedded_kubernetes_types_are_passed_on() -> None:
    spec = schema("localmodelnodegroups")["properties"]["spec"]["properties"]
    for name in ("persistentVolumeSpec", "persistentVolumeClaimSpec"):
        assert spec[name]["x-kubernetes-preserve-unknown-fields"] is True


def test_a_kind_with_a_status_has_its_subresource() -> None:
    for plural, crd in by_name().items():
        version = crd["spec"]["versions"][0]
        assert ("subresources" in version) == (plural != "clusterstoragecontainers")
