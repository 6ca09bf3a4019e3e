"""Objects of kinds known by name expire: by hand in memory, and by the program over HTTPS."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from types import ModuleType

import pytest
from support.eventually import eventually
from support.examples import load, running

from localmodel.runtime import ObjectMeta, Request, Result, TerminalError
from localmodel.runtime.objects import ConfigMap, Namespace, PartialObjectMetadata
from localmodel.runtime.testing import FakeClient, FakeClock, wire
from localmodel.sandbox.envtest import Environment

KEY = Request("default", "a")


@pytest.fixture(scope="module")
def example() -> ModuleType:
    return load("09_any_kind")


def config_map(example: ModuleType, date: str, name: str = "a") -> ConfigMap:
    meta = ObjectMeta(name=name, namespace="default", labels={example.LABEL: ""}, annotations={example.LABEL: date})
    return ConfigMap(metadata=meta, data={"large": "x" * 1000})


def test_an_object_goes_when_its_time_has_come(
    example: ModuleType, fake_client: FakeClient, fake_clock: FakeClock
) -> None:
    kind = PartialObjectMetadata.of(ConfigMap.mapping)
    reconciler = wire(example.ExpiryReconciler(kind), fake_client, fake_clock)
    expires = fake_clock.now() + timedelta(hours=1)
    fake_client.create(config_map(example, expires.isoformat()))

    assert reconciler.reconcile(KEY) == Result(requeue_after=3600)
    fake_clock.advance(3600)
    assert reconciler.reconcile(KEY) is None
    assert fake_client.find(ConfigMap, "a", namespace="default") is None
    assert reconciler.reconcile(KEY) is None


@pytest.mark.parametrize("date", ["", "tomorrow", "2026-01-01T00:00:00"])
def test_what_is_no_date_is_not_tried_again(
    example: ModuleType, fake_client: FakeClient, fake_clock: FakeClock, date: str
) -> None:
    kind = PartialObjectMetadata.of(ConfigMap.mapping)
    reconciler = wire(example.ExpiryReconciler(kind), fake_client, fake_clock)
    fake_client.create(config_map(example, date))
    with pytest.raises(TerminalError, match="write a date"):
        reconciler.reconcile(KEY)


def test_the_program_looks_kinds_up_and_deletes_what_has_expired(
    example: ModuleType, api_server: Environment, tmp_path: Path
) -> None:
    client = api_server.client()
    client.create(config_map(example, "2020-01-01T00:00:00+00:00"))
    client.create(config_map(example, "9999-01-01T00:00:00+00:00", name="later"))
    client.create(Namespace(metadata=ObjectMeta(name="old", labels={example.LABEL: ""})))
    arguments = [
        "--kubeconfig",
        str(api_server.kubeconfig("expiry")),
        "--kind",
        "v1/ConfigMap",
        "--kind",
        "v1/Namespace",
        *("--metrics-addr", "0", "--health-probe-addr", "0"),
    ]
    with running("09_any_kind", *arguments, log=tmp_path / "log"):
        eventually(lambda: client.find(ConfigMap, "a", namespace="default") is None, timeout=30)
    assert client.find(ConfigMap, "later", namespace="default") is not None
