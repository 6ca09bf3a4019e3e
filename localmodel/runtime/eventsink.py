"""Where events go: `SeriesEventSink` writes events.k8s.io/v1, `CoreEventSink` core/v1.

A sink remembers what it has written, and folds equal occurrences into that Event: as a series, of which only the
beginning, every half hour and the end are written, or as a count, which is written each time. The two groups show the
same stored objects; core/v1 is for where only that is granted. Used by one thread, that of the `EventBroadcaster`,
which also tries again: what a sink gives it is a `PendingWrite`, to be sent as often as it takes.

Sources: client-go's tools/events/event_broadcaster.go and tools/record/events_cache.go.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import structlog

from .client import Client
from .clock import Clock
from .errors import AlreadyExistsError, NotFoundError
from .eventcorrelator import LRU, MAX_KEYS, Occurrence
from .objects import Event, EventSeries, EventSource, Object, ObjectMeta, eventsv1, format_time

log = structlog.get_logger(__name__)

REFRESH_SECONDS = 1800.0
"""How often the counts of running series are written."""
FINISH_SECONDS = 360.0
"""How long nothing equal must have happened for a series to be over."""


@dataclass(frozen=True, slots=True)
class PendingWrite:
    """A write that tells of an occurrence. `send` raises what the client raises, and can then be called again."""

    occurrence: Occurrence
    send: Callable[[], object]


class EventSink(ABC):
    """Folds occurrences into Events."""

    @abstractmethod
    def observe(self, occurrence: Occurrence) -> PendingWrite | None:
        """The write that tells of it now; None if it is only counted."""

    def due(self) -> list[PendingWrite]:
        """Counts that are to be written by now."""
        return []

    def due_in(self) -> float | None:
        """Seconds until `due` must be asked; None: not before the next `observe`."""
        return None

    def drain(self) -> list[PendingWrite]:
        """All counts that have not been written."""
        return []


@dataclass(slots=True)
class _Counted:
    """A core event as the server has it; `count` 0 while it has none."""

    count: int = 0
    name: str = ""
    first: datetime | None = None


class CoreEventSink(EventSink):
    """core/v1: an equal event patches count, time and message."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: LRU[_Counted] = LRU()

    def observe(self, occurrence: Occurrence) -> PendingWrite:
        known = self._known.get(occurrence.content, _Counted)
        if known.count:
            known.count += 1
        event = Event(
            metadata=ObjectMeta(name=known.name or occurrence.name, namespace=occurrence.namespace),
            involved_object=occurrence.regarding,
            related=occurrence.related,
            reason=occurrence.reason,
            message=occurrence.note,
            type=occurrence.type,
            count=known.count or 1,
            first_timestamp=known.first or occurrence.at,
            last_timestamp=occurrence.at,
            source=EventSource(component=occurrence.controller),
            reporting_component=occurrence.controller,
            reporting_instance=occurrence.instance,
            action=occurrence.action,
        )
        return PendingWrite(occurrence, partial(self._send, event, known))

    def _send(self, event: Event, known: _Counted) -> None:
        count = event.count or 1
        change = {
            "count": count,
            "lastTimestamp": format_time(event.last_timestamp) if event.last_timestamp else None,
            "message": event.message,
        }
        if count == 1 or not _patched(self._client, event, change):
            _create(self._client, event)
        known.count, known.name, known.first = count, event.name, event.first_timestamp


@dataclass(slots=True)
class _Series:
    """An event of the new group, and how often it happened."""

    occurrence: Occurrence
    """The first."""
    count: int
    last: datetime
    last_seen: float
    """`last` on the monotonic clock."""
    told: int = 0
    """The count that the server has; 0 while it does not have the event."""

    def event(self) -> eventsv1.Event:
        first = self.occurrence
        return eventsv1.Event(
            metadata=ObjectMeta(name=first.name, namespace=first.namespace),
            event_time=first.at,
            series=EventSeries(count=self.count, last_observed_time=self.last) if self.count > 1 else None,
            reporting_controller=first.controller,
            reporting_instance=first.instance,
            action=first.action,
            reason=first.reason,
            regarding=first.regarding,
            related=first.related,
            note=first.note,
            type=first.type,
        )


class SeriesEventSink(EventSink):
    """events.k8s.io/v1: the second equal event opens a series of count 2, later ones are counted here."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._open: OrderedDict[Hashable, _Series] = OrderedDict()
        """By content, the longest silent first."""
        self._over: list[_Series] = []
        """Pushed out of memory before their time."""
        self._refresh_at = clock.monotonic() + REFRESH_SECONDS

    def observe(self, occurrence: Occurrence) -> PendingWrite | None:
        now = self._clock.monotonic()
        series = self._open.get(occurrence.content)
        if series is None:
            series = self._open[occurrence.content] = _Series(occurrence, 1, occurrence.at, now)
            if len(self._open) > MAX_KEYS:
                self._over.append(self._open.popitem(last=False)[1])
            return self._pending(series)
        self._open.move_to_end(occurrence.content)
        series.count += 1
        series.last, series.last_seen = occurrence.at, now
        return self._pending(series) if series.told < 2 else None

    def due(self) -> list[PendingWrite]:
        now = self._clock.monotonic()
        over, self._over = self._over, []
        while self._open and now - self._longest_silent().last_seen >= FINISH_SECONDS:
            over.append(self._open.popitem(last=False)[1])
        if now >= self._refresh_at:
            self._refresh_at = now + REFRESH_SECONDS
            over += self._open.values()
        return self._untold(over)

    def due_in(self) -> float | None:
        if self._over:
            return 0.0
        if not self._open:
            return None
        finished = self._longest_silent().last_seen + FINISH_SECONDS
        return min(finished, self._refresh_at) - self._clock.monotonic()

    def drain(self) -> list[PendingWrite]:
        return self._untold([*self._over, *self._open.values()])

    def _longest_silent(self) -> _Series:
        return next(iter(self._open.values()))

    def _untold(self, found: list[_Series]) -> list[PendingWrite]:
        """An event that the server never got, as spam or refused, is not told of by its count either."""
        return [self._pending(series) for series in found if 0 < series.told < series.count]

    def _pending(self, series: _Series) -> PendingWrite:
        return PendingWrite(series.occurrence, partial(self._send, series))

    def _send(self, series: _Series) -> None:
        event = series.event()
        if not (series.told and _patched(self._client, event, {"series": event.to_dict()["series"]})):
            _create(self._client, event)
        series.told = series.count


def _patched(client: Client, event: Object, change: dict[str, Any]) -> bool:
    """False if the event is gone: its time to live is an hour."""
    try:
        client.patch(event, change)
    except NotFoundError:
        log.debug("Event is gone, making it anew", name=event.name)
        return False
    return True


def _create(client: Client, event: Object) -> None:
    try:
        client.create(event)
    except AlreadyExistsError:
        # Nobody else uses this name: the answer to an earlier try was lost.
        log.debug("Event exists already", name=event.name)
