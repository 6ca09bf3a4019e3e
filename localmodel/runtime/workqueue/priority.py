"""`PriorityQueue`: a `RateLimitingQueue` that hands out the highest priority first.

The semantics are those of controller-runtime's `priorityqueue`. It changes the order in which items wait, kept in
`Levels`, and one thing more: an item is either delayed or dirty, never both. So an item has one priority and one time,
and adding it again can only better them:

- Added again with a higher priority, an item is raised and goes behind those already there; it is never lowered.
- Added again, the earlier time stands: a delayed item added without delay is ready at once, and a ready item added with
  a delay stays ready. (The plain queue hands such an item out twice, now and when its time comes.)
- A priority lasts until the item is handed out; `get_with_priority` tells it, for a worker that adds the item again.
- No item starves: see `Levels`.

What is in the layers below holds as well. Other than controller-runtime's, this queue can be drained, and so what is
ready at shutdown is still handed out; `get` never blocks then.
"""

from __future__ import annotations

from collections.abc import Iterable

from localmodel.runtime.clock import Clock

from .interface import K
from .levels import Levels
from .metrics import QueueMetrics
from .rate_limiters import RateLimiter
from .rate_limiting import RateLimitingQueue


class PriorityQueue(RateLimitingQueue[K]):
    """A `WorkQueue` that obeys `AddOptions.priority`."""

    def __init__(
        self,
        rate_limiter: RateLimiter[K] | None = None,
        *,
        name: str = "",
        clock: Clock | None = None,
        metrics: QueueMetrics | None = None,
        starvation_seconds: float = 60.0,
    ) -> None:
        """An item that has been ready for `starvation_seconds` takes turns with higher priorities."""
        super().__init__(rate_limiter, name=name, clock=clock, metrics=metrics)
        self._levels: Levels[K] = Levels(starvation_seconds, self._clock.monotonic)
        """Dirty items that no worker holds; takes the place of `_waiting`."""
        self._priorities: dict[K, int] = {}
        """The priority of every dirty item."""

    def _accept(self, item: K, priority: int) -> None:
        if self._delays:
            delayed = self._delays.discard(item)
            if delayed is not None:
                priority = max(priority, delayed)
        known = self._priorities.get(item)
        if known is None:
            self._priorities[item] = priority
            super()._accept(item, priority)
        elif priority > known:
            self._priorities[item] = priority
            if item not in self._processing:
                self._levels.move(item, known, priority)

    def _delay(self, item: K, due: float, priority: int) -> None:
        if item in self._dirty:
            self._accept(item, priority)
        else:
            super()._delay(item, due, priority)

    def _push(self, item: K) -> None:
        self._levels.push(item, self._priorities[item], self._dirty[item])
        if self._idle:
            self._ready.notify()

    def _pop(self) -> tuple[K, int]:
        item, priority = self._levels.pop()
        del self._priorities[item]
        return item, priority

    def _count(self) -> int:
        return len(self._levels)

    def _depths(self) -> Iterable[tuple[int | None, int]]:
        return [(0, 0), *self._levels.depths()]
