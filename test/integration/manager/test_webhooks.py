"""The shipped configurations of the webhooks, called by an API server at the manager's program."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.eventually import eventually
from support.manager import cache, group, namespace_cache, service
from support.programs import running
from support.webhooks import ALLOW, FakeWebhooks, add, configuration, fake_webhooks, patch, rule, webhook

from localmodel.api import LocalModelCache, LocalModelNamespaceCache
from localmodel.api.names import model_pvc_name, storage_key
from localmodel.runtime.client import WriteOptions
from localmodel.runtime.conditions import find_status_condition
from localmodel.runtime.errors import ApiError, ForbiddenError
from localmodel.runtime.objects import ConfigMap, Namespace, ObjectMeta, PersistentVolumeClaim, Pod
from localmodel.runtime.rest import LiveClient
from localmodel.sandbox import install
from localmodel.sandbox.cluster import free_port
from localmodel.sandbox.envtest import Environment

pytestmark = pytest.mark.embedded_only("a real API server finds the webhook's service in a cluster network only")

CONFIG = Path(__file__).parents[3] / "config" / "webhook"
URI, VOLUME = "hf://o/served", "kserve-pvc-source"
FIRST, LAST = "inferenceservice.serving.kserve.io", "zz.example.com"
"""Configurations of KServe's webhook that are called before ours and after it."""
ADDRESS = "localmodel.kserve.io/sandbox-address"


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((CONFIG / name).read_text()))


@pytest.fixture(scope="module")
def kserve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeWebhooks]:
    """KServe's webhook of pods, which mounts the claim of the cache that a pod's labels name."""
    with fake_webhooks(tmp_path_factory.mktemp("kserve"), "localhost") as webhooks:
        webhooks.serve("/mutate-pods", mount_model)
        yield webhooks


def mount_model(request: dict[str, Any]) -> dict[str, Any]:
    spec = request["object"]["spec"]
    if any(it["name"] == VOLUME for it in spec.get("volumes") or ()):
        return ALLOW
    mount = {"name": VOLUME, "mountPath": "/mnt/models", "subPath": f"models/{storage_key(URI)}", "readOnly": True}
    volume = {"name": VOLUME, "persistentVolumeClaim": {"claimName": "served-gpu"}}
    return patch(
        add("/spec/volumes", [*(spec.get("volumes") or ()), volume]),
        add("/spec/containers/0/volumeMounts", [*(spec["containers"][0].get("volumeMounts") or ()), mount]),
    )


def kserves_webhook(kserve: FakeWebhooks, name: str) -> dict[str, Any]:
    """Called for pods whose label `order` has the configuration's name: such are called in the order of their names."""
    selector = {"matchLabels": {"order": name}}
    rules = rule("pods", operations=("CREATE",))
    hook = webhook(
        "pod-mutator.example.com",
        kserve.config("/mutate-pods"),
        rules,
        objectSelector=selector,
        reinvocationPolicy="IfNeeded",
    )
    return configuration("Mutating", name, hook)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, kserve: FakeWebhooks) -> Iterator[LiveClient]:
    home, port = tmp_path_factory.mktemp("webhooks"), free_port()
    with Environment() as environment:
        admin = environment.client()
        install.install(admin)
        admin.create(Namespace(metadata=ObjectMeta(name="team-a")))
        guarded = {"localmodel.kserve.io/guard": "strict"}
        admin.create(Namespace(metadata=ObjectMeta(name="team-strict", labels=guarded)))
        server = environment.control_plane.server
        server.serving_certificate("localmodel-webhook-server-service.kserve.svc").write(
            home / "tls.crt", home / "tls.key"
        )
        token = environment.service_account_token(install.NAMESPACE, install.MANAGER_ACCOUNT)
        environment.kubeconfig(install.MANAGER_ACCOUNT, token=token).replace(home / "kubeconfig")
        with running("localmodel.manager.main", home, f"--webhook-port={port}", f"--webhook-cert-dir={home}"):
            (address,) = documents("service.yaml")
            address["metadata"]["annotations"] = {ADDRESS: f"127.0.0.1:{port}"}
            configurations = [*documents("manifests.yaml"), *documents("pods.yaml")]
            for configuration in configurations:
                for hook in configuration["webhooks"]:
                    hook["clientConfig"]["caBundle"] = base64.b64encode(server.authority_pem).decode()
            environment.install(address, *configurations, *(kserves_webhook(kserve, name) for name in (FIRST, LAST)))
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


def test_a_cache_whose_name_is_no_label_can_be_deleted(client: LiveClient) -> None:
    name = "n" * 64
    client.delete(client.create(cache(name, sourceModelUri="hf://o/long")))
    eventually(lambda: client.find(LocalModelCache, name) is None)


# pods


def pod(name: str, *, namespace: str = "team-a", claim: str = "served-gpu", sub_path: str = "") -> Pod:
    mount = {"name": VOLUME, "mountPath": "/m", "subPath": sub_path, "readOnly": True}
    return Pod.from_dict(
        {
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "automountServiceAccountToken": False,
                "containers": [{"name": "c", "image": "i", "volumeMounts": [mount]}],
                "volumes": [{"name": VOLUME, "persistentVolumeClaim": {"claimName": claim}}],
            },
        }
    )


def services_pod(name: str, order: str) -> Pod:
    """As a Deployment of KServe asks for it: without the model, which its webhook adds."""
    labels = {"internal.serving.kserve.io/localmodel": "served", "order": order}
    return Pod.from_dict(
        {
            "metadata": {"name": name, "namespace": "team-a", "labels": labels},
            "spec": {"automountServiceAccountToken": False, "containers": [{"name": "c", "image": "i"}]},
        }
    )


@pytest.fixture(scope="module")
def serving(client: LiveClient) -> LiveClient:
    """With a cache that services of both namespaces use, and its claims."""
    client.create(cache("served", sourceModelUri=URI))
    for namespace in ("team-a", "team-strict"):
        client.create(service("s", namespace, "served"))
        eventually(lambda namespace=namespace: has_claim(client, "served-gpu", namespace))
    return client


def has_claim(client: LiveClient, name: str, namespace: str = "team-a") -> bool:
    return client.find(PersistentVolumeClaim, name, namespace=namespace) is not None


def mounted(pod: Pod) -> tuple[str, str, bool]:
    """The claim, the sub-path, and whether it can only be read."""
    (volume,) = (it.persistent_volume_claim for it in pod.spec.volumes if it.name == VOLUME)
    (mount,) = (it for it in pod.spec.containers[0]["volumeMounts"] if it["name"] == VOLUME)
    assert volume is not None
    return volume.claim_name, mount.get("subPath", ""), mount["readOnly"]


def test_a_pod_that_mounts_all_models_is_refused_and_one_of_its_model_is_not(serving: LiveClient) -> None:
    with pytest.raises(ForbiddenError, match=r"pod all: .* claim served-gpu of LocalModelCache served shows every"):
        serving.create(pod("all"))
    serving.create(pod("own", sub_path=f"models/{storage_key(URI)}"))


def test_a_claim_that_is_made_for_a_pod_takes_no_name_of_a_caches(serving: LiveClient) -> None:
    it = pod("served").to_dict()
    it["spec"]["volumes"] = [{"name": "gpu", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}]
    it["spec"]["containers"][0]["volumeMounts"][0]["name"] = "gpu"
    with pytest.raises(ForbiddenError, match="shows every model of a node"):
        serving.create(Pod.from_dict(it))


def test_no_claim_is_made_for_a_pod_that_was_there_first_and_mounts_all(client: LiveClient) -> None:
    early = client.create(pod("early", claim="late-gpu"))
    client.create(namespace_cache("late", sourceModelUri="hf://o/late"))
    client.create(service("late", "team-a", "late", of="team-a"))
    eventually(lambda: ready_reason(client, "late") == "PodMountsTooMuch")
    assert not has_claim(client, "late-gpu")
    client.delete(early)
    client.patch(namespace_cache("late"), {"spec": {"priority": 1}})  # else within a minute
    eventually(lambda: has_claim(client, "late-gpu"))


def ready_reason(client: LiveClient, name: str) -> str:
    found = client.get(LocalModelNamespaceCache, name, namespace="team-a")
    condition = find_status_condition(found.status.conditions, "Ready")
    return condition.reason if condition is not None else ""


@pytest.mark.parametrize("order", [FIRST, LAST])
def test_in_root_scope_kserves_pods_stay_as_they_are(serving: LiveClient, order: str) -> None:
    made = serving.create(services_pod(f"root-{order}", order))
    assert mounted(made) == ("served-gpu", f"models/{storage_key(URI)}", True)


@pytest.mark.parametrize("order", [FIRST, LAST])
def test_in_model_scope_a_services_pod_gets_the_claim_of_its_model(serving: LiveClient, order: str) -> None:
    single = model_pvc_name("served", "gpu", URI)
    dry_run = WriteOptions(dry_run=True)
    with model_scope(serving):
        eventually(lambda: has_claim(serving, single))
        asked_for = services_pod("model", order)
        eventually(lambda: mounted(serving.create(asked_for, options=dry_run)) == (single, "", True))


@contextmanager
def model_scope(client: LiveClient) -> Iterator[None]:
    found = client.get(ConfigMap, "inferenceservice-config", namespace="kserve")
    client.patch(found, {"data": {"localModel": '{"servingVolumeScope": "model"}'}})
    try:
        yield
    finally:
        client.patch(found, {"data": {"localModel": found.data.get("localModel")}})


def test_without_a_manager_pods_are_let_in_except_where_a_namespace_asks_for_more(serving: LiveClient) -> None:
    found = serving.get(serving.kind("v1", "Service"), "localmodel-webhook-server-service", namespace="kserve")
    address = found.metadata.annotations[ADDRESS]
    serving.patch(found, {"metadata": {"annotations": {ADDRESS: f"127.0.0.1:{free_port()}"}}})
    try:
        eventually(lambda: serving.create(pod("unseen"), options=WriteOptions(dry_run=True)) is not None)
        serving.create(services_pod("unchanged", FIRST))
        with pytest.raises(ApiError, match="failed calling webhook"):
            serving.create(pod("unseen", namespace="team-strict", claim="data"))
        serving.create(Pod.from_dict({**pod("plain", namespace="team-strict").to_dict(), **without_volumes()}))
    finally:
        serving.patch(found, {"metadata": {"annotations": {ADDRESS: address}}})


def without_volumes() -> dict[str, Any]:
    return {"spec": {"automountServiceAccountToken": False, "containers": [{"name": "c", "image": "i"}]}}
