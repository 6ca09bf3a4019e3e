"""No port is given twice: however far the cache is behind, whatever answer is lost, whoever gave ports before."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
from support.eventually import eventually
from support.examples import load
from support.lagging import Lagging

from localmodel.runtime import ObjectMeta, Reconciler, Request, Result
from localmodel.runtime.cache import Cache
from localmodel.runtime.cached_client import CachedClient
from localmodel.runtime.errors import TransportError
from localmodel.runtime.testing import BackgroundManager, FakeClient, wire
from localmodel.runtime.testing.background import QUIET


@pytest.fixture(scope="module")
def example() -> ModuleType:
    return load("08_own_writes")


class Rig:
    """A reconciler whose cache is held back at will; a fake API server behind it."""

    def __init__(self, example: ModuleType, server: FakeClient, names: str) -> None:
        self.example = example
        self.server = server
        for name in names:
            server.create(example.Gate(metadata=ObjectMeta(name=name, namespace="default")))
        self.watches = Lagging(server)
        self.cache = Cache(self.watches, QUIET.cache)
        self.cache.get_informer(example.Gate)
        self.cache.start()
        self.cache.wait_for_sync()

    def reconciler(self, ports: int = 100, *, read_your_writes: bool = True) -> Reconciler:
        reconciler: Reconciler = wire(self.example.GateReconciler(range(1, ports + 1)), self.server)
        reconciler.client = CachedClient(self.cache, self.server, read_your_writes=read_your_writes)
        return reconciler

    def ports(self) -> dict[str, int]:
        return {gate.name: gate.status.port for gate in self.server.list(self.example.Gate)}

    def while_held(self, work: Callable[[], Any]) -> None:
        """Does the work with a cache that sees nothing new until the work waits for it."""
        thread = threading.Thread(target=work)
        thread.start()
        informer = self.cache.get_informer(self.example.Gate)
        eventually(lambda: informer._version_waiters)
        self.watches.release()
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture
def new_rig(example: ModuleType, fake_client: FakeClient) -> Iterator[Callable[[str], Rig]]:
    rigs: list[Rig] = []

    def new(names: str) -> Rig:
        rigs.append(Rig(example, fake_client, names))
        return rigs[-1]

    yield new
    for rig in rigs:
        rig.watches.release()
        rig.cache.stop()


def key(name: str) -> Request:
    return Request("default", name)


def test_a_cache_that_is_behind_is_waited_for(new_rig: Callable[[str], Rig]) -> None:
    rig = new_rig("ab")
    reconciler = rig.reconciler()
    rig.watches.hold()
    reconciler.reconcile(key("a"))
    rig.while_held(lambda: reconciler.reconcile(key("b")))
    assert rig.ports() == {"a": 1, "b": 2}


def test_without_the_wait_the_port_would_be_given_twice(new_rig: Callable[[str], Rig]) -> None:
    rig = new_rig("ab")
    reconciler = rig.reconciler(read_your_writes=False)
    rig.watches.hold()
    reconciler.reconcile(key("a"))
    reconciler.reconcile(key("b"))
    assert rig.ports() == {"a": 1, "b": 1}


def test_a_port_whose_write_has_no_answer_is_kept_for_its_gate(new_rig: Callable[[str], Rig]) -> None:
    rig = new_rig("ab")
    reconciler = rig.reconciler()
    rig.watches.hold()
    rig.server.faults.drop_answer(verb="update")
    with pytest.raises(TransportError):
        reconciler.reconcile(key("a"))
    reconciler.reconcile(key("b"))
    assert rig.ports() == {"a": 1, "b": 2}

    rig.watches.release()
    rig.server.faults.fail(TransportError("connection refused"), verb="update")
    rig.server.create(rig.example.Gate(metadata=ObjectMeta(name="c", namespace="default")))
    eventually(lambda: reconciler.client.find(rig.example.Gate, "c", namespace="default"))
    with pytest.raises(TransportError):
        reconciler.reconcile(key("c"))
    reconciler.reconcile(key("c"))
    assert rig.ports()["c"] == 3


def test_what_the_leader_before_gave_is_taken(new_rig: Callable[[str], Rig]) -> None:
    rig = new_rig("ab")
    rig.watches.hold()
    given = rig.server.get(rig.example.Gate, "b", namespace="default")
    rig.server.status.patch(given, {"status": {"port": 1}})
    reconciler = rig.reconciler()
    rig.while_held(lambda: reconciler.reconcile(key("a")))
    assert rig.ports() == {"a": 2, "b": 1}


def test_an_empty_pool_is_told_and_asked_again(new_rig: Callable[[str], Rig]) -> None:
    rig = new_rig("ab")
    reconciler = rig.reconciler(ports=1)
    reconciler.reconcile(key("a"))
    assert reconciler.reconcile(key("b")) == Result(requeue=True)
    reconciler.recorder.expect("NoPort")


def test_four_workers_give_each_gate_a_port_of_its_own(example: ModuleType, fake_client: FakeClient) -> None:
    options = replace(example.OPTIONS, metrics_addr="0", health_probe_addr="0", cache=QUIET.cache)
    manager = BackgroundManager(fake_client, options)
    manager.add_reconciler(example.GateReconciler(range(1, 51)))
    with manager:
        for number in range(50):
            fake_client.create(example.Gate(metadata=ObjectMeta(name=f"gate-{number}", namespace="default")))
        eventually(lambda: all(gate.status.port for gate in fake_client.list(example.Gate)))
    assert sorted(gate.status.port for gate in fake_client.list(example.Gate)) == list(range(1, 51))
