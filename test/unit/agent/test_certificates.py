"""Certificates that a download trusts beside the system's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.agent import JOBS, URI, World
from support.rigid import Rigid

from localmodel.agent.additions import Credentials
from localmodel.agent.certificates import trust
from localmodel.agent.errors import CertificatesError
from localmodel.api.config import StorageInitializerConfig
from localmodel.runtime.errors import ForbiddenError
from localmodel.runtime.objects import ConfigMap
from localmodel.runtime.testing.fake import FakeClient

SHARED = StorageInitializerConfig(ca_bundle_config_map_name="cabundle", ca_bundle_volume_mount_path="/certs")


def bundle(name: str, *keys: str, namespace: str = JOBS) -> ConfigMap:
    return ConfigMap.from_dict(
        {"metadata": {"name": name, "namespace": namespace}, "data": dict.fromkeys(keys or ("cabundle.crt",), "PEM")}
    )


def trusted(
    *objects: ConfigMap, config: StorageInitializerConfig | None = None, **env: str
) -> tuple[str, str, dict[str, str]]:
    """The ConfigMap that is mounted, where, and the variables."""
    variables = [{"name": name, "value": value} for name, value in env.items()]
    found = trust(Rigid(FakeClient(*objects)), JOBS, config or StorageInitializerConfig(), variables)
    (volume,), (mount,) = found.volumes, found.volume_mounts
    assert (mount["name"], mount["readOnly"]) == (volume["name"], True)
    return volume["configMap"]["name"], mount["mountPath"], {item["name"]: item["value"] for item in found.env}


def test_where_none_is_named_nothing_is_mounted() -> None:
    assert trust(FakeClient(), JOBS, StorageInitializerConfig(), []) == Credentials()


def test_the_bundle_of_all_downloads_is_mounted_as_in_kserves_init_container_d51() -> None:
    assert trusted(bundle("cabundle"), config=SHARED) == (
        "cabundle",
        "/certs",
        {"CA_BUNDLE_CONFIGMAP_NAME": "cabundle", "CA_BUNDLE_VOLUME_MOUNT_POINT": "/certs"},
    )


def test_kserves_copy_of_it_is_found_too() -> None:
    assert trusted(bundle("global-ca-bundle"), config=SHARED)[0] == "global-ca-bundle"


def test_a_bundle_of_its_own_goes_before_that_of_all_d51() -> None:
    name, path, env = trusted(bundle("cabundle"), bundle("mine"), config=SHARED, AWS_CA_BUNDLE_CONFIGMAP="mine")
    assert (name, path, env["CA_BUNDLE_CONFIGMAP_NAME"]) == ("mine", "/certs", "mine")
    assert trusted(bundle("mine"), AWS_CA_BUNDLE_CONFIGMAP="mine")[1] == "/etc/ssl/custom-certs"


def test_the_file_that_is_named_says_where_it_is_mounted_and_which_key_it_is() -> None:
    named = {"AWS_CA_BUNDLE_CONFIGMAP": "mine", "AWS_CA_BUNDLE": "/etc/ssl/mine/root.pem"}
    assert trusted(bundle("mine", "root.pem"), **named)[1] == "/etc/ssl/mine"
    with pytest.raises(CertificatesError, match=f"ConfigMap {JOBS}/mine has no key 'root.pem'"):
        trusted(bundle("mine"), **named)


@pytest.mark.parametrize(
    ("config", "env", "words"),
    [
        (StorageInitializerConfig(), {"AWS_CA_BUNDLE_CONFIGMAP": "mine"}, f"ConfigMap {JOBS}/mine .* does not exist"),
        (StorageInitializerConfig(), {"AWS_CA_BUNDLE_CONFIGMAP": "a/b"}, f"ConfigMap {JOBS}/a/b .* does not exist"),
        (
            SHARED,
            {},
            f"ConfigMap {JOBS}/cabundle .* nor does the manager's copy global-ca-bundle",
        ),
    ],
)
def test_a_bundle_that_is_missing_is_named_d51(
    config: StorageInitializerConfig, env: dict[str, str], words: str
) -> None:
    with pytest.raises(CertificatesError, match=words):
        trusted(bundle("cabundle", namespace="kserve"), config=config, **env)


@pytest.mark.parametrize(
    "file",
    ["root.pem", "/root.pem", "/mnt/models/root.pem", "/mnt/models/x/root.pem", "/mnt/root.pem", "/a:b/root.pem"],
)
def test_a_place_that_a_container_cannot_have_is_refused(file: str) -> None:
    with pytest.raises(CertificatesError, match="cannot be mounted"):
        trusted(bundle("mine", "root.pem"), AWS_CA_BUNDLE_CONFIGMAP="mine", AWS_CA_BUNDLE=file)


def test_without_the_right_to_read_it_the_role_is_named() -> None:
    def refuse(_action: Any, _proceed: Any) -> Any:
        raise ForbiddenError.of("no")

    with pytest.raises(CertificatesError, match=r"apply config/rbac/agent\.yaml"):
        trust(FakeClient(interceptors=[refuse]), JOBS, SHARED, [])


def test_a_download_waits_for_its_certificates_and_starts_when_they_come_d51(tmp_path: Path) -> None:
    world = World(tmp_path)
    config = world.client.get(ConfigMap, "inferenceservice-config", namespace="kserve")
    config.data["storageInitializer"] = json.dumps({"caBundleConfigMapName": "cabundle"})
    world.client.update(config)
    world.want({"modelName": "iris", "sourceModelUri": URI})
    world.run()
    assert (world.jobs, world.status(), world.model().reason) == ([], "ModelDownloadError", "CertificatesInvalid")

    world.client.create(bundle("cabundle"))
    world.run()
    (job,) = world.jobs
    assert {"name": "cabundle-cert", "configMap": {"name": "cabundle"}} in job.spec.template["spec"]["volumes"]
    world.store.close()
