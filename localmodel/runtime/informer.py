"""A local copy of one kind that tells handlers of every change (cache.SharedIndexInformer).

One or more reflectors (one per namespace) write into one store; each handler hears of the store's changes through its
own `listener`. The invariant that makes late handlers exact: the store and the listeners' queues change together under
one lock, so a handler added at any moment gets an add for each object in the store and after that each change, with
no gap and no duplicate.

Neighbours: `reflector` and `store` below, `cache` above. Rules: reference/runtimes.md 2.4 to 2.6.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic

import structlog

from . import cancellation, deadline
from .clock import Clock, RealClock
from .errors import RuntimeLibraryError
from .listener import Listener, ResourceEventHandler
from .listwatch import ListerWatcher, WatchEvent
from .objects import T
from .phase import Phase
from .reflector import Reflector, ReflectorOptions, ReflectorStats
from .store import Change, Extract, Stored, ThreadSafeStore, Transform, Trimmer

log = structlog.get_logger(__name__)

JOIN_TIMEOUT = 1.0
"""Seconds for all threads of an informer to end after `stop`."""
MIN_RESYNC = 1.0


class InformerStoppedError(RuntimeLibraryError):
    """A stopped informer takes no handlers and does not start again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InformerOptions:
    """What an informer holds."""

    namespaces: tuple[str, ...] = ()
    """Only these, each with its own watch; none means all. Ignored for cluster-scoped kinds."""
    labels: str = ""
    fields: str = ""
    transform: Transform | None = None
    resync_period: float = 36_000.0
    """Seconds, +-10 %, after which every handler gets an update for each stored object, from the store, not from the
    server; 0 is never, below 1 is 1."""
    reflector: ReflectorOptions = field(default_factory=ReflectorOptions)
    """Paging, timeouts and backoff; namespace and selectors are overwritten."""

    def reflector_options(self, namespace: str) -> ReflectorOptions:
        """The options of one namespace's reflector."""
        return replace(self.reflector, namespace=namespace, labels=self.labels, fields=self.fields)


class Registration(Generic[T]):
    """One handler at one informer."""

    def __init__(self, informer: SharedInformer[T], listener: Listener[T]) -> None:
        self._informer = informer
        self._listener = listener

    @property
    def has_synced(self) -> bool:
        """The handler has taken every object of the initial list without an exception; later than the informer's."""
        return self._listener.synced.is_set()

    @property
    def last_error(self) -> str:
        """Why not: what the handler raised, else what keeps the informer."""
        return self._listener.last_error or self._informer.last_error

    def wait_for_sync(self, timeout: float) -> bool:
        """Waits for `has_synced` at most `timeout` seconds; ends early, with False, once the handler is removed."""
        self._informer.clock.wait_event(self._listener.settled, timeout)
        return self.has_synced

    @property
    def failures(self) -> int:
        """Events lost because the handler raised."""
        return self._listener.failures

    @property
    def pending(self) -> int:
        """Events waiting for the handler."""
        return len(self._listener)

    def remove(self) -> None:
        """The handler hears no more after the event at hand. Idempotent; the informer goes on."""
        self._informer._remove(self._listener)


class SharedInformer(Generic[T]):
    """Follows one kind; see the module text. Thread-safe."""

    def __init__(
        self,
        kind: type[T],
        lister_watcher: ListerWatcher,
        options: InformerOptions | None = None,
        *,
        clock: Clock | None = None,
    ) -> None:
        self.kind = kind
        self.options = options or InformerOptions()
        self.clock = clock or RealClock()
        self.store: ThreadSafeStore[T] = ThreadSafeStore()
        self._lock = threading.RLock()
        """Held while store and listeners change together, and for the flags below."""
        self._changed = threading.Condition(self._lock)
        """Notified when `has_synced`, `phase` or `_stopped` changes."""
        self._listeners: list[Listener[T]] = []
        self._started = self._stopped = False
        trimmer = Trimmer(kind, self.options.transform)
        self._scopes = [_Scope(self, lister_watcher, trimmer, namespace) for namespace in self._namespaces()]
        self._threads = [
            threading.Thread(target=scope.reflector.run, name=f"{self._name}-reflector", daemon=True)
            for scope in self._scopes
        ]

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Those that are watched; ("",) for all of them, or for a cluster-scoped kind."""
        return tuple(scope.namespace for scope in self._scopes)

    @property
    def has_synced(self) -> bool:
        """The first list is in the store, of every namespace."""
        return all(scope.synced for scope in self._scopes)

    @property
    def last_error(self) -> str:
        """Why the informer is not following the server at the moment; empty when it is."""
        return "; ".join(scope.reflector.last_error for scope in self._scopes if scope.reflector.last_error)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """What each namespace's reflector is doing."""
        return tuple(scope.reflector.phase for scope in self._scopes)

    @property
    def kind_missing(self) -> bool:
        """The server does not serve this kind at the moment."""
        return Phase.KIND_MISSING in self.phases

    @property
    def stats(self) -> tuple[ReflectorStats, ...]:
        return tuple(scope.reflector.stats for scope in self._scopes)

    def add_indexer(self, name: str, extract: Extract[T]) -> None:
        """At any time; raises ValueError for a name in use."""
        self.store.add_indexer(name, extract)

    def add_event_handler(self, handler: ResourceEventHandler[T]) -> Registration[T]:
        """At any time; objects that are stored already come as adds of the initial list.

        Raises InformerStoppedError.
        """
        period = self.options.resync_period
        listener = Listener(
            handler,
            name=self._name,
            resync=self._resync,
            resync_period=max(period, MIN_RESYNC) if period > 0 else 0.0,
            clock=self.clock,
        )
        with self._lock:
            if self._stopped:
                raise InformerStoppedError(f"the informer for {self.kind.mapping.gvk.kind} has been stopped")
            for stored in self.store.list():
                listener.add(stored, initial=True)
            if self.has_synced:
                listener.initial_list_done()
            self._listeners.append(listener)
            if self._started:
                listener.start()
        return Registration(self, listener)

    def start(self) -> None:
        """Starts listing and watching, and returns. A second start does nothing; raises InformerStoppedError."""
        with self._lock:
            if self._stopped:
                raise InformerStoppedError(f"the informer for {self.kind.mapping.gvk.kind} has been stopped")
            if self._started:
                log.warning("An informer was started twice", kind=self.kind.mapping.gvk.kind)
                return
            self._started = True
            for listener in self._listeners:
                listener.start()
            for thread in self._threads:
                thread.start()

    def stop(self) -> None:
        """Ends the watches, then the handlers, and waits for their threads at most a second. Idempotent."""
        self.stop_soon()
        self.join(JOIN_TIMEOUT)

    def stop_soon(self) -> None:
        """Asks everything to stop without waiting; `join` waits."""
        with self._lock:
            self._stopped = True
            self._changed.notify_all()
        for scope in self._scopes:
            scope.reflector.stop()
        with self._lock:
            for listener in self._listeners:
                listener.stop()

    def join(self, timeout: float) -> bool:
        """Whether every thread ended within `timeout` seconds of real time."""
        if not self._started:
            return True
        clock = RealClock()
        deadline = clock.monotonic() + timeout
        ended = True
        for thread in self._threads:
            if thread.ident is not None and thread is not threading.current_thread():
                thread.join(max(0.0, deadline - clock.monotonic()))
                ended &= not thread.is_alive()
        for listener in tuple(self._listeners):
            ended &= listener.join(max(0.0, deadline - clock.monotonic()))
        if not ended:
            log.warning("An informer's thread has not ended yet", kind=self.kind.mapping.gvk.kind, timeout=timeout)
        return ended

    def wait_for_sync(self, timeout: float, *, or_missing: bool = False) -> bool:
        """Waits for `has_synced`, or (`or_missing`) for the answer that the server does not serve the kind.

        False if neither came within `timeout` seconds or the informer was stopped. The deadline and the cancellation
        of the work in hand end the wait too, with their errors.
        """
        doing = f"waiting for the informer for {self.kind.mapping.gvk.kind}"
        until = self.clock.monotonic() + timeout
        with cancellation.waking(self._wake, doing), self._changed:
            while not (self.has_synced or (or_missing and self.kind_missing)):
                remaining = until - self.clock.monotonic()
                if self._stopped or remaining <= 0:
                    return False
                cancellation.check(doing)
                deadline.check(doing)
                left = deadline.remaining()
                self.clock.wait(self._changed, remaining if left is None else min(remaining, left))
        return True

    def _namespaces(self) -> Iterable[str]:
        if not self.kind.mapping.namespaced or "" in self.options.namespaces:
            return ("",)
        return dict.fromkeys(self.options.namespaces) or ("",)

    @property
    def _name(self) -> str:
        return self.kind.__name__.lower()

    def _remove(self, listener: Listener[T]) -> None:
        with self._lock:
            if listener in self._listeners:
                self._listeners.remove(listener)
        listener.stop()
        listener.join(JOIN_TIMEOUT)

    def _resync(self, listener: Listener[T]) -> None:
        """Queued behind what is pending under the lock, so it never overtakes a newer change."""
        with self._lock:
            for stored in self.store.list():
                listener.update(stored, stored)

    def _replaced(self, scope: _Scope[T], items: Sequence[Stored[T]], resource_version: str) -> None:
        with self._lock:
            first = not scope.synced
            for change in self.store.replace(items, resource_version, namespace=scope.namespace):
                self._distribute(change, initial=first, final_state_unknown=True)
            scope.synced = True
            if first and self.has_synced:
                for listener in self._listeners:
                    listener.initial_list_done()
                log.info("An informer has synced", kind=self.kind.mapping.gvk.kind, objects=len(self.store))
            self._changed.notify_all()

    def _applied(self, event: WatchEvent, stored: Stored[T]) -> None:
        with self._lock:
            if event.type == "DELETED":
                known = self.store.delete(stored.key, stored.resource_version)
                change = known and Change(stored, None)
            else:
                change = self.store.put(stored)
            if change is not None:
                self._distribute(change, initial=False, final_state_unknown=False)

    def _distribute(self, change: Change[T], *, initial: bool, final_state_unknown: bool) -> None:
        """Tells every listener. The lock is held and the store has the change."""
        old, new = change.old, change.new
        if old is not None and new is not None and old.resource_version == new.resource_version != "":
            return
        for listener in self._listeners:
            if new is None:
                assert old is not None
                listener.delete(old, final_state_unknown=final_state_unknown)
            elif old is None:
                listener.add(new, initial=initial)
            else:
                listener.update(old, new)

    def _wake(self) -> None:
        """Lets everyone who waits for a change look again."""
        with self._changed:
            self._changed.notify_all()


class _Scope(Generic[T]):
    """One namespace (or all of them) of an informer: its reflector, whose sink it is."""

    def __init__(
        self, informer: SharedInformer[T], lister_watcher: ListerWatcher, trimmer: Trimmer[T], namespace: str
    ) -> None:
        self.namespace = namespace
        self.synced = False
        """The first list of this scope is in the store."""
        self._informer = informer
        self.reflector = Reflector(
            lister_watcher,
            trimmer,
            self,
            options=informer.options.reflector_options(namespace),
            clock=informer.clock,
        )

    def replace(self, items: Sequence[Stored[T]], resource_version: str) -> None:
        self._informer._replaced(self, items, resource_version)

    def apply(self, event: WatchEvent, stored: Stored[T]) -> None:
        self._informer._applied(event, stored)

    def bookmark(self, resource_version: str) -> None:
        self._informer.store.bookmark(resource_version)

    def phase_changed(self) -> None:
        self._informer._wake()
