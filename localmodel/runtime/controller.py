"""`Controller`: sources fill a queue, workers take requests from it and call one reconciler.

- No request is reconciled by two workers at a time.
- Nothing is reconciled before every source has delivered what existed at the start.
- An exception queues the request again with growing delay; `TerminalError` does not; a success ends the history of
  failures, and with `requeue_after` the request comes back after that time.
- `start` returns when every worker and source has ended, or raises the first failure.

The time limit of a run is a `deadline`, which the client looks at before and during each request; see there for what
it can end and what it cannot.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from . import deadline
from .cancellation import CancelledError, carrying
from .clock import Clock, RealClock
from .errors import CacheSyncTimeoutError, ConflictError, RuntimeLibraryError, TerminalError
from .metrics import RECONCILE_RESULTS, Metrics, ReconcileResult
from .objects import Object
from .reconcile import Reconciler, Request, Result
from .source import Source, SourceContext
from .workqueue import RateLimiter, RateLimitingQueue

if TYPE_CHECKING:
    from .cache import Cache

log = structlog.get_logger(__name__)

PROGRAMMING_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NameError,
    NotImplementedError,
    RecursionError,
    TypeError,
)
"""What counts as a panic: an exception that tells of a mistake in the reconciler, not of the world it acts on."""


class AlreadyStartedError(RuntimeLibraryError):
    """A controller or manager is started once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerOptions:
    """Options of one controller. Durations are in seconds."""

    workers: int = 1
    """How many requests are reconciled at the same time."""
    rate_limiter: RateLimiter[Request] | None = None
    """Delays failed requests; the default is 5 ms doubling to 1000 s, and 10 per second overall after 100."""
    reconcile_timeout: float = 120.0
    """The deadline of one run; 0 sets none."""
    cache_sync_timeout: float = 120.0
    """How long sources may take to deliver what exists."""
    recover_panic: bool = True
    """An error of programming fails the one request. Otherwise it ends the controller, and so the process."""
    need_leader_election: bool = True
    """Run in the leading process only."""


class Controller:
    """Runs one reconciler. A `Runnable`: made by `Builder.complete`, started by the manager."""

    def __init__(
        self,
        name: str,
        reconciler: Reconciler,
        options: ControllerOptions | None = None,
        *,
        cache: Cache,
        kind: type[Object] | None = None,
        clock: Clock | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        """`name` labels metrics and log lines, `kind` (of the requests) log lines. Raises ValueError for no workers."""
        self.name = name
        self.reconciler = reconciler
        self.options = options or ControllerOptions()
        if self.options.workers < 1:
            raise ValueError(f"controller {name} needs at least one worker, not {self.options.workers}")
        self._cache = cache
        self._kind = kind.mapping.gvk.kind if kind else ""
        self._clock = clock or RealClock()
        self._metrics = metrics or Metrics()
        self._queue: RateLimitingQueue[Request] = RateLimitingQueue(
            self.options.rate_limiter,
            name=name,
            clock=self._clock,
            metrics=self._metrics.workqueue.for_queue(name, clock=self._clock),
        )
        self._lock = threading.Lock()
        """Guards the fields below."""
        self._sources: list[Source] = []
        self._started = False
        self._failure: BaseException | None = None
        """The first failure of a worker."""
        self._stop: threading.Event | None = None
        self._init_metrics()

    @property
    def need_leader_election(self) -> bool:
        return self.options.need_leader_election

    def watch(self, source: Source) -> None:
        """Adds a source; if the controller runs, starts it and waits until it has synced."""
        with self._lock:
            self._sources.append(source)
            stop = self._stop
        if stop is not None:
            self._start_sources([source], stop)

    def start(self, stop: threading.Event) -> None:
        """Blocks until `stop` is set and every worker has finished its request.

        Raises CacheSyncTimeoutError, AlreadyStartedError, and what a worker could not handle; then `stop` is set too.
        """
        with self._lock:
            if self._started:
                raise AlreadyStartedError(f"controller {self.name} was started already")
            self._started = True
            self._stop = stop
            sources = list(self._sources)
        workers: list[threading.Thread] = []
        try:
            log.info("Starting controller", controller=self.name, workers=self.options.workers)
            self._start_sources(sources, stop)
            if not stop.is_set():
                workers = self._start_workers(stop)
            stop.wait()
        finally:
            self._shut_down(workers)
        if self._failure is not None:
            raise self._failure

    def _start_sources(self, sources: Sequence[Source], stop: threading.Event) -> None:
        context = SourceContext(
            queue=self._queue,
            cache=self._cache,
            clock=self._clock,
            count_error=self._metrics.handler_errors.labels(self.name).inc,
        )
        for source in sources:
            log.info("Starting source", controller=self.name, source=str(source))
            source.start(context)
        until = self._clock.monotonic() + self.options.cache_sync_timeout
        for source in sources:
            try:
                source.wait_for_sync(stop, max(0.0, until - self._clock.monotonic()))
            except CacheSyncTimeoutError as error:
                raise CacheSyncTimeoutError(
                    f"controller {self.name} cannot start, its caches did not sync within "
                    f"{self.options.cache_sync_timeout:.0f} s: {error}"
                ) from error

    def _start_workers(self, stop: threading.Event) -> list[threading.Thread]:
        workers = [
            threading.Thread(target=carrying(self._work), args=(stop,), name=f"{self.name}-{number}", daemon=True)
            for number in range(self.options.workers)
        ]
        for worker in workers:
            worker.start()
        return workers

    def _shut_down(self, workers: Sequence[threading.Thread]) -> None:
        with self._lock:
            self._stop = None
            sources = list(self._sources)
        self._queue.shut_down()
        for source in sources:
            source.stop()
        for worker in workers:
            worker.join()
        log.info("Controller stopped", controller=self.name)

    def _work(self, stop: threading.Event) -> None:
        """One worker. What it cannot handle (SystemExit, MemoryError, ...) ends the controller."""
        try:
            while self._process_next(stop):
                pass
        except BaseException as error:  # noqa: BLE001 - a thread would swallow it; start raises it
            with self._lock:
                self._failure = self._failure or error
            stop.set()

    def _process_next(self, stop: threading.Event) -> bool:
        request, shutdown = self._queue.get()
        # What was queued when the controller is told to stop is left for the next process.
        if request is None or shutdown or stop.is_set():
            return False
        active = self._metrics.active_workers.labels(self.name)
        active.inc()
        try:
            self._reconcile(request)
        finally:
            self._queue.done(request)
            active.dec()
        return True

    def _reconcile(self, request: Request) -> None:
        began = self._clock.monotonic()
        fields = {
            "controller": self.name,
            "kind": self._kind,
            "namespace": request.namespace,
            "name": request.name,
            "reconcile_id": str(uuid.uuid4()),
        }
        with structlog.contextvars.bound_contextvars(**fields):
            try:
                result = self._run(request)
            except Exception as error:
                if isinstance(error, MemoryError) or (self._is_panic(error) and not self.options.recover_panic):
                    raise
                self._failed(request, error)
            else:
                self._succeeded(request, result)
            finally:
                self._metrics.reconcile_time.labels(self.name).observe(self._clock.monotonic() - began)

    def _run(self, request: Request) -> Result:
        """Calls the reconciler, within the deadline of a run."""
        seconds = self.options.reconcile_timeout
        if seconds <= 0:
            return self.reconciler.reconcile(request) or Result()
        with deadline.limit(self._clock, seconds) as limit:
            try:
                return self.reconciler.reconcile(request) or Result()
            finally:
                if limit.remaining() <= 0:
                    self._metrics.reconcile_timeouts.labels(self.name).inc()
                    log.warning("Reconcile overran its deadline", reconcile_timeout=seconds)

    def _succeeded(self, request: Request, result: Result) -> None:
        self._queue.forget(request)
        if result.requeue_after > 0:
            self._queue.add_after(request, result.requeue_after)
            self._count("requeue_after")
        else:
            self._count("success")

    def _failed(self, request: Request, error: Exception) -> None:
        terminal = isinstance(error, TerminalError)
        if terminal:
            self._metrics.terminal_errors.labels(self.name).inc()
        else:
            self._queue.add_rate_limited(request)
        if self._is_panic(error):
            self._metrics.reconcile_panics.labels(self.name).inc()
        self._metrics.reconcile_errors.labels(self.name).inc()
        self._count("error")
        if isinstance(error, ConflictError):
            # Ordinary under optimistic locking: the object was read from a cache that is a moment behind.
            log.info("Reconcile conflict, trying again", error=str(error))
        elif isinstance(error, CancelledError):
            log.info("Reconcile cancelled, the manager is stopping", error=str(error))
        else:
            log.error("Reconcile failed", error=str(error), terminal=terminal, exc_info=error)

    @staticmethod
    def _is_panic(error: Exception) -> bool:
        return isinstance(error, PROGRAMMING_ERRORS)

    def _count(self, result: ReconcileResult) -> None:
        self._metrics.reconcile.labels(self.name, result).inc()

    def _init_metrics(self) -> None:
        """Every series exists at zero before the first run, so that a rate can be taken of its first step."""
        for result in RECONCILE_RESULTS:
            self._metrics.reconcile.labels(self.name, result)
        for family in (
            self._metrics.reconcile_errors,
            self._metrics.terminal_errors,
            self._metrics.reconcile_panics,
            self._metrics.reconcile_timeouts,
            self._metrics.handler_errors,
            self._metrics.reconcile_time,
            self._metrics.active_workers,
        ):
            family.labels(self.name)
        self._metrics.max_concurrent_reconciles.labels(self.name).set(self.options.workers)
