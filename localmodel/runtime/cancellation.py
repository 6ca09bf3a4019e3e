"""Ending from another thread what a thread waits for: the counterpart of `deadline` (in Go a context has both parts).

Python cannot interrupt a thread, so whatever blocks says how it is woken: a client shuts the socket of the request
under way, a wait notifies its condition. A thread enters a `Cancellation` by `scope`; everything that it calls, and the
threads that it starts with `carrying`, can then be ended by `cancel`. Without a scope nothing is cancelled.

Neighbours: `transport` and `informer` block; `reflector`, `runnable_group`, `leaderelection` and `events` cancel.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import ParamSpec

from .errors import RuntimeLibraryError

P = ParamSpec("P")


class CancelledError(RuntimeLibraryError):
    """The work in hand was told to end. A write that was under way may or may not have happened."""


class Cancellation:
    """Ends, once and for all, what waits in its scope. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancelled = False
        self._wakers: dict[object, Callable[[], object]] = {}
        """What wakes each wait under way."""

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    def cancel(self) -> None:
        """Wakes every wait under way, and makes every later one fail. Idempotent."""
        with self._lock:
            self._cancelled = True
            wakers = tuple(self._wakers.values())
            self._wakers.clear()
        for wake in wakers:
            wake()

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Puts the calling thread's work under this cancellation; of nested scopes the innermost counts."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def check(self, doing: str = "the work in hand") -> None:
        """Raises CancelledError if it was cancelled; `doing` says what was."""
        if self._cancelled:
            raise CancelledError(f"{doing} was cancelled: the program, or this part of it, is stopping")

    @contextmanager
    def waking(self, wake: Callable[[], object], doing: str = "the work in hand") -> Iterator[None]:
        """Calls `wake` on `cancel` while inside, in the canceller's thread; raises CancelledError if it came before."""
        ticket = object()
        with self._lock:
            self.check(doing)
            self._wakers[ticket] = wake
        try:
            yield
        finally:
            with self._lock:
                self._wakers.pop(ticket, None)


_current: ContextVar[Cancellation | None] = ContextVar("localmodel_cancellation", default=None)


def check(doing: str = "the work in hand") -> None:
    """Raises CancelledError if the calling thread's work was cancelled."""
    current = _current.get()
    if current is not None:
        current.check(doing)


def carrying(target: Callable[P, object]) -> Callable[P, None]:
    """A thread's target that works under the calling thread's cancellation.

    Neither a deadline nor log fields are carried along: it is for threads that outlive the work in hand. For those that
    are part of a reconcile there is `reconcile.within_run`.
    """
    current = _current.get()

    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with nullcontext() if current is None else current.scope():
            target(*args, **kwargs)

    return run


def waking(wake: Callable[[], object], doing: str = "the work in hand") -> AbstractContextManager[None]:
    """`Cancellation.waking` of the calling thread's work; nothing without a scope."""
    current = _current.get()
    return nullcontext() if current is None else current.waking(wake, doing)
