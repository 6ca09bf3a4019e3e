"""The recorder of the test kit."""

from __future__ import annotations

import pytest

from localmodel.runtime.events import EventRecorder
from localmodel.runtime.objects import ConfigMap, ObjectMeta
from localmodel.runtime.testing.recorder import FakeRecorder


def test_it_keeps_what_was_recorded_as_it_was_then() -> None:
    obj = ConfigMap(metadata=ObjectMeta(name="a", namespace="ns"))
    fake = FakeRecorder()
    recorder: EventRecorder = fake
    recorder.event(obj, "Warning", "Full", "no space left", action="Download", related=obj)
    obj.metadata.name = "b"
    recorder.event(obj, "Normal", "Greeted", "hello")

    assert fake.lines == ["Warning Full no space left", "Normal Greeted hello"]
    assert fake.reasons == ["Full", "Greeted"]
    assert [event.object.name for event in fake.events] == ["a", "b"]
    assert [event.action for event in fake.events] == ["Download", "Greeted"]


def test_expect_finds_an_event_or_says_what_there_was() -> None:
    fake = FakeRecorder()
    with pytest.raises(AssertionError, match="but: nothing"):
        fake.expect("Full")
    fake.event(ConfigMap(metadata=ObjectMeta(name="a")), "Warning", "Full", "no space left")

    assert fake.expect("Full", "space").message == "no space left"
    with pytest.raises(
        AssertionError, match=r"no event 'Normal Full' was recorded, but:\n  Warning Full no space left"
    ):
        fake.expect("Full", type_="Normal")
