"""The promises of runtimes.md 2.7 on `DelayingQueue` and `RateLimitingQueue`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.eventually import eventually

from localmodel.runtime.testing.fake_clock import FakeClock
from localmodel.runtime.workqueue import DelayingQueue, ItemExponentialFailureRateLimiter, RateLimitingQueue


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def queue(clock: FakeClock) -> Iterator[DelayingQueue[str]]:
    queue: DelayingQueue[str] = DelayingQueue(name="test", clock=clock)
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


def test_92_forget_brings_the_next_delay_back_to_the_base(clock: FakeClock) -> None:
    queue: RateLimitingQueue[str] = RateLimitingQueue(ItemExponentialFailureRateLimiter(1, 100), clock=clock)
    queue.add_rate_limited("foo")
    queue.add_rate_limited("foo")
    assert queue.num_requeues("foo") == 2

    queue.forget("foo")
    assert queue.num_requeues("foo") == 0
    queue.shut_down()


def test_97_add_rate_limited_waits_as_the_limiter_says_and_does_not_replace_done(clock: FakeClock) -> None:
    queue: RateLimitingQueue[str] = RateLimitingQueue(ItemExponentialFailureRateLimiter(1, 100), clock=clock)
    queue.add("foo")
    queue.get()
    queue.add_rate_limited("foo")
    queue.add("marker")
    clock.wait_for_waiters()
    clock.advance(1)
    assert take(queue) == "marker"

    queue.done("foo")
    assert take(queue) == "foo"
    queue.shut_down()


def test_98_forget_does_not_remove_the_item_from_the_queue(clock: FakeClock) -> None:
    queue: RateLimitingQueue[str] = RateLimitingQueue(clock=clock)
    queue.add("foo")
    queue.forget("foo")

    assert len(queue) == 1
    queue.shut_down()
