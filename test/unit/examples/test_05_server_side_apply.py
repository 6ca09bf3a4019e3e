"""Two writers share an object field by field, in memory and over HTTPS."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from support.examples import install, load

from localmodel.runtime import Client, ObjectMeta, Request
from localmodel.runtime.objects import ConfigMap
from localmodel.runtime.testing import wire
from localmodel.sandbox.envtest import Environment

KEY = Request("default", "home")


@pytest.fixture(scope="module")
def example() -> ModuleType:
    return load("05_server_side_apply")


@pytest.fixture(params=["in memory", "over HTTPS"])
def client(request: pytest.FixtureRequest, example: ModuleType) -> Client:
    if request.param == "in memory":
        in_memory: Client = request.getfixturevalue("fake_client")
        return in_memory
    server: Environment = request.getfixturevalue("api_server")
    install(server, example.Site)
    return server.client()


def site(example: ModuleType, **spec: Any) -> Any:
    return example.Site(metadata=ObjectMeta(name="home", namespace="default"), spec=spec)


def pages(client: Client) -> dict[str, str]:
    return client.get(ConfigMap, "home", namespace="default").data


def test_what_others_add_stays_and_what_is_no_longer_sent_goes(example: ModuleType, client: Client) -> None:
    reconciler = wire(example.SiteReconciler(), client)
    stored = client.create(site(example, pages={"index": "hello", "about": "me"}))
    reconciler.reconcile(KEY)
    child = client.get(ConfigMap, "home", namespace="default")
    assert child.metadata.owner_references[0].name == "home"
    client.patch(child, {"data": {"robots": "all"}})

    stored.spec.pages = {"index": "hello again"}
    client.update(stored)
    reconciler.reconcile(KEY)
    assert pages(client) == {"index": "hello again", "robots": "all"}
    assert reconciler.recorder.reasons == []


def test_a_field_of_another_owner_is_taken_only_if_told_so(example: ModuleType, client: Client) -> None:
    reconciler = wire(example.SiteReconciler(), client)
    theirs = ConfigMap(metadata=ObjectMeta(name="home", namespace="default"), data={"index": "theirs"})
    client.apply(theirs, field_owner="somebody")
    stored = client.create(site(example, pages={"index": "ours"}))
    reconciler.reconcile(KEY)
    reconciler.recorder.expect("Conflict", "somebody", type_="Warning")
    assert pages(client) == {"index": "theirs"}

    stored.spec.take_over = True
    client.update(stored)
    reconciler.reconcile(KEY)
    assert pages(client) == {"index": "ours"}
