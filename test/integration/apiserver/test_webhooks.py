"""A controller's own webhooks, served by its manager and called by the API server, with kubectl as the client."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.apiserver import Kubectl, Program
from support.certificates import MountedSecret, make_pair, served_serial
from support.eventually import eventually
from support.examples import load
from support.kubectl import needs_kubectl
from support.webhooks import configuration, rule, webhook

from localmodel.runtime import LiveClient, load_config
from localmodel.runtime.objects import ConfigMap, ObjectMeta
from localmodel.runtime.testing import BackgroundManager
from localmodel.runtime.testing.background import QUIET
from localmodel.runtime.webhook import AdmissionRequest, AdmissionResponse, WebhookServerOptions, allowed

Json = dict[str, Any]
EXAMPLE = "06_definition_and_webhooks"
SERVICE = "backups.default.svc"


class Backups:
    """Example 06, its definition and configurations in the cluster, behind a Service."""

    def __init__(self, kubectl: Kubectl, directory: Path) -> None:
        self.kubectl = kubectl
        self.secret = MountedSecret(directory / "certs")
        self.pair = make_pair("webhook", SERVICE)
        self.secret.publish(self.pair)
        self.client = LiveClient(load_config(str(kubectl.kubeconfig), user_agent="backups"))
        options = WebhookServerOptions(host="127.0.0.1", port=0, cert_dir=self.secret.directory, cert_interval=0.05)
        self.manager = BackgroundManager(self.client, replace(QUIET, webhook=options))
        example = load(EXAMPLE)
        example.register(self.manager.webhook_server)
        kubectl("apply", "-f", "-", stdin=example.definition())
        self.publish_service()

    @property
    def port(self) -> int:
        return self.manager.webhook_server.port

    def publish_service(self) -> None:
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "backups"},
            "spec": {"ports": [{"port": 443}]},
        }
        self.kubectl("apply", "-f", "-", stdin=service)
        slice_ = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": "backups", "labels": {"kubernetes.io/service-name": "backups"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["127.0.0.1"]}],
            "ports": [{"port": self.port}],
        }
        self.kubectl("apply", "-f", "-", stdin=slice_)

    def config(self, path: str) -> Json:
        bundle = base64.b64encode(self.pair.certificate).decode()
        return {"service": {"namespace": "default", "name": "backups", "path": path}, "caBundle": bundle}

    def publish_configurations(self, **more: Any) -> None:
        for kind, verb in (("Mutating", "mutate"), ("Validating", "validate")):
            hook = webhook(
                f"{verb}.backups.example.com",
                self.config(f"/{verb}-example-com-v1-backup"),
                rule("backups", group="example.com", operations=("CREATE", "UPDATE")),
                **more,
            )
            self.kubectl("apply", "-f", "-", stdin=configuration(kind, "backups", hook))


@pytest.fixture
def backups(server: Program, tmp_path: Path) -> Iterator[Backups]:
    needs_kubectl()
    served = Backups(Kubectl(server.kubeconfig, tmp_path), tmp_path)
    yield served
    for kind in ("mutating", "validating"):
        served.kubectl("delete", f"{kind}webhookconfiguration", "backups", "--ignore-not-found")
    served.kubectl("delete", "backups.example.com", "--all")
    served.manager.end()
    served.client.close()


def backup(name: str, **spec: Any) -> Json:
    return {
        "apiVersion": "example.com/v1",
        "kind": "Backup",
        "metadata": {"name": name},
        "spec": {"source": "a", **spec},
    }


def test_kubectl_apply_is_defaulted_refused_and_warned(backups: Backups) -> None:
    kubectl = backups.kubectl
    with backups.manager:
        backups.publish_configurations()
        kubectl("apply", "-f", "-", stdin=backup("mine"))
        assert kubectl.json("get", "backup", "mine")["spec"]["owner"] == "admin"
        refused = kubectl.fails("apply", "-f", "-", stdin=backup("small", sizeLimit="1Ki"))
        assert 'admission webhook "validate.backups.example.com" denied the request: spec.sizeLimit: 1Ki' in refused
        warned = kubectl.run("apply", "-f", "-", stdin=backup("large", compression="none"))
        assert (warned.returncode, "Warning: spec.compression is none" in warned.stderr) == (0, True)
        kubectl("apply", "--dry-run=server", "-f", "-", stdin=backup("dry"))
        assert "not found" in kubectl.fails("get", "backup", "dry")


def test_a_webhook_that_is_down_is_for_the_failure_policy(backups: Backups) -> None:
    with backups.manager:
        backups.publish_configurations()
    refused = backups.kubectl.fails("apply", "-f", "-", stdin=backup("a"))
    assert 'failed calling webhook "mutate.backups.example.com": failed to call webhook: Post' in refused
    assert (
        f'"https://{SERVICE}:443/mutate-example-com-v1-backup?timeout=10s": dial tcp 127.0.0.1:{backups.port}'
        in refused
    )
    backups.publish_configurations(failurePolicy="Ignore")
    backups.kubectl("apply", "-f", "-", stdin=backup("a"))


def test_a_renewed_certificate_is_trusted_when_the_bundle_follows(backups: Backups) -> None:
    kubectl = backups.kubectl
    with backups.manager:
        backups.publish_configurations()
        kubectl("apply", "-f", "-", stdin=backup("before"))
        backups.pair = make_pair("webhook", SERVICE)
        backups.secret.publish(backups.pair)
        eventually(lambda: served_serial(backups.port) == backups.pair.serial)
        backups.publish_configurations()
        kubectl("apply", "-f", "-", stdin=backup("after"))


def serving(backups: Backups, path: str, handler: Callable[[AdmissionRequest], AdmissionResponse]) -> Json:
    backups.manager.webhook_server.register(path, handler)
    return backups.config(path)


def test_a_webhook_may_use_the_api_server_while_it_answers(backups: Backups) -> None:
    def count(request: AdmissionRequest) -> AdmissionResponse:
        seen = ConfigMap(metadata=ObjectMeta(name=f"seen-{request.name}", namespace="default"))
        backups.client.create(seen)
        return allowed()

    config = serving(backups, "/count", count)
    hook = webhook("count.backups.example.com", config, rule("backups", group="example.com"))
    with backups.manager:
        backups.kubectl("apply", "-f", "-", stdin=configuration("Validating", "backups", hook))
        with ThreadPoolExecutor(8) as threads:
            names = [f"b{index}" for index in range(8)]
            list(threads.map(lambda name: backups.kubectl("create", "-f", "-", stdin=backup(name)), names))
        for name in names:
            assert backups.client.find(ConfigMap, f"seen-{name}", namespace="default")


def test_others_are_served_while_a_webhook_thinks(backups: Backups) -> None:
    asked, answer = threading.Event(), threading.Event()

    def think(_: AdmissionRequest) -> AdmissionResponse:
        asked.set()
        answer.wait(20)
        return allowed()

    hook = webhook("think.backups.example.com", serving(backups, "/think", think), rule("backups", group="example.com"))
    with backups.manager:
        backups.kubectl("apply", "-f", "-", stdin=configuration("Validating", "backups", hook))
        with ThreadPoolExecutor(1) as threads:
            writing = threads.submit(backups.kubectl, "create", "-f", "-", stdin=backup("slow"))
            assert asked.wait(20)
            backups.kubectl("create", "configmap", "meanwhile")
            assert "NotFound" in backups.kubectl.fails("get", "backup", "slow")
            answer.set()
            assert "created" in writing.result(20)


def test_a_webhook_that_takes_too_long_has_failed(backups: Backups) -> None:
    answer = threading.Event()

    def never(_: AdmissionRequest) -> AdmissionResponse:
        answer.wait(30)
        return allowed()

    config = serving(backups, "/never", never)
    hook = webhook("never.backups.example.com", config, rule("backups", group="example.com"), timeoutSeconds=1)
    with backups.manager:
        backups.kubectl("apply", "-f", "-", stdin=configuration("Validating", "backups", hook))
        assert "context deadline exceeded" in backups.kubectl.fails("create", "-f", "-", stdin=backup("never"))
        answer.set()
