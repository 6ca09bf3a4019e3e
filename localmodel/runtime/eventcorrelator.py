"""`EventCorrelator`: folds events that repeat, and refuses floods, before they are written.

Three steps, each with a bounded memory. Aggregation: from the tenth distinct message about the same thing within ten
minutes, one combined event stands for all. Counting: an event seen before is written as that event with a higher count.
Spam filter: a source has a burst of 25 events per object and then one per five minutes. Used by one thread.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar

from .clock import Clock
from .objects import Event

MAX_KEYS = 4096
MAX_SIMILAR = 10
SIMILAR_SECONDS = 600.0
SPAM_BURST = 25
SPAM_REFILL_SECONDS = 300.0
COMBINED_PREFIX = "(combined from similar events): "

V = TypeVar("V")


class _LRU(Generic[V]):
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


@dataclass(slots=True)
class _Similar:
    """The messages of like events, oldest first, and when the last came."""

    last: float
    messages: OrderedDict[str, None] = field(default_factory=OrderedDict)


@dataclass(slots=True)
class _Written:
    """An event as the server has it; `count` 0 while it has none."""

    count: int = 0
    name: str = ""
    first: datetime | None = None


@dataclass(slots=True)
class _Bucket:
    tokens: float
    updated: float


class EventCorrelator:
    """Decides what becomes of each event."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._similar: _LRU[_Similar] = _LRU()
        self._written: _LRU[_Written] = _LRU()
        self._buckets: _LRU[_Bucket] = _LRU()

    def correlate(self, event: Event) -> Event | None:
        """The event to write: to create with count 1, to patch with a higher one. None: drop it."""
        observed = self._aggregate(event)
        known = self._written.get(_content(observed), _Written)
        if known.count:
            observed.metadata.name = known.name
            observed.first_timestamp = known.first
            observed.count = known.count + 1
            known.count += 1
        if not self._admits(observed):
            return None
        return observed

    def written(self, event: Event) -> None:
        """The server has stored this event."""
        known = self._written.get(_content(event), _Written)
        known.count, known.name, known.first = event.count or 1, event.name, event.first_timestamp

    def _aggregate(self, event: Event) -> Event:
        now = self._clock.monotonic()
        similar = self._similar.get(_alike(event), lambda: _Similar(now))
        if now - similar.last > SIMILAR_SECONDS:
            similar.messages.clear()
        similar.last = now
        similar.messages[event.message] = None
        if len(similar.messages) < MAX_SIMILAR:
            return event
        similar.messages.popitem(last=False)
        combined = event.deepcopy()
        combined.message = COMBINED_PREFIX + event.message
        return combined

    def _admits(self, event: Event) -> bool:
        now = self._clock.monotonic()
        bucket = self._buckets.get(_source_and_object(event), lambda: _Bucket(SPAM_BURST, now))
        bucket.tokens = min(SPAM_BURST, bucket.tokens + (now - bucket.updated) / SPAM_REFILL_SECONDS)
        bucket.updated = now
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True


def _source_and_object(event: Event) -> Hashable:
    about = event.involved_object
    return (
        event.source.component,
        event.source.host,
        about.api_version,
        about.kind,
        about.namespace,
        about.name,
        about.uid,
    )


def _alike(event: Event) -> Hashable:
    return (
        _source_and_object(event),
        event.type,
        event.reason,
        event.reporting_component,
        event.reporting_instance,
    )


def _content(event: Event) -> Hashable:
    """What makes two events the same; all combined events about one thing are one."""
    return _alike(event), "" if event.message.startswith(COMBINED_PREFIX) else event.message
