"""No value of a credential stands in a Job, an event, a status or a log line, whatever goes wrong (D-21)."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.agent import JOBS, URI, World
from support.secretkinds import CANARY, COPY, KINDS, secret

from localmodel.api.credentials import SOURCES_ANNOTATION, CopiedSecret, copied_key, format_sources
from localmodel.runtime.objects import ConfigMap, ServiceAccount

ENTRIES: dict[str, str] = {
    "s3": json.dumps({"type": "s3", "access_key_id": CANARY, "secret_access_key": CANARY}),
    "hf": json.dumps({"type": "hf", "token": CANARY}),
    "hdfs": json.dumps({"type": "hdfs", "KERBEROS_KEYTAB": CANARY}),
}
BROKEN: dict[str, dict[str, Any]] = {
    "no JSON": {"data": {"k": CANARY}},
    "nested JSON": {"data": {"k": json.dumps({"type": "s3", "more": {"token": CANARY}})}},
    "without a type": {"data": {"k": json.dumps({"token": CANARY})}},
    "an endpoint with a password": {
        "data": {"awsAccessKeyID": "a", "awsSecretAccessKey": "b", "S3_ENDPOINT": f"https://me:{CANARY}@minio"},
        "entry": {"serviceAccountName": "reader"},
    },
    "half a key": {"data": {"awsSecretAccessKey": CANARY}, "entry": {"serviceAccountName": "reader"}},
    "a secret parameter": {
        "data": {"k": json.dumps({"type": "s3"})},
        "entry": {"storage": {"key": "k", "parameters": {"secret_access_key": CANARY}}},
    },
    "a secret parameter alone": {"data": {}, "entry": {"storage": {"parameters": {"token": CANARY}}}},
}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    config = made.client.get(ConfigMap, "inferenceservice-config", namespace="kserve")
    config.data["localModel"] = json.dumps(json.loads(config.data["localModel"]) | {"downloadImage": "localmodel"})
    made.client.update(config)
    yield made
    made.store.close()


def account(world: World, *secrets: str) -> None:
    made = {"metadata": {"name": "reader", "namespace": JOBS}, "secrets": [{"name": name} for name in secrets]}
    world.client.create(ServiceAccount.from_dict(made))


def all_that_is_written(world: World, entry: dict[str, Any]) -> str:
    """Everything that others can read after a pass, but for what they wrote themselves (the specification)."""
    with capture_logs() as logs:
        world.want({"modelName": "iris", "sourceModelUri": URI, **entry})
        world.run()
        world.run()
    status = world.node.status.to_dict()
    jobs = [job.to_dict() for job in world.jobs]
    records = [path.read_text() for path in world.root.rglob("*.json")]
    return json.dumps([jobs, status, world.recorder.lines, [str(line) for line in logs], records])


@pytest.mark.parametrize("kind", KINDS)
def test_a_secret_of_an_account_is_only_referred_to_d21(world: World, kind: str) -> None:
    account(world, "s")
    world.client.create(secret("s", KINDS[kind]))
    written = all_that_is_written(world, {"serviceAccountName": "reader"})
    assert CANARY not in written
    assert (len(world.jobs), '"s"' in written) == (1, True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_of_a_namespaces_secret_is_only_referred_to_d21(world: World, kind: str) -> None:
    data = {copied_key("s", key): value for key, value in KINDS[kind].items()}
    sources = {SOURCES_ANNOTATION: format_sources([CopiedSecret(name="s")])}
    world.client.create(secret(COPY, data, **sources))
    entry = {"namespace": "team-a", "cacheUID": "uid-1", "serviceAccountName": f"{COPY}/reader"}
    written = all_that_is_written(world, entry)
    assert CANARY not in written
    assert (len(world.jobs), COPY in written) == (1, True)


@pytest.mark.parametrize("kind", ENTRIES)
@pytest.mark.parametrize("is_copy", [False, True])
def test_a_key_of_the_storage_secret_is_only_referred_to_d21(world: World, kind: str, is_copy: bool) -> None:
    name, key = (COPY, f"{COPY}/k") if is_copy else ("storage-config", "k")
    world.client.create(secret(name, {"k": ENTRIES[kind]}))
    entry: dict[str, Any] = {"storage": {"key": key}}
    if is_copy:
        entry |= {"namespace": "team-a", "cacheUID": "uid-1"}
    written = all_that_is_written(world, entry)
    assert CANARY not in written
    assert len(world.jobs) == 1


@pytest.mark.parametrize("fault", BROKEN)
def test_what_cannot_be_used_is_named_without_its_value_d21(world: World, fault: str) -> None:
    broken = BROKEN[fault]
    account(world, "storage-config")
    world.client.create(secret("storage-config", broken["data"]))
    written = all_that_is_written(world, broken.get("entry", {"storage": {"key": "k"}}))
    assert CANARY not in written
    assert (world.jobs, world.model().reason) == ([], "CredentialsInvalid")


def test_bytes_that_are_no_text_are_named_without_their_value_d21(world: World) -> None:
    made = secret("storage-config", {})
    made.data = {"k": base64.b64encode(CANARY.encode() + b"\xff").decode()}
    world.client.create(made)
    written = all_that_is_written(world, {"storage": {"key": "k"}})
    assert CANARY not in written
    assert "is not text" in world.model().message
