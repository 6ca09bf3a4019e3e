"""Conditions: runtimes.md 2.18 no. 211."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from localmodel.runtime.conditions import find_condition, is_condition_true, remove_condition, set_condition
from localmodel.runtime.objects import Condition
from localmodel.runtime.testing.fake_clock import FakeClock

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(START)


@pytest.fixture
def conditions(clock: FakeClock) -> list[Condition]:
    conditions: list[Condition] = []
    set_condition(conditions, "Ready", "False", "Waiting", "soon", observed_generation=1, clock=clock)
    clock.advance(60)
    return conditions


def test_211_a_new_condition_is_added_with_the_time(conditions: list[Condition]) -> None:
    ready = find_condition(conditions, "Ready")

    assert ready is not None
    assert (ready.status, ready.reason, ready.message, ready.observed_generation) == ("False", "Waiting", "soon", 1)
    assert ready.last_transition_time == START


def test_211_the_transition_time_moves_with_the_status(conditions: list[Condition], clock: FakeClock) -> None:
    assert set_condition(conditions, "Ready", "True", "Done", observed_generation=1, clock=clock)

    assert len(conditions) == 1
    assert conditions[0].last_transition_time == clock.now()
    assert is_condition_true(conditions, "Ready")


@pytest.mark.parametrize(
    ("reason", "message", "generation"), [("Other", "soon", 1), ("Waiting", "later", 1), ("Waiting", "soon", 2)]
)
def test_211_reason_message_and_generation_change_without_the_transition_time(
    conditions: list[Condition], clock: FakeClock, reason: str, message: str, generation: int
) -> None:
    assert set_condition(conditions, "Ready", "False", reason, message, observed_generation=generation, clock=clock)

    known = conditions[0]
    assert (known.reason, known.message, known.observed_generation) == (reason, message, generation)
    assert known.last_transition_time == START


def test_211_the_same_again_is_no_change(conditions: list[Condition], clock: FakeClock) -> None:
    assert not set_condition(conditions, "Ready", "False", "Waiting", "soon", observed_generation=1, clock=clock)


def test_other_conditions_are_left_alone(conditions: list[Condition], clock: FakeClock) -> None:
    set_condition(conditions, "Degraded", "True", "Broken", clock=clock)

    assert [c.type for c in conditions] == ["Ready", "Degraded"]
    assert remove_condition(conditions, "Ready")
    assert not remove_condition(conditions, "Ready")
    assert [c.type for c in conditions] == ["Degraded"]
    assert not is_condition_true(conditions, "Ready")
