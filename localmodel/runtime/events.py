"""Kubernetes Events, as `kubectl describe` shows them: the recorder, and the broadcaster that writes.

`EventRecorder.event` puts an `Occurrence` into a bounded queue and returns: it never blocks and never raises, for an
event is never worth a failed reconcile. One thread of the `EventBroadcaster` takes the occurrences, lets the
`EventCorrelator` hold floods back and an `EventSink` fold repetitions, and writes. What is not written is counted by
reason. Events are written to events.k8s.io/v1, or to core/v1 where that is what the cluster serves or grants.

Numbers as in client-go's tools/record and tools/events (runtimes.md 2.14).
"""

from __future__ import annotations

import itertools
import logging
import random
import socket
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Literal, Protocol, TypeAlias, TypeVar

import structlog

from .cancellation import Cancellation
from .client import Client
from .clock import Clock, RealClock
from .errors import ApiError, ForbiddenError, NotFoundError, RuntimeLibraryError
from .eventcorrelator import MAX_NOTE, EventCorrelator, Occurrence, SpamKey, by_origin, cut
from .eventsink import CoreEventSink, EventSink, PendingWrite, SeriesEventSink
from .metrics import Metrics
from .objects import Object, ObjectReference
from .selectors import is_qualified_name, is_subdomain

log = structlog.get_logger(__name__)

W = TypeVar("W")
EventType: TypeAlias = Literal["Normal", "Warning"]

QUEUE_SIZE = 1000
MAX_TRIES = 12
RETRY_SECONDS = 10.0
_MAX_NAME = 253
_MAX_TEXT = 128
"""Bytes of reason, action and reporting instance, as the API server demands."""


class EventRecorder(Protocol):
    """Records what happened to an object, for its users to see."""

    def event(
        self,
        obj: Object,
        type_: EventType,
        reason: str,
        message: str,
        *,
        action: str = "",
        related: Object | None = None,
    ) -> None:
        """`reason` is one CamelCase word that programs may look for, why it happened; `message` is for people.

        `action` is what was done (by default the reason once more), `related` another object that it was done to or
        with. Never blocks, never raises. The message is cut at 1024 bytes, as the API server demands.
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
        spam_key: SpamKey = by_origin,
    ) -> None:
        """`client` writes live. `jitter` gives numbers from 0 to 1, for the first wait of a retry. `spam_key` is what
        has a burst of its own."""
        self._client = client
        self._clock = clock or RealClock()
        self._dropped = (metrics or Metrics()).events_dropped
        self._jitter = jitter
        self._changed = threading.Condition()
        """Guards the queue; notified when it or `_stop` changes."""
        self._queue: deque[Occurrence] = deque()
        self._correlator = EventCorrelator(self._clock, spam_key=spam_key)
        self._sink: EventSink = SeriesEventSink(client, self._clock)
        self._stop = threading.Event()
        self._cancellation = Cancellation()
        self._thread: threading.Thread | None = None
        self._sequence = itertools.count()
        """Tells events of one microsecond apart."""

    def recorder(self, component: str) -> EventRecorder:
        """A recorder whose events name this component as who reports.

        Raises ValueError unless it is a qualified name ("greeter", "example.com/greeter"): no other is accepted.
        """
        if not is_qualified_name(component):
            raise ValueError(
                f"{component!r} cannot report events: name the component with at most 63 letters, digits, '-', '_' or "
                "'.', with an optional DNS prefix and a slash before it"
            )
        return _Recorder(component, self._clock, self._sequence, self.record)

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 1.0) -> None:
        """Writes what is queued and counted, without retries and for at most `timeout` seconds, and ends the thread.

        What is left then, and what is recorded later, is dropped.
        """
        with self._changed:
            self._stop.set()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout)
            self._cancellation.cancel()
            self._thread.join()

    def record(self, occurrence: Occurrence) -> None:
        """Queues it, or drops it: never blocks."""
        with self._changed:
            why = "stopped" if self._stop.is_set() else "queue_full" if len(self._queue) >= QUEUE_SIZE else ""
            if not why:
                self._queue.append(occurrence)
                self._changed.notify_all()
        if why:
            self._drop(why, occurrence)

    def _run(self) -> None:
        with self._cancellation.scope():
            while self._step():
                pass
            for pending in self._sink.drain():
                if self._cancellation.cancelled:
                    log.info("Last counts of event series not written, there was no time")
                    break
                self._guarded(self._write, pending)

    def _step(self) -> bool:
        """Waits for something to write, and writes it; False when all is written and the thread is to end."""
        occurrence = self._next()
        # First, so that what has been silent for too long does not go on with this occurrence.
        for pending in self._sink.due():
            self._guarded(self._write, pending)
        if occurrence is not None:
            self._guarded(self._tell, occurrence)
        return occurrence is not None or not self._stop.is_set()

    def _next(self) -> Occurrence | None:
        """The next of the queue; None if the sink has something due, or at the end."""
        with self._changed:
            while not self._queue and not self._stop.is_set():
                seconds = self._sink.due_in()
                if seconds is not None and seconds <= 0:
                    return None
                self._clock.wait(self._changed, seconds)
            return self._queue.popleft() if self._queue else None

    def _guarded(self, work: Callable[[W], object], what: W) -> None:
        """An error of programming costs one event, not the thread."""
        try:
            work(what)
        except Exception:
            log.exception("Event not written")
            self._dropped.labels("failed").inc()

    def _tell(self, occurrence: Occurrence) -> None:
        occurrence = self._correlator.aggregate(occurrence)
        pending = self._sink.observe(occurrence)
        if pending is None:
            return
        if not self._correlator.admits(occurrence):
            self._drop("spam", occurrence)
            return
        refusal = self._attempt(pending)
        if refusal is not None and isinstance(self._sink, SeriesEventSink) and _is_not_granted(refusal):
            core = CoreEventSink(self._client)
            refusal = self._attempt(core.observe(occurrence))
            if refusal is None:
                log.info("Events go to core/v1, events.k8s.io is not served or not granted")
                self._sink = core
        if refusal is not None:
            self._drop("refused", occurrence, refusal)

    def _write(self, pending: PendingWrite) -> None:
        refusal = self._attempt(pending)
        if refusal is not None:
            self._drop("refused", pending.occurrence, refusal)

    def _attempt(self, pending: PendingWrite) -> ApiError | None:
        """Sends until there is an answer; the answer, if it is a refusal. Gives up, and says so, after 12 tries."""
        for attempt in range(MAX_TRIES):
            if attempt:
                wait = RETRY_SECONDS * (self._jitter() if attempt == 1 else 1.0)
                if self._clock.wait_event(self._stop, wait):
                    break
            try:
                pending.send()
            except ApiError as error:
                # The server has answered: it will not answer otherwise the next time.
                return error
            except RuntimeLibraryError as error:  # no answer: the next try may get one
                log.info("Event write failed", error=str(error), attempt=attempt + 1)
            else:
                return None
        self._drop("unreachable", pending.occurrence)
        return None

    def _drop(self, why: str, occurrence: Occurrence, error: ApiError | None = None) -> None:
        self._dropped.labels(why).inc()
        about = occurrence.regarding
        log.log(
            logging.WARNING if why == "queue_full" or (error and _is_not_granted(error)) else logging.INFO,
            "Event dropped",
            why=why,
            reason=occurrence.reason,
            object=f"{about.kind} {about.namespace}/{about.name}",
            message=occurrence.note,
            error=str(error) if error else None,
        )


class _Recorder:
    """Says when, where and by whom; `record` takes it."""

    def __init__(
        self, component: str, clock: Clock, sequence: Iterator[int], record: Callable[[Occurrence], None]
    ) -> None:
        self._component = component
        self._instance = cut(f"{component}-{socket.gethostname()}", _MAX_TEXT)
        self._clock, self._sequence, self._record = clock, sequence, record

    def event(
        self,
        obj: Object,
        type_: EventType,
        reason: str,
        message: str,
        *,
        action: str = "",
        related: Object | None = None,
    ) -> None:
        try:
            now = self._clock.now()
            occurrence = Occurrence(
                name=self._name(obj, now),
                namespace=obj.namespace or "default",
                regarding=_reference(obj),
                related=_reference(related) if related is not None else None,
                type=type_,
                reason=cut(reason, _MAX_TEXT),
                action=cut(action or reason, _MAX_TEXT),
                note=cut(message, MAX_NOTE),
                controller=self._component,
                instance=self._instance,
                at=now,
            )
        except Exception:
            log.exception("Event not recorded", reason=reason)
        else:
            self._record(occurrence)

    def _name(self, obj: Object, now: datetime) -> str:
        """The object's name and the time in nanoseconds, made unique within this process.

        A random name where that is none for an Event: the kinds of RBAC may be called system:node.
        """
        suffix = f".{int(now.timestamp() * 1_000_000) * 1000 + next(self._sequence) % 1000:x}"
        name = obj.name[: _MAX_NAME - len(suffix)] + suffix
        return name if is_subdomain(name) else str(uuid.uuid4())


def _reference(obj: Object) -> ObjectReference:
    gvk = obj.mapping.gvk
    return ObjectReference(
        api_version=gvk.api_version,
        kind=gvk.kind,
        namespace=obj.namespace,
        name=obj.name,
        uid=obj.metadata.uid,
        resource_version=obj.metadata.resource_version,
    )


def _is_not_granted(error: ApiError) -> bool:
    """The refusal is about the API group: not that the namespace is going or gone."""
    if isinstance(error, ForbiddenError):
        return not any(cause.get("reason") == "NamespaceTerminating" for cause in error.causes)
    return isinstance(error, NotFoundError) and (error.status.get("details") or {}).get("kind") != "namespaces"
