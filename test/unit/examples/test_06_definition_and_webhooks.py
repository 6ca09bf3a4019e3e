"""The definition is one that an API server takes and enforces; the webhooks answer, with and without TLS."""

from __future__ import annotations

import base64
import json
import ssl
import sys
import urllib.request
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support.certificates import MountedSecret, make_pair
from support.examples import load

from localmodel.runtime.errors import InvalidError
from localmodel.runtime.objects import ObjectMeta
from localmodel.runtime.testing import BackgroundManager, FakeClient
from localmodel.runtime.testing.background import QUIET
from localmodel.runtime.webhook import AdmissionRequest, AdmissionResponse, DeniedError, Handler, WebhookServerOptions
from localmodel.sandbox.envtest import Environment

Json = dict[str, Any]
MUTATE, VALIDATE = "/mutate-example-com-v1-backup", "/validate-example-com-v1-backup"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    return load("06_definition_and_webhooks")


class Handlers(dict[str, Handler]):
    """A registrar without a server."""

    def register(self, path: str, handler: Handler) -> None:
        self[path] = handler


@pytest.fixture
def handlers(example: ModuleType) -> Handlers:
    handlers = Handlers()
    example.register(handlers)
    return handlers


def asked(operation: str, spec: Json, *, old: Json | None = None, by: str = "ada") -> AdmissionRequest:
    def backup(content: Json) -> Json:
        return {"apiVersion": "example.com/v1", "kind": "Backup", "metadata": {"name": "b"}, "spec": content}

    return AdmissionRequest.from_dict(
        {
            "uid": "1",
            "operation": operation,
            "userInfo": {"username": by},
            "object": backup(spec),
            "oldObject": None if old is None else backup(old),
        }
    )


def test_the_printed_definition_is_taken_and_enforced(
    example: ModuleType,
    api_server: Environment,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["06", "--crd"])
    example.main()
    api_server.install(json.loads(capsys.readouterr().out))
    client = api_server.client()

    meta = ObjectMeta(name="a", namespace="default")
    stored = client.create(example.Backup(metadata=meta, spec=example.BackupSpec(source="data", size_limit="10Gi")))
    assert (stored.spec.keep, stored.spec.size_limit) == (7, "10Gi")
    for wrong in ({"keep": 101}, {"source": ""}, {"compression": "zip"}, {"source": "other"}):
        with pytest.raises(InvalidError):
            client.patch(stored, {"spec": wrong})


def test_the_defaulter_writes_down_who_asked(handlers: Handlers) -> None:
    response = handlers[MUTATE](asked("CREATE", {"source": "data", "unknown": 1}))
    assert response.allowed
    assert response.patch == ({"op": "add", "path": "/spec/owner", "value": "ada"},)
    assert handlers[MUTATE](asked("CREATE", {"source": "data", "owner": "bob"})).patch == ()


def test_the_validator_refuses_and_warns(handlers: Handlers) -> None:
    def judged(request: AdmissionRequest) -> AdmissionResponse:
        return handlers[VALIDATE](request)

    good = {"source": "data", "owner": "ada"}
    assert judged(asked("CREATE", good)).warnings == ("spec.compression is none: backups will be large",)
    assert judged(asked("CREATE", good | {"compression": "zstd"})).warnings == ()
    with pytest.raises(DeniedError, match="in your own name"):
        judged(asked("CREATE", good, by="bob"))
    with pytest.raises(DeniedError, match="only ada may change"):
        judged(asked("UPDATE", good | {"keep": 9}, old=good, by="bob"))
    with pytest.raises(DeniedError, match="less than a mebibyte"):
        judged(asked("UPDATE", good | {"sizeLimit": "10k"}, old=good))


def test_the_manager_serves_them_over_tls(example: ModuleType, fake_client: FakeClient, tmp_path: Path) -> None:
    secret, pair = MountedSecret(tmp_path), make_pair()
    secret.publish(pair)
    webhook = WebhookServerOptions(host="127.0.0.1", port=0, cert_dir=secret.directory)
    context = ssl.create_default_context(cadata=pair.certificate.decode())
    with BackgroundManager(fake_client, replace(QUIET, webhook=webhook)) as manager:
        example.register(manager.webhook_server)
        review = {
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": asked("CREATE", {"source": "data"}).to_dict(),
        }
        request = urllib.request.Request(
            f"https://localhost:{manager.webhook_server.port}{MUTATE}",
            json.dumps(review).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:
            response = json.load(answer)["response"]
    assert (response["uid"], response["allowed"], response["patchType"]) == ("1", True, "JSONPatch")
    assert json.loads(base64.b64decode(response["patch"]))[0]["value"] == "ada"
