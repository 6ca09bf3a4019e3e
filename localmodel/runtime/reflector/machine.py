"""The reflector as a state machine.

`step` does the work of the present state and moves to the next one; `run` steps until `stop`. Whatever goes wrong is
counted, logged and readable in `phase` and `last_error`. The resource version is opaque: that of the last thing
delivered is where the next watch starts, whatever its value.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic

import msgspec
import structlog

from localmodel.runtime.backoff import Backoff, RetryWindow
from localmodel.runtime.cancellation import Cancellation, CancelledError
from localmodel.runtime.clock import Clock
from localmodel.runtime.errors import (
    ApiError,
    BadRequestError,
    ExpiredError,
    ForbiddenError,
    InternalError,
    InvalidError,
    MethodNotAllowedError,
    NotAcceptableError,
    NotFoundError,
    ObjectDecodeError,
    TooManyRequestsError,
    TransportError,
    UnauthorizedError,
    is_too_large_resource_version,
)
from localmodel.runtime.listwatch import ListerWatcher, ListOptions, WatchEvent, WatchOptions
from localmodel.runtime.objects import T
from localmodel.runtime.pager import Pager
from localmodel.runtime.phase import Phase
from localmodel.runtime.store import Stored, Trimmer

from .initial_events import InitialEvents
from .open_watch import OpenWatch
from .options import MIN_WATCH_TIMEOUT, ReflectorOptions, ReflectorStats
from .sink import Sink
from .states import Listing, State, Stopped, Streaming, Waiting, Watching
from .trouble import Trouble
from .watch_event import bookmark_of, error_in

log = structlog.get_logger(__name__)

SHORT_WATCH = 1.0
"""Seconds. A watch that ends sooner and brought nothing new is a failure."""
SILENCE_MARGIN = 30.0
"""Seconds after the end that the server was asked for at which a watch without bookmarks counts as broken."""
STALE_AFTER = 3
"""So many watches in a row that brought nothing mean a version that is too old: some servers (GKE) close such a watch
instead of answering 410 (fabric8 #7896)."""
STREAMS_IN_VAIN = 3
"""Streamed lists in a row that never became complete, after which the reflector lists for good."""
_CANNOT_STREAM = (InvalidError, BadRequestError, MethodNotAllowedError, NotAcceptableError)
"""How a server says that it does not stream lists, or not of this kind."""
_NOTHING_TO_DO_WITH_STREAMING = (UnauthorizedError, ForbiddenError, NotFoundError, TooManyRequestsError)
"""Refusals that a plain list would meet, too."""


@dataclass(slots=True)
class Reflector(Generic[T]):
    """Lists and watches one collection; see the package's text."""

    lister_watcher: ListerWatcher
    trimmer: Trimmer[T]
    sink: Sink[T]
    options: ReflectorOptions = field(kw_only=True)
    clock: Clock = field(kw_only=True)
    rng: random.Random = field(default_factory=random.Random, kw_only=True)
    stats: ReflectorStats = field(default_factory=ReflectorStats, init=False)
    state: State = field(init=False)
    resource_version: str = field(default="", init=False)
    """That of the last list, event or bookmark delivered; empty before the first list."""
    _facts: Mapping[str, str] = field(init=False)
    """Name the reflector in logs."""
    _pager: Pager[T] = field(init=False)
    _trouble: Trouble = field(init=False)
    _internal_errors: RetryWindow = field(init=False)
    _streams_in_vain: int = field(default=0, init=False)
    """Streamed lists since one was complete; STREAMS_IN_VAIN once the server has said that it cannot."""
    _expired_in_a_row: int = field(default=0, init=False)
    """410 answers to watches since one brought anything after its first second."""
    _fruitless_in_a_row: int = field(default=0, init=False)
    """Watches since one brought anything that ended early, broke, or stayed silent."""
    _stop: threading.Event = field(default_factory=threading.Event, init=False)
    _cancellation: Cancellation = field(default_factory=Cancellation, init=False)
    """Ends a request under way on `stop`."""
    _watch_lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _open_watch: OpenWatch | None = field(default=None, init=False)
    """`stop` closes it to wake the reflector's thread; between two steps it is that of the Watching state. Guarded by
    `_watch_lock`."""

    def __post_init__(self) -> None:
        scope = ListOptions(
            namespace=self.options.namespace, label_selector=self.options.labels, field_selector=self.options.fields
        )
        self._pager = Pager(
            lister_watcher=self.lister_watcher, trimmer=self.trimmer, scope=scope, page_size=self.options.page_size
        )
        self._facts = {"kind": self.trimmer.kind.mapping.gvk.kind, "namespace": self.options.namespace}
        backoff = Backoff(options=self.options.backoff, clock=self.clock, rng=self.rng)
        self._trouble = Trouble(backoff, where=self._where, facts=self._facts)
        self._internal_errors = RetryWindow(seconds=self.options.internal_error_retry_seconds, clock=self.clock)
        self.state = self._relisting()

    @property
    def last_error(self) -> str:
        """Why the collection is not being followed at the moment; empty when it is."""
        return self._trouble.message

    @property
    def phase(self) -> Phase:
        if isinstance(self.state, Stopped):
            return Phase.STOPPED
        return self._trouble.phase or (Phase.LISTING if isinstance(self.state, Listing | Streaming) else Phase.WATCHING)

    def run(self) -> None:
        """Steps until `stop`. Never raises."""
        with self._cancellation.scope():
            while not isinstance(self.state, Stopped):
                self.step()

    def stop(self) -> None:
        """From any thread: ends the present step, a request or watch that waits for the server included."""
        self._stop.set()
        self._cancellation.cancel()
        with self._watch_lock:
            watch = self._open_watch
        if watch is not None:
            watch.close()

    def step(self) -> None:
        """Does what the present state says and moves to the next."""
        following: State = Stopped()
        try:
            if not self._stop.is_set():
                following = self._do(self.state)
        except CancelledError:
            log.debug("A reflector's request was cancelled", **self._facts)
        except Exception as error:  # a mirror that dies silently is worse than any error
            log.exception("Unexpected error in a reflector", **self._facts)
            following = self._failed("unexpected error while mirroring", error, then=self._relisting())
        finally:
            self.state = Stopped() if self._stop.is_set() else following
            self._close_unless_followed()
        self.sink.phase_changed()

    def _do(self, state: State) -> State:
        match state:
            case Streaming():
                return self._stream(state)
            case Listing():
                return self._list(state)
            case Watching():
                return self._watch(state)
            case Waiting():
                self.clock.wait_event(self._stop, state.delay)
                return state.then
            case Stopped():
                return state

    # getting the collection -------------------------------------------------------------------------------------

    def _relisting(self, *, newest: bool = False) -> Streaming | Listing:
        may_stream = self.options.use_watch_list and self._streams_in_vain < STREAMS_IN_VAIN
        return Streaming(newest) if may_stream else Listing(newest)

    def _list(self, state: Listing) -> State:
        self.stats.lists += 1
        try:
            items, version = self._pager.list("" if state.newest else self.resource_version or "0", self._stop)
        except (ApiError, TransportError) as error:
            if not state.newest and _is_unknown_version(error):
                log.debug("Cannot list at this version, asking for the newest state", error=str(error), **self._facts)
                return Listing(newest=True)
            return self._failed("failed to list", error, then=state)
        if self._stop.is_set():
            return Stopped()
        self._replace(items, version)
        return Watching()

    def _stream(self, state: Streaming) -> State:
        self.stats.lists += 1
        initial = InitialEvents(
            self.trimmer, self.options, clock=self.clock, facts=self._facts, on_unreadable=self._dropped
        )
        version = "" if state.newest else self.resource_version
        options = self._watch_options(version, send_initial_events=True, silence_seconds=initial.silence)
        watch = None
        try:
            watch = self._open(options)
            initial.collect(watch)
        except ApiError as error:
            return self._not_streamed(state, error)
        except TransportError as error:
            if self._stop.is_set():
                return Stopped()
            if watch is None and not initial.is_overdue:
                return self._failed("failed to list", error, then=state)
            return self._streamed_in_vain(state, error, is_overdue=initial.is_overdue)
        finally:
            self.stats.events += initial.events
        self._streams_in_vain = 0
        watch.progressed = True
        watch.started = self.clock.monotonic()
        watch.limit_silence(self.options.silence_seconds)  # a server that has sent the marker sends bookmarks
        self._replace(initial.items, initial.resource_version)
        return Watching(watch)

    def _replace(self, items: Sequence[Stored[T]], resource_version: str) -> None:
        self.resource_version = resource_version
        self.sink.replace(items, resource_version)
        self._recovered()

    def _not_streamed(self, state: Streaming, error: ApiError) -> State:
        """An error instead of a streamed list, or before its end."""
        if _is_unknown_version(error):
            if state.newest:
                return self._failed("failed to list", error, then=state)
            log.debug("Cannot list at this version, asking for the newest state", error=str(error), **self._facts)
            return Streaming(newest=True)
        if isinstance(error, _CANNOT_STREAM):
            self._streams_in_vain = STREAMS_IN_VAIN
            return self._list_instead(state, error)
        if isinstance(error, _NOTHING_TO_DO_WITH_STREAMING):
            return self._failed("failed to list", error, then=state)
        return self._streamed_in_vain(state, error)

    def _streamed_in_vain(
        self, state: Streaming, error: ApiError | TransportError, *, is_overdue: bool = False
    ) -> State:
        self._streams_in_vain += 1
        if is_overdue or self._streams_in_vain >= STREAMS_IN_VAIN:
            return self._list_instead(state, error)
        return self._failed("failed to list", error, then=state)

    def _list_instead(self, state: Streaming, error: Exception) -> Listing:
        log.info("The server does not stream this list, listing it instead", error=str(error), **self._facts)
        return Listing(state.newest)

    # following the collection -----------------------------------------------------------------------------------

    def _watch(self, state: Watching) -> State:
        try:
            watch = state.opened or self._open(self._watch_options(self.resource_version))
        except TransportError as error:
            return self._failed("failed to watch", error, then=Watching())
        except ApiError as error:
            return self._refused(error)
        if not (state.opened or self._expired_in_a_row or self._fruitless_in_a_row):
            self._recovered()
        try:
            self._follow(watch)
        except TransportError as error:
            return self._broken(watch, error)
        except ApiError as error:
            return self._refused(error, in_stream=True)
        return Stopped() if self._stop.is_set() else self._ended(watch)

    def _watch_options(
        self, resource_version: str, *, send_initial_events: bool | None = None, silence_seconds: float = 0.0
    ) -> WatchOptions:
        """By default, silence is limited by the end that the server is asked for."""
        timeout = int(max(MIN_WATCH_TIMEOUT, self.options.min_watch_timeout) * (1 + self.rng.random()))
        return WatchOptions(
            namespace=self.options.namespace,
            label_selector=self.options.labels,
            field_selector=self.options.fields,
            resource_version=resource_version,
            send_initial_events=send_initial_events,
            timeout_seconds=timeout,
            silence_seconds=silence_seconds or timeout + SILENCE_MARGIN,
        )

    def _open(self, options: WatchOptions) -> OpenWatch:
        self.stats.watches += 1
        started = self.clock.monotonic()
        watch = OpenWatch(self.lister_watcher.watch(self.trimmer.kind, options), started)
        with self._watch_lock:
            self._open_watch = watch
        if self._stop.is_set():
            watch.close()  # which `stop` could not know
        return watch

    def _close_unless_followed(self) -> None:
        """So a watch is closed on every path that does not go on with it."""
        with self._watch_lock:
            watch = self._open_watch
            if watch is None or (isinstance(self.state, Watching) and self.state.opened is watch):
                return
            self._open_watch = None
        watch.close()

    def _follow(self, watch: OpenWatch) -> None:
        """Delivers events until the stream ends; raises what ends it otherwise."""
        for event in watch:
            if self._stop.is_set():
                return
            self.stats.events += 1
            before = self.resource_version
            try:
                self._deliver(event, watch)
            except (ObjectDecodeError, msgspec.MsgspecError) as error:
                event.verify()
                self._dropped(error)
            if self.resource_version != before:
                watch.progressed = True
                self._fruitless_in_a_row = 0
                if self._expired_in_a_row and self._lasted(watch):
                    self._expired_in_a_row = 0
                if self._trouble.phase is not None:  # asked here because of each event's cost
                    self._recovered()

    def _deliver(self, event: WatchEvent, watch: OpenWatch) -> None:
        if event.type == "BOOKMARK":
            bookmark = bookmark_of(event)
            self.sink.bookmark(bookmark.resource_version)
            self.resource_version = bookmark.resource_version
            watch.limit_silence(self.options.silence_seconds)
        elif event.type in ("ADDED", "MODIFIED", "DELETED"):
            stored = self.trimmer.trim(event.object)
            self.sink.apply(event, stored)
            self.resource_version = stored.resource_version or self.resource_version
        else:
            raise error_in(event)

    def _dropped(self, error: Exception) -> None:
        self.stats.dropped += 1
        log.error("Skipped an unreadable watch event", error=str(error), **self._facts)

    def _refused(self, error: ApiError, *, in_stream: bool = False) -> State:
        """An error answer to the watch, at its start or as its last event."""
        if isinstance(error, ExpiredError):
            self._expired_in_a_row += 1
            log.debug("The version is too old to watch, listing again", error=str(error), **self._facts)
            if self._expired_in_a_row == 1:
                return self._relisting()
            what = "even the version just listed is too old to watch"
            return self._failed(what, error, then=self._relisting(newest=True))
        resumes = isinstance(error, TooManyRequestsError) or (
            in_stream and isinstance(error, InternalError) and self._internal_errors.is_open()
        )
        return self._failed("failed to watch", error, then=Watching() if resumes else self._relisting())

    def _broken(self, watch: OpenWatch, error: TransportError) -> State:
        """The connection broke or stayed silent. Once is normal: proxies and upgrades do it."""
        if self._stop.is_set():
            return Stopped()
        if watch.progressed:
            return Watching()
        self._fruitless_in_a_row += 1
        if self._fruitless_in_a_row == 1 and self._lasted(watch):
            log.debug("A watch broke, watching again", error=str(error), **self._facts)
            return Watching()
        return self._fruitless("watch broke", error)

    def _ended(self, watch: OpenWatch) -> State:
        if watch.progressed or self._lasted(watch):
            self._fruitless_in_a_row = 0
            self._recovered()
            return Watching()
        self._fruitless_in_a_row += 1
        return self._fruitless("very short watch", TransportError("the server ended it at once without any news"))

    def _fruitless(self, what: str, error: TransportError) -> State:
        stale = self._fruitless_in_a_row % STALE_AFTER == 0
        return self._failed(what, error, then=self._relisting(newest=True) if stale else Watching())

    def _lasted(self, watch: OpenWatch) -> bool:
        return self.clock.monotonic() - watch.started >= SHORT_WATCH

    # failing and recovering -------------------------------------------------------------------------------------

    def _failed(self, what: str, error: Exception, *, then: Streaming | Listing | Watching) -> Waiting:
        delay = self._trouble.met(what, error)
        self.stats.failures += 1
        return Waiting(delay, then)

    def _recovered(self) -> None:
        if self._trouble.overcome():
            self.sink.phase_changed()

    @property
    def _where(self) -> str:
        resource = self.trimmer.kind.mapping.group_resource
        return f"{resource} in namespace {self.options.namespace}" if self.options.namespace else resource


def _is_unknown_version(error: Exception) -> bool:
    """The server has forgotten the resource version, or has not seen it yet."""
    return isinstance(error, ExpiredError) or is_too_large_resource_version(error)
