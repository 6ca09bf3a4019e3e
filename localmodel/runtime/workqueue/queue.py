"""`Queue`: the lowest layer of the work queue.

Three collections hold its whole state. `_dirty` is every item that needs processing; `_processing` is every item a
worker holds; `_waiting` is the order in which dirty items that nobody holds will be handed out. Hence the promises:

- An item added many times before it is handed out is handed out once.
- An item is never held by two workers. Added while it is held, it is handed out again once, after `done`.
- Items are handed out in the order in which they became ready: by the first `add`, or by the `done` that ended a hold.
- After `shut_down` nothing more is accepted, what is ready is still handed out, and then `get` answers shutdown. `get`
  never blocks once the queue is shut down.

The layers above inherit from this one rather than wrap it: a delayed item moves into `_dirty` and a raised one changes
its place in `_waiting` in one step under one lock, which a wrapper outside of the lock could not do. They replace
methods with an underscore, all of which are called with the lock held, and the order.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from typing import Generic, Protocol, TypeAlias, cast

from localmodel.runtime.clock import Clock, RealClock

from .interface import K
from .metrics import QueueMetrics
from .yielding_lock import YieldingLock

Entry: TypeAlias = tuple[K, int, float]
"""A dirty item, its priority, and since when it has been dirty, in monotonic seconds of the clock."""


class Order(Protocol[K]):
    """In which order items are handed out. Not thread-safe."""

    def push(self, entry: Entry[K]) -> None:
        """Lets an item wait that does not yet."""

    def pop(self) -> Entry[K]:
        """Removes the next item; only while there is one."""

    def __len__(self) -> int:
        """How many items wait."""

    def depths(self) -> Iterable[tuple[int | None, int]]:
        """The priorities, None in an order without, and how many items wait at each."""


class _Fifo(Generic[K]):
    """First in, first out."""

    def __init__(self) -> None:
        self._entries: deque[Entry[K]] = deque()
        self.push = self._entries.append
        self.pop = self._entries.popleft

    def __len__(self) -> int:
        return len(self._entries)

    def depths(self) -> Iterable[tuple[int | None, int]]:
        return [(None, len(self._entries))]


class Queue(Generic[K]):
    """A first-in-first-out queue of distinct items for many producers and many workers.

    A worker calls `get`, works, and calls `done` with the same item, whatever came of the work.
    """

    def __init__(
        self, *, clock: Clock | None = None, metrics: QueueMetrics | None = None, order: Order[K] | None = None
    ) -> None:
        """Without `metrics` nothing is exported; one `QueueMetrics` serves one queue. Without `order`: as they came."""
        self._clock = clock or RealClock()
        self._metrics = metrics
        self._lock = cast("threading.Lock", YieldingLock())
        self._ready = threading.Condition(self._lock)
        """Notified when an item starts to wait, and at shutdown."""
        self._finished = threading.Condition(self._lock)
        """Notified when nothing waits and nothing is held, and when a drain is given up."""
        self._idle = 0
        """Threads that wait on `_ready`: with none, notifying is left out, which is most of the cost of an add."""
        self._waiting: Order[K] = _Fifo() if order is None else order
        """Dirty items that no worker holds, each once."""
        self._dirty: dict[K, Entry[K]] = {}
        """Items that need processing: those waiting, and those held that were added again."""
        self._processing: dict[K, float] = {}
        """Items handed out and not done, and since when."""
        self._shutting_down = False
        self._draining = False
        if metrics:
            metrics.follow(self._lock, self._waiting.depths, self._processing.values)

    def add(self, item: K) -> None:
        """Marks the item as needing processing; ignored after shutdown."""
        with self._lock:
            if not self._shutting_down:
                self._accept(item, 0)

    def get(self) -> tuple[K | None, bool]:
        """Blocks until an item can be handed out. `(item, False)`, or `(None, True)` when the worker should end."""
        item, _, shutdown = self.get_with_priority()
        return item, shutdown

    def get_with_priority(self) -> tuple[K | None, int, bool]:
        """As `get`, with the item's priority: `(item, priority, False)`, or `(None, 0, True)`. Here it is always 0."""
        with self._lock:
            while not self._waiting:
                if self._shutting_down:
                    return None, 0, True
                self._idle += 1
                try:
                    self._clock.wait(self._ready, None)
                finally:
                    self._idle -= 1
            item, priority, since = self._waiting.pop()
            del self._dirty[item]
            now = self._clock.monotonic()
            self._processing[item] = now
            if self._metrics:
                self._metrics.queue_duration.observe(now - since)
            return item, priority, False

    def done(self, item: K) -> None:
        """Gives the item back. If it was added meanwhile it waits again; for an item not held, nothing happens."""
        with self._lock:
            started = self._processing.pop(item, None)
            if started is None:
                return
            if self._metrics:
                self._metrics.work_duration.observe(self._clock.monotonic() - started)
            again = self._dirty.get(item)
            if again:
                self._push(again)
            elif self._draining and not self._processing and not self._waiting:
                self._finished.notify_all()

    def __len__(self) -> int:
        """How many items wait to be handed out; those held or delayed are not counted."""
        with self._lock:
            return len(self._waiting)

    @property
    def shutting_down(self) -> bool:
        with self._lock:
            return self._shutting_down

    def shut_down(self) -> None:
        """Ends the queue without waiting; also ends a drain under way."""
        with self._lock:
            self._draining = False
            self._begin_shutdown()

    def shut_down_with_drain(self) -> None:
        """Ends the queue and blocks until everything queued and held is done, or until `shut_down` is called.

        Without a worker that drains it, that is for ever.
        """
        with self._lock:
            self._draining = True
            self._begin_shutdown()
            while self._draining and (self._processing or self._waiting):
                self._clock.wait(self._finished, None)

    def _begin_shutdown(self) -> None:
        self._shutting_down = True
        if self._metrics:
            self._metrics.shut_down()
        self._ready.notify_all()
        self._finished.notify_all()

    def _accept(self, item: K, priority: int) -> None:
        """Makes the item dirty unless it is."""
        if item in self._dirty:
            return
        entry = self._dirty[item] = (item, priority, self._clock.monotonic())
        if self._metrics:
            self._metrics.adds += 1
        if item not in self._processing:
            self._push(entry)

    def _push(self, entry: Entry[K]) -> None:
        """Lets a dirty item that nobody holds wait."""
        self._waiting.push(entry)
        if self._idle:
            self._ready.notify()
