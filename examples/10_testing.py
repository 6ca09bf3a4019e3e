"""How to test a reconciler: this file is a pytest module (`pytest examples/10_testing.py`).

The fixtures come with the package: `fake_client` is an API server in memory with resource versions, conflicts,
finalizers, status subresources, server-side apply and watches; `fake_clock` moves when told; `manager` runs watches and
workers; `api_server` is the real thing over HTTPS, for kubectl too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from localmodel.runtime import (
    Builder,
    ConflictError,
    ObjectMeta,
    Reconciler,
    Request,
    Result,
)
from localmodel.runtime.objects import ConfigMap
from localmodel.runtime.testing import Action, BackgroundManager, FakeClient, FakeClock, FakeRecorder, eventually

ALARM = 3600


class Stamp(Reconciler):
    """Writes into each ConfigMap when it was last looked at, each hour."""

    def setup(self, builder: Builder) -> None:
        builder.for_(ConfigMap)

    def reconcile(self, request: Request) -> Result | None:
        found = self.client.find(ConfigMap, request.name, namespace=request.namespace)
        if found is None:
            return None
        found.data["seen"] = self.clock.now().isoformat()
        self.client.update(found)
        self.recorder.event(found, "Normal", "Stamped", "seen")
        return Result(requeue_after=ALARM)


@pytest.fixture
def stamp(fake_client: FakeClient, fake_clock: FakeClock) -> Stamp:
    """No manager, no thread: a reconciler is an object with a method."""
    reconciler = Stamp()
    reconciler.client = fake_client
    reconciler.clock = fake_clock
    reconciler.recorder = FakeRecorder()
    return reconciler


def config_map(name: str = "a") -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace="default"))


def seen(client: FakeClient) -> str:
    return client.get(ConfigMap, "a", namespace="default").data.get("seen", "")


def test_one_run(stamp: Stamp, fake_client: FakeClient, fake_clock: FakeClock) -> None:
    fake_client.create(config_map())
    assert stamp.reconcile(Request("default", "a")) == Result(requeue_after=ALARM)
    assert seen(fake_client) == fake_clock.now().isoformat()
    assert [str(action) for action in fake_client.writes] == [
        "create configmaps default/a",
        "update configmaps default/a",
    ]


def test_an_object_that_is_gone_is_no_error(stamp: Stamp) -> None:
    assert stamp.reconcile(Request("default", "gone")) is None


def test_a_write_that_loses_a_race(stamp: Stamp, fake_client: FakeClient) -> None:
    fake_client.create(config_map())
    fake_client.faults.fail(ConflictError.of("somebody was faster"), verb="update")
    with pytest.raises(ConflictError):
        stamp.reconcile(Request("default", "a"))  # the controller would try again, with backoff
    stamp.reconcile(Request("default", "a"))
    assert seen(fake_client)


def test_an_interceptor_sees_every_request() -> None:
    asked: list[str] = []

    def watch_out(action: Action, proceed: Callable[[], Any]) -> Any:
        asked.append(action.verb)
        return proceed()

    FakeClient(config_map(), interceptors=[watch_out]).list(ConfigMap)
    assert asked == ["list"]


def test_with_watches_and_workers(manager: BackgroundManager, fake_client: FakeClient) -> None:
    manager.add_reconciler(Stamp())
    manager.run()  # ended by the fixture, which fails if a thread is left
    fake_client.create(config_map())
    eventually(lambda: seen(fake_client))
