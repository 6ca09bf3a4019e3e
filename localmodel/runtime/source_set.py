"""`SourceSet`: the sources of one controller, started together, once, and within one time limit.

A source may block in its start, or while it waits for what exists, on something that nobody can interrupt. So each is
started by a short-lived thread of its own, and whoever needs the sources waits beside those threads for the first of:
all have synced, one has failed, the time is over, the controller stops. The promises:

- A source is started at most once, however many callers ask for it at the same time, and each of them waits.
- Every caller gets the same answer; an error names the sources that have not synced and why.
- After `stop` no source is started, and none is left running.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import structlog

from .cancellation import Cancellation, CancelledError, carrying
from .errors import CacheSyncTimeoutError
from .source import Source, SourceContext

log = structlog.get_logger(__name__)


class _Starting:
    """One source on its way to being synced."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.thread: threading.Thread | None = None
        self.started = False
        """`Source.start` has returned."""
        self.given_up = False
        """It had not when the time was over; nobody waits for it any more."""
        self.synced = False
        self.error: BaseException | None = None
        """What start or wait_for_sync raised."""

    def why_not(self) -> str:
        """The source, and what keeps it."""
        if not self.started:
            return f"{self.source} has not returned from its start"
        return f"{self.source}: {self.source.last_error or 'no answer yet'}"


class SourceSet:
    """See the module text. Thread-safe."""

    def __init__(self, controller: str, context: SourceContext, *, timeout: float) -> None:
        """`controller` is the name in messages; `timeout`, in seconds, is for all sources together."""
        self._controller = controller
        self._context = context
        self._timeout = timeout
        self._clock = context.clock
        self._waits = Cancellation()
        """Of the sources' waits for their sync. Their starts stay under the cancellation of whoever starts them, as
        the threads do which a start makes."""
        self._changed = threading.Condition()
        """Guards the fields below and those of each `_Starting`; notified when any of them changes."""
        self._all: list[_Starting] = []
        self._until = 0.0
        """When the time of the first start is over; monotonic seconds."""
        self._started = False
        self._stopped = False

    @property
    def sources(self) -> tuple[Source, ...]:
        return tuple(one.source for one in self._all)

    def add(self, source: Source) -> None:
        """Adds a source; if the others were started, starts it too and waits for its sync, as `start` does."""
        with self._changed:
            added = _Starting(source)
            self._all.append(added)
            if not self._started or self._stopped:
                return
            until = self._clock.monotonic() + self._timeout
            self._launch([added])
            self._wait([added], until)

    def start(self) -> None:
        """Starts every source, if nobody has yet, and waits until all have synced, or until `stop`.

        Raises CacheSyncTimeoutError, and what a source raised.
        """
        with self._changed:
            if not self._started and not self._stopped:
                self._started = True
                self._until = self._clock.monotonic() + self._timeout
                self._launch(self._all)
            self._wait(tuple(self._all), self._until)

    def stop(self) -> None:
        """Ends every source and every wait for one. Idempotent."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            everything = tuple(self._all)
        self._context.stop.set()
        self._waits.cancel()
        for one in everything:
            one.source.stop()
        for one in everything:
            if one.thread is not None and not one.given_up:
                one.thread.join()

    def _launch(self, batch: Sequence[_Starting]) -> None:
        for one in batch:
            log.info("Starting source", controller=self._controller, source=str(one.source))
            thread = threading.Thread(
                target=carrying(self._bring_up), args=(one,), name=f"{self._controller}-source", daemon=True
            )
            thread.start()
            one.thread = thread

    def _bring_up(self, one: _Starting) -> None:
        """Starts one source and waits for its sync, in a thread of its own."""
        try:
            one.source.start(self._context)
            with self._changed:
                one.started = True
                stopped = self._stopped
            if stopped:
                # `stop` may have come by before there was anything to end.
                one.source.stop()
                return
            with self._waits.scope():
                synced = one.source.wait_for_sync(self._timeout)
            with self._changed:
                one.synced = synced
                self._changed.notify_all()
        except CancelledError:
            return
        except BaseException as error:  # noqa: BLE001 - raised by whoever waits for the source
            with self._changed:
                one.error = error
                self._changed.notify_all()

    def _wait(self, batch: Sequence[_Starting], until: float) -> None:
        """Waits for the sources; the condition is held."""
        while not self._stopped and not all(one.synced for one in batch):
            for one in batch:
                if one.error is not None:
                    raise one.error
            remaining = until - self._clock.monotonic()
            if remaining <= 0:
                raise self._too_late([one for one in batch if not one.synced])
            self._clock.wait(self._changed, remaining)

    def _too_late(self, late: Sequence[_Starting]) -> CacheSyncTimeoutError:
        for one in late:
            one.given_up = not one.started
        return CacheSyncTimeoutError(
            f"controller {self._controller} cannot start, its caches did not sync within {self._timeout:.0f} s: "
            + "; ".join(one.why_not() for one in late)
        )
