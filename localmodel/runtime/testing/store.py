"""`VersionedStore`: what etcd and the watch cache are to an API server, in memory.

One revision counter orders all writes of all resources. A value is the JSON of one object as immutable bytes; it is
never decoded here, except for the labels, and so can be handed to any number of readers and watchers as it is. Each
resource keeps a bounded history, from which subscriptions are resumed and past states are listed.

Locking: one lock guards all state and is held for short, bounded work only. Events are put into each subscription's
queue under the lock, in revision order, and delivered after it is released, by whichever writing thread gets there
first. So a subscriber may call the store, and sees events in order, each once.
"""

from __future__ import annotations

import bisect
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, Protocol

import msgspec
import structlog

from localmodel.runtime.errors import RuntimeLibraryError

log = structlog.get_logger(__name__)

HISTORY_LIMIT = 2048
"""Events kept per resource."""


class _Metadata(msgspec.Struct):
    labels: dict[str, str] | None = None


class _Header(msgspec.Struct):
    metadata: _Metadata


_header_decoder = msgspec.json.Decoder(_Header)


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One object at one revision. `value` is its JSON, with that revision as its metadata.resourceVersion."""

    namespace: str
    name: str
    revision: int
    value: bytes
    labels: dict[str, str]
    """Shared between readers: not to be changed."""

    @classmethod
    def of(cls, namespace: str, name: str, revision: int, value: bytes) -> Entry:
        return cls(namespace, name, revision, value, _header_decoder.decode(value).metadata.labels or {})

    @property
    def key(self) -> tuple[str, str]:
        return self.namespace, self.name

    def __repr__(self) -> str:
        # Without what may be large.
        return f"Entry(namespace={self.namespace!r}, name={self.name!r}, revision={self.revision})"


class StoreEvent(msgspec.Struct, frozen=True, gc=False):
    """One write. For DELETED, `entry` is the last state with the revision of the deletion."""

    type: Literal["ADDED", "MODIFIED", "DELETED"]
    revision: int
    entry: Entry
    previous: Entry | None


class Progress(msgspec.Struct, frozen=True):
    """All events up to this revision have been delivered to the subscription."""

    revision: int


@dataclass(frozen=True, slots=True)
class Finish:
    """The resource is no longer served: nothing comes behind this."""


Notice = StoreEvent | Progress | Finish


class JournalRecord(msgspec.Struct, frozen=True):
    """One write as it is made durable: `value` is None for a deletion."""

    resource: str
    namespace: str
    name: str
    revision: int
    value: bytes | None


class Journal(Protocol):
    """Where writes go before they become visible."""

    def load(self) -> tuple[int, Iterable[JournalRecord]]:
        """The highest revision ever appended (0 if none), and the living objects in any order."""

    def append(self, record: JournalRecord) -> None:
        """Makes one write durable. Called under the store's lock, in revision order; if it raises, nothing changed."""


class RevisionMismatchError(RuntimeLibraryError):
    """The object is not at the revision that the writer expected; `current` is what is there (None: nothing)."""

    def __init__(self, current: Entry | None) -> None:
        super().__init__(f"the object is at revision {current.revision if current else 0}")
        self.current = current


class CompactedError(RuntimeLibraryError):
    """The history does not go back to this revision; `oldest` is the first one it can answer for."""

    def __init__(self, revision: int, oldest: int) -> None:
        super().__init__(f"revision {revision} is compacted: history starts at {oldest}")
        self.revision, self.oldest = revision, oldest


@dataclass(slots=True)
class _Table:
    """The objects of one resource, their keys in order, and the events since revision `floor` (exclusive)."""

    floor: int
    entries: dict[tuple[str, str], Entry] = field(default_factory=dict)
    keys: list[tuple[str, str]] = field(default_factory=list)
    history: list[StoreEvent] = field(default_factory=list)
    subscriptions: list[Subscription] = field(default_factory=list)


class Subscription:
    """Events of one resource from a given revision on, delivered to one callback in order, never two at a time."""

    def __init__(self, store: VersionedStore, resource: str, callback: Callable[[Notice], None]) -> None:
        self._store = store
        self.resource = resource
        self._callback = callback
        # Filled under the store's lock; emptied by whoever holds _delivering.
        self._pending: deque[Notice] = deque()
        self._delivering = threading.Lock()
        self.closed = False

    def close(self) -> None:
        """No delivery starts after this; one that runs in another thread may still be running. Idempotent."""
        self.closed = True
        self._store._unsubscribe(self)

    def request_progress(self) -> None:
        """Delivers a Progress behind all events up to now."""
        self._store._post(self, Progress)
        self.deliver()

    def finish(self) -> None:
        """Delivers a Finish behind all events up to now."""
        self._store._post(self, lambda _: Finish())
        self.deliver()

    def deliver(self) -> None:
        """Runs the callback for what is pending, unless another thread is at it (which then delivers this too)."""
        while self._pending and self._delivering.acquire(blocking=False):
            try:
                while self._pending and not self.closed:
                    self._callback(self._pending.popleft())
                if self.closed:
                    self._pending.clear()
            except Exception:
                # The write that is being told has happened: its writer must not see a subscriber's failure.
                log.exception("subscriber failed, closing its subscription", resource=self.resource)
                self._pending.clear()
                self.close()
            finally:
                self._delivering.release()


class VersionedStore:
    """Objects by resource (`plural.group`), namespace and name. Thread-safe."""

    def __init__(self, *, journal: Journal | None = None, history_limit: int = HISTORY_LIMIT) -> None:
        self._lock = threading.Lock()
        self._tables: dict[str, _Table] = {}
        self._revision = 0
        self._base = 0
        self._history_limit = history_limit
        self._journal = journal
        if journal is not None:
            self._load(journal)

    @property
    def revision(self) -> int:
        """The revision of the newest write; 0 before the first."""
        return self._revision

    def get(self, resource: str, namespace: str, name: str) -> Entry | None:
        table = self._tables.get(resource)
        return table.entries.get((namespace, name)) if table else None

    def list(self, resource: str, *, namespace: str = "", at: int | None = None) -> tuple[int, list[Entry]]:
        """The revision of the answer, and the objects sorted by key, of all namespaces when `namespace` is empty.

        `at` asks for the state at a past revision; raises CompactedError if history does not go back so far.
        """
        with self._lock:
            table = self._table(resource)
            if at is None or at == self._revision:
                return self._revision, [table.entries[key] for key in _in_namespace(table.keys, namespace)]
            if at < table.floor:
                raise CompactedError(at, table.floor)
            entries = dict(table.entries)
            for event in reversed(table.history):
                if event.revision <= at:
                    break
                if event.previous is None:
                    entries.pop(event.entry.key, None)
                else:
                    entries[event.entry.key] = event.previous
            return at, [entries[key] for key in _in_namespace(sorted(entries), namespace)]

    def put(
        self,
        resource: str,
        namespace: str,
        name: str,
        encode: Callable[[int], bytes],
        *,
        labels: dict[str, str] | None = None,
        expected: int | None = None,
    ) -> Entry:
        """Writes one object: `encode` gives its JSON for the revision it gets.

        `labels` are those in the JSON, which else are read from it; not to be changed afterwards.
        `expected` is the revision that the object must have now, 0 for absent; raises RevisionMismatchError.
        """
        with self._lock:
            table, key = self._table(resource), (namespace, name)
            previous = table.entries.get(key)
            _check(previous, expected)
            revision = self._revision + 1
            value = encode(revision)
            if labels is None:
                entry = Entry.of(namespace, name, revision, value)
            else:
                entry = Entry(namespace, name, revision, value, labels)
            self._append(resource, entry, value)
            if previous is None:
                bisect.insort(table.keys, key)
            table.entries[key] = entry
            event = StoreEvent("MODIFIED" if previous else "ADDED", revision, entry, previous)
            subscriptions = self._publish(table, event)
        _deliver(subscriptions)
        return entry

    def delete(
        self, resource: str, namespace: str, name: str, encode: Callable[[int], bytes], *, expected: int | None = None
    ) -> Entry:
        """Removes one object: `encode` gives its last JSON for the revision of the deletion.

        Raises RevisionMismatchError if it is not at revision `expected`, or not there at all.
        """
        with self._lock:
            table = self._table(resource)
            previous = table.entries.get((namespace, name))
            if previous is None:
                raise RevisionMismatchError(None)
            _check(previous, expected)
            revision = self._revision + 1
            entry = Entry.of(namespace, name, revision, encode(revision))
            self._append(resource, entry, None)
            del table.entries[entry.key]
            del table.keys[bisect.bisect_left(table.keys, entry.key)]
            subscriptions = self._publish(table, StoreEvent("DELETED", revision, entry, previous))
        _deliver(subscriptions)
        return entry

    def subscribe(self, resource: str, *, since: int, callback: Callable[[Notice], None]) -> Subscription:
        """Delivers every event with a revision above `since`, those of the past before this returns.

        Raises CompactedError if the history does not go back to `since`.
        """
        subscription = Subscription(self, resource, callback)
        with self._lock:
            table = self._table(resource)
            if since < table.floor:
                raise CompactedError(since, table.floor)
            start = bisect.bisect_right(table.history, since, key=lambda event: event.revision)
            subscription._pending.extend(table.history[start:])
            table.subscriptions.append(subscription)
        subscription.deliver()
        return subscription

    def compact(self, resource: str | None = None) -> None:
        """Forgets the history of one or all resources: nothing older than the present can be watched or listed."""
        with self._lock:
            if resource is None:
                self._base = self._revision
            for table in self._tables.values() if resource is None else [self._table(resource)]:
                table.floor = self._revision
                table.history.clear()

    def resources(self) -> tuple[str, ...]:
        """The resources that have objects."""
        with self._lock:
            return tuple(sorted(resource for resource, table in self._tables.items() if table.entries))

    def _load(self, journal: Journal) -> None:
        self._revision, records = journal.load()
        self._base = self._revision
        for record in records:
            if record.value is not None:
                entry = _loaded(record, record.value)
                self._table(record.resource).entries[entry.key] = entry
        for table in self._tables.values():
            table.keys = sorted(table.entries)

    def _table(self, resource: str) -> _Table:
        table = self._tables.get(resource)
        if table is None:
            table = self._tables[resource] = _Table(self._base)
        return table

    def _append(self, resource: str, entry: Entry, value: bytes | None) -> None:
        if self._journal is not None:
            self._journal.append(JournalRecord(resource, entry.namespace, entry.name, entry.revision, value))

    def _publish(self, table: _Table, event: StoreEvent) -> tuple[Subscription, ...]:
        """Makes a write visible; returns whom to deliver to once the lock is released."""
        self._revision = event.revision
        table.history.append(event)
        # Trimmed in bulk, so that a write costs the same on average however long the history is.
        if len(table.history) > self._history_limit * 5 // 4:
            excess = len(table.history) - self._history_limit
            table.floor = table.history[excess - 1].revision
            del table.history[:excess]
        for subscription in table.subscriptions:
            subscription._pending.append(event)
        return tuple(table.subscriptions)

    def _post(self, subscription: Subscription, notice: Callable[[int], Notice]) -> None:
        """Puts a notice, made with the revision of now, behind all events up to now."""
        with self._lock:
            subscription._pending.append(notice(self._revision))

    def _unsubscribe(self, subscription: Subscription) -> None:
        with self._lock:
            subscriptions = self._table(subscription.resource).subscriptions
            if subscription in subscriptions:
                subscriptions.remove(subscription)


def _loaded(record: JournalRecord, value: bytes) -> Entry:
    try:
        return Entry.of(record.namespace, record.name, record.revision, value)
    except msgspec.DecodeError as error:
        what = f"{record.resource} {record.namespace}/{record.name}"
        raise RuntimeLibraryError(f"the journal is damaged: {what} is no object: {error}") from error


def _check(current: Entry | None, expected: int | None) -> None:
    if expected is not None and (current.revision if current else 0) != expected:
        raise RevisionMismatchError(current)


def _deliver(subscriptions: tuple[Subscription, ...]) -> None:
    for subscription in subscriptions:
        subscription.deliver()


def _in_namespace(keys: list[tuple[str, str]], namespace: str) -> list[tuple[str, str]]:
    """The keys of one namespace (all, if empty) out of sorted keys."""
    if not namespace:
        return keys
    start = bisect.bisect_left(keys, (namespace, ""))
    stop = bisect.bisect_left(keys, (f"{namespace}\0", ""))
    return keys[start:stop]
