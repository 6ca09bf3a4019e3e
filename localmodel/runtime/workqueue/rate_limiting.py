"""`RateLimitingQueue`: the layer that adds an item back later the more often it failed.

How much later is decided by a `RateLimiter` (see `rate_limiters`), which also keeps the count of failures. This is the
first layer that is a whole `WorkQueue`; it takes priorities and ignores them, as it hands out first what came first.
"""

from __future__ import annotations

from localmodel.runtime.clock import Clock

from .delaying import DelayingQueue
from .interface import AddOptions, K
from .metrics import QueueMetrics
from .queue import Order
from .rate_limiters import RateLimiter, default_controller_rate_limiter


class RateLimitingQueue(DelayingQueue[K]):
    """A `DelayingQueue` with `add_rate_limited`, `add_with_options`, `forget` and `num_requeues`."""

    def __init__(
        self,
        rate_limiter: RateLimiter[K] | None = None,
        *,
        name: str = "",
        clock: Clock | None = None,
        metrics: QueueMetrics | None = None,
        order: Order[K] | None = None,
    ) -> None:
        super().__init__(name=name, clock=clock, metrics=metrics, order=order)
        self._rate_limiter: RateLimiter[K] = rate_limiter or default_controller_rate_limiter(clock=self._clock)

    def add_rate_limited(self, item: K) -> None:
        """Adds the item when the rate limiter allows it. The worker that holds it still calls `done`."""
        self.add_after(item, self._rate_limiter.when(item))

    def add_with_options(self, options: AddOptions, *items: K) -> None:
        """Adds every item as `options` say; each asks the rate limiter for itself. Priorities are ignored."""
        self._add_all(options, items, 0)

    def forget(self, item: K) -> None:
        """Ends the item's history of failures; it stays in the queue if it is there."""
        self._rate_limiter.forget(item)

    def num_requeues(self, item: K) -> int:
        """How often the item was added rate limited since it was last forgotten."""
        return self._rate_limiter.num_requeues(item)

    def _add_all(self, options: AddOptions, items: tuple[K, ...], priority: int) -> None:
        delays = [self._delay_of(item, options) for item in items]
        with self._lock:
            if self._shutting_down:
                return
            for item, delay in zip(items, delays, strict=True):
                if delay > 0:
                    self._add_after(item, delay, priority)
                else:
                    self._accept(item, priority)

    def _delay_of(self, item: K, options: AddOptions) -> float:
        if not options.rate_limited:
            return options.after
        limited = self._rate_limiter.when(item)
        return min(limited, options.after) if options.after > 0 else limited
