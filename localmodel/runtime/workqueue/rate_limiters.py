"""Rate limiters: policies that say how long a failed item waits before it is tried again.

They are independent of the queue, combine by wrapping (`MaxOfRateLimiter`, `WithMaxWaitRateLimiter`) and are safe to
use from many threads. Names and defaults are those of client-go's `default_rate_limiters.go`.
"""

from __future__ import annotations

import threading
from typing import Any, Generic, Protocol, TypeVar

from localmodel.runtime.clock import Clock, RealClock

from .interface import K

_K = TypeVar("_K", contravariant=True)


class RateLimiter(Protocol[_K]):
    """Counts an item's failures and turns them into a delay."""

    def when(self, item: _K) -> float:
        """Counts one more failure; seconds to wait."""

    def forget(self, item: _K) -> None:
        """The item succeeded, or is given up: its failures no longer count."""

    def num_requeues(self, item: _K) -> int:
        """Failures since the item was last forgotten."""


class _Failures(Generic[K]):
    """How often each item failed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[K, int] = {}

    def increment(self, item: K) -> int:
        """Counts one more; how many there were before."""
        with self._lock:
            before = self._counts.get(item, 0)
            self._counts[item] = before + 1
            return before

    def get(self, item: K) -> int:
        with self._lock:
            return self._counts.get(item, 0)

    def clear(self, item: K) -> None:
        with self._lock:
            self._counts.pop(item, None)


class ItemExponentialFailureRateLimiter(Generic[K]):
    """The n-th failure of an item in a row, counted from 0, waits base * 2^n seconds, at most `maximum`."""

    def __init__(self, base: float = 0.005, maximum: float = 1000.0) -> None:
        self._base = base
        self._maximum = maximum
        self._failures: _Failures[K] = _Failures()

    def when(self, item: K) -> float:
        exponent = self._failures.increment(item)
        # 2.0 ** 1024 overflows a float; any item that failed so often has reached the maximum long before.
        return min(self._base * 2.0 ** min(exponent, 1000), self._maximum)

    def forget(self, item: K) -> None:
        self._failures.clear(item)

    def num_requeues(self, item: K) -> int:
        return self._failures.get(item)


class ItemFastSlowRateLimiter(Generic[K]):
    """The first `max_fast_attempts` failures of an item wait `fast` seconds, all others `slow`."""

    def __init__(self, fast: float, slow: float, max_fast_attempts: int) -> None:
        self._fast = fast
        self._slow = slow
        self._max_fast_attempts = max_fast_attempts
        self._failures: _Failures[K] = _Failures()

    def when(self, item: K) -> float:
        return self._fast if self._failures.increment(item) < self._max_fast_attempts else self._slow

    def forget(self, item: K) -> None:
        self._failures.clear(item)

    def num_requeues(self, item: K) -> int:
        return self._failures.get(item)


class BucketRateLimiter:
    """A token bucket over all items together: `burst` at once, then `qps` per second. It knows no failures."""

    def __init__(self, qps: float = 10.0, burst: int = 100, *, clock: Clock | None = None) -> None:
        self._qps = qps
        self._burst = burst
        self._clock = clock or RealClock()
        self._lock = threading.Lock()
        self._tokens = float(burst)
        """What is left in the bucket; below zero, what has been promised to callers that wait."""
        self._updated = self._clock.monotonic()

    def when(self, item: Any) -> float:  # noqa: ARG002 - one bucket for all
        with self._lock:
            now = self._clock.monotonic()
            self._tokens = min(self._burst, self._tokens + (now - self._updated) * self._qps) - 1
            self._updated = now
            return max(0.0, -self._tokens / self._qps)

    def forget(self, item: Any) -> None:
        """Nothing: the bucket has no memory of items."""

    def num_requeues(self, item: Any) -> int:  # noqa: ARG002
        return 0


class MaxOfRateLimiter(Generic[K]):
    """The longest wait, and the highest count, that any of several limiters asks for."""

    def __init__(self, *limiters: RateLimiter[K]) -> None:
        self._limiters = limiters

    def when(self, item: K) -> float:
        return max(limiter.when(item) for limiter in self._limiters)

    def forget(self, item: K) -> None:
        for limiter in self._limiters:
            limiter.forget(item)

    def num_requeues(self, item: K) -> int:
        return max(limiter.num_requeues(item) for limiter in self._limiters)


class WithMaxWaitRateLimiter(Generic[K]):
    """Another limiter whose waits are capped at `max_wait` seconds."""

    def __init__(self, limiter: RateLimiter[K], max_wait: float) -> None:
        self._limiter = limiter
        self._max_wait = max_wait

    def when(self, item: K) -> float:
        return min(self._limiter.when(item), self._max_wait)

    def forget(self, item: K) -> None:
        self._limiter.forget(item)

    def num_requeues(self, item: K) -> int:
        return self._limiter.num_requeues(item)


def default_controller_rate_limiter(*, clock: Clock | None = None) -> RateLimiter[Any]:
    """5 ms doubling to 1000 s for each item, and for all together 10 per second after a burst of 100."""
    return MaxOfRateLimiter(
        ItemExponentialFailureRateLimiter[Any](0.005, 1000.0), BucketRateLimiter(10.0, 100, clock=clock)
    )


def default_item_based_rate_limiter() -> RateLimiter[Any]:
    """1 ms doubling to 1000 s for each item, without a limit over all."""
    return ItemExponentialFailureRateLimiter[Any](0.001, 1000.0)
