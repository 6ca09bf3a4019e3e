"""The program as a process against the embedded API server, and what its options do."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from prometheus_client import generate_latest
from support.eventually import eventually
from support.examples import load, running

from localmodel.runtime import Client
from localmodel.runtime.manager import Manager
from localmodel.runtime.metrics import Metrics
from localmodel.runtime.objects import ConfigMap, Lease, Namespace, ObjectMeta
from localmodel.runtime.testing import BackgroundManager, FakeClient
from localmodel.sandbox.envtest import Environment


@pytest.fixture(scope="module")
def example() -> ModuleType:
    return load("07_program")


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "about.json"
    path.write_text(json.dumps({"cluster": "blue"}))
    return path


def about(client: Client, namespace: str) -> dict[str, str]:
    found = client.find(ConfigMap, "about", namespace=namespace)
    return found.data if found else {}


def grant(api_server: Environment, user: str, rules: list[tuple[str, str, list[str]]]) -> Path:
    """The kubeconfig of a user who has just these rights: group, resource, verbs."""
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": user},
        "rules": [{"apiGroups": [group], "resources": [name], "verbs": verbs} for group, name, verbs in rules],
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": user},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": user},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    }
    api_server.install(role, binding)
    return api_server.kubeconfig(user, token=api_server.server.token_for(user))


def test_it_works_with_the_rights_of_the_guide_until_it_is_told_to_stop(
    example: ModuleType, api_server: Environment, settings: Path
) -> None:
    client = api_server.client()
    log = settings.with_name("log")
    rights = [
        ("", "namespaces", ["get", "list", "watch"]),
        ("", "configmaps", ["get", "list", "watch", "create", "patch"]),
        ("events.k8s.io", "events", ["create", "patch"]),
        ("coordination.k8s.io", "leases", ["get", "create", "update"]),
    ]
    arguments = ["--kubeconfig", str(grant(api_server, "program", rights)), "--settings", str(settings)]
    arguments += ["--namespace", "default", "--metrics-addr", "0", "--health-probe-addr", "0"]
    with running("07_program", *arguments, log=log):
        eventually(lambda: about(client, "default") == {"cluster": "blue"}, timeout=30)
        client.create(Namespace(metadata=ObjectMeta(name="shop")))
        eventually(lambda: about(client, "shop") == {"cluster": "blue"})
        child = client.get(ConfigMap, "about", namespace="shop")
        assert child.metadata.labels == {"example.com/managed-by": "about"}
        client.patch(child, {"data": {"cluster": "red"}})
        eventually(lambda: about(client, "shop") == {"cluster": "blue"})
        client.delete(client.get(ConfigMap, "about", namespace="shop"))
        eventually(lambda: about(client, "shop") == {"cluster": "blue"})
    # Given up in order: a second replica need not wait for it to run out.
    assert client.get(Lease, "about.example.com", namespace="default").spec.holder_identity == ""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert {line["event"] for line in lines} >= {"Leadership acquired", "Stopping", "Lease released", "Manager stopped"}
    assert [line for line in lines if line["level"] == "error" or line["event"] == "Event dropped"] == []


@pytest.fixture
def replica(example: ModuleType, fake_client: FakeClient, settings: Path) -> Iterator[Manager]:
    """A replica that runs, with both HTTP servers."""
    arguments = ["--settings", str(settings), "--namespace", "default"]
    arguments += ["--metrics-addr", "127.0.0.1:0", "--health-probe-addr", "127.0.0.1:0"]
    manager = example.new_manager(fake_client, example.new_parser().parse_args(arguments), Metrics())
    stop = threading.Event()
    thread = threading.Thread(target=manager.start, args=(stop,))
    thread.start()
    yield manager
    stop.set()
    thread.join(20)
    assert not thread.is_alive()


def read(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_it_tells_how_it_is(replica: Manager, fake_client: FakeClient, settings: Path) -> None:
    fake_client.create(Namespace(metadata=ObjectMeta(name="shop")))
    eventually(lambda: about(fake_client, "shop") == {"cluster": "blue"})
    eventually(lambda: "about_writes_total 1.0" in read(replica.metrics_url)[1])
    assert 'leader_election_master_status{name="about.example.com"} 1.0' in read(replica.metrics_url)[1]
    assert 'controller_runtime_max_concurrent_reconciles{controller="about"} 4.0' in read(replica.metrics_url)[1]

    assert read(f"{replica.probe_url}/readyz") == (200, "ok")
    settings.unlink()
    code, text = read(f"{replica.probe_url}/readyz")
    assert code == 500
    assert "[-]settings failed: reason withheld" in text
    assert read(f"{replica.probe_url}/healthz") == (200, "ok")


def test_a_second_replica_waits_until_the_first_has_ended(
    example: ModuleType, replica: Manager, fake_client: FakeClient, settings: Path
) -> None:
    def holder() -> str:
        lease = fake_client.find(Lease, "about.example.com", namespace="default")
        return (lease.spec.holder_identity or "") if lease else ""

    eventually(holder)
    first = holder()
    arguments = example.new_parser().parse_args(["--settings", str(settings), "--namespace", "default"])
    options = replace(example.options(arguments), metrics_addr="0", health_probe_addr="0")
    with BackgroundManager(fake_client, options) as second:
        status = 'leader_election_master_status{name="about.example.com"} 0.0'
        eventually(lambda: status in generate_latest(second.metrics.registry).decode())
        assert holder() == first
