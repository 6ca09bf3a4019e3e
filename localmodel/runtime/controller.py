"""`Controller`: sources fill a queue, workers take requests from it and call one reconciler.

- No request is reconciled by two workers at a time.
- Nothing is reconciled before every source has delivered what existed at the start.
- An exception queues the request again with growing delay; `TerminalError` does not; a success ends the history of
  failures, and with `requeue_after` the request comes back after that time.
- A request that comes back keeps its priority, unless the result says otherwise.
- `start` returns when every worker and source has ended, or raises the first failure.

A panic, in Python, is an exception of `PROGRAMMING_ERRORS`: it is treated as any other error and counted beside. The
time limit of a run is a `deadline`, which the client looks at before and during each request; see there for what it can
end and what it cannot.

Every line that is logged during a run, by whatever library, carries controller-runtime's keys in this project's
spelling: `controller`, `controller_group`, `controller_kind`, the kind itself with namespace and name below it,
`namespace`, `name` and `reconcile_id` (`reconcile.current_reconcile_id` in code). See `logging`.

Neighbours: `source_set` starts the sources, `workqueue` holds the requests, `manager` runs controllers.
"""

from __future__ import annotations

import contextvars
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from . import deadline
from .cancellation import CancelledError, carrying
from .clock import Clock, RealClock
from .errors import CacheSyncTimeoutError, ConflictError, RuntimeLibraryError, TerminalError
from .metrics import Metrics
from .objects import Object
from .reconcile import Reconciler, Request, Result
from .source import Source, SourceContext
from .source_set import SourceSet
from .workqueue import (
    LOW_PRIORITY,
    AddOptions,
    ItemExponentialFailureRateLimiter,
    PriorityQueue,
    RateLimiter,
    RateLimitingQueue,
    WorkQueue,
)

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
    use_priority_queue: bool = True
    """Hand out what is live before what the initial list and resyncs queued. Otherwise: in order of arrival."""
    low_priority: int = LOW_PRIORITY
    """The priority of the initial list and of resyncs. What waits too long for higher ones is handed out all the same,
    see `workqueue.priority`."""
    rate_limiter: RateLimiter[Request] | None = None
    """Delays failed requests; the default is 5 ms doubling to 1000 s for each, and, without the priority queue, 10 per
    second for all together after 100."""
    reconcile_timeout: float = 120.0
    """The deadline of one run; 0 sets none."""
    cache_sync_timeout: float = 120.0
    """How long sources may take to start and to deliver what exists."""
    recover_panic: bool = True
    """An error of programming fails the one request. Otherwise it ends the controller, and so the process."""
    need_leader_election: bool = True
    """Run in the leading process only."""
    enable_warmup: bool = False
    """Start the sources before this process leads, so that a new leader works at once. What is queued until then
    waits in memory."""
    skip_name_validation: bool = False
    """Let the controller have the name of another one: their metrics are one then.

    Names are compared among controllers with the same `Metrics`, that is within one manager by default, and not in the
    process: managers beside each other in one process, each with its own registry, are usual in tests and simulations.
    """

    def __post_init__(self) -> None:
        """Raises ValueError, TypeError."""
        if not isinstance(self.workers, int):
            raise TypeError(f"workers is {self.workers!r}: write a whole number")
        if self.workers < 1:
            raise ValueError(f"a controller needs at least one worker, not {self.workers}")
        if self.reconcile_timeout < 0 or self.cache_sync_timeout < 0:
            raise ValueError("a timeout of a controller is below zero: write seconds, or 0")


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
        may_act: Callable[[], bool] | None = None,
    ) -> None:
        """`name` labels metrics and log lines, `kind` (of the requests) log lines. While `may_act` says no, requests
        are put back for a second: this process does not lead at the moment, and will end if that stays so.

        Raises ValueError for no workers, and for a name that is taken.
        """
        self.name = name
        self.reconciler = reconciler
        self.options = options or ControllerOptions()
        gvk = kind.mapping.gvk if kind else None
        self._kind = gvk.kind if gvk else ""
        self._fields = {"controller": name}
        """What every line of this controller carries."""
        if gvk:
            self._fields |= {"controller_group": gvk.group, "controller_kind": gvk.kind}
        self._clock = clock or RealClock()
        metrics = metrics or Metrics()
        self._metrics = metrics.for_controller(
            name, workers=self.options.workers, unique=not self.options.skip_name_validation
        )
        self._queue = self._new_queue(metrics)
        self._sources = SourceSet(
            name,
            SourceContext(
                queue=self._queue,
                cache=cache,
                clock=self._clock,
                stop=threading.Event(),
                count_error=self._metrics.handler_errors.inc,
                low_priority=self.options.low_priority,
            ),
            timeout=self.options.cache_sync_timeout,
        )
        self._may_act = may_act or (lambda: True)
        self._lock = threading.Lock()
        """Guards the fields below."""
        self._started = False
        self._failure: BaseException | None = None
        """The first failure of the sources or a worker."""
        self._workers: list[threading.Thread] = []

    @property
    def need_leader_election(self) -> bool:
        return self.options.need_leader_election

    @property
    def enable_warmup(self) -> bool:
        return self.options.enable_warmup

    @property
    def sources(self) -> tuple[Source, ...]:
        return self._sources.sources

    def watch(self, source: Source) -> None:
        """Adds a source; if the sources run already, starts it and waits until it has synced."""
        self._sources.add(source)

    def warm_up(self, stop: threading.Event) -> None:
        """Starts the sources ahead of `start`, for as long as this process waits to lead. Blocks until `stop` is set.

        Raises CacheSyncTimeoutError and what a source raised; then `stop` is set too.
        """
        starting = self._begin(self._sources.start, stop)
        try:
            stop.wait()
        finally:
            with self._lock:
                abandoned = not self._started
            if abandoned:
                self._end_sources()
            starting.join()
        self._raise_failure()

    def start(self, stop: threading.Event) -> None:
        """Blocks until `stop` is set and every worker has finished its request.

        Raises CacheSyncTimeoutError, AlreadyStartedError, and what a worker could not handle; then `stop` is set too.
        """
        with self._lock:
            if self._started:
                raise AlreadyStartedError(f"controller {self.name} was started already")
            self._started = True
        log.info("Starting controller", workers=self.options.workers, **self._fields)
        starting = self._begin(lambda: self._start_workers(stop), stop)
        try:
            stop.wait()
        finally:  # an interrupt ends the wait too
            self._end_sources()
            starting.join()
            for worker in self._workers:
                worker.join()
            log.info("Controller stopped", **self._fields)
        self._raise_failure()

    def _new_queue(self, metrics: Metrics) -> WorkQueue[Request]:
        limiter = self.options.rate_limiter
        counted = metrics.workqueue.for_queue(self.name, clock=self._clock)
        if self.options.use_priority_queue:
            limiter = limiter or ItemExponentialFailureRateLimiter()
            return PriorityQueue(limiter, name=self.name, clock=self._clock, metrics=counted)
        return RateLimitingQueue(limiter, name=self.name, clock=self._clock, metrics=counted)

    def _begin(self, work: Callable[[], object], stop: threading.Event) -> threading.Thread:
        """Does the work in a thread, so that the caller can go on to wait for `stop`, which ends the work's waits."""
        thread = threading.Thread(
            target=carrying(self._guard), args=(work, stop), name=f"{self.name}-start", daemon=True
        )
        thread.start()
        return thread

    def _guard(self, work: Callable[[], object], stop: threading.Event) -> None:
        """What fails ends the controller: a thread would swallow it, `start` raises it."""
        try:
            work()
        except BaseException as error:  # noqa: BLE001
            with self._lock:
                self._failure = self._failure or error
            stop.set()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _start_workers(self, stop: threading.Event) -> None:
        self._raise_failure()  # of the warm-up
        self._sources.start()
        for number in range(self.options.workers):
            worker = threading.Thread(
                target=carrying(self._guard),
                args=(lambda: self._work(stop), stop),
                name=f"{self.name}-{number}",
                daemon=True,
            )
            worker.start()
            self._workers.append(worker)

    def _end_sources(self) -> None:
        self._queue.shut_down()
        self._sources.stop()

    def _work(self, stop: threading.Event) -> None:
        """One worker. What it cannot handle (SystemExit, MemoryError, ...) ends the controller."""
        structlog.contextvars.bind_contextvars(**self._fields)
        while True:
            request, priority, shutdown = self._queue.get_with_priority()
            # What was queued when the controller is told to stop is left for the next process.
            if request is None or shutdown or stop.is_set():
                return
            if not self._may_act():
                self._queue.add_with_options(AddOptions(after=_NOT_LEADING_DELAY, priority=priority), request)
                self._queue.done(request)
                continue
            self._metrics.active_workers.inc()
            try:
                # A copy: whatever a run binds, it does not bind for the next.
                contextvars.copy_context().run(self._reconcile, request, priority)
            finally:
                self._queue.done(request)
                self._metrics.active_workers.dec()

    def _reconcile(self, request: Request, priority: int) -> None:
        began = self._clock.monotonic()
        fields: dict[str, object] = {
            "namespace": request.namespace,
            "name": request.name,
            "reconcile_id": str(uuid.uuid4()),
        }
        if self._kind:
            fields[self._kind] = {"namespace": request.namespace, "name": request.name}
        structlog.contextvars.bind_contextvars(**fields)
        try:
            result = self._run(request)
        except Exception as error:
            if isinstance(error, MemoryError) or (self._is_panic(error) and not self.options.recover_panic):
                raise
            self._failed(request, priority, error)
        else:
            self._succeeded(request, priority, result)
        finally:
            self._metrics.time.observe(self._clock.monotonic() - began)

    def _run(self, request: Request) -> Result | None:
        """Calls the reconciler, within the deadline of a run."""
        seconds = self.options.reconcile_timeout
        if seconds <= 0:
            return self._call(request)
        with deadline.limit(self._clock, seconds) as limit:
            try:
                return self._call(request)
            finally:
                if limit.remaining() <= 0:
                    self._metrics.timeouts.inc()
                    log.warning("Reconcile overran its deadline", reconcile_timeout=seconds)

    def _call(self, request: Request) -> Result | None:
        result = self.reconciler.reconcile(request)
        if result is not None and not isinstance(result, Result):
            raise TypeError(f"{type(self.reconciler).__name__}.reconcile returned {result!r}; return a Result or None")
        return result

    def _succeeded(self, request: Request, priority: int, result: Result | None) -> None:
        if result is None:
            result = _DONE
        if result.priority is not None:
            priority = result.priority
        if result.requeue_after > 0:
            self._queue.forget(request)
            self._queue.add_with_options(AddOptions(after=result.requeue_after, priority=priority), request)
            self._metrics.results["requeue_after"].inc()
        elif result.requeue:
            self._queue.add_with_options(AddOptions(rate_limited=True, priority=priority), request)
            self._metrics.results["requeue"].inc()
        else:
            self._queue.forget(request)
            self._metrics.results["success"].inc()

    def _failed(self, request: Request, priority: int, error: Exception) -> None:
        terminal = isinstance(error, TerminalError)
        if terminal:
            self._metrics.terminal_errors.inc()
        else:
            self._queue.add_with_options(AddOptions(rate_limited=True, priority=priority), request)
        panic = self._is_panic(error)
        if panic:
            self._metrics.panics.inc()
        self._metrics.errors.inc()
        self._metrics.results["error"].inc()
        if isinstance(error, ConflictError):
            # Ordinary under optimistic locking: the object was read from a cache that is a moment behind.
            log.info("Reconcile conflict, trying again", error=str(error))
        elif isinstance(error, CancelledError):
            log.info("Reconcile cancelled, the manager is stopping", error=str(error))
        else:
            text = f"panic: {type(error).__name__}: {error} [recovered]" if panic else str(error)
            if terminal:
                # It tells a person what to do; where it was raised says no more.
                log.error("Reconcile failed", error=text, terminal=True, exc_info=error.__cause__)
            else:
                failures = self._queue.num_requeues(request)
                trace = error if self._needs_traceback(error, failures) else None
                log.error("Reconcile failed", error=text, failures=failures, exc_info=trace)

    @staticmethod
    def _needs_traceback(error: Exception, failures: int) -> bool:
        """An error of this library says what is wrong: where it was raised is told once in a row of failures, and not
        at all of a kind that cannot be read, which every retry of every object meets at the same place."""
        if isinstance(error, CacheSyncTimeoutError):
            return False
        return failures <= 1 or not isinstance(error, RuntimeLibraryError)

    @staticmethod
    def _is_panic(error: Exception) -> bool:
        return isinstance(error, PROGRAMMING_ERRORS)


_NOT_LEADING_DELAY = 1.0
"""Seconds until a request is looked at again that came while this process did not lead."""
_DONE = Result()
