"""So many bytes a second, and no more."""

from __future__ import annotations

import threading

from localmodel.agent.pace import Pace, yield_disk
from localmodel.runtime.testing.fake_clock import FakeClock


def test_no_more_bytes_a_second_are_read_than_configured() -> None:
    clock = FakeClock()
    pace = Pace(clock, rate=lambda: 1000)
    stop, done = threading.Event(), threading.Event()

    def read() -> None:
        for _ in range(20):
            pace.spend(100, stop)
        done.set()

    thread = threading.Thread(target=read)
    thread.start()
    while not done.is_set():
        try:
            clock.wait_for_waiters(timeout=0.05)
        except TimeoutError:
            continue
        clock.advance(clock.next_deadline or 0)
    thread.join()
    assert 1.7 <= clock.monotonic() <= 2.0


def test_without_a_limit_nothing_waits() -> None:
    clock = FakeClock()
    Pace(clock, rate=lambda: 0).spend(1 << 40, threading.Event())
    assert clock.monotonic() == 0


def test_time_in_which_nothing_was_read_gives_no_right_to_a_burst() -> None:
    clock = FakeClock()
    pace = Pace(clock, rate=lambda: 1000)
    pace.spend(100, threading.Event())
    clock.advance(3600)
    pace.spend(100, threading.Event())
    waiting = threading.Thread(target=pace.spend, args=(200, threading.Event()))
    waiting.start()
    clock.wait_for_waiters()
    clock.advance(1)
    waiting.join(10)
    assert not waiting.is_alive()


def test_a_wait_ends_with_the_program() -> None:
    stop = threading.Event()
    clock = FakeClock()
    ended: list[BaseException] = []

    def read() -> None:
        try:
            Pace(clock, rate=lambda: 1).spend(1000, stop)
        except InterruptedError as error:
            ended.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    clock.wait_for_waiters()
    stop.set()
    thread.join(10)
    assert len(ended) == 1


def test_a_thread_may_stand_back_at_the_disk() -> None:
    thread = threading.Thread(target=yield_disk)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


def test_a_rate_that_was_far_too_low_is_mended_within_a_second() -> None:
    clock = FakeClock()
    rates = [1]
    reading = threading.Thread(
        target=Pace(clock, rate=lambda: rates[0]).spend, args=(1 << 20, threading.Event()), daemon=True
    )
    reading.start()
    clock.wait_for_waiters()
    rates[0] = 0
    clock.advance(1)
    reading.join(10)
    assert not reading.is_alive()
