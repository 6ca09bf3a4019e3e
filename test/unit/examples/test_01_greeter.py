"""The first example over HTTPS; in memory it is in test/unit/runtime/test_end_to_end_fake.py."""

from __future__ import annotations

from types import ModuleType

import pytest
from support.eventually import eventually
from support.examples import install, load

from localmodel.runtime.client import Client
from localmodel.runtime.objects import ConfigMap, ObjectMeta
from localmodel.runtime.testing import BackgroundManager
from localmodel.sandbox.envtest import Environment


@pytest.fixture(scope="module")
def example() -> ModuleType:
    return load("01_greeter")


@pytest.fixture
def manager_client(example: ModuleType, api_server: Environment) -> Client:
    install(api_server, example.Greeter)
    return api_server.client(user_agent="greeter")


def test_a_greeter_gets_its_child_and_keeps_it(
    example: ModuleType, manager: BackgroundManager, manager_client: Client
) -> None:
    manager.add_reconciler(example.GreeterReconciler())
    manager.run()
    greeter = manager_client.create(
        example.Greeter(metadata=ObjectMeta(name="world", namespace="default"), spec={"message": "hi"})
    )

    def greeting() -> str:
        child = manager_client.find(ConfigMap, "world-greeting", namespace="default")
        return child.data["greeting"] if child else ""

    eventually(lambda: greeting() == "hi, world")
    manager_client.patch(greeter, {"spec": {"message": "good morning"}})
    eventually(lambda: greeting() == "good morning, world")
    manager_client.delete(manager_client.get(ConfigMap, "world-greeting", namespace="default"))
    eventually(lambda: greeting() == "good morning, world")

    def ready() -> bool:
        conditions = manager_client.get(example.Greeter, "world", namespace="default").status.conditions
        return [(c.type, c.status, c.observed_generation) for c in conditions] == [("Ready", "True", 2)]

    eventually(ready)
