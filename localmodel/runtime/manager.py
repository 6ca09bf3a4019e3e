"""`Manager`: everything a program of reconcilers consists of, started in order and stopped in the reverse order.

Start: HTTP servers and webhooks, event broadcaster, cache (until it has synced), runnables that need no leadership,
warm-ups, leader election, controllers and the other runnables of the leader. A failure anywhere stops everything, and
`start` raises the first.

Stop: runnables that need no leadership together with the warm-ups, those of the leader, the lease, cache, event
broadcaster, webhooks, HTTP servers; each ends before the next is told to. So the next leader never works beside this
one. One grace period is for all runnables. After `start` has returned no thread of the manager is left, unless a
runnable outlived the grace period; then `start` raises.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, cast

import structlog
from prometheus_client import GCCollector, PlatformCollector, ProcessCollector

from .builder import Builder
from .cache import Cache
from .cached_client import CachedClient
from .client import Client
from .clock import Clock, RealClock
from .controller import AlreadyStartedError, Controller, ControllerOptions
from .endpoints import WEBHOOK_GRACE, Endpoints
from .errors import CacheSyncTimeoutError, RuntimeLibraryError
from .events import EventBroadcaster, EventRecorder
from .httpserver import Route
from .leaderelection import LeaderElectionLostError, LeaderElector
from .listwatch import ListerWatcher
from .manager_options import ManagerOptions
from .metrics import Metrics
from .reconcile import Reconciler
from .runnable_group import Runnable, RunnableGroup, Warmable, WarmUp
from .serving import Check

if TYPE_CHECKING:
    from .webhook import WebhookServer

log = structlog.get_logger(__name__)

REQUEST_GRACE = 1.0
"""Seconds for requests that are under way when the manager stops; then they are cancelled."""
_HURRY = 0.1
"""The same, once other requests had to be cancelled: the API server does not answer."""


class GracePeriodExpiredError(RuntimeLibraryError):
    """Runnables went on for longer than the grace period after they were told to stop."""


class Manager:
    """Runs reconcilers and what they share: clients, cache, events, metrics, health, leadership."""

    def __init__(
        self,
        client: Client,
        options: ManagerOptions | None = None,
        *,
        clock: Clock | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        """`client` also lists and watches, as `LiveClient` and `testing.FakeClient` do; the caller closes it.

        Binds the ports at once: raises OSError when one is taken, AddressError, ValueError for a bad lease, TypeError.
        """
        if not hasattr(client, "list_page"):
            raise TypeError(f"{type(client).__name__} cannot list and watch: give the manager a live client")
        self.options = options or ManagerOptions()
        self.clock = clock or RealClock()
        self.metrics = metrics or process_metrics()
        self.live = client
        """Reads and writes at the API server."""
        self.cache = Cache(cast("ListerWatcher", client), self.options.cache, metrics=self.metrics, clock=self.clock)
        self.client = CachedClient(
            self.cache,
            client,
            disable_for=self.options.disable_cache_for,
            read_your_writes=self.options.read_your_writes,
            clock=self.clock,
        )
        """Reads from the cache, writes at the API server."""
        self._lease = self.options.lease_config()
        self._events = EventBroadcaster(
            client, clock=self.clock, metrics=self.metrics, spam_key=self.options.event_spam_key
        )
        self.elected = threading.Event()
        """Set when this process has come to lead, or would run the leader's work without an election."""
        self._lock = threading.Lock()
        """Guards the fields below."""
        self._stop: threading.Event | None = None
        """The event given to `start`; also set by the manager, when something fails."""
        self._cache_synced = False
        self._failure: BaseException | None = None
        """The first failure, which `start` raises."""
        self._others = RunnableGroup("others", self._fail, clock=self.clock)
        self._warm_ups = RunnableGroup("warm-ups", self._fail, clock=self.clock)
        self._leaders = RunnableGroup("leaders", self._fail, clock=self.clock)
        self._elector = self._new_elector()
        self._release_lease = threading.Event()
        """Set when nothing works on the leader's behalf any more."""
        # Last: a manager that cannot be made holds no port.
        self._endpoints = Endpoints(self.options, client=client, clock=self.clock, metrics=self.metrics)
        if self._elector is not None:
            self.add_healthz_check("leader-election", self._elector.check)
        self.add_readyz_check("cache-sync", self._check_cache)
        if self._endpoints.certificate is not None:
            self.add(self._endpoints.certificate)

    # set-up -----------------------------------------------------------------------------------------------------

    def recorder(self, component: str) -> EventRecorder:
        """A recorder of events whose source is this component."""
        return self._events.recorder(component)

    def add_reconciler(self, reconciler: Reconciler, options: ControllerOptions | None = None) -> Controller:
        """Gives the reconciler its clients, recorder and clock, lets it declare its watches, and adds its controller.

        Raises BuilderError, and ValueError for a controller name that is taken.
        """
        reconciler.client = self.client
        reconciler.live = self.live
        reconciler.clock = self.clock
        builder = Builder(self, options or self.options.controller)
        reconciler.setup(builder)
        controller = builder.complete(reconciler)
        reconciler.recorder = self.recorder(controller.name)
        return controller

    def add(self, runnable: Runnable) -> None:
        """Adds something to run, at once if the manager runs; raises GroupStoppedError once it stops."""
        if not getattr(runnable, "need_leader_election", True):
            self._others.add(runnable)
            return
        if isinstance(runnable, Warmable) and runnable.enable_warmup:
            self._warm_ups.add(WarmUp(runnable))
        self._leaders.add(runnable)

    def may_act(self) -> bool:
        """Whether this process leads, by its own clock, or need not.

        A process that was paused may have lost its lease without having been told (runtimes.md after 2.20).
        """
        return self._elector is None or self._elector.is_leader

    def add_healthz_check(self, name: str, check: Check) -> None:
        """A condition of being alive: the kubelet restarts a container that does not meet it."""
        self._endpoints.healthz.add(name, check)

    def add_readyz_check(self, name: str, check: Check) -> None:
        """A condition of being ready."""
        self._endpoints.readyz.add(name, check)

    def add_metrics_server_extra_handler(self, path: str, handler: Route) -> None:
        """Serves a page of the program's own on the port of /metrics, under the same TLS and to the same users.

        With `metrics_auth` a user needs the right to `get` that path. Where metrics are off there is no such page.
        Raises ValueError for a path that is taken, as /metrics is.
        """
        self._endpoints.add_metrics_route(path, handler)

    @property
    def metrics_url(self) -> str:
        """Of /metrics; empty when it is off."""
        return self._endpoints.metrics_url

    @property
    def probe_url(self) -> str:
        """The root of /healthz and /readyz; empty when they are off."""
        return self._endpoints.probe_url

    @property
    def webhook_server(self) -> WebhookServer:
        """Where webhooks are registered; raises NoWebhookServerError without `ManagerOptions.webhook`."""
        return self._endpoints.webhook_server

    # run --------------------------------------------------------------------------------------------------------

    def start(self, stop: threading.Event) -> None:
        """Runs until `stop` is set, or until something fails; then it sets `stop` itself and raises the first failure.

        Raises AlreadyStartedError, CacheSyncTimeoutError, LeaderElectionLostError, GracePeriodExpiredError, and
        whatever a runnable raised. A program that lost its lease must end.
        """
        with self._lock:
            if self._stop is not None:
                raise AlreadyStartedError("the manager was started already")
            self._stop = stop
        election: threading.Thread | None = None
        # `stop` is set at the end in any case, and then this thread ends.
        abandon = threading.Thread(target=self._abandon_sync, args=(stop,), name="cache-stop", daemon=True)
        try:
            self._endpoints.start()
            self._events.start()
            self.cache.start()
            abandon.start()
            self._wait_for_cache(stop)
            if not stop.is_set():
                self._others.start()
                self._warm_ups.start()
                election = self._start_leaders()
            stop.wait()
        except BaseException as error:  # noqa: BLE001 - raised below, after everything was stopped
            self._fail(error)
        self._shut_down(election)
        if abandon.ident is not None:
            abandon.join()
        if self._failure is not None:
            raise self._failure

    def _fail(self, error: BaseException) -> None:
        """Notes a failure and stops the manager."""
        with self._lock:
            if self._failure is None:
                self._failure = error
            elif error is not self._failure:
                self._failure.add_note(f"then also: {type(error).__name__}: {error}")
            stop = self._stop
        if stop is not None:
            stop.set()

    def close(self) -> None:
        """Frees the ports of a manager that is not going to be started. Idempotent."""
        self._endpoints.stop()

    def _wait_for_cache(self, stop: threading.Event) -> None:
        """Returns when the cache has synced or `stop` is set; raises CacheSyncTimeoutError."""
        try:
            self.cache.wait_for_sync()
        except CacheSyncTimeoutError:
            if not stop.is_set():
                raise
            return
        self._cache_synced = True
        log.info("Cache synced")

    def _abandon_sync(self, stop: threading.Event) -> None:
        """Ends a wait for the cache when the manager is to stop."""
        stop.wait()
        if not self._cache_synced:
            self.cache.stop()

    def _check_cache(self) -> None:
        if not self._cache_synced:
            raise RuntimeLibraryError(
                f"the cache has not synced yet: {self.cache.waiting_for() or 'it is not started'}"
            )

    # leadership -------------------------------------------------------------------------------------------------

    def _new_elector(self) -> LeaderElector | None:
        if self._lease is None:
            return None
        return LeaderElector(
            self.live,
            self._lease,
            on_started_leading=self._lead,
            on_stopped_leading=self._stopped_leading,
            recorder=self.recorder(self.options.component),
            clock=self.clock,
            metrics=self.metrics,
        )

    def _start_leaders(self) -> threading.Thread | None:
        """Starts the leader's runnables, or the election that will; the thread of the election."""
        if self._elector is None:
            self._lead()
            return None
        election = threading.Thread(target=self._elect, args=(self._elector,), name="leader-election", daemon=True)
        election.start()
        return election

    def _lead(self) -> None:
        self.elected.set()
        self._leaders.start()

    def _elect(self, elector: LeaderElector) -> None:
        try:
            elector.run(self._release_lease)
        except BaseException as error:  # noqa: BLE001 - start raises it
            self._fail(error)

    def _stopped_leading(self) -> None:
        if not self._release_lease.is_set():
            self._fail(LeaderElectionLostError("leader election lost: the lease was not renewed in time"))

    # stop -------------------------------------------------------------------------------------------------------

    def _shut_down(self, election: threading.Thread | None) -> None:
        log.info("Stopping manager")
        lost = isinstance(self._failure, LeaderElectionLostError)
        grace = 0.0 if lost else self.options.graceful_shutdown_timeout
        answered, left = self._stop_groups(None if grace < 0 else grace)
        if left and grace != 0:
            self._fail(
                GracePeriodExpiredError(
                    f"still running {grace:.0f} s after they were told to stop: {', '.join(sorted(left))}"
                )
            )
        if left and self._elector is not None:
            # Whoever still runs acts as leader: the lease must run out by itself.
            self._elector.keep_lease()
        answered &= self._stop_election(election, REQUEST_GRACE if answered else _HURRY)
        self.cache.stop()
        self._events.stop(REQUEST_GRACE if answered else _HURRY)
        self._endpoints.stop(0.0 if lost else WEBHOOK_GRACE)
        log.info("Manager stopped")

    def _stop_groups(self, grace: float | None) -> tuple[bool, list[str]]:
        """Stops the groups one after the other, within one grace period (None: without end).

        Whether all ended before their requests were cancelled, and the names of the runnables that are left.
        """
        until = None if grace is None else self.clock.monotonic() + grace
        groups = (self._others, self._leaders, self._warm_ups)
        for group in groups:
            group.close()
        # A warm-up may hold what another runnable waits for: it is told first, and waited for last.
        self._warm_ups.stop()
        answered, left = True, list[str]()
        for group in groups:
            group.stop()
            late = group.join(self._left(until, REQUEST_GRACE if answered else _HURRY))
            group.cancel()
            answered &= not late
            left += group.join(self._left(until))
        return answered, left

    def _left(self, until: float | None, at_most: float | None = None) -> float | None:
        """Seconds until then (None: without end), or the shorter `at_most`."""
        if until is None:
            return at_most
        left = max(0.0, until - self.clock.monotonic())
        return left if at_most is None else min(left, at_most)

    def _stop_election(self, election: threading.Thread | None, patience: float) -> bool:
        """Gives the lease up; whether the server answered within `patience` seconds."""
        self._release_lease.set()
        if election is None or self._elector is None:
            return True
        election.join(patience)
        answered = not election.is_alive()
        self._elector.cancel()
        election.join()
        return answered


def process_metrics() -> Metrics:
    """Metrics in a registry that also tells of the process: memory, CPU, collector, version of Python."""
    metrics = Metrics()
    ProcessCollector(registry=metrics.registry)
    PlatformCollector(registry=metrics.registry)
    GCCollector(registry=metrics.registry)
    return metrics
