"""Kubernetes Events (core/v1, as `kubectl describe` shows them): recorder, broadcaster and correlation.

`EventRecorder.event` puts a note into a bounded queue and returns: it never blocks and never raises, for an event is
never worth a failed reconcile. One thread of the `EventBroadcaster` takes the notes, lets the `EventCorrelator` fold
repetitions into one Event with a count, and writes. What is not written is counted by reason.

Numbers as in client-go's tools/record (runtimes.md 2.14).
"""

from __future__ import annotations

import itertools
import queue
import random
import socket
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Literal, Protocol, TypeAlias

import structlog

from .cancellation import Cancellation
from .client import Client
from .clock import Clock, RealClock
from .errors import ApiError, NotFoundError
from .eventcorrelator import EventCorrelator
from .metrics import Metrics
from .objects import Event, EventSource, Object, ObjectMeta, ObjectReference, format_time

log = structlog.get_logger(__name__)

EventType: TypeAlias = Literal["Normal", "Warning"]

QUEUE_SIZE = 1000
MAX_TRIES = 12
RETRY_SECONDS = 10.0
_MAX_MESSAGE = 1024
_MAX_NAME = 253


class EventRecorder(Protocol):
    """Records what happened to an object, for its users to see."""

    def event(self, obj: Object, type_: EventType, reason: str, message: str) -> None:
        """`reason` is one CamelCase word that programs may look for; `message` is for people.

        Never blocks, never raises. The message is cut at 1024 bytes, as the API server demands.
        """


class EventBroadcaster:
    """Takes the events of all recorders of a process to the API server, in one thread."""

    def __init__(
        self,
        client: Client,
        *,
        clock: Clock | None = None,
        metrics: Metrics | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`client` writes live. `jitter` gives numbers from 0 to 1, for the first wait of a retry."""
        self._client = client
        self._clock = clock or RealClock()
        self._dropped = (metrics or Metrics()).events_dropped
        self._jitter = jitter
        self._queue: queue.Queue[Event | None] = queue.Queue(QUEUE_SIZE)
        """Events to write. None only wakes the thread, which ends when the queue is empty and `_stop` is set."""
        self._correlator = EventCorrelator(self._clock)
        self._stop = threading.Event()
        self._cancellation = Cancellation()
        self._thread: threading.Thread | None = None
        self._sequence = itertools.count()
        self._instance = socket.gethostname()

    def recorder(self, component: str) -> EventRecorder:
        """A recorder whose events name this component as their source."""
        return _Recorder(self, component)

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 1.0) -> None:
        """Writes what is queued, without retries and for at most `timeout` seconds, and ends the thread.

        What is left then, and what is recorded later, is dropped.
        """
        self._stop.set()
        try:
            self._queue.put_nowait(None)
        except queue.Full:
            log.debug("Event queue is full at stop")  # then the thread is not asleep either
        if self._thread is not None:
            self._thread.join(timeout)
            self._cancellation.cancel()
            self._thread.join()

    def record(self, obj: Object, type_: EventType, reason: str, message: str, component: str) -> None:
        """What `EventRecorder.event` does, for the given component."""
        try:
            event = self._make(obj, type_, reason, message, component)
        except Exception:
            log.exception("Event not recorded", reason=reason)
            return
        if self._stop.is_set():
            self._drop("stopped", event)
            return
        try:
            self._queue.put_nowait(event)
        except queue.Full:
            self._drop("queue_full", event)

    def _make(self, obj: Object, type_: EventType, reason: str, message: str, component: str) -> Event:
        now = self._clock.now()
        gvk = obj.mapping.gvk
        return Event(
            metadata=ObjectMeta(name=self._name(obj, now), namespace=obj.namespace or "default"),
            involved_object=ObjectReference(
                api_version=gvk.api_version,
                kind=gvk.kind,
                namespace=obj.namespace,
                name=obj.name,
                uid=obj.metadata.uid,
                resource_version=obj.metadata.resource_version,
            ),
            reason=reason,
            message=message.encode()[:_MAX_MESSAGE].decode(errors="ignore"),
            type=type_,
            count=1,
            first_timestamp=now,
            last_timestamp=now,
            source=EventSource(component=component),
            reporting_component=component,
            reporting_instance=self._instance,
        )

    def _name(self, obj: Object, now: datetime) -> str:
        """The object's name and the time in nanoseconds, made unique within this process."""
        suffix = f".{int(now.timestamp() * 1_000_000) * 1000 + next(self._sequence) % 1000:x}"
        return obj.name[: _MAX_NAME - len(suffix)] + suffix

    def _run(self) -> None:
        with self._cancellation.scope():
            self._write_all()

    def _write_all(self) -> None:
        while not (self._stop.is_set() and self._queue.empty()):
            event = self._queue.get()
            if event is None:
                continue
            try:
                self._write(event)
            except Exception:
                log.exception("Event not written", reason=event.reason)
                self._dropped.labels("failed").inc()

    def _write(self, event: Event) -> None:
        observed = self._correlator.correlate(event)
        if observed is None:
            self._drop("spam", event)
            return
        for attempt in range(MAX_TRIES):
            if attempt:
                wait = RETRY_SECONDS * (self._jitter() if attempt == 1 else 1.0)
                if self._clock.wait_event(self._stop, wait):
                    break
            try:
                self._correlator.written(self._send(observed))
            except ApiError as error:
                # The server has answered: it will not answer otherwise the next time.
                self._drop("refused", observed, error)
                return
            except Exception as error:  # noqa: BLE001 - no answer: the next try may get one
                log.info("Event write failed", error=str(error), attempt=attempt + 1)
            else:
                return
        self._drop("unreachable", observed)

    def _send(self, event: Event) -> Event:
        if (event.count or 1) > 1:
            change = {
                "count": event.count,
                "lastTimestamp": format_time(event.last_timestamp) if event.last_timestamp else None,
                "message": event.message,
            }
            try:
                return self._client.patch(event, change)
            except NotFoundError:
                log.debug("Event is gone, making it anew", name=event.name)
        return self._client.create(event)

    def _drop(self, why: str, event: Event, error: Exception | None = None) -> None:
        self._dropped.labels(why).inc()
        log.log(
            30 if why == "queue_full" else 20,
            "Event dropped",
            why=why,
            reason=event.reason,
            object=f"{event.involved_object.kind} {event.involved_object.namespace}/{event.involved_object.name}",
            message=event.message,
            error=str(error) if error else None,
        )


class _Recorder:
    def __init__(self, broadcaster: EventBroadcaster, component: str) -> None:
        self._broadcaster = broadcaster
        self._component = component

    def event(self, obj: Object, type_: EventType, reason: str, message: str) -> None:
        self._broadcaster.record(obj, type_, reason, message, self._component)
