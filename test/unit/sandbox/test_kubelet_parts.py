"""What the kubelet makes of a pod's spec: images, environment, volumes, paths."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from localmodel.runtime.objects import ConfigMap, PersistentVolume, PersistentVolumeClaim, Pod, Secret
from localmodel.runtime.testing import FakeClient
from localmodel.sandbox.controllers.kubelet.environment import ContainerConfigError, build_environment, expand
from localmodel.sandbox.controllers.kubelet.images import DOWNLOAD, ImageTable
from localmodel.sandbox.controllers.kubelet.mounts import (
    Mount,
    MountError,
    PodVolumes,
    container_mounts,
    host_path,
    rewrite,
)


def pod(**spec: Any) -> Pod:
    metadata = {"name": "p", "namespace": "team", "uid": "u1", "labels": {"app": "x"}}
    return Pod.from_dict({"metadata": metadata, "spec": {"nodeName": "node-1", "containers": [], **spec}})


# images


def command(image: str, *given: str) -> list[str]:
    found = ImageTable().find(image)
    assert found is not None
    return found.command_line(given, [], "127.64.0.1")


@pytest.mark.parametrize(
    "image",
    [
        "kserve/storage-initializer:latest",
        "storage-initializer",
        "registry.example:5000/kserve/storage-initializer@sha256:abc",
        "example.com/my-storage-initializer:v1",
        "kserve/localmodel-agent:v1",
        "localmodel/agent:0.1.0",
    ],
)
def test_download_images_run_the_downloader(image: str) -> None:
    assert command(image) == [*DOWNLOAD]


@pytest.mark.parametrize("image", ["nginx", "storage-initializer-extra", "kserve/agent", "notstorage-initializer", ""])
def test_other_images_are_not_known(image: str) -> None:
    assert ImageTable().find(image) is None


def test_images_can_be_added() -> None:
    image = ImageTable({"server": ("serve", "-v")}).find("kserve/server:1")
    assert image is not None
    assert image.command_line([], ["x"], "127.64.0.1") == ["serve", "-v", "x"]


# environment


def secret() -> Secret:
    data = {"token": base64.b64encode(b"s3cret").decode()}
    return Secret.from_dict({"metadata": {"name": "creds", "namespace": "team"}, "data": data})


def config_map() -> ConfigMap:
    return ConfigMap.from_dict({"metadata": {"name": "conf", "namespace": "team"}, "data": {"key": "value"}})


def environment(*env: dict[str, Any], env_from: list[dict[str, Any]] | None = None) -> dict[str, str]:
    container = {"name": "c", "env": [*env], "envFrom": env_from or [], "resources": {"limits": {"memory": "1Ki"}}}
    return build_environment(container, pod(), FakeClient(secret(), config_map()))


def test_values_come_from_everywhere() -> None:
    assert environment(
        {"name": "PLAIN", "value": "1"},
        {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "creds", "key": "token"}}},
        {"name": "CONFIG", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "key"}}},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory"}}},
        {"name": "BOTH", "value": "$(PLAIN)-$(SECRET)"},
    ) == {
        "PLAIN": "1",
        "SECRET": "s3cret",
        "CONFIG": "value",
        "NODE": "node-1",
        "LABEL": "x",
        "MEMORY": "1024",
        "BOTH": "1-s3cret",
    }


def test_env_from_takes_all_keys_with_a_prefix() -> None:
    sources = [{"secretRef": {"name": "creds"}, "prefix": "S_"}, {"configMapRef": {"name": "conf"}}]
    assert environment(env_from=sources) == {"S_token": "s3cret", "key": "value"}


def test_optional_sources_may_be_missing() -> None:
    optional = {"secretKeyRef": {"name": "none", "key": "k", "optional": True}}
    assert environment({"name": "A", "valueFrom": optional}) == {}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"secretKeyRef": {"name": "none", "key": "k"}}, 'secret "none" not found'),
        ({"secretKeyRef": {"name": "creds", "key": "k"}}, "couldn't find key k in Secret team/creds"),
        ({"configMapKeyRef": {"name": "none", "key": "k"}}, 'configmap "none" not found'),
        ({"fieldRef": {"fieldPath": "spec.nonsense"}}, "unsupported fieldPath"),
    ],
)
def test_a_missing_source_is_a_config_error(source: dict[str, Any], message: str) -> None:
    with pytest.raises(ContainerConfigError, match=message):
        environment({"name": "A", "valueFrom": source})


def test_expansion_leaves_unknown_names_and_escapes() -> None:
    assert expand("$(A) $(B) $$(A) $A", {"A": "1"}) == "1 $(B) $(A) $A"


# paths


def test_a_host_path_never_leaves_the_nodes_root(tmp_path: Path) -> None:
    assert host_path(tmp_path, "/mnt/models") == tmp_path / "mnt" / "models"
    with pytest.raises(MountError):
        host_path(tmp_path, "/mnt/../../etc")


MOUNTS = [Mount("/mnt/models/deep", Path("/n/deep")), Mount("/mnt/models", Path("/n/models"))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/mnt/models", "/n/models"),
        ("/mnt/models/", "/n/models/"),
        ("/mnt/models/a/b", "/n/models/a/b"),
        ("/mnt/models/deep/a", "/n/deep/a"),
        ("--model_dir=/mnt/models", "--model_dir=/n/models"),
        ("/mnt/models-evil", "/mnt/models-evil"),
        ("hf://org/model", "hf://org/model"),
        ("see /mnt/models", "see /mnt/models"),
    ],
)
def test_paths_in_a_mount_are_rewritten(text: str, expected: str) -> None:
    assert rewrite(text, MOUNTS) == expected


# volumes


def prepare(tmp_path: Path, volume: dict[str, Any], *objects: Any) -> Path:
    volumes = PodVolumes(root=tmp_path / "node", scratch=tmp_path / "scratch", reader=FakeClient(*objects))
    return volumes.prepare(pod(volumes=[{"name": "v", **volume}]))["v"]


def bound(**source: Any) -> tuple[PersistentVolumeClaim, PersistentVolume]:
    claim = {"metadata": {"name": "claim", "namespace": "team"}, "spec": {"volumeName": "pv"}}
    return (
        PersistentVolumeClaim.from_dict({**claim, "status": {"phase": "Bound"}}),
        PersistentVolume.from_dict({"metadata": {"name": "pv"}, "spec": {"capacity": {"storage": "1Gi"}, **source}}),
    )


CLAIM = {"persistentVolumeClaim": {"claimName": "claim"}}


def test_a_claim_leads_to_the_local_path_on_the_node(tmp_path: Path) -> None:
    (tmp_path / "node/mnt/models").mkdir(parents=True)
    assert prepare(tmp_path, CLAIM, *bound(local={"path": "/mnt/models"})) == tmp_path / "node/mnt/models"


def test_a_local_path_must_exist(tmp_path: Path) -> None:
    with pytest.raises(MountError, match="does not exist"):
        prepare(tmp_path, CLAIM, *bound(local={"path": "/mnt/models"}))


def test_a_host_path_volume_is_made(tmp_path: Path) -> None:
    assert prepare(tmp_path, CLAIM, *bound(hostPath={"path": "/data"})).is_dir()


def test_an_unbound_claim_cannot_be_mounted(tmp_path: Path) -> None:
    with pytest.raises(MountError, match="not bound"):
        prepare(tmp_path, CLAIM)


def test_secrets_and_config_maps_become_files(tmp_path: Path) -> None:
    assert (prepare(tmp_path, {"secret": {"secretName": "creds"}}, secret()) / "token").read_text() == "s3cret"
    assert (prepare(tmp_path, {"configMap": {"name": "conf"}}, config_map()) / "key").read_text() == "value"


def test_an_unknown_kind_of_volume_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MountError, match="nfs"):
        prepare(tmp_path, {"nfs": {"server": "x"}})


def test_a_missing_sub_path_is_created_empty(tmp_path: Path) -> None:
    container = {"name": "c", "volumeMounts": [{"name": "v", "mountPath": "/m", "subPath": "models/abc/"}]}
    (mount,) = container_mounts(container, {"v": tmp_path})
    assert mount == Mount("/m", tmp_path / "models" / "abc")
    assert list(mount.directory.iterdir()) == []


def test_a_mount_without_a_volume_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MountError, match="names no volume"):
        container_mounts({"name": "c", "volumeMounts": [{"name": "x", "mountPath": "/m"}]}, {"v": tmp_path})
