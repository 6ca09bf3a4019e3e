"""`InitialEvents`: a streamed list while it is on its way, kept apart from what readers see until it is complete.

The server sends the collection as ADDED events, then a bookmark that says it is complete. A server that does not know
the request sends its objects, too, but never that bookmark; client-go waits for it for ever (kubernetes#140890). So the
stream is given up when it has brought nothing new for some seconds, or takes too long in all. What counts as new is an
object that was not there: an old server goes on with the changes of those it has sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Generic

import msgspec
import structlog

from localmodel.runtime.clock import Clock
from localmodel.runtime.errors import ObjectDecodeError, TransportError
from localmodel.runtime.listwatch import WatchEvent
from localmodel.runtime.objects import ObjectKey, T
from localmodel.runtime.store import Stored, Trimmer

from .open_watch import OpenWatch
from .options import ReflectorOptions
from .watch_event import bookmark_of, error_in

log = structlog.get_logger(__name__)

WARNING_PERIOD = 10.0


class InitialEvents(Generic[T]):
    """Of one request; made when it is sent. Objects are trimmed as they come."""

    def __init__(
        self,
        trimmer: Trimmer[T],
        options: ReflectorOptions,
        *,
        clock: Clock,
        facts: Mapping[str, str],
        on_unreadable: Callable[[Exception], None],
    ) -> None:
        """`facts` name the reflector in logs."""
        self.resource_version = ""
        """That of the complete list; empty until it is."""
        self.events = 0
        self._trimmer = trimmer
        self._clock = clock
        self._facts = facts
        self._on_unreadable = on_unreadable
        self.silence = min(options.initial_events_silence, WARNING_PERIOD)
        """Seconds after which a stream that brings nothing is given up."""
        self._timeout = options.initial_events_timeout
        self._started = self._progressed = self._warned = clock.monotonic()
        self._objects: dict[ObjectKey, Stored[T]] = {}

    @property
    def items(self) -> Sequence[Stored[T]]:
        return tuple(self._objects.values())

    @property
    def is_overdue(self) -> bool:
        """There is no point in waiting any longer."""
        return self._is_overdue(self._clock.monotonic())

    def _is_overdue(self, now: float) -> bool:
        return now - self._progressed >= self.silence or now - self._started >= self._timeout

    def collect(self, watch: OpenWatch) -> None:
        """Takes events until the list is complete. Raises TransportError when it will not be, ApiError as the stream's.

        The watch is left open, at the first event behind the list.
        """
        for event in watch:
            self.events += 1
            try:
                self._take(event)
            except (ObjectDecodeError, msgspec.MsgspecError) as error:
                event.verify()
                self._on_unreadable(error)
            if self.resource_version:
                return
            self._look_at_the_clock()
        raise TransportError("the server ended the stream before it had said that the list is complete")

    def _take(self, event: WatchEvent) -> None:
        if event.type == "BOOKMARK":
            bookmark = bookmark_of(event)
            if bookmark.ends_initial_events:
                self.resource_version = bookmark.resource_version
            return
        if event.type not in ("ADDED", "MODIFIED", "DELETED"):
            raise error_in(event)
        stored = self._trimmer.trim(event.object)
        if event.type == "DELETED":
            self._objects.pop(stored.key, None)
            return
        if stored.key not in self._objects:
            self._progressed = self._clock.monotonic()
        self._objects[stored.key] = stored

    def _look_at_the_clock(self) -> None:
        now = self._clock.monotonic()
        if self._is_overdue(now):
            raise TransportError("the server has not said in time that the list is complete")
        if now - self._warned >= WARNING_PERIOD:
            self._warned = now
            waited = round(now - self._started)
            log.warning(
                "A streamed list is not complete yet", seconds=waited, objects=len(self._objects), **self._facts
            )
