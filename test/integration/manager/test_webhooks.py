"""The shipped configuration of the validating webhooks, called by an API server at the manager's program."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.eventually import eventually
from support.manager import cache, group, namespace_cache, service
from support.programs import running

from localmodel.api import LocalModelCache, LocalModelNamespaceCache
from localmodel.runtime.errors import ApiError, ForbiddenError
from localmodel.runtime.objects import Namespace, ObjectMeta
from localmodel.runtime.rest import LiveClient
from localmodel.sandbox import install
from localmodel.sandbox.cluster import free_port
from localmodel.sandbox.envtest import Environment

pytestmark = pytest.mark.embedded_only("a real API server finds the webhook's service in a cluster network only")

CONFIG = Path(__file__).parents[3] / "config" / "webhook"
ADDRESS = "localmodel.kserve.io/sandbox-address"


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((CONFIG / name).read_text()))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveClient]:
    home, port = tmp_path_factory.mktemp("webhooks"), free_port()
    with Environment() as environment:
        admin = environment.client()
        install.install(admin)
        admin.create(Namespace(metadata=ObjectMeta(name="team-a")))
        server = environment.control_plane.server
        server.serving_certificate("localmodel-webhook-server-service.kserve.svc").write(
            home / "tls.crt", home / "tls.key"
        )
        token = environment.service_account_token(install.NAMESPACE, install.MANAGER_ACCOUNT)
        environment.kubeconfig(install.MANAGER_ACCOUNT, token=token).replace(home / "kubeconfig")
        with running("localmodel.manager.main", home, f"--webhook-port={port}", f"--webhook-cert-dir={home}"):
            (address,) = documents("service.yaml")
            address["metadata"]["annotations"] = {ADDRESS: f"127.0.0.1:{port}"}
            configurations = documents("manifests.yaml")
            for configuration in configurations:
                for hook in configuration["webhooks"]:
                    hook["clientConfig"]["caBundle"] = base64.b64encode(server.authority_pem).decode()
            environment.install(address, *configurations)
            admin.create(group())
            yield admin


def test_kserves_rules_hold_on_the_way_in(client: LiveClient) -> None:
    client.create(cache("first"))
    with pytest.raises(ForbiddenError, match="LocalModelCache first has the same StorageURI hf://o/m"):
        client.create(cache("second"))
    with pytest.raises(ForbiddenError, match="NodeGroup nope not found"):
        client.create(namespace_cache("iris", "nope"))


def test_a_cache_in_use_cannot_be_deleted_and_one_out_of_use_can_d03(client: LiveClient) -> None:
    made = client.create(cache("used", sourceModelUri="hf://o/used"))
    namespaced = client.create(namespace_cache("own", sourceModelUri="hf://o/own"))
    services = [
        client.create(service("s", "team-a", "used")),
        client.create(service("t", "team-a", "own", of="team-a")),
    ]
    with pytest.raises(ForbiddenError, match="LocalModelCache used is being used by InferenceService s"):
        client.delete(made)
    with pytest.raises(ForbiddenError, match="LocalModelNamespaceCache team-a/own is being used by InferenceService"):
        client.delete(namespaced)
    for one in services:
        client.delete(one)
    client.delete(made)
    client.delete(namespaced)
    # With its finalizers, which the manager puts on and takes off through the same webhooks.
    eventually(lambda: client.find(LocalModelCache, "used") is None)
    eventually(lambda: client.find(LocalModelNamespaceCache, "own", namespace="team-a") is None)


def test_what_leaves_the_spec_as_it_is_is_not_asked_about(client: LiveClient) -> None:
    client.create(cache("labelled", sourceModelUri="hf://o/labelled"))
    changed = client.patch(cache("labelled"), {"metadata": {"labels": {"a": "b"}}})
    assert changed.metadata.labels == {"a": "b"}
    with pytest.raises(ApiError, match="StorageUri is immutable"):
        client.patch(cache("labelled"), {"spec": {"sourceModelUri": "hf://o/else"}})
