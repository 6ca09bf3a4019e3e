"""A manager's ports: metrics over TLS for those who may, webhooks, and its own writes read back."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from support.certificates import MountedSecret, Pair, make_pair
from support.eventually import eventually

from localmodel.runtime.cache import CacheOptions
from localmodel.runtime.endpoints import NoWebhookServerError
from localmodel.runtime.httpserver import HttpRequest, HttpResponse
from localmodel.runtime.manager_options import ManagerOptions
from localmodel.runtime.objects import ConfigMap, ObjectMeta
from localmodel.runtime.testing import BackgroundManager, FakeClient
from localmodel.runtime.webhook import AdmissionRequest, AdmissionResponse, WebhookServerOptions, denied
from localmodel.sandbox.envtest import Environment


def scraper(namespace: str) -> list[dict[str, Any]]:
    """The account `prometheus`, which may read metrics, and `eve`, which may not."""
    name = f"scraper-{namespace}"
    group = "rbac.authorization.k8s.io"
    accounts = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": namespace}}
        for account in ("prometheus", "eve")
    ]
    role = {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name},
        "rules": [{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}],
    }
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": "prometheus", "namespace": namespace}],
    }
    return [*accounts, role, binding]


def trusting(pair: Pair) -> ssl.SSLContext:
    """Of a client that knows the certificate; it is for localhost, and we come by address."""
    context = ssl.create_default_context(cadata=pair.certificate.decode())
    context.check_hostname = False
    return context


def options(**changes: Any) -> ManagerOptions:
    quiet: dict[str, Any] = {"metrics_addr": "0", "health_probe_addr": "0", "cache": CacheOptions(tune_collector=False)}
    return ManagerOptions(**(quiet | changes))


def get(url: str, context: ssl.SSLContext, token: str = "") -> int:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, context=context, timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_152_metrics_are_for_who_may_read_them_by_the_clusters_own_rights(
    api_server: Environment, tmp_path: Path
) -> None:
    MountedSecret(tmp_path).publish(pair := make_pair())
    context = trusting(pair)
    namespace = api_server.namespace()
    api_server.install(*scraper(namespace))
    eve, prometheus = (api_server.service_account_token(namespace, name) for name in ("eve", "prometheus"))
    wanted = options(metrics_addr="127.0.0.1:0", metrics_cert_dir=tmp_path, metrics_auth=True)
    with BackgroundManager(api_server.client(), wanted) as manager:
        assert manager.metrics_url.startswith("https://")
        assert get(manager.metrics_url, context) == 401
        assert get(manager.metrics_url, context, "made-up") == 401
        assert get(manager.metrics_url, context, eve) == 403
        assert get(manager.metrics_url, context, prometheus) == 200


def hello(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"hello {request.path}".encode())


def test_a_program_serves_pages_of_its_own_beside_its_metrics(fake_client: FakeClient) -> None:
    manager = BackgroundManager(fake_client, options(metrics_addr="127.0.0.1:0"))
    manager.add_metrics_server_extra_handler("/progress", hello)
    with pytest.raises(ValueError, match="serves /metrics already"):
        manager.add_metrics_server_extra_handler("/metrics", hello)
    with manager, urllib.request.urlopen(f"{manager.metrics_url[: -len('/metrics')]}/progress/1", timeout=10) as answer:
        assert answer.read() == b"hello /1"


def test_without_metrics_there_are_no_pages_beside_them(fake_client: FakeClient) -> None:
    manager = BackgroundManager(fake_client, options(metrics_addr="0"))
    manager.add_metrics_server_extra_handler("/progress", hello)
    with manager:
        assert manager.metrics_url == ""


def test_pages_beside_the_metrics_are_guarded_as_they_are(api_server: Environment, tmp_path: Path) -> None:
    MountedSecret(tmp_path).publish(pair := make_pair())
    wanted = options(metrics_addr="127.0.0.1:0", metrics_cert_dir=tmp_path, metrics_auth=True)
    manager = BackgroundManager(api_server.client(), wanted)
    manager.add_metrics_server_extra_handler("/progress", hello)
    with manager:
        assert get(f"{manager.metrics_url[: -len('/metrics')]}/progress", trusting(pair)) == 401


def test_webhooks_are_served_and_readiness_waits_for_their_certificate(fake_client: FakeClient, tmp_path: Path) -> None:
    pair = make_pair()
    webhook = WebhookServerOptions(host="127.0.0.1", port=0, cert_dir=tmp_path, cert_interval=0.05)
    manager = BackgroundManager(fake_client, options(health_probe_addr="127.0.0.1:0", webhook=webhook))

    def refuse(request: AdmissionRequest) -> AdmissionResponse:
        return denied(f"{request.name} is not wanted")

    manager.webhook_server.register("/validate", refuse)
    with manager:
        plain = ssl.create_default_context()
        assert get(f"{manager.probe_url}/readyz", plain) == 500
        MountedSecret(tmp_path).publish(pair)
        eventually(lambda: get(f"{manager.probe_url}/readyz", plain) == 200)

        body = {"request": {"uid": "1", "operation": "CREATE", "name": "a", "object": {"metadata": {"name": "a"}}}}
        request = urllib.request.Request(
            f"{manager.webhook_server.url}/validate",
            json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", **body}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, context=trusting(pair), timeout=10) as answer:
            response = json.loads(answer.read())["response"]
    assert (response["allowed"], response["status"]["message"]) == (False, "a is not wanted")


def test_a_manager_without_webhooks_says_how_to_have_them(fake_client: FakeClient) -> None:
    with (
        BackgroundManager(fake_client, options()) as manager,
        pytest.raises(NoWebhookServerError, match=r"ManagerOptions\.webhook"),
    ):
        _ = manager.webhook_server


def test_reads_wait_for_own_writes_if_asked_to(api_server: Environment) -> None:
    namespace = api_server.namespace()
    with BackgroundManager(api_server.client(), options(read_your_writes=True)) as manager:
        manager.cache.get_informer(ConfigMap).wait_for_sync(10)
        for number in range(30):
            made = ConfigMap(metadata=ObjectMeta(name=f"c{number}", namespace=namespace))
            manager.client.create(made)
            assert len(manager.client.list(ConfigMap, namespace=namespace)) >= number + 1
