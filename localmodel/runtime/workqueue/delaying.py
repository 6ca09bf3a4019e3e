"""`DelayingQueue`: the layer that accepts items for a later time.

Delayed items live in `Delays` until a thread of the queue's own, started with the first of them and ended by shutdown,
moves what is due into the queue below.

- An item becomes visible only when its time has come, in the order of the times.
- Added twice, the earlier time stands, whichever call came last.
- Shutdown drops what is still delayed.
"""

from __future__ import annotations

import threading

from localmodel.runtime.clock import Clock

from .delays import Delays
from .interface import K
from .metrics import QueueMetrics
from .queue import Order, Queue

_RELEASED_AT_ONCE = 1000
"""Items that the timer moves before it lets others have the lock."""
_LONGEST_WAIT = 3600.0
"""Seconds after which the timer looks again in any case: an operating system refuses to wait for centuries."""


class DelayingQueue(Queue[K]):
    """A `Queue` with `add_after`."""

    def __init__(
        self,
        *,
        name: str = "",
        clock: Clock | None = None,
        metrics: QueueMetrics | None = None,
        order: Order[K] | None = None,
    ) -> None:
        """`name` names the queue's thread."""
        super().__init__(clock=clock, metrics=metrics, order=order)
        self.name = name
        self._delays: Delays[K] = Delays()
        self._timer = threading.Condition(self._lock)
        """Notified when an item came that is due before all others, and when the timer must end."""
        self._thread: threading.Thread | None = None

    def add_after(self, item: K, delay: float) -> None:
        """Adds the item once `delay` seconds have passed; at once if `delay` <= 0; never after shutdown."""
        with self._lock:
            if not self._shutting_down:
                self._add_after(item, delay, 0)

    def shut_down(self) -> None:
        super().shut_down()
        self._join_timer()

    def shut_down_with_drain(self) -> None:
        super().shut_down_with_drain()
        self._join_timer()

    def _begin_shutdown(self) -> None:
        super()._begin_shutdown()
        self._delays.clear()
        self._timer.notify()

    def _join_timer(self) -> None:
        if self._thread is not None:
            self._thread.join()

    def _add_after(self, item: K, delay: float, priority: int) -> None:
        if self._metrics:
            self._metrics.retries += 1
        if delay <= 0:
            self._accept(item, priority)
        else:
            self._delay(item, self._clock.monotonic() + delay, priority)

    def _delay(self, item: K, due: float, priority: int) -> None:
        """Keeps the item until it is due."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name=f"workqueue-{self.name}", daemon=True)
            thread.start()
            self._thread = thread
        if self._delays.put(item, due, priority):
            self._timer.notify()

    def _run(self) -> None:
        with self._lock:
            while not self._shutting_down:
                self._clock.wait(self._timer, self._release_due())

    def _release_due(self) -> float | None:
        """Moves what is due into the queue; seconds until the next item is due, None if nothing is delayed."""
        now = self._clock.monotonic()
        for _ in range(_RELEASED_AT_ONCE):
            due = self._delays.next_due()
            if due is None:
                return None
            if due > now:
                return min(due - now, _LONGEST_WAIT)
            self._accept(*self._delays.pop())
        return 0.0
