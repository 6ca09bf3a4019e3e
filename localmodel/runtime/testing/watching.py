"""`Watch`: one watch request on the store, as kube-apiserver serves it.

A watch begins with the present state (resource version "" or "0", unless the request wants none of it; else on
request) or goes on from a revision. It tells each change as the selection sees it: an object that moves into it is
ADDED, one that moves out is DELETED. Bookmarks, when asked for, come behind the initial events, about each minute and
shortly before the end.

There are two ways to receive: iterate (blocks the thread, and follows the clock by itself), or give `on_event`, which
is called by the writing threads; then somebody, an event loop for example, must call `tick` now and then.
"""

from __future__ import annotations

import base64
import threading
from collections import deque
from collections.abc import Callable, Iterator

import msgspec

from localmodel.runtime.clock import Clock
from localmodel.runtime.listwatch import INITIAL_EVENTS_END, WatchEvent, WatchOptions

from .answers import expired, too_large_resource_version
from .definitions import Json, ResourceDefinition
from .listing import parse_resource_version
from .selection import Selection
from .store import CompactedError, Entry, Finish, Notice, Progress, StoreEvent, Subscription, VersionedStore

BOOKMARK_INTERVAL = 60.0
"""Seconds (cacher.go: bookmarks about each minute)."""
BOOKMARK_BEFORE_END = 2.0
"""Seconds before the timeout at which the last bookmark comes (cacher.go)."""
DEFAULT_TIMEOUT = 3600.0
"""Seconds after which a watch without timeoutSeconds ends; kube-apiserver draws 30 to 60 minutes."""
BLUEPRINT = "kubernetes.io/initial-events-list-blueprint"
"""Annotation of the bookmark behind the initial events: the empty list that a client puts them into, in base64."""
_TOO_OLD = "The resourceVersion for the provided watch is too old."
BUFFER_LIMIT = 100_000
"""Unread events at which a watch is ended, as the watch cache does with slow watchers."""


class Watch:
    """A `WatchStream`. Made by `Registry.watch`; ended by its timeout, by `end`, `close` or an unregistered kind."""

    def __init__(
        self,
        store: VersionedStore,
        selection: Selection,
        options: WatchOptions,
        *,
        clock: Clock,
        on_event: Callable[[WatchEvent], None] | None = None,
        on_end: Callable[[], None] | None = None,
    ) -> None:
        self._store, self._selection, self._options, self._clock = store, selection, options, clock
        self._on_event, self._on_end = on_event, on_end
        self._changed = threading.Condition()
        # What iteration has not yet taken; unused with on_event. Guarded by _changed, as are _ended and _error.
        self._buffer: deque[WatchEvent] = deque()
        self._ended = False
        self._error: Exception | None = None
        started = clock.monotonic()
        self._end_at = started + (options.timeout_seconds or DEFAULT_TIMEOUT)
        self._bookmark_at = self._next_bookmark(started)
        self._subscription: Subscription | None = None

    @property
    def group_resource(self) -> str:
        """The watched resource, `plural.group`."""
        return self._selection.definition.group_resource

    @property
    def ended(self) -> bool:
        return self._ended

    def start(self) -> None:
        """Delivers the initial state and subscribes. Raises ExpiredError, ServerTimeoutError (future version)."""
        options = self._options
        since = parse_resource_version(options.resource_version)
        if since > self._store.revision:
            raise too_large_resource_version(since, self._store.revision)
        resource = self._selection.definition.resource
        if options.begins_with_state:
            since, entries = self._store.list(resource, namespace=self._selection.namespace)
            for entry in entries:
                if self._selection.matches(entry):
                    self._emit("ADDED", entry)
            if options.allow_bookmarks:
                self._bookmark(since, {INITIAL_EVENTS_END: "true", BLUEPRINT: _blueprint(self._selection.definition)})
        elif since == 0:
            since = self._store.revision
        try:
            self._subscription = self._store.subscribe(resource, since=since, callback=self._notice)
        except CompactedError as error:
            # Events are not in a real server's watch cache; what is said of them is etcd's.
            is_cached = resource != "events"
            told = f"too old resource version: {since} ({error.oldest})" if is_cached else _TOO_OLD
            raise expired(told) from error
        if self._ended:
            self._subscription.close()

    def tick(self) -> float:
        """Sends a bookmark if one is due, ends the watch if its time is over; seconds until the next call is due."""
        now = self._clock.monotonic()
        if now >= self._end_at:
            self.end()
            return 0.0
        if now >= self._bookmark_at:
            self._bookmark_at = self._next_bookmark(now)
            if self._options.allow_bookmarks and self._subscription is not None:
                self._subscription.request_progress()
        return min(self._bookmark_at, self._end_at) - now

    def end(self, error: Exception | None = None) -> None:
        """The server's end: what is buffered is still read, then the iteration stops, or raises `error`."""
        with self._changed:
            if self._ended:
                return
            self._ended, self._error = True, error
            self._changed.notify_all()
        if self._subscription is not None:
            self._subscription.close()
        if self._on_end is not None:
            self._on_end()

    def finish(self) -> None:
        """The server's end behind all changes up to now, also those that another thread is still telling of."""
        if self._subscription is None:
            self.end()
        else:
            self._subscription.finish()

    def limit_silence(self, seconds: float) -> None:
        """Has no effect: nothing in memory is half open."""

    def close(self) -> None:
        """The reader's end: nothing more is read. Idempotent; wakes a blocked iteration."""
        self.end()
        with self._changed:
            self._buffer.clear()
            self._error = None

    def __iter__(self) -> Iterator[WatchEvent]:
        while True:
            with self._changed:
                if not self._buffer and not self._ended:
                    due = min(self._bookmark_at, self._end_at) - self._clock.monotonic()
                    if due > 0:
                        self._clock.wait(self._changed, due)
                event = self._buffer.popleft() if self._buffer else None
                if event is None and self._ended:
                    if self._error is not None:
                        raise self._error
                    return
            if event is None:
                self.tick()
            else:
                yield event

    def _next_bookmark(self, now: float) -> float:
        """A minute from now, or shortly before the end; never again behind that."""
        last = self._end_at - BOOKMARK_BEFORE_END
        return min(now + BOOKMARK_INTERVAL, last) if now < last else float("inf")

    def _notice(self, notice: Notice) -> None:
        try:
            if isinstance(notice, Finish):
                self.end()
            elif isinstance(notice, Progress):
                self._bookmark(notice.revision, {})
            else:
                self._change(notice)
        except Exception as error:
            # The subscription logs it and is closed; the reader must not wait for events that no longer come.
            self.end(error)
            raise

    def _change(self, event: StoreEvent) -> None:
        matches = self._selection.matches
        is_in = event.type != "DELETED" and matches(event.entry)
        was_in = event.previous is not None and matches(event.previous)
        if is_in:
            self._emit("MODIFIED" if was_in else "ADDED", event.entry)
        elif was_in and event.previous is not None:
            gone = event.entry if event.type == "DELETED" else _at_revision(event.previous, event.revision)
            self._emit("DELETED", gone)

    def _emit(self, event_type: str, entry: Entry) -> None:
        self._send(WatchEvent(event_type, self._selection.definition.present(entry.value)))

    def _bookmark(self, revision: int, annotations: dict[str, str]) -> None:
        gvk = self._selection.definition.mapping.gvk
        metadata: Json = {"resourceVersion": str(revision)}
        if self._selection.definition.strategic:
            metadata["creationTimestamp"] = None  # as of every typed object of the server's
        if annotations:
            metadata["annotations"] = annotations
        value = {"kind": gvk.kind, "apiVersion": gvk.api_version, "metadata": metadata}
        self._send(WatchEvent("BOOKMARK", msgspec.json.encode(value)))

    def _send(self, event: WatchEvent) -> None:
        if self._on_event is not None:
            if not self._ended:
                self._on_event(event)
            return
        with self._changed:
            if self._ended:
                return
            self._buffer.append(event)
            overrun = len(self._buffer) > BUFFER_LIMIT
            self._changed.notify_all()
        if overrun:
            self.end()


def _at_revision(entry: Entry, revision: int) -> Entry:
    """The object as it was, with the revision of the change that took it out of the selection (cacher.go)."""
    obj: Json = msgspec.json.decode(entry.value)
    obj["metadata"]["resourceVersion"] = str(revision)
    return Entry(entry.namespace, entry.name, revision, msgspec.json.encode(obj), entry.labels)


def _blueprint(definition: ResourceDefinition) -> str:
    """As a real server encodes it: the fields of a typed list in their order, those of an untyped one by name."""
    gvk = definition.mapping.gvk
    kind = f"{gvk.kind}List"
    if definition.strategic:
        return typed_blueprint(kind, gvk.api_version)
    empty: Json = {"apiVersion": gvk.api_version, "items": [], "kind": kind}
    return base64.b64encode(msgspec.json.encode(empty) + b"\n").decode()


def typed_blueprint(kind: str, api_version: str) -> str:
    """The same of a kind of list that the server has a type for."""
    empty: Json = {"kind": kind, "apiVersion": api_version, "metadata": {}, "items": None}
    return base64.b64encode(msgspec.json.encode(empty) + b"\n").decode()
