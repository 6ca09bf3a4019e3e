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

from localmodel.runtime.clock import Clock, RealClock

from .interface import AddOptions, K
from .levels import Levels
from .metrics import QueueMetrics
from .queue import Entry
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
        clock = clock or RealClock()
        self._levels: Levels[K] = Levels(starvation_seconds, clock.monotonic)
        super().__init__(rate_limiter, name=name, clock=clock, metrics=metrics, order=self._levels)

    def add_with_options(self, options: AddOptions, *items: K) -> None:
        """Adds every item as `options` say; each asks the rate limiter for itself. Ignored after shutdown."""
        self._add_all(options, items, options.priority or 0)

    def _accept(self, item: K, priority: int) -> None:
        known = self._dirty.get(item)
        if known is not None:
            if priority > known[1]:
                self._raise(known, priority)
            return
        delayed = self._delays.discard(item) if self._delays.entries else None
        super()._accept(item, priority if delayed is None else max(priority, delayed))

    def _raise(self, entry: Entry[K], priority: int) -> None:
        item, _, since = entry
        raised = self._dirty[item] = (item, priority, since)
        if item not in self._processing:
            self._levels.remove(entry)
            self._levels.push(raised)

    def _delay(self, item: K, due: float, priority: int) -> None:
        if item in self._dirty:
            self._accept(item, priority)
        else:
            super()._delay(item, due, priority)
