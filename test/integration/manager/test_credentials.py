"""The manager's program with the shipped roles, and the sample of credentials that a namespace lends it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.eventually import eventually
from support.programs import running

from localmodel.api import LocalModelNamespaceCache
from localmodel.api.credentials import copied_key, copy_name
from localmodel.runtime.conditions import find_status_condition
from localmodel.runtime.objects import ConfigMap, ObjectMeta, Secret
from localmodel.runtime.rest import LiveClient
from localmodel.sandbox import demo_objects, install
from localmodel.sandbox.envtest import Environment

pytestmark = pytest.mark.embedded_only("installs what would stay on a server that others share")

SAMPLE = Path(__file__).parents[3] / "config" / "samples" / "credentials.yaml"
NAME = "llama-3-2-1b-instruct"
TOKEN_KEY = copied_key("hf-secret", "HF_TOKEN")


def sample(*kinds: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(SAMPLE.read_text()) if document["kind"] in kinds]


def token(value: str) -> dict[str, Any]:
    metadata = {"name": "hf-secret", "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"HF_TOKEN": value, "note": "n"}}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveClient]:
    """An API server with all of the sample but the Role and its binding, and a manager."""
    home = tmp_path_factory.mktemp("credentials")
    with Environment() as environment:
        admin = environment.client()
        install.install(admin, config={"credentialNamespace": "own"})
        objects = sample("ServiceAccount", "LocalModelNamespaceCache")
        install.apply_all(admin, [demo_objects.node_group(), token("t-1"), *objects])
        bearer = environment.service_account_token(install.NAMESPACE, install.MANAGER_ACCOUNT)
        environment.kubeconfig(install.MANAGER_ACCOUNT, token=bearer).replace(home / "kubeconfig")
        with running("localmodel.manager.main", home, "--webhook-port=0"):
            yield admin


def cache(client: LiveClient) -> LocalModelNamespaceCache:
    return client.get(LocalModelNamespaceCache, NAME, namespace="default")


def touch(client: LiveClient) -> None:
    """So that the manager looks again now, and not in some minutes."""
    client.patch(cache(client), {"spec": {"priority": cache(client).spec.priority + 1}})


def copied(client: LiveClient) -> dict[str, str] | None:
    found = client.find(Secret, copy_name(cache(client).metadata.uid), namespace=install.JOB_NAMESPACE)
    if found is None:
        return None
    return {key: base64.b64decode(value).decode() for key, value in found.data.items()}


def configure(client: LiveClient, value: str) -> None:
    documents = json.dumps(install.local_model_config(credentialNamespace=value))
    config_map = ConfigMap(metadata=ObjectMeta(name="inferenceservice-config", namespace=install.NAMESPACE))
    client.patch(config_map, {"data": {"localModel": documents}})


def test_credentials_are_copied_with_the_rights_of_the_sample_and_no_others(client: LiveClient) -> None:
    def degraded() -> str:
        found = find_status_condition(cache(client).status.conditions, "Degraded")
        return f"{found.reason} {found.message}" if found else ""

    eventually(lambda: degraded().startswith("CredentialsForbidden ServiceAccount default/model-reader may not"))
    assert copied(client) is None

    install.apply_all(client, sample("Role", "RoleBinding"))
    touch(client)
    eventually(lambda: copied(client) == {TOKEN_KEY: "t-1"})
    eventually(lambda: degraded().startswith("AsExpected"))

    install.apply_all(client, [token("t-2")])
    touch(client)
    eventually(lambda: copied(client) == {TOKEN_KEY: "t-2"})

    configure(client, "job")
    eventually(lambda: copied(client) is None)
    configure(client, "own")
    eventually(lambda: copied(client) == {TOKEN_KEY: "t-2"})

    name = copy_name(cache(client).metadata.uid)
    client.delete(cache(client))
    eventually(lambda: client.find(LocalModelNamespaceCache, NAME, namespace="default") is None)
    assert client.find(Secret, name, namespace=install.JOB_NAMESPACE) is None
