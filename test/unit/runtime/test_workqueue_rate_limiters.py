"""The promises of runtimes.md 2.7 on rate limiters."""

from __future__ import annotations

import pytest

from localmodel.runtime.testing.fake_clock import FakeClock
from localmodel.runtime.workqueue import (
    BucketRateLimiter,
    ItemExponentialFailureRateLimiter,
    ItemFastSlowRateLimiter,
    MaxOfRateLimiter,
    WithMaxWaitRateLimiter,
    default_controller_rate_limiter,
    default_item_based_rate_limiter,
)


def test_91_the_nth_failure_waits_base_times_two_to_the_n_up_to_the_maximum() -> None:
    limiter = ItemExponentialFailureRateLimiter[str](0.001, 0.01)

    assert [limiter.when("one") for _ in range(6)] == pytest.approx([0.001, 0.002, 0.004, 0.008, 0.01, 0.01])
    assert limiter.when("two") == pytest.approx(0.001)


def test_91_many_failures_do_not_overflow() -> None:
    limiter = ItemExponentialFailureRateLimiter[str](0.001, 1000)
    for _ in range(2000):
        limiter.when("one")

    assert limiter.when("one") == 1000


def test_92_num_requeues_counts_since_forget() -> None:
    limiter = ItemExponentialFailureRateLimiter[str](1, 100)
    limiter.when("one")
    limiter.when("one")
    assert limiter.num_requeues("one") == 2

    limiter.forget("one")
    assert limiter.num_requeues("one") == 0
    assert limiter.when("one") == 1


def test_93_the_default_of_controllers_is_the_longer_of_backoff_and_bucket() -> None:
    clock = FakeClock()
    limiter = default_controller_rate_limiter(clock=clock)
    assert [limiter.when("item") for _ in range(3)] == pytest.approx([0.005, 0.01, 0.02])

    for number in range(97):
        limiter.when(number)
    assert limiter.when("other") == pytest.approx(0.1)
    assert limiter.when("another") == pytest.approx(0.2)
    clock.advance(1000)
    assert limiter.when("late") == pytest.approx(0.005)


def test_93_the_bucket_gives_its_burst_at_once_and_then_its_rate() -> None:
    clock = FakeClock()
    limiter = BucketRateLimiter(10, 2, clock=clock)
    assert [limiter.when(None) for _ in range(4)] == pytest.approx([0, 0, 0.1, 0.2])

    clock.advance(0.3)
    assert limiter.when(None) == pytest.approx(0.0)
    assert limiter.num_requeues(None) == 0


def test_94_the_default_of_items_waits_from_one_millisecond_to_a_thousand_seconds() -> None:
    limiter = default_item_based_rate_limiter()
    waits = [limiter.when("one") for _ in range(40)]

    assert waits[0] == pytest.approx(0.001)
    assert waits[-1] == 1000


def test_95_the_first_tries_are_fast_then_slow() -> None:
    limiter = ItemFastSlowRateLimiter[str](0.005, 10, 3)

    assert [limiter.when("one") for _ in range(5)] == [0.005, 0.005, 0.005, 10, 10]
    limiter.forget("one")
    assert limiter.when("one") == 0.005


def test_96_max_wait_caps_another_limiter() -> None:
    limiter = WithMaxWaitRateLimiter(ItemExponentialFailureRateLimiter[str](1, 1000), 3)

    assert [limiter.when("one") for _ in range(4)] == [1, 2, 3, 3]
    assert limiter.num_requeues("one") == 4


def test_93_max_of_takes_the_longest_wait_and_the_highest_count() -> None:
    limiter = MaxOfRateLimiter[str](
        ItemFastSlowRateLimiter[str](5, 10, 2), ItemExponentialFailureRateLimiter[str](1, 100)
    )

    assert [limiter.when("one") for _ in range(5)] == [5, 5, 10, 10, 16]
    assert limiter.num_requeues("one") == 5
    limiter.forget("one")
    assert limiter.num_requeues("one") == 0
