"""Sources: where a controller's events come from.

A source is bound to one controller by `start`, passes its events through its predicates to its handler, and says when
the handler has seen everything that existed at the start. `Kind` follows the informer of a type, `Channel` takes events
from the program itself. A predicate or handler that raises costs that one event, is logged with its traceback and
counted; the source goes on.
"""

from __future__ import annotations

import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from .cancellation import carrying
from .clock import Clock
from .errors import CacheSyncTimeoutError
from .event import CreateEvent, DeleteEvent, Event, GenericEvent, UpdateEvent
from .handler import EventHandler, RequestQueue
from .objects import Object
from .predicate import Predicate
from .store import Stored

if TYPE_CHECKING:
    from .cache import Cache
    from .informer import Registration, SharedInformer

log = structlog.get_logger(__name__)

CHANNEL_SIZE = 1024
_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceContext:
    """What a controller gives its sources."""

    queue: RequestQueue
    cache: Cache
    clock: Clock
    count_error: Callable[[], object]
    """Called for each event that was lost to an error."""


class Source(ABC):
    """One stream of events of one controller."""

    @abstractmethod
    def start(self, context: SourceContext) -> None:
        """Begins to deliver; does not block. Called once."""

    @abstractmethod
    def wait_for_sync(self, stop: threading.Event, timeout: float) -> None:
        """Blocks until what existed at the start has been handled, or `stop` is set.

        Raises CacheSyncTimeoutError, which names the source, after `timeout` seconds.
        """

    @abstractmethod
    def stop(self) -> None:
        """Ends the delivery and every thread of the source."""


class _Dispatcher:
    """Takes one event through predicates and handler."""

    def __init__(
        self, source: Source, handler: EventHandler, predicates: Sequence[Predicate], context: SourceContext
    ) -> None:
        self._source = source
        self._handler = handler
        self._predicates = predicates
        self._context = context

    def dispatch(self, make: Callable[[], Event[Any]]) -> None:
        try:
            event = make()
            if all(predicate.matches(event) for predicate in self._predicates):
                self._handler.handle(event, self._context.queue)
        except Exception:
            self._context.count_error()
            log.exception("Event lost: its predicate or handler raised", source=str(self._source))


class Kind(Source):
    """The objects of one type, from the cache's informer for it."""

    def __init__(self, kind: type[Object], handler: EventHandler, predicates: Sequence[Predicate] = ()) -> None:
        self.kind = kind
        self._handler = handler
        self._predicates = tuple(predicates)
        self._informer: SharedInformer[Any] | None = None
        self._registration: Registration[Any] | None = None
        self._clock: Clock | None = None
        self._optional = False

    def start(self, context: SourceContext) -> None:
        self._clock = context.clock
        self._optional = context.cache.options_of(self.kind).optional
        self._informer = context.cache.get_informer(self.kind)
        dispatcher = _Dispatcher(self, self._handler, self._predicates, context)
        self._registration = self._informer.add_event_handler(_InformerHandler(dispatcher))

    def wait_for_sync(self, stop: threading.Event, timeout: float) -> None:
        assert self._informer is not None, "wait_for_sync comes after start"
        assert self._registration is not None
        assert self._clock is not None
        deadline = self._clock.monotonic() + timeout
        while not self._registration.has_synced:
            if self._optional and self._informer.kind_missing:
                log.info("Kind is not served yet, going on without it", source=str(self))
                return
            if stop.wait(_POLL_SECONDS):
                return
            if self._clock.monotonic() >= deadline:
                reason = self._registration.last_error or "no answer yet"
                raise CacheSyncTimeoutError(f"{self} did not sync within {timeout:.0f} s: {reason}")

    def stop(self) -> None:
        if self._registration is not None:
            self._registration.remove()

    def __str__(self) -> str:
        return f"kind source: {self.kind.mapping.gvk.kind} ({self.kind.mapping.group_resource})"


class _InformerHandler:
    """Turns an informer's calls into events."""

    def __init__(self, dispatcher: _Dispatcher) -> None:
        self._dispatcher = dispatcher

    def on_add(self, obj: Stored[Any], is_in_initial_list: bool) -> None:
        self._dispatcher.dispatch(lambda: CreateEvent(obj.object(), is_in_initial_list))

    def on_update(self, old: Stored[Any], new: Stored[Any]) -> None:
        self._dispatcher.dispatch(lambda: UpdateEvent(old.object(), new.object()))

    def on_delete(self, obj: Stored[Any], final_state_unknown: bool) -> None:
        self._dispatcher.dispatch(lambda: DeleteEvent(obj.object(), final_state_unknown))


class Channel(Source):
    """Events that the program sends itself: a timer, a webhook, a directory that is watched.

    What is sent before the controller starts is kept. A full buffer blocks the sender until `stop`.
    """

    def __init__(
        self, handler: EventHandler, predicates: Sequence[Predicate] = (), *, name: str = "", size: int = CHANNEL_SIZE
    ) -> None:
        self._handler = handler
        self._predicates = tuple(predicates)
        self._name = name
        self._events: queue.Queue[GenericEvent[Any] | None] = queue.Queue(size)
        """None ends the delivery."""
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    def send(self, event: GenericEvent[Any]) -> None:
        """Blocks while the buffer is full. After `stop` the event is dropped."""
        while not self._stopped.is_set():
            try:
                self._events.put(event, timeout=1.0)
            except queue.Full:
                continue
            return

    def close(self) -> None:
        """No more events will come; what was sent is still delivered."""
        self._events.put(None)

    def start(self, context: SourceContext) -> None:
        dispatcher = _Dispatcher(self, self._handler, self._predicates, context)
        self._thread = threading.Thread(
            target=carrying(self._deliver), args=(dispatcher,), name=f"channel-{self._name}", daemon=True
        )
        self._thread.start()

    def wait_for_sync(self, stop: threading.Event, timeout: float) -> None:
        """Nothing to wait for: no event existed at the start."""

    def stop(self) -> None:
        self._stopped.set()
        if self._thread is None:
            return
        while self._thread.is_alive():
            try:
                self._events.put(None, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            self._thread.join()

    def _deliver(self, dispatcher: _Dispatcher) -> None:
        while not self._stopped.is_set():
            event = self._events.get()
            if event is None:
                return
            dispatcher.dispatch(lambda event=event: event)  # type: ignore[misc]

    def __str__(self) -> str:
        return f"channel source: {self._name}"
