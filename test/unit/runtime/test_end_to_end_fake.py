"""The whole library on an in-memory API server: the first example, from the created object to the scraped metric."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Iterator
from types import ModuleType

import pytest
from support.eventually import eventually
from support.examples import load

from localmodel.runtime.manager import Manager
from localmodel.runtime.manager_options import ManagerOptions
from localmodel.runtime.objects import ConfigMap, Event, ObjectMeta
from localmodel.runtime.reconcile import Request
from localmodel.runtime.testing import FakeClient, wire


@pytest.fixture(scope="module")
def example() -> ModuleType:
    return load("01_greeter")


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()


@pytest.fixture
def manager(example: ModuleType, client: FakeClient) -> Iterator[Manager]:
    before = set(threading.enumerate())
    manager = Manager(
        client,
        ManagerOptions(
            metrics_addr="127.0.0.1:0",
            health_probe_addr="127.0.0.1:0",
            leader_election=True,
            leader_election_id="greeter",
            leader_election_namespace="default",
        ),
    )
    manager.add_reconciler(example.GreeterReconciler())
    stop = threading.Event()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            manager.start(stop)
        except BaseException as error:  # noqa: BLE001 - looked at below
            failures.append(error)

    thread = threading.Thread(target=run, name="manager")
    thread.start()
    yield manager
    stop.set()
    thread.join(20)
    assert failures == []
    eventually(lambda: set(threading.enumerate()) <= before)


def test_a_reconciler_is_run_by_hand_without_a_thread_and_without_sleeping(example: ModuleType) -> None:
    before = threading.enumerate()
    client = FakeClient(example.Greeter(metadata=ObjectMeta(name="world", namespace="default")))
    reconciler = wire(example.GreeterReconciler(), client)

    reconciler.reconcile(Request("default", "world"))
    assert client.get(ConfigMap, "world-greeting", namespace="default").data == {"greeting": "hello, world"}
    assert reconciler.recorder.reasons == ["Greeted"]
    assert threading.enumerate() == before


def test_a_greeter_gets_its_child_keeps_it_and_tells_its_status(
    example: ModuleType, client: FakeClient, manager: Manager
) -> None:
    greeter = example.Greeter(
        metadata=ObjectMeta(name="world", namespace="default"), spec=example.GreeterSpec(message="hi")
    )
    client.create(greeter)

    def child() -> ConfigMap | None:
        return client.find(ConfigMap, "world-greeting", namespace="default")

    eventually(lambda: (found := child()) and found.data == {"greeting": "hi, world"})
    first = child()
    assert first is not None
    assert first.metadata.owner_references[0].name == "world"

    client.delete(first)
    eventually(lambda: (found := child()) and found.metadata.uid != first.metadata.uid)

    def conditions() -> list[tuple[str, str, str]]:
        stored = client.get(example.Greeter, "world", namespace="default")
        return [(c.type, c.status, c.reason) for c in stored.status.conditions]

    eventually(lambda: conditions() == [("Ready", "True", "Greeted")])

    edited = client.get(example.Greeter, "world", namespace="default")
    edited.spec.message = "good morning"
    client.update(edited)
    eventually(lambda: (found := child()) and found.data == {"greeting": "good morning, world"})
    eventually(lambda: {event.reason for event in client.list(Event)} >= {"Greeted", "LeaderElection"})


def test_health_and_metrics_tell_of_the_running_controller(
    example: ModuleType, client: FakeClient, manager: Manager
) -> None:
    client.create(example.Greeter(metadata=ObjectMeta(name="world", namespace="default")))

    def read(url: str) -> str:
        with urllib.request.urlopen(url, timeout=10) as response:
            return str(response.read().decode())

    eventually(lambda: client.find(ConfigMap, "world-greeting", namespace="default"))
    assert read(f"{manager.probe_url}/readyz?verbose") == "[+]cache-sync ok\nreadyz check passed\n"
    assert read(f"{manager.probe_url}/healthz/leader-election") == "ok"
    eventually(
        lambda: 'controller_runtime_reconcile_total{controller="greeter",result="success"}' in read(manager.metrics_url)
    )
    text = read(manager.metrics_url)
    assert 'workqueue_adds_total{controller="greeter",name="greeter"}' in text
    assert 'leader_election_master_status{name="greeter"} 1.0' in text
    assert 'leader_election_slowpath_total{name="greeter"} 0.0' in text
    assert "process_resident_memory_bytes" in text
