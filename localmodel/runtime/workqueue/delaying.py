"""`DelayingQueue`: the layer that accepts items for a later time.

Delayed items live in a heap by due time, beside `_due`, which says what each one's time really is: an entry of the heap
that disagrees with `_due` was overtaken by an earlier one and is skipped. A thread of its own, started with the first
delayed item and ended by shutdown, moves what is due into the queue below. The lock order is `_timer` before the
queue's own lock.

- An item becomes visible only when its time has come, in the order of the times.
- Added twice, the earlier time stands, whichever call came last.
- Shutdown drops what is still delayed.
"""

from __future__ import annotations

import heapq
import itertools
import threading

from localmodel.runtime.clock import Clock

from .metrics import QueueMetrics
from .queue import K, Queue


class DelayingQueue(Queue[K]):
    """A `Queue` with `add_after`."""

    def __init__(self, *, name: str = "", clock: Clock | None = None, metrics: QueueMetrics | None = None) -> None:
        super().__init__(clock=clock, metrics=metrics)
        self.name = name
        self._timer = threading.Condition()
        """Guards the fields below; notified when an earlier item came or the queue ends."""
        self._due: dict[K, float] = {}
        """When each delayed item is due, in monotonic seconds of the clock."""
        self._heap: list[tuple[float, int, K]] = []
        """(due, sequence, item): every entry of `_due`, and entries that were overtaken."""
        self._sequence = itertools.count()
        self._thread: threading.Thread | None = None
        self._ended = False

    def add_after(self, item: K, delay: float) -> None:
        """Adds the item once `delay` seconds have passed; at once if `delay` <= 0; never after shutdown."""
        if self.shutting_down:
            return
        if self._metrics:
            self._metrics.retry()
        if delay <= 0:
            self.add(item)
            return
        with self._timer:
            if self._ended:
                return
            due = self._clock.monotonic() + delay
            known = self._due.get(item)
            if known is not None and known <= due:
                return
            self._due[item] = due
            heapq.heappush(self._heap, (due, next(self._sequence), item))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=f"workqueue-{self.name}", daemon=True)
                self._thread.start()
            self._timer.notify_all()

    def shut_down(self) -> None:
        super().shut_down()
        self._end_timer()

    def shut_down_with_drain(self) -> None:
        self._end_timer()
        super().shut_down_with_drain()

    def _end_timer(self) -> None:
        with self._timer:
            self._ended = True
            self._due.clear()
            self._heap.clear()
            self._timer.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        with self._timer:
            while not self._ended:
                next_due = self._release_due(self._clock.monotonic())
                self._clock.wait(self._timer, None if next_due is None else next_due - self._clock.monotonic())

    def _release_due(self, now: float) -> float | None:
        """Adds every item that is due; when the next one will be."""
        while self._heap:
            due, _, item = self._heap[0]
            if self._due.get(item) != due:
                heapq.heappop(self._heap)
                continue
            if due > now:
                return due
            heapq.heappop(self._heap)
            del self._due[item]
            self.add(item)
        return None
