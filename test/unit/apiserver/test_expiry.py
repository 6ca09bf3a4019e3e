"""Events go an hour after they were last written."""

from __future__ import annotations

import pytest
from support.apicore import InProcess, lines

from localmodel.runtime.testing.fake_clock import FakeClock

EVENTS = "/api/v1/namespaces/default/events"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def api(clock: FakeClock) -> InProcess:
    server = InProcess(clock=clock)
    server.create(EVENTS, {"metadata": {"name": "e"}, "involvedObject": {"namespace": "default"}, "message": "m"})
    return server


def names(api: InProcess) -> list[str]:
    return [item["metadata"]["name"] for item in api.call("GET", EVENTS)[1]["items"]]


def test_an_event_is_there_for_an_hour(api: InProcess, clock: FakeClock) -> None:
    clock.advance(3599)
    assert names(api) == ["e"]
    clock.advance(2)
    assert names(api) == []
    assert api.call("GET", f"{EVENTS}/e")[0] == 404


def test_a_write_gives_it_another_hour(api: InProcess, clock: FakeClock) -> None:
    clock.advance(3000)
    assert api.call("PATCH", f"{EVENTS}/e", {"count": 2}, content_type="application/merge-patch+json")[0] == 200
    clock.advance(3000)
    assert names(api) == ["e"]
    clock.advance(601)
    assert names(api) == []


def test_watchers_are_told(api: InProcess, clock: FakeClock) -> None:
    watch = api.events(f"{EVENTS}?watch=true")
    lines(watch)
    clock.advance(3601)
    names(api)
    assert [(line["type"], line["object"]["metadata"]["name"]) for line in lines(watch)] == [("DELETED", "e")]


def test_an_event_may_come_again_under_its_name(api: InProcess, clock: FakeClock) -> None:
    clock.advance(3601)
    api.create(EVENTS, {"metadata": {"name": "e"}, "involvedObject": {"namespace": "default"}, "message": "n"})
    assert names(api) == ["e"]
