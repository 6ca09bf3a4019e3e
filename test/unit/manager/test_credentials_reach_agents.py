"""What the manager copies gives a download the same credentials as the originals would in the job namespace."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from support.manager import JOBS, namespace_cache

from localmodel.agent.credentials import Credentials, CredentialsBuilder
from localmodel.api import CredentialsConfig, LocalModelConfig
from localmodel.manager.credentials import named_credentials
from localmodel.manager.credentialsources import wanted_copy
from localmodel.manager.entries import entry_for
from localmodel.runtime.objects import Object, Secret, ServiceAccount
from localmodel.runtime.testing import FakeClient

CONFIG = CredentialsConfig()
SECRETS: dict[str, dict[str, str]] = {
    "s3": {"awsAccessKeyID": "id", "awsSecretAccessKey": "key", "AWS_DEFAULT_REGION": "eu", "note": "n"},
    "gcs": {"gcloud-application-credentials.json": "{}"},
    "azure": {"AZ_CLIENT_ID": "id", "AZ_TENANT_ID": "tenant", "AZURE_CLIENT_SECRET": "key"},
    "azure-key": {"AZURE_STORAGE_ACCESS_KEY": "key"},
    "https": {"https-host": "one.example", "headers": "{}"},
    "https-2": {"https-host": "two.example", "headers": "[]"},
    "hdfs": {"HDFS_NAMENODE": "name", "KERBEROS_KEYTAB": "tab"},
    "hf": {"HF_TOKEN": "token"},
    "modelscope": {"MODELSCOPE_API_TOKEN": "token"},
    "nothing": {"note": "n"},
    "storage-config": {"k": '{"type": "s3", "region": "eu"}', "default": '{"type": "hf"}', "other": "{}"},
}


def objects(namespace: str, accounts: dict[str, tuple[str, ...]]) -> list[Object]:
    found: list[Object] = []
    for name, data in SECRETS.items():
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
        annotations = {"serving.kserve.io/s3-endpoint": "http://minio:9000"} if name == "s3" else {}
        metadata = {"name": name, "namespace": namespace, "annotations": annotations}
        found.append(Secret.from_dict({"metadata": metadata, "data": encoded}))
    for name, secrets in accounts.items():
        metadata = {"name": name, "namespace": namespace}
        listed = [{"name": secret} for secret in secrets]
        found.append(ServiceAccount.from_dict({"metadata": metadata, "secrets": listed}))
    return found


def seen(client: FakeClient, found: Credentials) -> dict[str, Any]:
    """What a container of the Job gets to see: variables and files, with their values."""

    def value(secret: str, key: str) -> str:
        return base64.b64decode(client.get(Secret, secret, namespace=JOBS).data[key]).decode()

    env = {}
    for item in found.env:
        reference = item.get("valueFrom", {}).get("secretKeyRef")
        env[item["name"]] = value(reference["name"], reference["key"]) if reference else item["value"]
    volumes = {volume["name"]: volume["secret"] for volume in found.volumes}
    files = {}
    for mount in found.volume_mounts:
        source = volumes[mount["name"]]
        keys = client.get(Secret, source["secretName"], namespace=JOBS).data
        for item in source.get("items", [{"key": key, "path": key} for key in keys]):
            files[f"{mount['mountPath'].rstrip('/')}/{item['path']}"] = value(source["secretName"], item["key"])
    return env | files


@pytest.mark.parametrize("secrets", [*((name,) for name in SECRETS), tuple(SECRETS), tuple(reversed(SECRETS)), ()])
@pytest.mark.parametrize(
    "spec",
    [
        {"serviceAccountName": "reader"},
        {"storage": {"key": "k"}},
        {"storage": {"key": "", "parameters": {"bucket": "b"}}},
        {"storage": {"parameters": {"region": "us"}}},
    ],
)
def test_a_copy_is_as_good_as_the_original(spec: dict[str, Any], secrets: tuple[str, ...]) -> None:
    accounts = {"reader": secrets, "default": secrets}
    cache = namespace_cache(**spec)
    cache.metadata.uid = "uid-1"

    job = LocalModelConfig()
    there = FakeClient(*objects(JOBS, accounts))
    expected = CredentialsBuilder(there, JOBS, CONFIG).build(entry_for(cache, "gpu", job))

    own = LocalModelConfig.from_dict({"credentialNamespace": "own"})
    named = named_credentials(cache, own)
    assert named is not None
    copy = wanted_copy(cache, named, JOBS, CONFIG, FakeClient(*objects("team-a", accounts)))
    here = FakeClient(copy)
    found = CredentialsBuilder(here, JOBS, CONFIG).build(entry_for(cache, "gpu", own))

    assert seen(here, found) == seen(there, expected)
