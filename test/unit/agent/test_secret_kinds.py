"""Each kind of Secret, for caches of both scopes, in both modes: what a pod gets of the kubelet and a process of the
agent is the same (kserve-behaviour.md 9.3; issue 6, point 6)."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.agent import JOBS, World
from support.secretkinds import CANARY, COPY, KINDS, secret

from localmodel.agent.childplan import FILES
from localmodel.api.credentials import SOURCES_ANNOTATION, CopiedSecret, copied_key, format_sources
from localmodel.runtime.objects import Secret, ServiceAccount

VARIABLES: dict[str, set[str]] = {
    "s3": {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"},
    "gcs": {"GOOGLE_APPLICATION_CREDENTIALS"},
    "azure": {"AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_TENANT_ID"},
    "azure before": {"AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"},
    "azure token": {"AZURE_ACCESS_TOKEN"},
    "azure key": {"AZURE_STORAGE_ACCESS_KEY"},
    "https": {"models.example-headers"},
    "hdfs": set(),
    "hf": {"HF_TOKEN"},
    "modelscope": {"MODELSCOPE_API_TOKEN"},
}
"""The variables that hold or name something secret."""
HDFS_FILES = {"KERBEROS_KEYTAB", "TLS_KEY"}
ACCOUNT: dict[str, Any] = {"serviceAccountName": "reader"}
SCOPES: dict[str, dict[str, Any]] = {
    "cluster": ACCOUNT,
    "namespace": {"namespace": "team-a", **ACCOUNT},
    "namespace, its own": {"namespace": "team-a", "cacheUID": "uid-1", "serviceAccountName": f"{COPY}/reader"},
}


@pytest.fixture(params=[False, True], ids=["Job", "Agent"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path, children=request.param)
    yield made
    made.store.close()


def received(world: World) -> dict[str, str]:
    """Variables, those that name a file with its content in place of its path, and files by their names."""
    if world.plays_children:
        (child,) = world.children.started
        files = {f"{FILES}/{path}": content.decode() for path, content in child.plan.files.items()}
        env = dict(child.plan.env)
    else:
        env, files = of_the_kubelet(world)
    return {Path(path).name: content for path, content in files.items()} | {
        name: files.get(value, value) for name, value in env.items()
    }


def of_the_kubelet(world: World) -> tuple[dict[str, str], dict[str, str]]:
    """What the container of the Job finds: variables, and files by their paths."""
    (job,) = world.jobs
    pod = job.spec.template["spec"]
    (container,) = pod["containers"]
    env = {}
    for item in container.get("env", ()):
        reference = item.get("valueFrom", {}).get("secretKeyRef")
        env[item["name"]] = (
            data_of(world, reference["name"])[reference["key"]] if reference else item["value"].replace("$$", "$")
        )
    files = {}
    mounts = {mount["name"]: mount["mountPath"].rstrip("/") for mount in container["volumeMounts"]}
    for volume in pod["volumes"]:
        if shown := volume.get("secret"):
            data = data_of(world, shown["secretName"])
            items = shown.get("items") or [{"key": key, "path": key} for key in data]
            files |= {f"{mounts[volume['name']]}/{item['path']}": data[item["key"]] for item in items}
    return env, files


def data_of(world: World, name: str) -> Mapping[str, str]:
    found = world.client.get(Secret, name, namespace=JOBS)
    return {key: base64.b64decode(value).decode() for key, value in found.data.items()}


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_download_gets_its_credentials(world: World, kind: str, scope: str) -> None:
    account = {"metadata": {"name": "reader", "namespace": JOBS}, "secrets": [{"name": "s"}]}
    if scope == "namespace, its own":
        copied = {copied_key("s", key): value for key, value in KINDS[kind].items()}
        world.client.create(secret(COPY, copied, **{SOURCES_ANNOTATION: format_sources([CopiedSecret(name="s")])}))
    else:
        world.client.create(ServiceAccount.from_dict(account))
        world.client.create(secret("s", KINDS[kind]))
    world.want({"modelName": "iris", "sourceModelUri": "hf://org/model", **SCOPES[scope]})
    world.run()
    found = received(world)
    expected = VARIABLES[kind] | (HDFS_FILES if kind == "hdfs" else set())
    assert expected <= {name for name, value in found.items() if CANARY in value}
    if kind == "s3":
        assert found["AWS_ENDPOINT_URL"] == "https://minio:9000"
