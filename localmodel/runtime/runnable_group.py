"""`RunnableGroup`: runnables that start and stop together, each in a thread of its own.

The manager has three: those that need no leadership, the warm-ups of those that do, and these. A group may be given
runnables before and while it runs; once closed it takes and starts none, so that a lease won too late starts nothing.
What a runnable waits for can be ended by `cancel` (see `cancellation`), in its own thread and in those that it starts
with its context.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import structlog

from .cancellation import Cancellation, CancelledError
from .clock import Clock
from .errors import RuntimeLibraryError

log = structlog.get_logger(__name__)


class Runnable(Protocol):
    """Something that runs as long as the manager does.

    An attribute `need_leader_election = False` makes it run in every process; without it, only in the leader.
    """

    def start(self, stop: threading.Event) -> None:
        """Blocks until `stop` is set; to return earlier is allowed. An exception ends the manager, which raises it."""


@runtime_checkable
class Warmable(Protocol):
    """A runnable of the leader with something to do while its process waits to lead, as controllers have."""

    @property
    def enable_warmup(self) -> bool:
        """Whether it is to be warmed up."""

    def warm_up(self, stop: threading.Event) -> None:
        """Blocks until `stop` is set; `start` may be called meanwhile. An exception ends the manager."""


class WarmUp:
    """The warm-up of a runnable, as a runnable of its own."""

    def __init__(self, warmable: Warmable) -> None:
        self.name = f"{_name(warmable)}-warm-up"
        self._warmable = warmable

    def start(self, stop: threading.Event) -> None:
        self._warmable.warm_up(stop)


class GroupStoppedError(RuntimeLibraryError):
    """A runnable was added to a manager that stops."""


class RunnableGroup:
    """Starts runnables in threads and waits for them."""

    def __init__(self, name: str, on_failure: Callable[[BaseException], object], *, clock: Clock) -> None:
        """`on_failure` is called in the thread of the runnable that raised."""
        self.name = name
        self._on_failure = on_failure
        self._clock = clock
        self._cancellation = Cancellation()
        self._stop = threading.Event()
        """Set when the runnables are to end: by `stop`, or by a runnable that failed."""
        self._changed = threading.Condition()
        """Guards the fields below; notified when a runnable has ended."""
        self._waiting: list[Runnable] = []
        """Added and not started yet."""
        self._running: dict[threading.Thread, str] = {}
        """The runnables that have not ended, and their names."""
        self._started = False
        self._closed = False

    def add(self, runnable: Runnable) -> None:
        """Starts the runnable, at once if the group runs; raises GroupStoppedError."""
        with self._changed:
            if self._closed:
                raise GroupStoppedError(f"{_name(runnable)} was added after the manager was told to stop")
            if self._started:
                self._start(runnable)
            else:
                self._waiting.append(runnable)

    def start(self) -> None:
        """Starts everything added so far and returns; nothing if the group was closed before."""
        with self._changed:
            if self._closed or self._started:
                return
            self._started = True
            for runnable in self._waiting:
                self._start(runnable)
            self._waiting.clear()

    def close(self) -> None:
        """Takes and starts no runnable from now on; those that run go on."""
        with self._changed:
            self._closed = True

    def stop(self) -> None:
        """Closes the group and tells every runnable to end, without waiting."""
        self.close()
        self._stop.set()

    def cancel(self) -> None:
        """Ends the requests, and the waits for the cache, that runnables which were told to stop are still in."""
        self._cancellation.cancel()

    def join(self, timeout: float | None) -> list[str]:
        """Waits at most `timeout` seconds (None: for ever) for all to end; the names of those that have not."""
        until = None if timeout is None else self._clock.monotonic() + timeout
        with self._changed:
            while self._running:
                remaining = None if until is None else until - self._clock.monotonic()
                if remaining is not None and remaining <= 0:
                    break
                self._clock.wait(self._changed, remaining)
            return list(self._running.values())

    def _start(self, runnable: Runnable) -> None:
        name = _name(runnable)
        thread = threading.Thread(target=self._run, args=(runnable, name), name=name, daemon=True)
        thread.start()
        self._running[thread] = name

    def _run(self, runnable: Runnable, name: str) -> None:
        try:
            with self._cancellation.scope():
                runnable.start(self._stop)
        except BaseException as error:
            if isinstance(error, CancelledError) and self._stop.is_set():
                log.info("Runnable cancelled", runnable=name, error=str(error))
            else:
                log.error("Runnable failed", runnable=name, error=str(error), exc_info=error)
                self._on_failure(error)
        finally:
            with self._changed:
                del self._running[threading.current_thread()]
                self._changed.notify_all()


def _name(runnable: object) -> str:
    return str(getattr(runnable, "name", "") or type(runnable).__name__)
