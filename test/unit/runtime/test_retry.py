"""Trying again after a conflict: how often, after which time, and when not."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from support.scripted import StepClock

from localmodel.runtime import deadline
from localmodel.runtime.cancellation import Cancellation, CancelledError
from localmodel.runtime.clock import RealClock
from localmodel.runtime.errors import ConflictError, NotFoundError, ServiceUnavailableError
from localmodel.runtime.objects import ConfigMap, ObjectMeta
from localmodel.runtime.retry import DEFAULT_BACKOFF, RetryOptions, retry_on_conflict, retry_on_error
from localmodel.runtime.testing import FakeClient


class Work:
    """Raises its errors one after the other, then returns how often it was called."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> int:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return self.calls


def conflicts(count: int) -> list[ConflictError]:
    return [ConflictError.of(f"conflict {number}") for number in range(1, count + 1)]


def test_185_retry_on_conflict_five_steps_10_ms_jitter_10_percent_returns_the_last_conflict() -> None:
    work, clock = Work(*conflicts(9)), StepClock()
    with pytest.raises(ConflictError, match="conflict 5"):
        retry_on_conflict(work, clock=clock)
    assert work.calls == 5
    assert len(clock.waits) == 4
    assert all(0.01 <= wait <= 0.011 for wait in clock.waits)


def test_185_the_first_success_is_the_answer() -> None:
    assert retry_on_conflict(Work(*conflicts(2)), clock=StepClock()) == 3


def test_185_another_error_is_raised_at_once() -> None:
    work = Work(NotFoundError.of("gone"))
    with pytest.raises(NotFoundError):
        retry_on_conflict(work, clock=StepClock())
    assert work.calls == 1


def test_the_delay_grows_by_its_factor() -> None:
    clock = StepClock()
    options = RetryOptions(steps=DEFAULT_BACKOFF.steps, factor=DEFAULT_BACKOFF.factor, jitter=0)
    with pytest.raises(ConflictError):
        retry_on_conflict(Work(*conflicts(9)), options=options, clock=clock)
    assert clock.waits == pytest.approx([0.01, 0.05, 0.25])


def test_other_errors_can_be_tried_again() -> None:
    work = Work(ServiceUnavailableError.of("busy"), *conflicts(1))
    assert retry_on_error(work, (ServiceUnavailableError, ConflictError), clock=StepClock()) == 3


def test_nothing_is_tried_again_after_the_deadline_of_the_work_in_hand() -> None:
    work, clock = Work(*conflicts(9)), StepClock()
    options = RetryOptions(delay=1.0, jitter=0)
    with deadline.limit(clock, 2.5), pytest.raises(ConflictError, match="conflict 3"):
        retry_on_conflict(work, options=options, clock=clock)
    assert clock.waits == [1, 1]


def test_cancelling_the_work_in_hand_ends_the_wait() -> None:
    cancellation, waiting = Cancellation(), threading.Event()

    class Clock(RealClock):
        def wait_event(self, event: threading.Event, timeout: float) -> bool:
            waiting.set()
            return super().wait_event(event, timeout)

    def cancel() -> None:
        waiting.wait(10)
        cancellation.cancel()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    with cancellation.scope(), pytest.raises(CancelledError):
        retry_on_conflict(Work(*conflicts(9)), options=RetryOptions(delay=60), clock=Clock())
    canceller.join(10)


def test_185_a_write_that_reads_anew_gets_through_a_competitor() -> None:
    client = FakeClient(ConfigMap(metadata=ObjectMeta(name="a", namespace="ns"), data={"n": "0"}))
    interfere: list[Callable[[], object]] = [lambda: client.patch(read(), {"data": {"other": "1"}})]

    def read() -> ConfigMap:
        return client.get(ConfigMap, "a", namespace="ns")

    def work() -> ConfigMap:
        obj = read()
        if interfere:
            interfere.pop()()
        obj.data["n"] = "1"
        return client.update(obj)

    assert retry_on_conflict(work, clock=StepClock()).data == {"n": "1", "other": "1"}
