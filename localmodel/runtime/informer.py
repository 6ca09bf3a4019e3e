"""A local copy of one kind that tells handlers of every change (cache.SharedIndexInformer).

One or more reflectors (one per namespace) write into one store; each handler hears of the store's changes through its
own `listener`. The invariant that makes late handlers exact: the store and the listeners' queues change together under
one lock, so a handler added at any moment gets an add for each object in the store and after that each change, with
no gap and no duplicate.

Neighbours: `reflector` and `store` below, `cache` above. Rules: reference/runtimes.md 2.4 to 2.6.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Generic

import structlog

from . import cancellation, deadline
from .clock import Clock, RealClock
from .errors import RuntimeLibraryError
from .informer_options import InformerOptions
from .informer_scope import Scope, version_number
from .listener import Added, Deleted, InitialListDone, Listener, Notification, ResourceEventHandler, Updated
from .listwatch import ListerWatcher
from .objects import T
from .phase import Phase
from .reflector import ReflectorStats
from .store import Decode, Extract, ExtractParts, Stored, ThreadSafeStore, Trimmer

log = structlog.get_logger(__name__)

JOIN_TIMEOUT = 1.0
"""Seconds for all threads of an informer to end after `stop`."""
MIN_RESYNC = 1.0


class InformerStoppedError(RuntimeLibraryError):
    """A stopped informer takes no handlers and does not start again."""


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
        self.namespaced = kind.mapping.namespaced
        """The kind's objects live in namespaces; at hand here, for an attribute of a pydantic class is slow to get."""
        self.options = options or InformerOptions()
        self.clock = clock or RealClock()
        self.store: ThreadSafeStore[T] = ThreadSafeStore()
        self._lock = threading.RLock()
        """Held while store and listeners change together, and for the flags below."""
        self._changed = threading.Condition(self._lock)
        """Notified when `has_synced`, `phase` or `_stopped` changes; with each version while `_version_waiters`."""
        self._version_waiters = 0
        self._listeners: list[Listener[T]] = []
        self._failures_of_removed = 0
        """Events that handlers lost which are no longer among `_listeners`."""
        self._started = self._stopped = False
        self._scopes = [self._new_scope(lister_watcher, namespace) for namespace in self._namespaces()]
        self._watches_all = "" in self.namespaces
        self._threads = [
            threading.Thread(target=scope.reflector.run, name=f"{self._name}-reflector", daemon=True)
            for scope in self._scopes
        ]

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Those that are watched; ("",) for all of them, or for a cluster-scoped kind."""
        return tuple(scope.namespace for scope in self._scopes)

    def watches(self, namespace: str) -> bool:
        """Objects of the namespace are in the store."""
        return self._watches_all or namespace in self.namespaces

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
    def forbidden(self) -> bool:
        """This user may not list or watch the kind at the moment."""
        return Phase.FORBIDDEN in self.phases

    @property
    def stats(self) -> tuple[ReflectorStats, ...]:
        return tuple(scope.reflector.stats for scope in self._scopes)

    @property
    def handler_failures(self) -> int:
        """Events lost because a handler raised."""
        with self._lock:
            return self._failures_of_removed + sum(listener.failures for listener in self._listeners)

    @property
    def pending(self) -> int:
        """Events waiting for handlers."""
        with self._lock:
            return sum(map(len, self._listeners))

    def last_synced_resource_version(self, namespace: str = "") -> str:
        """The version up to which the store follows the server in what `namespace` needs (all that is watched, if
        empty): of the last list, event or bookmark. Empty before the first list.

        Raises ValueError for a namespace that is not watched.
        """
        versions = [scope.resource_version for scope in self._scopes_of(namespace)]
        return versions[0] if len(versions) == 1 else min(versions, key=version_number)

    def add_indexer(self, name: str, extract: Extract[T]) -> None:
        """At any time; raises ValueError for a name in use."""
        self.store.add_indexer(name, extract)

    def add_parts_indexer(self, extract: ExtractParts[T], decode: Decode | None = None) -> None:
        """At any time; see `Cache.index_parts`."""
        self.store.add_parts_indexer(extract, decode)

    def add_event_handler(
        self, handler: ResourceEventHandler[T], *, resync_period: float | None = None
    ) -> Registration[T]:
        """At any time; objects that are stored already come as adds of the initial list.

        `resync_period` overrides that of the options for this handler. Each handler has a timer of its own, so a late
        one is resynced as often as it asks for, where client-go bounds it by the check period of those before it.
        Raises InformerStoppedError.
        """
        period = self.options.resync_period if resync_period is None else resync_period
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
                listener.notify(Added(stored, True))
            if self.has_synced:
                listener.notify(InitialListDone())
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

    def wait_for_sync(self, timeout: float, *, or_missing: bool = False, or_forbidden: bool = False) -> bool:
        """Waits for `has_synced`, or (`or_missing`) for the answer that the server does not serve the kind, or
        (`or_forbidden`) for the one that this user may not read it.

        False if neither came within `timeout` seconds or the informer was stopped. The deadline and the cancellation
        of the work in hand end the wait too, with their errors.
        """
        return self._wait(
            lambda: self.has_synced or (or_missing and self.kind_missing) or (or_forbidden and self.forbidden),
            timeout,
            f"waiting for the informer for {self.kind.mapping.gvk.kind}",
        )

    def wait_for_resource_version(self, resource_version: str, timeout: float, *, namespace: str = "") -> bool:
        """Waits until the store has everything up to this version, in what `namespace` needs.

        Versions are compared as numbers (KEP-5504). Ends as `wait_for_sync` does. Raises ValueError for a version that
        is no number, and for a namespace that is not watched.
        """
        scopes, wanted = self._scopes_of(namespace), version_number(resource_version)

        def seen() -> bool:
            return all(version_number(scope.resource_version) >= wanted for scope in scopes)

        if seen():
            return True
        with self._lock:
            self._version_waiters += 1
        try:
            kind = self.kind.mapping.gvk.kind
            return self._wait(seen, timeout, f"waiting for resource version {resource_version} of {kind} in the cache")
        finally:
            with self._lock:
                self._version_waiters -= 1

    def _wait(self, done: Callable[[], bool], timeout: float, doing: str) -> bool:
        """Whether `done` within `timeout` seconds and before the stop; looked at whenever `_changed` is notified."""
        until = self.clock.monotonic() + timeout
        with cancellation.waking(self.wake, doing), self._changed:
            while not done():
                remaining = until - self.clock.monotonic()
                if self._stopped or remaining <= 0:
                    return False
                cancellation.check(doing)
                deadline.check(doing)
                left = deadline.remaining()
                self.clock.wait(self._changed, remaining if left is None else min(remaining, left))
        return True

    def _new_scope(self, lister_watcher: ListerWatcher, namespace: str) -> Scope[T]:
        trimmer = Trimmer(self.kind, self.options.of_namespace(namespace).transform)
        return Scope(self, lister_watcher, trimmer, self.options.reflector_options(namespace), clock=self.clock)

    def _namespaces(self) -> Iterable[str]:
        if not self.kind.mapping.namespaced or "" in self.options.namespaces:
            return ("",)
        return dict.fromkeys(self.options.namespaces) or ("",)

    def _scopes_of(self, namespace: str) -> Sequence[Scope[T]]:
        """Those that hold the objects of the namespace; all for none, and for a cluster-scoped kind."""
        if not namespace or not self.kind.mapping.namespaced:
            return self._scopes
        found = [scope for scope in self._scopes if scope.namespace in ("", namespace)]
        if not found:
            raise ValueError(f"{self.kind.mapping.group_resource} in namespace {namespace!r} is not watched")
        return found

    @property
    def _name(self) -> str:
        return self.kind.__name__.lower()

    def _remove(self, listener: Listener[T]) -> None:
        with self._lock:
            if listener in self._listeners:
                self._listeners.remove(listener)
                self._failures_of_removed += listener.failures
        listener.stop()
        listener.join(JOIN_TIMEOUT)

    def _resync(self, listener: Listener[T]) -> None:
        """Queued behind what is pending under the lock, so it never overtakes a newer change."""
        with self._lock:
            for stored in self.store.list():
                listener.notify(Updated(stored, stored))

    def replaced(self, scope: Scope[T], items: Sequence[Stored[T]], resource_version: str) -> None:
        """From a scope: it consists of exactly these."""
        with self._lock:
            first = not scope.synced
            for change in self.store.replace(items, namespace=scope.namespace):
                if change.new is not None:
                    self._distribute_new(change.old, change.new, initial=first)
                elif change.old is not None:
                    self._distribute(Deleted(change.old, True))
            scope.synced = True
            if first and self.has_synced:
                self._distribute(InitialListDone())
                log.info("An informer has synced", kind=self.kind.mapping.gvk.kind, objects=len(self.store))
            scope.resource_version = resource_version
            self._changed.notify_all()

    def applied(self, scope: Scope[T], stored: Stored[T], *, deleted: bool) -> None:
        """From a scope: one object is new, changed or gone."""
        with self._lock:
            if not deleted:
                self._distribute_new(self.store.put(stored), stored, initial=False)
            elif (old := self.store.delete(stored.key)) is not None:
                stored.filed = old.filed  # what the indexes lost with it
                self._distribute(Deleted(stored, False))
            self._reached(scope, stored.resource_version)

    def reached(self, scope: Scope[T], resource_version: str) -> None:
        """From a scope: the store has what came up to this version."""
        with self._lock:
            self._reached(scope, resource_version)

    def _reached(self, scope: Scope[T], resource_version: str) -> None:
        """Costs nothing while nobody waits for a version. The lock is held."""
        scope.resource_version = resource_version or scope.resource_version
        if self._version_waiters:
            self._changed.notify_all()

    def _distribute_new(self, old: Stored[T] | None, new: Stored[T], *, initial: bool) -> None:
        """The lock is held and the store has the new object. The same version again is no news."""
        if old is None:
            self._distribute(Added(new, initial))
        elif not old.resource_version == new.resource_version != "":
            self._distribute(Updated(old, new))

    def _distribute(self, notification: Notification[T]) -> None:
        for listener in self._listeners:
            listener.notify(notification)

    def wake(self) -> None:
        """Lets everyone who waits for a change look again."""
        with self._changed:
            self._changed.notify_all()
