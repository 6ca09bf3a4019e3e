"""Credentials by value: what the kubelet would give a container, for a process of the agent."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from localmodel.agent.childcredentials import Materialised, Materialiser, redacted, secret_texts
from localmodel.agent.childenv import process_environment
from localmodel.agent.childplan import FILES
from localmodel.agent.credentials import Credentials
from localmodel.agent.errors import CredentialsError, DownloadModeError, DownloadSetupError
from localmodel.agent.scratch import Scratch, is_in_memory
from localmodel.runtime.objects import ConfigMap, Secret
from localmodel.runtime.testing.fake import FakeClient

JOBS = "jobs"


def secret(name: str, **data: str | bytes) -> Secret:
    values = {key: value.encode() if isinstance(value, str) else value for key, value in data.items()}
    encoded = {key: base64.b64encode(value).decode() for key, value in values.items()}
    return Secret.from_dict({"metadata": {"name": name, "namespace": JOBS}, "data": encoded})


def materialised(*objects: Any, **fields: Any) -> Materialised:
    """Of objects of the job namespace; `before` and `sources` are a container's own."""
    options = {name: fields.pop(name) for name in ("before", "sources") if name in fields}
    return Materialiser(FakeClient(*objects), JOBS).materialise(Credentials(**fields), **options)


def reference(name: str, key: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": "s", "key": key, **more}}}


def mounted(source: dict[str, Any], path: str, variable: str = "") -> dict[str, Any]:
    env = ({"name": "FILE", "value": variable},) if variable else ()
    return {"env": env, "volumes": ({"name": "v", **source},), "volume_mounts": ({"name": "v", "mountPath": path},)}


def test_a_variable_has_the_secrets_value() -> None:
    found = materialised(secret("s", token="canary"), env=(reference("HF_TOKEN", "token"),))
    assert found.env == {"HF_TOKEN": "canary"}
    assert found.secrets == {"canary"}


def test_nothing_of_it_shows_in_its_representation() -> None:
    found = materialised(secret("s", token="canary"), env=(reference("HF_TOKEN", "token"),))
    assert "canary" not in repr(found)


@pytest.mark.parametrize(
    ("objects", "message"),
    [([], "Secret jobs/s does not exist"), ([secret("s", other="x")], "Secret jobs/s has no key 'token'")],
)
def test_what_is_missing_is_named(objects: list[Secret], message: str) -> None:
    with pytest.raises(CredentialsError) as raised:
        materialised(*objects, env=(reference("HF_TOKEN", "token"),))
    assert str(raised.value) == message


def test_what_is_optional_may_be_missing() -> None:
    assert materialised(env=(reference("HF_TOKEN", "token", optional=True),)).env == {}
    assert materialised(secret("s"), env=(reference("HF_TOKEN", "token", optional=True),)).env == {}


def test_a_value_that_is_no_text_is_refused() -> None:
    with pytest.raises(CredentialsError, match="the value of HF_TOKEN is not text"):
        materialised(secret("s", token=b"\xff"), env=(reference("HF_TOKEN", "token"),))


@pytest.mark.parametrize("item", [{"name": "A=B", "value": "x"}, {"name": "A", "value": "x\0"}, {"value": "x"}])
def test_what_no_process_can_be_given_is_refused(item: dict[str, str]) -> None:
    with pytest.raises(CredentialsError, match="malformed"):
        materialised(env=(item,))


def test_variables_in_values_are_those_that_are_known_by_then() -> None:
    items = [("A", "a"), ("B", "$(A)/$(C)/$$(A)/$"), ("C", "c")]
    found = materialised(env=tuple({"name": name, "value": value} for name, value in items))
    assert found.env["B"] == "a/$(C)/$(A)/$"


def test_credentials_override_a_containers_own_variables_and_those_its_sources() -> None:
    found = materialised(
        secret("s", A="source", B="source", C="source"),
        sources=[{"secretRef": {"name": "s"}}, {"configMapRef": {"name": "none", "optional": True}}],
        before=[{"name": "A", "value": "own"}, {"name": "B", "value": "own"}],
        env=({"name": "A", "value": "credentials"},),
    )
    assert found.env == {"A": "credentials", "B": "own", "C": "source"}


def test_a_field_of_a_pod_is_not_there() -> None:
    item = {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    with pytest.raises(DownloadModeError, match="the variable IP refers to a field of the download's pod"):
        materialised(env=(item,))


def test_a_mounted_secret_is_files_and_variables_name_them() -> None:
    source = {"secret": {"secretName": "s"}}
    found = materialised(secret("s", **{"g.json": "{}"}), **mounted(source, "/var/secrets/", "/var/secrets/g.json"))
    assert found.files == {"0/g.json": b"{}"}
    assert found.env == {"FILE": f"{FILES}/0/g.json"}


def test_a_path_beside_the_mount_is_left_alone() -> None:
    source = {"secret": {"secretName": "s"}}
    found = materialised(secret("s"), **mounted(source, "/var/secrets", "/var/secrets-of-others"))
    assert found.env == {"FILE": "/var/secrets-of-others"}


def test_items_choose_and_name_the_files_of_a_copy() -> None:
    source = {"secret": {"secretName": "s", "items": [{"key": "a.x", "path": "x"}]}}
    found = materialised(secret("s", **{"a.x": "1", "b.y": "2"}), **mounted(source, "/m"))
    assert found.files == {"0/x": b"1"}


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x"])
def test_a_file_never_leaves_its_directory(path: str) -> None:
    source = {"secret": {"secretName": "s", "items": [{"key": "k", "path": path}]}}
    with pytest.raises(CredentialsError, match="leads out"):
        materialised(secret("s", k="1"), **mounted(source, "/m"))


def test_a_bundle_of_authorities_is_mounted_too() -> None:
    bundle = ConfigMap.from_dict({"metadata": {"name": "ca", "namespace": JOBS}, "data": {"cabundle.crt": "PEM"}})
    found = materialised(
        bundle, **mounted({"configMap": {"name": "ca"}}, "/etc/ssl/custom-certs", "/etc/ssl/custom-certs")
    )
    assert found.files == {"0/cabundle.crt": b"PEM"}
    assert found.env == {"FILE": f"{FILES}/0"}
    assert found.secrets == frozenset()


def test_hdfs_is_told_where_its_secrets_are() -> None:
    source = {"secret": {"secretName": "s"}}
    found = materialised(secret("s", HDFS_NAMENODE="n"), **mounted(source, "/var/secrets/kserve-hdfscreds"))
    assert found.env == {"HDFS_SECRET_DIR": f"{FILES}/0"}


def test_a_volume_of_another_kind_is_refused() -> None:
    with pytest.raises(DownloadModeError, match="the volume 'v' is neither"):
        materialised(**mounted({"emptyDir": {}}, "/m"))


def test_of_a_document_each_text_is_secret_but_for_settings() -> None:
    document = json.dumps({"type": "s3", "endpoint_url": "https://s3", "secret_access_key": "canary", "n": 1})
    assert "canary" in secret_texts(document)
    assert "https://s3" not in secret_texts(document)


def test_of_headers_the_token_alone_is_secret_too() -> None:
    assert redacted("refused token canary", secret_texts('{"Authorization": "Bearer canary"}')) == "refused token ***"


def test_the_longest_secret_goes_first() -> None:
    assert redacted("canary-long", {"canary", "canary-long"}) == "***"


# where they are put -------------------------------------------------------------------------------------------------


def test_the_environment_names_the_files_where_they_are(tmp_path: Path) -> None:
    env = process_environment({"FILE": f"{FILES}/0/x"}, tmp_path, agent={})
    assert env["FILE"] == f"{tmp_path}/files/0/x"


def test_files_are_their_owners_alone(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path, parent=Path("/dev/shm"))
    folder = scratch.make("key", {"0/x": b"canary"})
    try:
        modes = [
            stat.S_IMODE(path.stat().st_mode) for path in (scratch.directory, folder, folder / "files" / "0" / "x")
        ]
        assert modes == [0o700, 0o700, 0o600]
    finally:
        scratch.clear()
        scratch.directory.rmdir()


def test_secrets_are_not_put_where_a_disk_may_keep_them(tmp_path: Path) -> None:
    if is_in_memory(tmp_path):
        pytest.skip("temporary files are in memory here")
    scratch = Scratch(tmp_path, parent=tmp_path)
    with pytest.raises(DownloadSetupError, match="medium: Memory"):
        scratch.make("key", {"0/x": b"canary"})
    assert scratch.make("key", {}).is_dir()


def test_a_directory_that_somebody_else_can_read_is_not_used(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path, parent=tmp_path)
    scratch.directory.mkdir(mode=0o755)
    with pytest.raises(DownloadSetupError, match="is not a directory of the agent's user alone"):
        scratch.make("key", {})


def test_what_an_earlier_agent_left_is_cleared(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path, parent=tmp_path)
    scratch.make("key", {})
    Scratch(tmp_path, parent=tmp_path).clear()
    assert list(scratch.directory.iterdir()) == []


def test_agents_of_one_machine_have_directories_of_their_own(tmp_path: Path) -> None:
    assert Scratch(tmp_path / "a").directory != Scratch(tmp_path / "b").directory
