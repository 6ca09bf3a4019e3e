"""The deadline of the work in hand."""

from __future__ import annotations

import threading

import pytest

from localmodel.runtime import deadline
from localmodel.runtime.deadline import DeadlineExceededError
from localmodel.runtime.testing import FakeClock


def test_without_a_limit_there_is_no_deadline() -> None:
    assert deadline.remaining() is None
    deadline.check()


def test_the_earliest_of_nested_limits_counts() -> None:
    clock = FakeClock()
    with deadline.limit(clock, 10):
        with deadline.limit(clock, 100):
            assert deadline.remaining() == 10
        with deadline.limit(clock, 3):
            assert deadline.remaining() == 3
        assert deadline.remaining() == 10
    assert deadline.remaining() is None


def test_check_raises_once_the_time_is_over_and_says_for_what() -> None:
    clock = FakeClock()
    with deadline.limit(clock, 10):
        clock.advance(9)
        deadline.check("GET /api")
        clock.advance(2)
        with pytest.raises(DeadlineExceededError, match=r"the deadline for GET /api passed 1\.0 s ago"):
            deadline.check("GET /api")


def test_a_thread_started_inside_has_no_deadline() -> None:
    seen: list[float | None] = []
    with deadline.limit(FakeClock(), 10):
        thread = threading.Thread(target=lambda: seen.append(deadline.remaining()))
        thread.start()
        thread.join()

    assert seen == [None]
