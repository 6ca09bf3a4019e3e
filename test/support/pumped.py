"""A manager without threads: its cache sees what the API server has when a test says so, and its workers work then.

Everything between is the real thing: the informers' stores with all indexes, the events, the predicates and handlers of
the reconcilers' own watches.
"""

from __future__ import annotations

import threading
from typing import Any

from support.manager import IndexedClient

from localmodel.manager.caches import LocalModelCacheReconciler, LocalModelNamespaceCacheReconciler
from localmodel.manager.groupmetrics import GroupMetrics
from localmodel.manager.indexes import add_indexes
from localmodel.manager.known import Members
from localmodel.manager.nodegroups import LocalModelNodeGroupReconciler
from localmodel.manager.nodes import NodeReconciler
from localmodel.manager.settings import Settings
from localmodel.runtime.cache import Cache, CacheOptions
from localmodel.runtime.delegating_client import DelegatingClient
from localmodel.runtime.errors import ApiError, TransportError
from localmodel.runtime.handler import EnqueueRequestForObject, EventHandler
from localmodel.runtime.informer import SharedInformer
from localmodel.runtime.listener import InitialListDone
from localmodel.runtime.objects import Object, ObjectKey
from localmodel.runtime.predicate import Predicate
from localmodel.runtime.reconcile import Reconciler, Request
from localmodel.runtime.source import Kind, SourceContext
from localmodel.runtime.store import Stored, Trimmer
from localmodel.runtime.testing import FakeClock, FakeRecorder
from localmodel.runtime.workqueue import AddOptions

MANY_RUNS = 2000
"""More than a small cluster needs to settle."""
RETRY_SECONDS = 60.0
"""How long a failed run waits: the longest that the manager's rate limiters let it."""


class Watches:
    """What a reconciler watches, in place of a Builder."""

    def __init__(self, reconciler: Reconciler) -> None:
        self.found: list[tuple[type[Object], EventHandler, tuple[Predicate, ...]]] = []
        reconciler.setup(self)  # type: ignore[arg-type]

    def for_(self, kind: type[Object], *predicates: Predicate) -> Watches:
        return self.watches(kind, EnqueueRequestForObject(), *predicates)

    def watches(self, kind: type[Object], handler: EventHandler, *predicates: Predicate) -> Watches:
        self.found.append((kind, handler, predicates))
        return self


class TimedQueue:
    """A work queue as handlers and sources see it: each request once, at the earliest time that was asked for."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.due: dict[Request, float] = {}

    def add(self, item: Request) -> None:
        self.add_after(item, 0.0)

    def add_after(self, item: Request, delay: float) -> None:
        due = self._clock.monotonic() + max(0.0, delay)
        self.due[item] = min(due, self.due.get(item, due))

    def add_rate_limited(self, item: Request) -> None:
        self.add_after(item, RETRY_SECONDS)

    def add_with_options(self, options: AddOptions, *items: Request) -> None:
        for item in items:
            self.add_after(item, options.after)

    def take(self) -> Request | None:
        """The request that has been due for longest."""
        due = [(when, str(request), request) for request, when in self.due.items() if when <= self._clock.monotonic()]
        if not due:
            return None
        request = min(due)[2]
        del self.due[request]
        return request


class _Reading(DelegatingClient):
    """Reads from the cache, which may be behind; writes go to the server."""

    def __init__(self, server: IndexedClient, cache: Cache) -> None:
        super().__init__(server)
        self._cache = cache

    def get(self, kind: Any, name: str, *, namespace: str = "") -> Any:
        return self._cache.get(kind, name, namespace=namespace)

    def list(self, kind: Any, **options: Any) -> Any:
        return self._cache.list(kind, **options)

    def parts(self, kind: Any, extract: Any, value: str) -> Any:
        return self._cache.parts(kind, extract, value)


class Pumped:
    """The four reconcilers of nodes, caches and groups on an API server in memory."""

    def __init__(self, server: IndexedClient, clock: FakeClock) -> None:
        self.server, self.clock = server, clock
        self.cache = Cache(server, CacheOptions(tune_collector=False), clock=clock)
        add_indexes(self.cache)  # as `main` does
        self.metrics = GroupMetrics()
        self.lost = 0
        """Events that a handler raised on."""
        self.runs = 0
        settings, self.members = Settings(), Members()
        self.controllers: list[tuple[Reconciler, TimedQueue]] = [
            (self._wired(reconciler), TimedQueue(clock))
            for reconciler in (
                NodeReconciler(settings, members=self.members),
                LocalModelCacheReconciler(settings, members=self.members),
                LocalModelNamespaceCacheReconciler(settings, members=self.members),
                LocalModelNodeGroupReconciler(settings, self.metrics, self.members),
            )
        ]
        for reconciler, queue in self.controllers:
            context = SourceContext(
                queue=queue, cache=self.cache, clock=clock, stop=threading.Event(), count_error=self._count
            )
            for kind, handler, predicates in Watches(reconciler).found:
                Kind(kind, handler, predicates).start(context)
        self.informers = {informer.kind: informer for informer in self.cache.informers()}
        self.cache._started = True  # without the threads
        for kind in self.informers:
            self._list(kind)
        for informer in self.informers.values():
            self._deliver(informer)

    def _wired(self, reconciler: Reconciler) -> Reconciler:
        reconciler.client, reconciler.live = _Reading(self.server, self.cache), self.server
        reconciler.recorder, reconciler.clock = FakeRecorder(), self.clock
        return reconciler

    def _count(self) -> None:
        self.lost += 1

    # what the watches bring -------------------------------------------------------------------------------------------

    def see(self, kind: type[Object]) -> None:
        """The cache sees every object of the kind as it is now: one event for each that changed, however often."""
        informer = self.informers[kind]
        there = self._there(kind)
        for stored in informer.store.list():
            found = there.get(stored.key)
            if found is None or found.uid != stored.uid:
                gone = Stored(kind, stored.key, stored.uid, stored.resource_version, stored.metadata, stored.body)
                informer.applied(informer._scopes[0], gone, deleted=True)
        for key, found in there.items():
            known = informer.store.get(key)
            if known is None or known.resource_version != found.resource_version:
                informer.applied(informer._scopes[0], found, deleted=False)
        self._deliver(informer)

    def relist(self, kind: type[Object]) -> None:
        """The same after the watch broke: what was made anew under its name has only changed."""
        self._list(kind)
        self._deliver(self.informers[kind])

    def _list(self, kind: type[Object]) -> None:
        informer = self.informers[kind]
        informer.replaced(informer._scopes[0], list(self._there(kind).values()), "1")

    def _there(self, kind: type[Object]) -> dict[ObjectKey, Stored[Any]]:
        trimmer = Trimmer(kind)
        return {obj.key: trimmer.trim(obj.to_json()) for obj in self.server.list(kind)}

    @staticmethod
    def _deliver(informer: SharedInformer[Any]) -> None:
        for listener in informer._listeners:
            while listener._queue:
                event = listener._queue.popleft()
                if not isinstance(event, InitialListDone):
                    event.deliver(listener.handler)

    # work -------------------------------------------------------------------------------------------------------------

    def work(self) -> None:
        """Runs what is due."""
        for reconciler, queue in self.controllers:
            while (request := queue.take()) is not None:
                self._run(reconciler, queue, request)

    def _run(self, reconciler: Reconciler, queue: TimedQueue, request: Request) -> None:
        self.runs += 1
        try:
            result = reconciler.reconcile(request)
        except (ApiError, TransportError):
            queue.add_rate_limited(request)
        else:
            if result is not None and result.requeue_after > 0:
                queue.add_after(request, result.requeue_after)

    def settle(self, seconds: float) -> None:
        """Time passes, and everything is seen at once. Raises AssertionError if the work does not come to an end."""
        runs = self.runs
        until, seen = self.clock.monotonic() + seconds, -1
        while (now := self.clock.monotonic()) <= until:
            while seen != (revision := self.server.registry.store.revision):
                for kind in self.informers:
                    self.see(kind)
                self.work()
                seen = revision
                assert self.runs - runs < MANY_RUNS, "the work does not come to an end"
            due = [when for _, queue in self.controllers for when in queue.due.values()]
            self.clock.advance(max(0.001, min(due, default=until + 1.0) - now))
            self.work()
            assert self.runs - runs < MANY_RUNS, "the work does not come to an end"
