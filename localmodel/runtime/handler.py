"""Handlers: which requests an event puts into a controller's queue.

A handler is called in the thread of the source, after the predicates, and only enqueues; work belongs in the
reconciler. One event queues equal requests once. What an event without news queues (the initial list, a resync) waits
behind what is live: see `WithLowPriorityWhenUnchanged`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Generic, Protocol

from .event import CreateEvent, DeleteEvent, Event, GenericEvent, UpdateEvent
from .objects import Object, T
from .reconcile import Request
from .workqueue import LOW_PRIORITY, AddOptions


class RequestQueue(Protocol):
    """The side of a controller's queue (`workqueue.WorkQueue`) that handlers and sources see."""

    def add(self, item: Request) -> None:
        """Queues the request."""

    def add_after(self, item: Request, delay: float) -> None:
        """Queues the request in `delay` seconds."""

    def add_rate_limited(self, item: Request) -> None:
        """Queues the request when the controller's rate limiter allows it."""

    def add_with_options(self, options: AddOptions, *items: Request) -> None:
        """Queues the requests with a delay, a rate limit or a priority."""


class EventHandler(ABC):
    """Turns events into requests."""

    @abstractmethod
    def handle(self, event: Event[Any], queue: RequestQueue) -> None:
        """Adds what the event concerns to the queue; does not block."""


class WithLowPriorityWhenUnchanged(EventHandler):
    """Another handler, whose requests get a low priority if the event is of the initial list or a resync.

    A priority that the handler names itself stands. Every source wraps its handler so: a handler needs it only when it
    is called by something else.
    """

    def __init__(self, handler: EventHandler, *, priority: int = LOW_PRIORITY) -> None:
        self._handler = handler
        self._priority = priority

    def handle(self, event: Event[Any], queue: RequestQueue) -> None:
        self._handler.handle(event, _LowPriorityQueue(queue, self._priority) if _is_unchanged(event) else queue)


class _LowPriorityQueue:
    """A queue in which a request that has no priority gets a low one."""

    def __init__(self, queue: RequestQueue, priority: int) -> None:
        self._queue = queue
        self._priority = priority

    def add(self, item: Request) -> None:
        self.add_with_options(AddOptions(), item)

    def add_after(self, item: Request, delay: float) -> None:
        self.add_with_options(AddOptions(after=delay), item)

    def add_rate_limited(self, item: Request) -> None:
        self.add_with_options(AddOptions(rate_limited=True), item)

    def add_with_options(self, options: AddOptions, *items: Request) -> None:
        if options.priority is None:
            options = replace(options, priority=self._priority)
        self._queue.add_with_options(options, *items)


def _is_unchanged(event: Event[Any]) -> bool:
    """The event tells of nothing that happened after the start."""
    match event:
        case CreateEvent():
            return event.is_in_initial_list
        case UpdateEvent():
            return event.is_resync
    return False


def _objects(event: Event[Any]) -> tuple[Any, ...]:
    """The objects an event is about: old and new for an update, so that nothing which was concerned is forgotten."""
    if isinstance(event, UpdateEvent):
        return event.object_old, event.object_new
    return (event.object,)


class EnqueueRequestForObject(EventHandler):
    """Queues the object itself."""

    def handle(self, event: Event[Any], queue: RequestQueue) -> None:
        for request in dict.fromkeys(obj.key for obj in _objects(event)):
            queue.add(request)


class EnqueueRequestForOwner(EventHandler):
    """Queues the owners of the object which are of one kind, by its owner references.

    Group and kind are compared, the version is not: the reference may have been written with another one.
    """

    def __init__(self, owner: type[Object], *, only_controller_owner: bool = True) -> None:
        """`only_controller_owner`: only the one reference with `controller: true` counts."""
        self._mapping = owner.mapping
        self._only_controller_owner = only_controller_owner

    def handle(self, event: Event[Any], queue: RequestQueue) -> None:
        for request in dict.fromkeys(request for obj in _objects(event) for request in self._owners(obj)):
            queue.add(request)

    def _owners(self, obj: Object) -> Iterable[Request]:
        gvk = self._mapping.gvk
        for reference in obj.metadata.owner_references:
            if self._only_controller_owner and not reference.controller:
                continue
            if reference.group == gvk.group and reference.kind == gvk.kind:
                yield Request(obj.metadata.namespace if self._mapping.namespaced else "", reference.name)


class EnqueueRequestsFromMapFunc(EventHandler, Generic[T]):
    """Queues what a function names for the object; for an update it is asked about the old and the new one."""

    def __init__(
        self, function: Callable[[T], Iterable[Request]], *, delay: float | Callable[[Request], float] = 0.0
    ) -> None:
        """With a `delay`, in seconds, requests are queued that much later: many events in that time cost one run.

        The first event of a burst sets the time, so a steady stream of events does not hold a request back. A function
        says for each request how long it may wait.
        """
        self._function = function
        self._delay = delay

    def handle(self, event: Event[Any], queue: RequestQueue) -> None:
        requests = dict.fromkeys(request for obj in _objects(event) for request in self._function(obj))
        for request in requests:
            # Here it costs this event; a worker that was handed anything else would end the controller.
            if not isinstance(request, Request):
                raise TypeError(f"the map function gave {request!r}: give Requests, such as Request(namespace, name)")
        for request in requests:
            delay = self._delay(request) if callable(self._delay) else self._delay
            if delay > 0:
                queue.add_after(request, delay)
            else:
                queue.add(request)


class Funcs(EventHandler):
    """A handler of up to four functions; for an absent one nothing happens."""

    def __init__(
        self,
        *,
        create: Callable[[CreateEvent[Any], RequestQueue], None] | None = None,
        update: Callable[[UpdateEvent[Any], RequestQueue], None] | None = None,
        delete: Callable[[DeleteEvent[Any], RequestQueue], None] | None = None,
        generic: Callable[[GenericEvent[Any], RequestQueue], None] | None = None,
    ) -> None:
        self._create = create
        self._update = update
        self._delete = delete
        self._generic = generic

    def handle(self, event: Event[Any], queue: RequestQueue) -> None:
        match event:
            case CreateEvent() if self._create:
                self._create(event, queue)
            case UpdateEvent() if self._update:
                self._update(event, queue)
            case DeleteEvent() if self._delete:
                self._delete(event, queue)
            case GenericEvent() if self._generic:
                self._generic(event, queue)
