"""Mirrors one collection into a sink: lists it once, then follows it by watching, and heals every failure.

An explicit state machine. `step` does the work of the present state and moves to the next one; `run` steps until
`stop`. No path leads from a failure to its retry without a delay, none leads out of the loop but `stop`, and whatever
goes wrong is counted, logged and readable in `phase` and `last_error`.

    Listing -> Watching      the list is in the sink
    Watching -> Watching     clean end of the stream: again from the last version, without a list
    Watching -> Listing      410: the version is too old
    any -> Waiting -> any    after a failure; 429 and broken connections resume the watch, others list again
    any -> Stopped

The resource version is opaque: that of the last thing delivered is where the next watch starts, whatever its value.
A streaming list (`sendInitialEvents`) would be one more state before Watching.

Neighbours: `client.ListerWatcher` below, `informer` (the sink) above. Rules: reference/runtimes.md 2.1, 2.2, 2.19.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol

import msgspec
import structlog

from .backoff import Backoff, BackoffOptions
from .cancellation import Cancellation, CancelledError
from .clock import Clock
from .errors import (
    ApiError,
    ExpiredError,
    TooManyRequestsError,
    TransportError,
    error_from_status,
    is_too_large_resource_version,
)
from .listwatch import ListerWatcher, ListOptions, WatchEvent, WatchOptions, WatchStream
from .objects import T
from .pager import Pager
from .phase import Phase, explain
from .store import ObjectDecodeError, Stored, Trimmer

log = structlog.get_logger(__name__)

MIN_WATCH_TIMEOUT = 300
SHORT_WATCH = 1.0
"""Seconds. A watch that ends sooner and brought nothing new is a failure."""
MISSING_KIND_DELAY = 10.0
"""Seconds at most between two tries to list a kind that is not served: its CRD may be installed at any moment, and who
installs it watches."""
STALE_AFTER = 3
"""So many watches in a row that brought nothing mean a version that is too old: some servers (GKE) close such a watch
instead of answering 410 (fabric8 #7896)."""


class Sink(Protocol[T]):
    """Where a reflector puts what it sees. Called from the reflector's thread only."""

    def replace(self, items: Sequence[Stored[T]], resource_version: str) -> None:
        """The collection is exactly this."""

    def apply(self, event: WatchEvent, stored: Stored[T]) -> None:
        """One ADDED, MODIFIED or DELETED event."""

    def bookmark(self, resource_version: str) -> None:
        """Everything up to this version has been delivered."""

    def phase_changed(self) -> None:
        """The reflector's `phase` or `last_error` may be another one."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The next step lists the collection."""

    newest: bool = False
    """Ask without a version: the one we know is too old for the server, or unknown to it."""


@dataclass(frozen=True, slots=True)
class Watching:
    """The next step watches from the last resource version until the stream ends."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """The next step waits for `delay` seconds."""

    delay: float
    then: Listing | Watching


@dataclass(frozen=True, slots=True)
class Stopped:
    """There is no next step."""


State = Listing | Watching | Waiting | Stopped


@dataclass(frozen=True, slots=True, kw_only=True)
class ReflectorOptions:
    """What part of a collection is mirrored, and how."""

    namespace: str = ""
    labels: str = ""
    fields: str = ""
    page_size: int = 0
    """Objects per page of every list; 0: see `pager`."""
    min_watch_timeout: int = MIN_WATCH_TIMEOUT
    """Seconds. The server is asked to end each watch after a random time of one to two times this; at least 300."""
    silence_seconds: float = 90.0
    """Seconds without any data (servers send a bookmark each minute) after which a watch counts as broken."""
    backoff: BackoffOptions = field(default_factory=BackoffOptions)


@dataclass(slots=True)
class ReflectorStats:
    """Counters since the start; written by the reflector's thread, read by anyone."""

    lists: int = 0
    watches: int = 0
    events: int = 0
    failures: int = 0
    """Failed requests and broken streams, each followed by a delay."""
    dropped: int = 0
    """Watch events that could not be read."""


@dataclass(slots=True)
class _Stream:
    """What one watch has brought so far."""

    started: float
    progressed: bool = False
    """An event moved the resource version."""
    error: ApiError | None = None
    """The ERROR event that ended it."""


@dataclass(slots=True)
class Reflector(Generic[T]):
    """Lists and watches one collection; see the module text."""

    lister_watcher: ListerWatcher
    trimmer: Trimmer[T]
    sink: Sink[T]
    options: ReflectorOptions = field(kw_only=True)
    clock: Clock = field(kw_only=True)
    rng: random.Random = field(default_factory=random.Random, kw_only=True)
    stats: ReflectorStats = field(default_factory=ReflectorStats, init=False)
    state: State = field(default_factory=Listing, init=False)
    last_error: str = field(default="", init=False)
    """Why the collection is not being followed at the moment; empty when it is."""
    resource_version: str = field(default="", init=False)
    """That of the last list, event or bookmark delivered; empty before the first list."""
    _failure: Phase | None = field(default=None, init=False)
    """The phase of the failure that `last_error` describes; None exactly when that is empty."""
    _pager: Pager[T] = field(init=False)
    _backoff: Backoff = field(init=False)
    _expired_in_a_row: int = field(default=0, init=False)
    """410 answers to watches since one brought anything."""
    _fruitless_in_a_row: int = field(default=0, init=False)
    """Watches since one brought anything that ended early, broke, or stayed silent."""
    _stop: threading.Event = field(default_factory=threading.Event, init=False)
    _cancellation: Cancellation = field(default_factory=Cancellation, init=False)
    """Ends a request under way on `stop`."""
    _stream_lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _stream: WatchStream | None = field(default=None, init=False)
    """The open watch; `stop` closes it to wake the reflector's thread. Guarded by `_stream_lock`."""

    def __post_init__(self) -> None:
        scope = ListOptions(
            namespace=self.options.namespace, label_selector=self.options.labels, field_selector=self.options.fields
        )
        self._pager = Pager(
            lister_watcher=self.lister_watcher, trimmer=self.trimmer, scope=scope, page_size=self.options.page_size
        )
        self._backoff = Backoff(options=self.options.backoff, clock=self.clock, rng=self.rng)

    @property
    def phase(self) -> Phase:
        if isinstance(self.state, Stopped):
            return Phase.STOPPED
        return self._failure or (Phase.LISTING if isinstance(self.state, Listing) else Phase.WATCHING)

    def run(self) -> None:
        """Steps until `stop`. Never raises."""
        with self._cancellation.scope():
            while not isinstance(self.state, Stopped):
                self.step()

    def stop(self) -> None:
        """From any thread: ends the present step, a request or watch that waits for the server included."""
        self._stop.set()
        self._cancellation.cancel()
        with self._stream_lock:
            stream = self._stream
        if stream is not None:
            stream.close()

    def step(self) -> None:
        """Does what the present state says and moves to the next."""
        following: State = Stopped()
        if not self._stop.is_set():
            try:
                following = self._do(self.state)
            except CancelledError:
                log.debug("A reflector's request was cancelled", **self._facts)
            except Exception as error:  # a mirror that dies silently is worse than any error
                log.exception("Unexpected error in a reflector", **self._facts)
                following = self._failed("unexpected error while mirroring", error, then=Listing())
        self.state = Stopped() if self._stop.is_set() else following
        self.sink.phase_changed()

    def _do(self, state: State) -> State:
        match state:
            case Listing():
                return self._list(state)
            case Watching():
                return self._watch()
            case Waiting():
                self.clock.wait_event(self._stop, state.delay)
                return state.then
            case Stopped():
                return state

    def _list(self, state: Listing) -> State:
        self.stats.lists += 1
        try:
            listed = self._pager.list("" if state.newest else self.resource_version or "0", self._stop)
        except (ApiError, TransportError) as error:
            stale = isinstance(error, ExpiredError) or is_too_large_resource_version(error)
            if stale and not state.newest:
                log.debug("Cannot list at this version, asking for the newest state", error=str(error), **self._facts)
                return Listing(newest=True)
            return self._failed("failed to list", error, then=state)
        if self._stop.is_set():
            return Stopped()
        items, self.resource_version = listed
        self.sink.replace(items, self.resource_version)
        self._recovered()
        return Watching()

    def _watch(self) -> State:
        self.stats.watches += 1
        progress = _Stream(self.clock.monotonic())
        try:
            stream = self.lister_watcher.watch(self.trimmer.kind, self._watch_options())
        except TransportError as error:
            return self._failed("failed to watch", error, then=Watching())
        except ApiError as error:
            return self._refused(error)
        try:
            if self._opened(stream):
                self._consume(stream, progress)
        except TransportError as error:
            return self._broken(progress, error)
        finally:
            self._closed(stream)
        return self._refused(progress.error) if progress.error else self._ended(progress)

    def _watch_options(self) -> WatchOptions:
        timeout = max(MIN_WATCH_TIMEOUT, self.options.min_watch_timeout)
        return WatchOptions(
            namespace=self.options.namespace,
            label_selector=self.options.labels,
            field_selector=self.options.fields,
            resource_version=self.resource_version,
            timeout_seconds=int(timeout * (1 + self.rng.random())),
            silence_seconds=self.options.silence_seconds,
        )

    def _opened(self, stream: WatchStream) -> bool:
        """False if `stop` came while the watch was being opened."""
        with self._stream_lock:
            self._stream = stream
        if not (self._expired_in_a_row or self._fruitless_in_a_row):
            self._recovered()
        return not self._stop.is_set()

    def _closed(self, stream: WatchStream) -> None:
        with self._stream_lock:
            self._stream = None
        stream.close()

    def _consume(self, stream: WatchStream, progress: _Stream) -> None:
        """Delivers events until the stream ends or sends an error."""
        for event in stream:
            if self._stop.is_set():
                return
            if event.type == "ERROR":
                progress.error = _error_of(event)
                return
            self.stats.events += 1
            before = self.resource_version
            try:
                self._deliver(event)
            except (ObjectDecodeError, msgspec.MsgspecError) as error:
                self.stats.dropped += 1
                log.error("Skipped an unreadable watch event", error=str(error), **self._facts)
            if self.resource_version != before and not progress.progressed:
                progress.progressed = True
                self._expired_in_a_row = self._fruitless_in_a_row = 0
                self._recovered()

    def _deliver(self, event: WatchEvent) -> None:
        if event.type == "BOOKMARK":
            resource_version = _decode_bookmark(event.object).metadata.resource_version
            if not resource_version:
                raise ObjectDecodeError("a bookmark without a resource version")
            self.sink.bookmark(resource_version)
            self.resource_version = resource_version
        elif event.type in ("ADDED", "MODIFIED", "DELETED"):
            stored = self.trimmer.trim(event.object)
            self.sink.apply(event, stored)
            self.resource_version = stored.resource_version or self.resource_version
        else:
            raise ObjectDecodeError(f"a watch event of the unknown type {event.type!r}")

    def _refused(self, error: ApiError) -> State:
        """An error answer to the watch, at its start or as its last event."""
        if isinstance(error, ExpiredError):
            self._expired_in_a_row += 1
            log.debug("The version is too old to watch, listing again", error=str(error), **self._facts)
            if self._expired_in_a_row == 1:
                return Listing()
            return self._failed("even the version just listed is too old to watch", error, then=Listing(newest=True))
        overloaded = isinstance(error, TooManyRequestsError)
        return self._failed("failed to watch", error, then=Watching() if overloaded else Listing())

    def _broken(self, progress: _Stream, error: TransportError) -> State:
        """The connection broke or stayed silent. Once is normal: proxies and upgrades do it."""
        if progress.progressed:
            return Watching()
        self._fruitless_in_a_row += 1
        if self._fruitless_in_a_row == 1 and self._lasted(progress):
            log.info("A watch broke, watching again", error=str(error), **self._facts)
            return Watching()
        return self._fruitless("watch broke", error)

    def _ended(self, progress: _Stream) -> State:
        if progress.progressed or self._lasted(progress):
            self._fruitless_in_a_row = 0
            self._recovered()
            return Watching()
        self._fruitless_in_a_row += 1
        return self._fruitless("very short watch", TransportError("the server ended it at once without any news"))

    def _fruitless(self, what: str, error: TransportError) -> State:
        stale = self._fruitless_in_a_row % STALE_AFTER == 0
        return self._failed(what, error, then=Listing(newest=True) if stale else Watching())

    def _lasted(self, progress: _Stream) -> bool:
        return self.clock.monotonic() - progress.started >= SHORT_WATCH

    def _failed(self, what: str, error: Exception, *, then: Listing | Watching) -> Waiting:
        self.stats.failures += 1
        delay = self._backoff.next_delay((error.retry_after or 0) if isinstance(error, ApiError) else 0)
        phase = Phase.of_failure(error)
        if phase is Phase.KIND_MISSING:
            delay = min(delay, MISSING_KIND_DELAY)
        message = f"{what} {self._where}: {explain(error)}"
        emit = log.debug if message == self.last_error else log.warning
        emit("A reflector failed and will try again", error=message, delay=round(delay, 3), **self._facts)
        self.last_error, self._failure = message, phase
        return Waiting(delay, then)

    def _recovered(self) -> None:
        if self._failure is not None:
            log.info("A reflector works again", after=self.last_error, **self._facts)
            self.last_error, self._failure = "", None
            self.sink.phase_changed()

    @property
    def _where(self) -> str:
        resource = self.trimmer.kind.mapping.group_resource
        return f"{resource} in namespace {self.options.namespace}" if self.options.namespace else resource

    @property
    def _facts(self) -> dict[str, Any]:
        return {"kind": self.trimmer.kind.mapping.gvk.kind, "namespace": self.options.namespace}


class _BookmarkMeta(msgspec.Struct, rename="camel"):
    resource_version: str


class _Bookmark(msgspec.Struct):
    metadata: _BookmarkMeta


_decode_bookmark = msgspec.json.Decoder(_Bookmark).decode


def _error_of(event: WatchEvent) -> ApiError:
    try:
        status = msgspec.json.decode(event.object)
    except msgspec.MsgspecError:
        status = None
    if not isinstance(status, dict):
        status = {"message": f"an ERROR event without a Status: {bytes(event.object)[:200]!r}"}
    return error_from_status(status)
