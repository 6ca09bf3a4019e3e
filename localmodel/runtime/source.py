"""Sources: where a controller's events come from.

A source is bound to one controller by `start`, passes its events through its predicates to its handler, and says when
the handler has seen everything that existed at the start. `Kind` follows the cache's informer of a type, `Informer` one
that the program runs itself; `Channel` takes events from the program; `Func` is anything else. A predicate or handler
that raises costs that one event, is logged with its traceback and counted; the source goes on.

Neighbours: `source_set` starts and stops the sources of a controller; `informer` delivers; `handler` enqueues.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import structlog

from . import cancellation
from .cancellation import carrying
from .clock import Clock
from .event import CreateEvent, DeleteEvent, Event, ExtractParts, GenericEvent, P, Parts, UpdateEvent
from .handler import EventHandler, RequestQueue, WithLowPriorityWhenUnchanged
from .objects import Object
from .predicate import Predicate
from .store import Stored
from .workqueue import LOW_PRIORITY

if TYPE_CHECKING:
    from .cache import Cache, KindOptions
    from .informer import Registration, SharedInformer

log = structlog.get_logger(__name__)

CHANNEL_SIZE = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceContext:
    """What a controller gives its sources."""

    queue: RequestQueue
    cache: Cache
    clock: Clock
    stop: threading.Event
    """Set when the controller ends."""
    count_error: Callable[[], object]
    """Called for each event that was lost to an error."""
    low_priority: int = LOW_PRIORITY
    """Of events that tell nothing new; see `handler.WithLowPriorityWhenUnchanged`."""


class Source(ABC):
    """One stream of events of one controller."""

    @abstractmethod
    def start(self, context: SourceContext) -> None:
        """Begins to deliver. Called once; what blocks here fails the controller at its `cache_sync_timeout`."""

    @abstractmethod
    def wait_for_sync(self, timeout: float) -> bool:
        """Blocks until what existed at the start has been handled; whether it was, within `timeout` seconds.

        `stop` ends the wait, and so does the cancellation of the calling thread's work.
        """

    @abstractmethod
    def stop(self) -> None:
        """Ends the delivery and every thread of the source. Idempotent, and allowed before `start`."""

    @property
    def last_error(self) -> str:
        """Why the source has not synced; empty if that is not known."""
        return ""


class _Dispatcher:
    """Takes one event through predicates and handler."""

    def __init__(
        self, source: Source, handler: EventHandler, predicates: Sequence[Predicate], context: SourceContext
    ) -> None:
        self._source = source
        self._handler = WithLowPriorityWhenUnchanged(handler, priority=context.low_priority)
        self._predicates = predicates
        self._context = context

    def dispatch(self, make: Callable[[], Event[Any]]) -> None:
        event: Event[Any] | None = None
        try:
            event = make()
            if all(predicate.matches(event) for predicate in self._predicates):
                self._handler.handle(event, self._context.queue)
        except BaseException:  # SystemExit too would end, in silence, the thread that all events come by
            self._context.count_error()
            lost = _subject(event) if event is not None else ""
            log.exception("Event lost: its predicate or handler raised", source=str(self._source), object=str(lost))


class _InformerSource(Source):
    """The objects of one informer."""

    def __init__(self, kind: type[Object], handler: EventHandler, predicates: Sequence[Predicate]) -> None:
        self.kind = kind
        self._handler = handler
        self._predicates = tuple(predicates)
        self._registration: Registration[Any] | None = None

    @abstractmethod
    def _find_informer(self, context: SourceContext) -> SharedInformer[Any]:
        """The informer to follow."""

    def start(self, context: SourceContext) -> None:
        dispatcher = _Dispatcher(self, self._handler, self._predicates, context)
        self._registration = self._find_informer(context).add_event_handler(_InformerHandler(dispatcher))

    def wait_for_sync(self, timeout: float) -> bool:
        assert self._registration is not None, "wait_for_sync comes after start"
        return self._registration.wait_for_sync(timeout)

    def stop(self) -> None:
        if self._registration is not None:
            self._registration.remove()

    @property
    def last_error(self) -> str:
        return self._registration.last_error if self._registration is not None else ""

    def __str__(self) -> str:
        return (
            f"{type(self).__name__.lower()} source: {self.kind.mapping.gvk.kind} ({self.kind.mapping.group_resource})"
        )


class Informer(_InformerSource):
    """The objects of an informer that the program starts and stops itself, of another cluster for example."""

    def __init__(
        self, informer: SharedInformer[Any], handler: EventHandler, predicates: Sequence[Predicate] = ()
    ) -> None:
        super().__init__(informer.kind, handler, predicates)
        self._informer = informer

    def _find_informer(self, context: SourceContext) -> SharedInformer[Any]:  # noqa: ARG002 - it is not of the cache
        return self._informer


class Kind(_InformerSource):
    """The objects of one type, from the cache's informer for it.

    While the server does not serve the kind, the informer goes on asking, with its backoff in place of
    controller-runtime's fixed 10 s, until the controller's time is over. A kind that the cache's options let be absent
    (`optional`, `may_be_forbidden`) is not waited for.
    """

    def __init__(self, kind: type[Object], handler: EventHandler, predicates: Sequence[Predicate] = ()) -> None:
        super().__init__(kind, handler, predicates)
        self._optional: SharedInformer[Any] | None = None
        """The informer, if the kind may be missing or forbidden."""
        self._options: KindOptions | None = None
        """Set with it."""

    def _find_informer(self, context: SourceContext) -> SharedInformer[Any]:
        informer = context.cache.get_informer(self.kind)
        options = context.cache.options_of(self.kind)
        if options.optional or options.may_be_forbidden:
            self._optional, self._options = informer, options
        return informer

    def wait_for_sync(self, timeout: float) -> bool:
        if self._optional is not None and self._options is not None:
            clock = self._optional.clock
            until = clock.monotonic() + timeout
            if not self._options.wait_for(self._optional, timeout):
                return False
            if not self._optional.has_synced:
                log.info("Kind cannot be read yet, going on without it", source=str(self))
                return True
            timeout = until - clock.monotonic()
        return super().wait_for_sync(timeout)


class _StoredObject:
    """The object of an event, decoded from an informer's store when it is first asked for."""

    _stored: Stored[Any]

    @cached_property
    def object(self) -> Any:
        return self._stored.object()


class _StoredCreate(_StoredObject, CreateEvent[Any]):
    def __init__(self, stored: Stored[Any], is_in_initial_list: bool) -> None:
        object.__setattr__(self, "_stored", stored)  # past the frozen class
        object.__setattr__(self, "is_in_initial_list", is_in_initial_list)

    def parts(self, extract: ExtractParts[P]) -> tuple[Parts[P], Parts[P]]:
        return {}, self._stored.parts(extract)


class _StoredDelete(_StoredObject, DeleteEvent[Any]):
    def __init__(self, stored: Stored[Any], delete_state_unknown: bool) -> None:
        object.__setattr__(self, "_stored", stored)
        object.__setattr__(self, "delete_state_unknown", delete_state_unknown)

    def parts(self, extract: ExtractParts[P]) -> tuple[Parts[P], Parts[P]]:
        return self._stored.parts(extract), {}


class _StoredUpdate(UpdateEvent[Any]):
    _old: Stored[Any]
    _new: Stored[Any]

    def __init__(self, old: Stored[Any], new: Stored[Any]) -> None:
        object.__setattr__(self, "_old", old)
        object.__setattr__(self, "_new", new)

    @cached_property
    def object_old(self) -> Any:
        return self._old.object()

    @cached_property
    def object_new(self) -> Any:
        return self._new.object()

    @property
    def is_resync(self) -> bool:
        return bool(self._old.resource_version == self._new.resource_version)

    def parts(self, extract: ExtractParts[P]) -> tuple[Parts[P], Parts[P]]:
        return self._old.parts(extract), self._new.parts(extract)


def _subject(event: Event[Any]) -> object:
    """What the event is about, not decoded: that may be what failed."""
    match event:
        case _StoredUpdate():
            return event._new
        case _StoredObject():
            return event._stored
        case UpdateEvent():
            return event.object_new
        case _:
            return event.object


class _InformerHandler:
    """Turns an informer's calls into events."""

    def __init__(self, dispatcher: _Dispatcher) -> None:
        self._dispatcher = dispatcher

    def on_add(self, obj: Stored[Any], is_in_initial_list: bool) -> None:
        self._dispatcher.dispatch(lambda: _StoredCreate(obj, is_in_initial_list))

    def on_update(self, old: Stored[Any], new: Stored[Any]) -> None:
        self._dispatcher.dispatch(lambda: _StoredUpdate(old, new))

    def on_delete(self, obj: Stored[Any], final_state_unknown: bool) -> None:
        self._dispatcher.dispatch(lambda: _StoredDelete(obj, final_state_unknown))


class Channel(Source):
    """Events that the program sends itself: a timer, a webhook, a directory that is watched.

    What is sent before the controller starts is kept. A full buffer blocks the sender until there is room, until
    `stop`, or until the sender's work is cancelled.
    """

    def __init__(
        self, handler: EventHandler, predicates: Sequence[Predicate] = (), *, name: str = "", size: int = CHANNEL_SIZE
    ) -> None:
        self._handler = handler
        self._predicates = tuple(predicates)
        self._name = name
        self._size = size
        self._changed = threading.Condition()
        """Guards the fields below; notified when any of them changes."""
        self._events: deque[GenericEvent[Any]] = deque()
        self._closed = False
        """The delivery ends with the last event that was sent."""
        self._stopped = False
        """The delivery ends with the event at hand."""
        self._thread: threading.Thread | None = None

    def send(self, event: GenericEvent[Any]) -> None:
        """Blocks while the buffer is full. After `close` or `stop` the event is dropped. Raises CancelledError."""
        doing = f"sending to {self}"
        with cancellation.waking(self._wake, doing), self._changed:
            while len(self._events) >= self._size and not (self._closed or self._stopped):
                cancellation.check(doing)
                self._changed.wait()
            if not (self._closed or self._stopped):
                self._events.append(event)
                self._changed.notify_all()

    def close(self) -> None:
        """No more events will come; what was sent is still delivered."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def start(self, context: SourceContext) -> None:
        dispatcher = _Dispatcher(self, self._handler, self._predicates, context)
        thread = threading.Thread(
            target=carrying(self._deliver), args=(dispatcher,), name=f"channel-{self._name}", daemon=True
        )
        with self._changed:
            thread.start()
            self._thread = thread

    def wait_for_sync(self, timeout: float) -> bool:  # noqa: ARG002 - no event existed at the start
        return True

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _deliver(self, dispatcher: _Dispatcher) -> None:
        while (event := self._next()) is not None:
            dispatcher.dispatch(lambda event=event: event)  # type: ignore[misc]

    def _next(self) -> GenericEvent[Any] | None:
        """Blocks until there is an event; None when the delivery ends."""
        with self._changed:
            while not (self._events or self._closed or self._stopped):
                self._changed.wait()
            if self._stopped or not self._events:
                return None
            self._changed.notify_all()
            return self._events.popleft()

    def __str__(self) -> str:
        return f"channel source: {self._name}"


class Func(Source):
    """A function that puts requests into the controller's queue, by means of its own; without handler or predicates.

    It is called once, with the queue and an event that is set when the controller ends, and must not block: what goes
    on for longer belongs in a thread that ends with the event.
    """

    def __init__(self, function: Callable[[RequestQueue, threading.Event], object], *, name: str = "") -> None:
        self._function = function
        self._name = name or getattr(function, "__name__", "")

    def start(self, context: SourceContext) -> None:
        self._function(context.queue, context.stop)

    def wait_for_sync(self, timeout: float) -> bool:  # noqa: ARG002 - nothing is known of what the function does
        return True

    def stop(self) -> None:
        """Nothing more than the context's event."""

    def __str__(self) -> str:
        return f"func source: {self._name}"
