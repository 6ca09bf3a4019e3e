"""The promises of runtimes.md 2.7 on delays and rate limits, kept by the plain queues and the one with priorities."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support.eventually import eventually

from localmodel.runtime.testing.fake_clock import FakeClock
from localmodel.runtime.workqueue import (
    AddOptions,
    DelayingQueue,
    ItemExponentialFailureRateLimiter,
    PriorityQueue,
    RateLimitingQueue,
)
from localmodel.runtime.workqueue.delays import Delays


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=[DelayingQueue, PriorityQueue], ids=lambda kind: kind.__name__)
def queue(request: pytest.FixtureRequest, clock: FakeClock) -> Iterator[DelayingQueue[str]]:
    queue: DelayingQueue[str] = request.param(name="test", clock=clock)
    yield queue
    queue.shut_down()


@pytest.fixture(params=[RateLimitingQueue, PriorityQueue], ids=lambda kind: kind.__name__)
def limited(request: pytest.FixtureRequest, clock: FakeClock) -> Iterator[RateLimitingQueue[str]]:
    """A queue whose items wait 1, 2, 4 ... seconds."""
    limiter: ItemExponentialFailureRateLimiter[Any] = ItemExponentialFailureRateLimiter(1, 100)
    queue: RateLimitingQueue[str] = request.param(limiter, name="test", clock=clock)
    yield queue
    queue.shut_down()


def take(queue: DelayingQueue[str]) -> str:
    item, _ = queue.get()
    assert item is not None
    queue.done(item)
    return item


@pytest.mark.parametrize("delay", [0, -1])
def test_87_a_delay_of_zero_or_less_equals_add(queue: DelayingQueue[str], delay: float) -> None:
    queue.add_after("foo", delay)

    assert len(queue) == 1


def test_88_added_twice_the_earlier_time_stands_if_it_came_first(clock: FakeClock, queue: DelayingQueue[str]) -> None:
    queue.add_after("foo", 1)
    queue.add_after("foo", 3)
    clock.wait_for_waiters()
    clock.advance(1)
    assert take(queue) == "foo"

    queue.add_after("marker", 2)
    clock.wait_for_waiters()
    clock.advance(2)
    assert take(queue) == "marker"
    assert len(queue) == 0


def test_88_added_twice_the_earlier_time_stands_if_it_came_last(clock: FakeClock, queue: DelayingQueue[str]) -> None:
    queue.add_after("foo", 60)
    queue.add_after("foo", 1)
    eventually(lambda: clock.next_deadline == 1)
    clock.advance(1)

    assert take(queue) == "foo"


def test_89_a_delayed_item_is_not_visible_before_its_time(clock: FakeClock, queue: DelayingQueue[str]) -> None:
    queue.add_after("foo", 10)
    queue.add_after("marker", 9)
    eventually(lambda: clock.next_deadline == 9)
    clock.advance(9.5)

    assert take(queue) == "marker"
    assert len(queue) == 0


def test_89_delayed_items_come_in_the_order_of_their_times(clock: FakeClock, queue: DelayingQueue[str]) -> None:
    for item, delay in (("c", 3), ("a", 1), ("b", 2)):
        queue.add_after(item, delay)
    eventually(lambda: clock.next_deadline == 1)
    clock.advance(5)

    assert [take(queue) for _ in range(3)] == ["a", "b", "c"]


def test_90_after_shutdown_nothing_is_accepted_and_what_waited_is_dropped(
    clock: FakeClock, queue: DelayingQueue[str]
) -> None:
    queue.add_after("before", 1)
    clock.wait_for_waiters()
    queue.shut_down()
    queue.add_after("after", 1)
    queue.add_after("at once", 0)

    assert clock.waiters == 0
    assert queue.get() == (None, True)


def test_83_a_drain_does_not_wait_for_what_is_delayed(clock: FakeClock, queue: DelayingQueue[str]) -> None:
    queue.add_after("later", 1000)
    clock.wait_for_waiters()
    queue.shut_down_with_drain()

    assert clock.waiters == 0
    assert queue.get() == (None, True)


def test_89_a_delay_of_centuries_does_not_end_the_timer(clock: FakeClock, queue: DelayingQueue[str]) -> None:
    """A system refuses to wait so long, so the timer looks again every hour."""
    queue.add_after("never", float("inf"))
    eventually(lambda: clock.next_deadline == 3600)
    queue.add_after("soon", 1)
    eventually(lambda: clock.next_deadline == 1)
    clock.advance(1)

    assert take(queue) == "soon"


def test_92_forget_brings_the_next_delay_back_to_the_base(limited: RateLimitingQueue[str]) -> None:
    limited.add_rate_limited("foo")
    limited.add_rate_limited("foo")
    assert limited.num_requeues("foo") == 2

    limited.forget("foo")
    assert limited.num_requeues("foo") == 0


def test_97_add_rate_limited_waits_as_the_limiter_says_and_does_not_replace_done(
    clock: FakeClock, limited: RateLimitingQueue[str]
) -> None:
    limited.add("foo")
    limited.get()
    limited.add_rate_limited("foo")
    limited.add("marker")
    clock.wait_for_waiters()
    clock.advance(1)
    assert take(limited) == "marker"

    limited.done("foo")
    assert take(limited) == "foo"


def test_98_forget_does_not_remove_the_item_from_the_queue(limited: RateLimitingQueue[str]) -> None:
    limited.add("foo")
    limited.forget("foo")

    assert len(limited) == 1


def test_109_adding_many_items_with_rate_limiting_gives_each_its_own_delay(
    clock: FakeClock, limited: RateLimitingQueue[str]
) -> None:
    limited.add_rate_limited("failed")
    limited.add_with_options(AddOptions(rate_limited=True), "failed", "new")
    eventually(lambda: clock.next_deadline == 1)

    assert limited.num_requeues("failed") == 2
    assert limited.num_requeues("new") == 1
    clock.advance(1)
    assert [take(limited), take(limited)] == ["failed", "new"]


def test_109_of_two_delays_the_shorter_stands(clock: FakeClock, limited: RateLimitingQueue[str]) -> None:
    limited.add_with_options(AddOptions(after=0.25, rate_limited=True), "after")
    eventually(lambda: clock.next_deadline == 0.25)
    clock.advance(0.25)
    assert take(limited) == "after"

    limited.add_with_options(AddOptions(after=50, rate_limited=True), "limited")
    eventually(lambda: clock.next_deadline == 1)


def test_the_plain_queue_ignores_priorities(clock: FakeClock) -> None:
    queue: RateLimitingQueue[str] = RateLimitingQueue(clock=clock)
    queue.add("first")
    queue.add_with_options(AddOptions(priority=100), "second")

    assert queue.get_with_priority() == ("first", 0, False)
    assert queue.get_with_priority() == ("second", 0, False)
    queue.shut_down()
    assert queue.get_with_priority() == (None, 0, True)


def test_delays_that_were_overtaken_do_not_pile_up() -> None:
    delays: Delays[int] = Delays()
    for step in range(200):
        for item in range(100):
            delays.put(item, 1000.0 - step, 0)
    assert len(delays._heap) <= 126

    for item in range(99):
        delays.discard(item)
    assert len(delays._heap) <= 64
    assert delays.next_due() == 801.0
    assert delays.pop() == (99, 0)
    assert delays.next_due() is None
