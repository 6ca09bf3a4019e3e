"""`FakeClock`: a `runtime.clock.Clock` whose time moves only when a test says so.

Code that waits on it really blocks its thread, and is woken by `advance` once its deadline has been reached; so a test
of a ten-minute back-off runs in a millisecond and always the same way. Two properties make that free of races. A
waiter is registered while it holds the condition it waits on, so `advance` cannot notify it too early. And the
deadline of `wait` counts from the time that the waiting thread last read with `monotonic`: if the clock was moved
between "how long must I still wait" and "wait", the waiter wakes at once instead of sleeping for ever.

`advance` takes the lock of each condition it notifies: the caller must not hold one that is not re-entrant.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(eq=False, slots=True)
class _Waiter:
    """One blocked thread: `deadline` in monotonic seconds, and how it is woken when that has come."""

    deadline: float
    condition: threading.Condition
    """Held while the thread is woken."""
    wake: Callable[[], object]
    woken: bool = False


class FakeClock:
    """A clock that stands still until `advance`. Thread-safe."""

    def __init__(self, start: datetime = EPOCH) -> None:
        self._start = start
        self._elapsed = 0.0
        self._waiters: list[_Waiter] = []
        self._changed = threading.Condition()
        self._last_read = threading.local()

    def now(self) -> datetime:
        with self._changed:
            return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        with self._changed:
            self._last_read.value = self._elapsed
            return self._elapsed

    def wait(self, condition: threading.Condition, timeout: float | None) -> None:
        """Waits on a held condition until it is notified or this clock has moved on by `timeout` seconds."""
        if timeout is None:
            condition.wait()
            return
        since = self._last_read.__dict__.pop("value", None)
        waiter = self._register(condition, condition.notify_all, timeout, since)
        if waiter is None:
            return
        try:
            condition.wait()
        finally:
            self._unregister(waiter)

    def wait_event(self, event: threading.Event, timeout: float) -> bool:
        """Waits until the event is set or this clock has moved on by `timeout` seconds; whether it is set."""
        # Event.set can wake only those who wait on the event's own condition, and this clock must wake nobody but this
        # thread: another's Event.wait would return although the event is not set. So a lock stands in line there.
        condition: threading.Condition = event._cond  # type: ignore[attr-defined]
        line = condition._waiters  # type: ignore[attr-defined]
        turnstile = threading.Lock()
        turnstile.acquire()

        def wake() -> None:
            if turnstile in line:
                line.remove(turnstile)
                turnstile.release()

        with condition:
            waiter = None if event.is_set() else self._register(condition, wake, timeout, None)
            if waiter is None:
                return event.is_set()
            line.append(turnstile)
        try:
            turnstile.acquire()
        finally:
            self._unregister(waiter)
            with condition:
                if turnstile in line:
                    line.remove(turnstile)
        return event.is_set()

    def advance(self, seconds: float) -> None:
        """Moves time forward and wakes every waiter whose deadline has come, earliest first."""
        if seconds < 0:
            raise ValueError(f"a clock cannot go back by {-seconds} s")
        with self._changed:
            self._elapsed += seconds
            due = sorted((w for w in self._waiters if w.deadline <= self._elapsed), key=lambda w: w.deadline)
            for waiter in due:
                waiter.woken = True
        for waiter in due:
            with waiter.condition:
                waiter.wake()

    @property
    def waiters(self) -> int:
        """How many threads are blocked on a deadline of this clock that has not come."""
        with self._changed:
            return self._pending()

    @property
    def next_deadline(self) -> float | None:
        """Seconds until the earliest waiter is due; None if nobody waits."""
        with self._changed:
            deadlines = [w.deadline for w in self._waiters if not w.woken]
            return min(deadlines) - self._elapsed if deadlines else None

    def wait_for_waiters(self, count: int = 1, *, timeout: float = 10.0) -> None:
        """Blocks, in real time, until at least `count` threads wait on this clock; raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._pending() >= count, timeout):
                raise TimeoutError(f"{self._pending()} threads wait on the clock after {timeout} s; expected {count}")

    def _pending(self) -> int:
        return sum(not waiter.woken for waiter in self._waiters)

    def _register(
        self, condition: threading.Condition, wake: Callable[[], object], timeout: float, since: float | None
    ) -> _Waiter | None:
        """A registered waiter, or None if the deadline has come already."""
        with self._changed:
            deadline = (self._elapsed if since is None else since) + timeout
            if deadline <= self._elapsed:
                return None
            waiter = _Waiter(deadline, condition, wake)
            self._waiters.append(waiter)
            self._changed.notify_all()
            return waiter

    def _unregister(self, waiter: _Waiter) -> None:
        with self._changed:
            self._waiters.remove(waiter)
            self._changed.notify_all()
