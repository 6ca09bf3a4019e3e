"""The time left for the work in hand, known to everything that the work calls in the same thread.

A controller limits each reconcile, a leader elector each try. Python cannot interrupt a thread, so a deadline works by
being looked at: a client bounds its socket timeout by `remaining` and asks `check` before each request, and a long loop
in a reconciler may do the same. Hence it ends a reconciler that waits for the API server; it does not end one that
computes, sleeps, or waits on something else, and it reaches threads that the reconciler starts only if they are started
with `reconcile.within_run`. A run that overran is counted in any case, when it ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from .clock import Clock
from .errors import RuntimeLibraryError


class DeadlineExceededError(RuntimeLibraryError):
    """The time for the work in hand is over."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point in a clock's monotonic time."""

    at: float
    clock: Clock

    def remaining(self) -> float:
        """Seconds left; negative once it has passed."""
        return self.at - self.clock.monotonic()


_current: ContextVar[Deadline | None] = ContextVar("localmodel_deadline", default=None)


@contextmanager
def limit(clock: Clock, seconds: float) -> Iterator[Deadline]:
    """Gives the work inside at most that long; of nested limits the earliest counts."""
    own = Deadline(clock.monotonic() + seconds, clock)
    outer = _current.get()
    token = _current.set(outer if outer is not None and outer.remaining() < own.remaining() else own)
    try:
        yield own
    finally:
        _current.reset(token)


def remaining() -> float | None:
    """Seconds left for the work in hand, negative once over; None without a deadline."""
    deadline = _current.get()
    return None if deadline is None else deadline.remaining()


def check(doing: str = "the work in hand") -> None:
    """Raises DeadlineExceededError if the time is over; `doing` says of what."""
    left = remaining()
    if left is not None and left <= 0:
        raise DeadlineExceededError(f"the deadline for {doing} passed {-left:.1f} s ago")
