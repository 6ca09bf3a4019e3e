"""Conditions: runtimes.md 2.18 no. 211."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from localmodel.runtime.conditions import (
    find_status_condition,
    is_status_condition_false,
    is_status_condition_present_and_equal,
    is_status_condition_true,
    remove_status_condition,
    set_status_condition,
)
from localmodel.runtime.objects import Condition
from localmodel.runtime.testing.fake_clock import FakeClock

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(START)


@pytest.fixture
def conditions(clock: FakeClock) -> list[Condition]:
    conditions: list[Condition] = []
    set_status_condition(conditions, "Ready", "False", "Waiting", "soon", observed_generation=1, clock=clock)
    clock.advance(60)
    return conditions


def test_211_a_new_condition_is_added_with_the_time(conditions: list[Condition]) -> None:
    ready = find_status_condition(conditions, "Ready")

    assert ready is not None
    assert (ready.status, ready.reason, ready.message, ready.observed_generation) == ("False", "Waiting", "soon", 1)
    assert ready.last_transition_time == START


def test_211_the_transition_time_moves_with_the_status(conditions: list[Condition], clock: FakeClock) -> None:
    assert set_status_condition(conditions, "Ready", "True", "Done", observed_generation=1, clock=clock)

    assert len(conditions) == 1
    assert conditions[0].last_transition_time == clock.now()
    assert is_status_condition_true(conditions, "Ready")


@pytest.mark.parametrize(
    ("reason", "message", "generation"), [("Other", "soon", 1), ("Waiting", "later", 1), ("Waiting", "soon", 2)]
)
def test_211_reason_message_and_generation_change_without_the_transition_time(
    conditions: list[Condition], clock: FakeClock, reason: str, message: str, generation: int
) -> None:
    assert set_status_condition(
        conditions, "Ready", "False", reason, message, observed_generation=generation, clock=clock
    )

    known = conditions[0]
    assert (known.reason, known.message, known.observed_generation) == (reason, message, generation)
    assert known.last_transition_time == START


def test_211_the_same_again_is_no_change(conditions: list[Condition], clock: FakeClock) -> None:
    assert not set_status_condition(conditions, "Ready", "False", "Waiting", "soon", observed_generation=1, clock=clock)


@pytest.mark.parametrize(("status", "answers"), [("True", (True, False)), ("False", (False, True))])
def test_conditions_are_asked_by_type(conditions: list[Condition], status: Any, answers: tuple[bool, bool]) -> None:
    set_status_condition(conditions, "Ready", status, "Done")
    assert (is_status_condition_true(conditions, "Ready"), is_status_condition_false(conditions, "Ready")) == answers
    assert is_status_condition_present_and_equal(conditions, "Ready", status)
    assert not is_status_condition_present_and_equal(conditions, "Ready", "Unknown")
    assert not is_status_condition_false(conditions, "Absent")
    assert find_status_condition(conditions, "Absent") is None


def test_other_conditions_are_left_alone(conditions: list[Condition], clock: FakeClock) -> None:
    set_status_condition(conditions, "Degraded", "True", "Broken", clock=clock)

    assert [c.type for c in conditions] == ["Ready", "Degraded"]
    assert remove_status_condition(conditions, "Ready")
    assert not remove_status_condition(conditions, "Ready")
    assert [c.type for c in conditions] == ["Degraded"]
    assert not is_status_condition_true(conditions, "Ready")
