"""What `FakeClock` promises: time moves by hand only, and everybody who waits for it is woken."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from support.eventually import eventually

from localmodel.runtime.testing.fake_clock import EPOCH, FakeClock


def start(target: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread


def test_time_stands_still_until_advanced() -> None:
    clock = FakeClock()
    assert (clock.now(), clock.monotonic()) == (EPOCH, 0.0)
    clock.advance(90)
    assert (clock.now(), clock.monotonic()) == (EPOCH + timedelta(seconds=90), 90.0)


def test_time_does_not_go_back() -> None:
    with pytest.raises(ValueError, match="cannot go back"):
        FakeClock().advance(-1)


def test_wait_ends_when_its_deadline_comes_and_not_before() -> None:
    clock, condition, woken = FakeClock(), threading.Condition(), threading.Event()

    def waiter() -> None:
        with condition:
            clock.wait(condition, 10)
        woken.set()

    thread = start(waiter)
    clock.wait_for_waiters()
    clock.advance(9.5)
    assert not woken.is_set()
    assert clock.next_deadline == pytest.approx(0.5)
    clock.advance(0.5)
    thread.join(5)
    assert woken.is_set()
    assert clock.waiters == 0


def test_wait_ends_when_notified() -> None:
    clock, condition = FakeClock(), threading.Condition()

    def waiter() -> None:
        with condition:
            clock.wait(condition, 10)

    thread = start(waiter)
    clock.wait_for_waiters()
    with condition:
        condition.notify_all()
    thread.join(5)
    assert not thread.is_alive()


def test_an_advance_between_reading_the_clock_and_waiting_is_not_lost() -> None:
    clock, condition = FakeClock(), threading.Condition()
    deadline = clock.monotonic() + 5
    clock.advance(5)
    with condition:
        clock.wait(condition, 5)
    assert clock.monotonic() == deadline


def test_wait_event_tells_whether_the_event_was_set() -> None:
    clock, event, answers = FakeClock(), threading.Event(), []
    thread = start(lambda: answers.append(clock.wait_event(event, 5)))
    clock.wait_for_waiters()
    clock.advance(5)
    thread.join(5)
    thread = start(lambda: answers.append(clock.wait_event(event, 5)))
    clock.wait_for_waiters()
    event.set()
    thread.join(5)
    assert answers == [False, True]


def test_many_waiters_are_woken_by_one_advance() -> None:
    clock, event = FakeClock(), threading.Event()
    threads = [start(lambda: clock.wait_event(event, 3) and None) for _ in range(20)]
    clock.wait_for_waiters(20)
    clock.advance(3)
    for thread in threads:
        thread.join(5)
    assert not any(thread.is_alive() for thread in threads)


def test_waiting_for_waiters_that_do_not_come_fails() -> None:
    with pytest.raises(TimeoutError, match="0 threads wait"):
        FakeClock().wait_for_waiters(timeout=0.01)


def test_moving_on_wakes_nobody_who_waits_on_the_same_event_without_the_clock() -> None:
    clock, event = FakeClock(), threading.Event()
    returned: list[bool] = []
    other = threading.Thread(target=lambda: returned.append(event.wait()))
    timed = threading.Thread(target=clock.wait_event, args=(event, 5))
    other.start()
    timed.start()
    eventually(lambda: len(event._cond._waiters) == 2)
    clock.advance(5)
    timed.join(10)
    assert not timed.is_alive()
    assert other.is_alive()
    assert returned == []

    event.set()
    other.join(10)
    assert returned == [True]
