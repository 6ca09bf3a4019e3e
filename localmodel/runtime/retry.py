"""Doing a write again after a conflict (client-go's util/retry).

A reconciler seldom needs it: a ConflictError that it lets go has the request queued again, with a newer cache. It is
for writes outside of reconciles and for those with many competitors. Waits end with the work in hand: by its
`cancellation`, and early where its `deadline` leaves no time for the next attempt.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type

from . import cancellation, deadline
from .clock import Clock, RealClock
from .errors import ConflictError

R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryOptions:
    """How often, and after which delays (wait.Backoff). The default is client-go's DefaultRetry."""

    steps: int = 5
    """Attempts altogether."""
    delay: float = 0.01
    """Seconds before the second attempt, before jitter."""
    factor: float = 1.0
    """By which each delay is longer than the one before."""
    jitter: float = 0.1
    """A delay is lengthened by a random share of itself up to this."""


DEFAULT_RETRY = RetryOptions()
"""For a write that competes with few others."""
DEFAULT_BACKOFF = RetryOptions(steps=4, factor=5.0)
"""For a write that competes with many (client-go's DefaultBackoff)."""


def retry_on_conflict(work: Callable[[], R], *, options: RetryOptions = DEFAULT_RETRY, clock: Clock | None = None) -> R:
    """Calls `work`, which must read the object anew each time, until it raises no ConflictError; what it returns.

    Raises the last ConflictError, any other error at once, CancelledError.
    """
    return retry_on_error(work, ConflictError, options=options, clock=clock)


def retry_on_error(
    work: Callable[[], R],
    retriable: type[Exception] | tuple[type[Exception], ...],
    *,
    options: RetryOptions = DEFAULT_RETRY,
    clock: Clock | None = None,
) -> R:
    """`retry_on_conflict` for other errors: those of the classes given (retry.OnError)."""
    used = clock or RealClock()
    return Retrying(
        retry=retry_if_exception_type(retriable),
        stop=lambda state: state.attempt_number >= options.steps or _is_too_late(state),
        wait=lambda state: _delay(options, state.attempt_number),
        sleep=lambda seconds: _sleep(used, seconds),
        reraise=True,
    )(work)


def _delay(options: RetryOptions, attempts: int) -> float:
    """Seconds to wait after so many attempts."""
    delay = options.delay * options.factor ** (attempts - 1)
    return delay * (1 + random.random() * options.jitter)


def _is_too_late(state: RetryCallState) -> bool:
    """The next attempt would begin after the deadline of the work in hand."""
    left = deadline.remaining()
    return left is not None and left <= state.upcoming_sleep


def _sleep(clock: Clock, seconds: float) -> None:
    woken = threading.Event()
    with cancellation.waking(woken.set):
        clock.wait_event(woken, seconds)
    cancellation.check()
