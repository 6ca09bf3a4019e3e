"""The container of a download Job, and whose image it runs."""

from __future__ import annotations

from typing import Any

import pytest

from localmodel.agent.containers import base_container, selection
from localmodel.agent.errors import DownloadSetupError
from localmodel.agent.images import is_our_image
from localmodel.api.config import InferenceServiceConfig, LocalModelConfig, StorageInitializerConfig
from localmodel.api.container import ClusterStorageContainer
from localmodel.api.node import LocalModelInfo

FOREIGN = InferenceServiceConfig(storage_initializer=StorageInitializerConfig(image="kserve/storage-initializer:v1"))
ENTRY = LocalModelInfo(model_name="iris", source_model_uri="hf://o/m", node_group="gpu1")


def custom(**container: Any) -> dict[str, Any]:
    made = ClusterStorageContainer.from_dict(
        {"metadata": {"name": "hub"}, "spec": {"container": {"name": "c", "image": "hub:1", **container}}}
    )
    return base_container(made, ENTRY, FOREIGN)


def test_ours_fits_the_restricted_profile_of_pod_security_d22() -> None:
    security = base_container(None, ENTRY, FOREIGN)["securityContext"]
    assert security == {
        "runAsUser": 1000,
        "runAsGroup": 1000,
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }


def test_of_a_custom_container_what_it_leaves_open_is_hardened_d22() -> None:
    assert custom()["securityContext"] == {
        "runAsUser": 1000,
        "runAsGroup": 1000,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize(
    ("security", "made"),
    [
        ({"runAsUser": 0}, {"runAsUser": 0, "runAsGroup": 1000, "allowPrivilegeEscalation": False}),
        ({"privileged": True}, {"runAsUser": 1000, "runAsGroup": 1000, "privileged": True}),
        (
            {"capabilities": {"add": ["SYS_ADMIN"]}},
            {"runAsUser": 1000, "runAsGroup": 1000, "capabilities": {"add": ["SYS_ADMIN"]}},
        ),
        (
            {"allowPrivilegeEscalation": True, "capabilities": {}},
            {"runAsUser": 1000, "runAsGroup": 1000, "allowPrivilegeEscalation": True, "capabilities": {}},
        ),
    ],
)
def test_what_a_custom_container_sets_stays_and_nothing_contradicts_it_d22(
    security: dict[str, Any], made: dict[str, Any]
) -> None:
    assert custom(securityContext=security)["securityContext"] == made


@pytest.mark.parametrize("malformed", [{"env": "x"}, {"env": ["x"]}, {"securityContext": "x"}])
def test_a_malformed_custom_container_is_named_d42(malformed: dict[str, Any]) -> None:
    with pytest.raises(DownloadSetupError, match="ClusterStorageContainer hub: env or securityContext is malformed"):
        custom(**malformed)


def test_a_custom_container_with_devices_that_no_job_has_is_named_d53() -> None:
    with pytest.raises(DownloadSetupError, match="ClusterStorageContainer hub has volumeDevices"):
        custom(volumeDevices=[{"name": "disk", "devicePath": "/dev/x"}])


@pytest.mark.parametrize(
    ("image", "ours"),
    [
        ("localmodel/agent:0.1.0", True),
        ("localmodel-agent", True),
        ("registry.example.com:5000/team/localmodel-download:1", True),
        ("registry.example.com:5000/localmodel@sha256:0", True),
        ("localmodel.example.com/kserve/storage-initializer:1", False),
        ("kserve/storage-initializer:latest", False),
        ("mirror/named-otherwise:1", True),
        ("", False),
    ],
)
def test_an_image_is_ours_by_its_name_or_by_the_configuration(image: str, ours: bool) -> None:
    config = InferenceServiceConfig(local_model=LocalModelConfig(download_image="mirror/named-otherwise:1"))
    assert is_our_image(image, config) is ours


def buffers(container: dict[str, Any]) -> dict[str, str]:
    return {item["name"]: item["value"] for item in container["env"]}


def test_a_foreign_image_keeps_hugging_faces_buffers_within_its_memory_limit() -> None:
    limited = {"limits": {"memory": "8Gi"}}
    assert buffers(custom(resources=limited)) == {
        "HF_XET_RECONSTRUCTION_DOWNLOAD_BUFFER_LIMIT": str(2 << 30),
        "HF_XET_RECONSTRUCTION_DOWNLOAD_BUFFER_SIZE": str(512 << 20),
        "HF_XET_RECONSTRUCTION_DOWNLOAD_BUFFER_PERFILE_SIZE": str(128 << 20),
    }
    assert buffers(custom(resources={"limits": {"memory": "1Gi"}}))["HF_XET_RECONSTRUCTION_DOWNLOAD_BUFFER_LIMIT"] == (
        str(264 << 20)
    )
    assert buffers(custom(resources=limited, image="localmodel-agent")) == {}
    assert buffers(custom(resources={"limits": {"memory": "much"}})) == {}


def test_what_a_custom_container_says_of_the_buffers_stays() -> None:
    own = {"name": "HF_XET_RECONSTRUCTION_DOWNLOAD_BUFFER_LIMIT", "value": "1"}
    env = custom(resources={"limits": {"memory": "8Gi"}}, env=[own])["env"]
    assert [item["value"] for item in env if item["name"] == own["name"]] == ["1"]


def test_resources_are_those_of_the_configuration_d31() -> None:
    settings = StorageInitializerConfig(cpu_request="100m", memory_request="1Gi", memory_limit="2Gi")
    made = base_container(None, ENTRY, InferenceServiceConfig(storage_initializer=settings))
    assert made["resources"] == {"requests": {"cpu": "100m", "memory": "1Gi"}, "limits": {"memory": "2Gi"}}


def test_what_a_user_writes_is_taken_as_it_stands() -> None:
    entry = ENTRY.model_copy(update={"revision": "$(HF_TOKEN)", "include": ["$(HF_TOKEN)"]})
    assert {item["value"] for item in selection(entry)} == {"$$(HF_TOKEN)", '["$$(HF_TOKEN)"]'}
