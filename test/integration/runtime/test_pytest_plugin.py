"""The public fixtures, as a user's test project sees them: pytest runs in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TESTS = """
import pytest

from localmodel.runtime import Builder, Object, ObjectMeta, Reconciler, Request, Result, RESTMapping
from localmodel.runtime.objects import ConfigMap
from localmodel.runtime.testing import eventually


class Marker(Reconciler):
    def setup(self, builder: Builder) -> None:
        builder.for_(ConfigMap)

    def reconcile(self, request: Request) -> Result | None:
        if request.name == "bad":
            raise SystemExit("told to fail")
        found = self.client.get(ConfigMap, request.name, namespace=request.namespace)
        if found.name == "a" and not found.data:
            self.client.patch(found, {"data": {"marked": "yes"}})
        return None


def config_map(name: str = "a", namespace: str = "default") -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace=namespace))


def marked(client, namespace: str = "default") -> bool:
    return client.get(ConfigMap, "a", namespace=namespace).data == {"marked": "yes"}


def test_a_reconciler_without_threads(fake_client):
    reconciler = Marker()
    reconciler.client = fake_client
    fake_client.create(config_map())
    reconciler.reconcile(Request("default", "a"))
    assert marked(fake_client)


def test_a_manager(manager, fake_client):
    manager.add_reconciler(Marker())
    manager.run()
    fake_client.create(config_map())
    eventually(lambda: marked(fake_client))


def test_a_managers_failure_fails_the_test(manager, fake_client):
    manager.add_reconciler(Marker())
    manager.run()
    fake_client.create(config_map("bad"))
    with pytest.raises(SystemExit):
        eventually(lambda: not manager._runner.is_alive())
        manager.end()


class TestOverHttp:
    @pytest.fixture
    def manager_client(self, api_server):
        return api_server.client()

    def test_a_manager(self, manager, api_server):
        manager.add_reconciler(Marker())
        manager.run()
        client, namespace = api_server.client("someone"), api_server.namespace()
        client.create(config_map(namespace=namespace))
        eventually(lambda: marked(client, namespace))
"""


def test_the_fixtures_are_there_for_whoever_installed_the_package(tmp_path: Path) -> None:
    (tmp_path / "test_markers.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_markers.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout
