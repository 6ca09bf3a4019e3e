"""`Occurrence`, one thing that was recorded, and `EventCorrelator`, which keeps floods of them from the API server.

Two steps, each with a bounded memory. Aggregation: from the tenth distinct note about the same thing within ten minutes
on, one combined event stands for all. Spam filter: a source has a burst of 25 writes per object (or what else it
counts by) and then one per five minutes. Between the two an `eventsink` folds equal occurrences into one Event. Used
by one thread.

Numbers as in client-go's tools/record (events_cache.go).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Generic, TypeAlias, TypeVar

from .clock import Clock
from .objects import ObjectReference

MAX_KEYS = 4096
MAX_SIMILAR = 10
SIMILAR_SECONDS = 600.0
SPAM_BURST = 25
SPAM_REFILL_SECONDS = 300.0
MAX_NOTE = 1024
"""Bytes, as the API server demands."""
COMBINED_PREFIX = "(combined from similar events): "

V = TypeVar("V")


def cut(text: str, limit: int) -> str:
    """At most `limit` bytes of the text's UTF-8, whole characters."""
    return text.encode()[:limit].decode(errors="ignore")


class LRU(Generic[V]):
    """At most `MAX_KEYS` values; the one not used for longest goes first."""

    def __init__(self) -> None:
        self._values: OrderedDict[Hashable, V] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], V]) -> V:
        if key not in self._values:
            self._values[key] = make()
            if len(self._values) > MAX_KEYS:
                self._values.popitem(last=False)
        self._values.move_to_end(key)
        return self._values[key]


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurrence:
    """What a recorder was told, and when."""

    name: str
    """Of the Event, if this becomes a new one."""
    namespace: str
    regarding: ObjectReference
    related: ObjectReference | None = None
    type: str
    reason: str
    action: str
    note: str
    controller: str
    """Who reports: the kind of program, and which instance of it."""
    instance: str
    at: datetime
    combined: bool = False
    """Stands for several with different notes."""

    @property
    def origin(self) -> Hashable:
        """Source and object."""
        return self.controller, self.instance, _identity(self.regarding)

    @property
    def alike(self) -> Hashable:
        """What aggregation counts by."""
        return self.origin, self.type, self.reason

    @property
    def content(self) -> Hashable:
        """What makes two occurrences equal. The note counts, unlike in client-go's tools/events: an Event's note cannot
        be changed, so what it does not say would be lost. All combined ones about one thing are equal."""
        related = _identity(self.related) if self.related else None
        return self.alike, self.action, related, self.combined, "" if self.combined else self.note


def _identity(reference: ObjectReference) -> Hashable:
    """The object, whatever its version."""
    return reference.api_version, reference.kind, reference.namespace, reference.name, reference.uid


@dataclass(slots=True)
class _Similar:
    """The notes of like occurrences, oldest first, and when the last came."""

    last: float
    notes: OrderedDict[str, None] = field(default_factory=OrderedDict)


@dataclass(slots=True)
class _Bucket:
    tokens: float
    updated: float


SpamKey: TypeAlias = Callable[[Occurrence], Hashable]
"""What the spam filter counts by (record.CorrelatorOptions.SpamKeyFunc)."""


def by_origin(occurrence: Occurrence) -> Hashable:
    """Per source and object: the default."""
    return occurrence.origin


def by_reason(occurrence: Occurrence) -> Hashable:
    """Per source, object, type and reason: where one object stands for many things, what is frequent must not silence
    what is rare."""
    return occurrence.alike


class EventCorrelator:
    """Combines what is similar, and limits what is written."""

    def __init__(self, clock: Clock, *, spam_key: SpamKey = by_origin) -> None:
        self._clock = clock
        self._spam_key = spam_key
        self._similar: LRU[_Similar] = LRU()
        self._buckets: LRU[_Bucket] = LRU()

    def aggregate(self, occurrence: Occurrence) -> Occurrence:
        """The occurrence itself, or the combined one that stands for it."""
        now = self._clock.monotonic()
        similar = self._similar.get(occurrence.alike, lambda: _Similar(now))
        if now - similar.last > SIMILAR_SECONDS:
            similar.notes.clear()
        similar.last = now
        similar.notes[occurrence.note] = None
        if len(similar.notes) < MAX_SIMILAR:
            return occurrence
        similar.notes.popitem(last=False)
        return replace(occurrence, note=cut(COMBINED_PREFIX + occurrence.note, MAX_NOTE), combined=True)

    def admits(self, occurrence: Occurrence) -> bool:
        """Whether it may be written now; counts the write."""
        now = self._clock.monotonic()
        bucket = self._buckets.get(self._spam_key(occurrence), lambda: _Bucket(SPAM_BURST, now))
        bucket.tokens = min(SPAM_BURST, bucket.tokens + (now - bucket.updated) / SPAM_REFILL_SECONDS)
        bucket.updated = now
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True
