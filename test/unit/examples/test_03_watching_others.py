"""An object hears of the ConfigMap that it names, in memory and over HTTPS."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from support.eventually import eventually
from support.examples import install, load

from localmodel.runtime import Client, ObjectMeta, Request
from localmodel.runtime.objects import ConfigMap
from localmodel.runtime.testing import BackgroundManager, FakeClient, wire
from localmodel.sandbox.envtest import Environment


@pytest.fixture(scope="module")
def example() -> ModuleType:
    return load("03_watching_others")


@pytest.fixture(params=["in memory", "over HTTPS"])
def manager_client(request: pytest.FixtureRequest, example: ModuleType) -> Client:
    if request.param == "in memory":
        in_memory: Client = request.getfixturevalue("fake_client")
        return in_memory
    server: Environment = request.getfixturevalue("api_server")
    install(server, example.App)
    return server.client()


def config_map(name: str, **data: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace="default"), data=data)


def app(example: ModuleType, name: str, of: str) -> Any:
    return example.App(metadata=ObjectMeta(name=name, namespace="default"), spec={"configMap": of})


def test_all_apps_follow_the_config_map_that_they_name(
    example: ModuleType, manager: BackgroundManager, manager_client: Client
) -> None:
    def checksum(name: str) -> str:
        return str(manager_client.get(example.App, name, namespace="default").status.checksum)

    manager.add_reconciler(example.AppReconciler())
    stored = manager_client.create(config_map("colours", sky="blue"))
    for name, of in [("a", "colours"), ("b", "colours"), ("c", "shapes")]:
        manager_client.create(app(example, name, of))
    manager.run()
    blue = example.digest({"sky": "blue"})
    eventually(lambda: (checksum("a"), checksum("b")) == (blue, blue))

    manager_client.patch(stored, {"data": {"sky": "grey"}})
    grey = example.digest({"sky": "grey"})
    eventually(lambda: (checksum("a"), checksum("b")) == (grey, grey))

    manager_client.create(config_map("shapes", moon="round"))
    eventually(lambda: checksum("c") == example.digest({"moon": "round"}))
    assert checksum("a") == grey

    manager_client.delete(stored)
    eventually(lambda: (checksum("a"), checksum("b")) == ("", ""))


def test_one_run_without_a_manager(example: ModuleType, fake_client: FakeClient) -> None:
    fake_client.index_field(example.App, example.INDEX, example.name_of_config_map)
    reconciler = wire(example.AppReconciler(), fake_client)
    stored = fake_client.create(config_map("colours", sky="blue"))
    fake_client.create(app(example, "a", "colours"))
    fake_client.create(app(example, "b", "shapes"))

    assert reconciler.apps_of(stored) == [Request("default", "a")]
    reconciler.reconcile(Request("default", "a"))
    reconciler.reconcile(Request("default", "a"))
    assert [str(action) for action in fake_client.writes][3:] == ["update apps.example.com/status default/a"]
