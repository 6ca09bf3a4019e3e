"""`Queue`: the lowest layer of the work queue.

Three collections hold its whole state. `_dirty` is every item that needs processing; `_processing` is every item a
worker holds; `_waiting` is the order in which dirty items that nobody holds will be handed out. Hence the promises:

- An item added many times before it is handed out is handed out once.
- An item is never held by two workers. Added while it is held, it is handed out again once, after `done`.
- Items are handed out in the order in which they were first added.
- After `shut_down` nothing more is accepted, what is queued is still handed out, and then `get` answers shutdown.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

from localmodel.runtime.clock import Clock, RealClock

from .metrics import QueueMetrics

K = TypeVar("K", bound=Hashable)


class Queue(Generic[K]):
    """A first-in-first-out queue of distinct items for many producers and many workers.

    A worker calls `get`, works, and calls `done` with the same item, whatever came of the work.
    """

    def __init__(self, *, clock: Clock | None = None, metrics: QueueMetrics | None = None) -> None:
        """Without `metrics` nothing is exported."""
        self._clock = clock or RealClock()
        self._metrics = metrics
        self._lock = threading.Lock()
        self._ready = threading.Condition(self._lock)
        """Notified when an item starts to wait, and at shutdown."""
        self._finished = threading.Condition(self._lock)
        """Notified when nothing waits and nothing is held, and when a drain is given up."""
        self._waiting: deque[K] = deque()
        """Dirty items that no worker holds, each once."""
        self._dirty: set[K] = set()
        """Items that need processing: those in `_waiting`, and those held that were added again."""
        self._processing: set[K] = set()
        """Items handed out and not done."""
        self._shutting_down = False
        self._draining = False

    def add(self, item: K) -> None:
        """Marks the item as needing processing; ignored after shutdown."""
        with self._lock:
            if self._shutting_down or item in self._dirty:
                return
            if self._metrics:
                self._metrics.add(item)
            self._dirty.add(item)
            if item not in self._processing:
                self._waiting.append(item)
                self._ready.notify()

    def get(self) -> tuple[K | None, bool]:
        """Blocks until an item can be handed out. `(item, False)`, or `(None, True)` when the worker should end."""
        with self._lock:
            while not self._waiting and not self._shutting_down:
                self._clock.wait(self._ready, None)
            if not self._waiting:
                return None, True
            item = self._waiting.popleft()
            if self._metrics:
                self._metrics.get(item)
            self._processing.add(item)
            self._dirty.discard(item)
            return item, False

    def done(self, item: K) -> None:
        """Gives the item back. If it was added meanwhile it waits again; for an item not held, nothing happens."""
        with self._lock:
            if item not in self._processing:
                return
            if self._metrics:
                self._metrics.done(item)
            self._processing.discard(item)
            if item in self._dirty:
                self._waiting.append(item)
                self._ready.notify()
            elif not self._waiting and not self._processing:
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
            while self._draining and (self._waiting or self._processing):
                self._clock.wait(self._finished, None)

    def _begin_shutdown(self) -> None:
        self._shutting_down = True
        if self._metrics:
            self._metrics.shut_down()
        self._ready.notify_all()
        self._finished.notify_all()
