"""Delivers an informer's changes to one handler: its own queue, its own thread, its own resync.

A slow handler grows its own queue only. A failing handler loses only the event at hand. Events come in the order in
which the store changed. Rules: reference/runtimes.md 2.6, nos. 61-73.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeAlias

import msgspec
import structlog

from .cancellation import carrying
from .clock import Clock
from .objects import T
from .store import Stored

log = structlog.get_logger(__name__)

RESYNC_JITTER = 0.1
"""Resync periods are spread by this share, so that informers do not resync together."""


class ResourceEventHandler(Protocol[T]):
    """Hears of changes in an informer's store, one at a time, after the store has them (cache.ResourceEventHandler)."""

    def on_add(self, obj: Stored[T], is_in_initial_list: bool) -> None: ...

    def on_update(self, old: Stored[T], new: Stored[T]) -> None:
        """Old and new are the same object on a resync; their uids differ if a deletion in between went unseen."""

    def on_delete(self, obj: Stored[T], final_state_unknown: bool) -> None:
        """`obj` is the final state, or the last known one if the deletion was only noticed by a new list."""


class Added(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """`on_add` is due."""

    obj: Stored[T]
    initial: bool

    def deliver(self, handler: ResourceEventHandler[T]) -> None:
        handler.on_add(self.obj, self.initial)


class Updated(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """`on_update` is due."""

    old: Stored[T]
    new: Stored[T]

    def deliver(self, handler: ResourceEventHandler[T]) -> None:
        handler.on_update(self.old, self.new)


class Deleted(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """`on_delete` is due."""

    obj: Stored[T]
    final_state_unknown: bool

    def deliver(self, handler: ResourceEventHandler[T]) -> None:
        handler.on_delete(self.obj, self.final_state_unknown)


class InitialListDone(msgspec.Struct, frozen=True):
    """All events that make up the initial list have been queued before this."""


Notification: TypeAlias = Added[T] | Updated[T] | Deleted[T] | InitialListDone
"""One for all listeners: what each has still to tell its handler."""


class Listener(Generic[T]):
    """The queue and the dispatcher thread of one handler. The informer calls `notify` under its own lock.

    The handler works under the cancellation of the thread that makes the listener.
    """

    def __init__(
        self,
        handler: ResourceEventHandler[T],
        *,
        name: str,
        resync: Callable[[Listener[T]], None],
        resync_period: float,
        clock: Clock,
    ) -> None:
        self.handler = handler
        self._name = type(handler).__name__
        self.failures = 0
        """Events the handler raised on."""
        self.synced = threading.Event()
        """Set once the handler has taken its whole initial list without an exception."""
        self.settled = threading.Event()
        """Set with `synced`, or when the listener stops: there is nothing more to wait for."""
        self.last_error = ""
        self._clock = clock
        self._resync = resync
        self._resync_period = resync_period
        self._queue: deque[Notification[T]] = deque()
        self._wakeup = threading.Condition()
        self._stopping = False
        """Nothing that is in the queue matters any more."""
        self._idle = False
        """The thread waits for the queue to be no longer empty, or is about to. It says so before it looks into the
        queue for the last time, and `notify` asks after it has put something there: one of them sees the other."""
        self._failed_initially = False
        self._thread = threading.Thread(target=carrying(self._run), name=f"{name}-handler", daemon=True)

    def notify(self, notification: Notification[T]) -> None:
        if self._stopping:
            return
        self._queue.append(notification)
        if self._idle:  # the lock costs more than all the rest, and a thread with work to do needs no waking
            with self._wakeup:
                self._idle = False
                self._wakeup.notify()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Drops what is queued; the thread ends after the event at hand. Idempotent."""
        with self._wakeup:
            self._stopping = True
            self._queue.clear()
            self._wakeup.notify_all()
        self.settled.set()

    def join(self, timeout: float) -> bool:
        """Whether the thread is gone, or about to go because it is the caller."""
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)
            return not self._thread.is_alive()
        return True

    def __len__(self) -> int:
        return len(self._queue)

    def _run(self) -> None:
        due = self._next_resync()
        while True:
            event = self._next(due)
            if event is None:
                if self._stopping:
                    return
                due = self._next_resync()
                self._resync(self)
                continue
            try:
                if isinstance(event, InitialListDone):
                    self._note_end_of_initial_list()
                else:
                    event.deliver(self.handler)
            except Exception as error:  # foreign code: it loses this event, not the stream
                log.exception(
                    "An event handler failed and has lost an event", event_lost=repr(event), handler=self._name
                )
                self._note_failure(event, error)

    def _next(self, due: float | None) -> Notification[T] | None:
        """The next event; None when stopping or when a resync is due."""
        while not self._stopping:
            try:
                return self._queue.popleft()
            except IndexError:
                pass
            remaining = None if due is None else due - self._clock.monotonic()
            if remaining is not None and remaining <= 0:
                break
            with self._wakeup:
                self._idle = True
                if not (self._queue or self._stopping):
                    self._clock.wait(self._wakeup, remaining)
                self._idle = False
        return None

    def _note_end_of_initial_list(self) -> None:
        if not self._failed_initially:
            self.synced.set()
            self.settled.set()

    def _note_failure(self, event: Notification[T], error: Exception) -> None:
        self.failures += 1
        if not self.synced.is_set():
            self._failed_initially = True
            self.last_error = f"{self._name} failed on {event!r}: {type(error).__name__}: {error}"

    def _next_resync(self) -> float | None:
        """On the clock's monotonic time; None if there is no resync."""
        if not self._resync_period:
            return None
        jitter = 1 + random.uniform(-RESYNC_JITTER, RESYNC_JITTER)
        return self._clock.monotonic() + self._resync_period * jitter
