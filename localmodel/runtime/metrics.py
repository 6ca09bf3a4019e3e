"""The metrics of this library, under the names of controller-runtime and client-go, in a registry of one's choice.

A manager makes one `Metrics` and hands it to its parts, so two managers in one process do not share counters. A program
adds its own metrics to `Manager.metrics.registry`.
"""

from __future__ import annotations

import threading
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from .informer_metrics import InformerMetrics
from .workqueue import WorkqueueMetrics

ReconcileResult = Literal["error", "requeue_after", "requeue", "success"]
RECONCILE_RESULTS: tuple[ReconcileResult, ...] = ("error", "requeue_after", "requeue", "success")


def _steps(start: float, stop: float, step: float) -> list[float]:
    count = round((stop - start) / step)
    return [round(start + step * index, 3) for index in range(1, count + 1)]


RECONCILE_TIME_BUCKETS: tuple[float, ...] = (
    0.005,
    0.01,
    0.025,
    0.05,
    *_steps(0.05, 0.5, 0.05),
    *_steps(0.5, 1.0, 0.1),
    1.25,
    1.5,
    1.75,
    2.0,
    *_steps(2.0, 5.0, 0.5),
    *_steps(5.0, 10.0, 1.0),
    15.0,
    20.0,
    25.0,
    30.0,
    40.0,
    50.0,
    60.0,
)

# The `_created` series double the size of an answer and client-go has none. The switch is for the whole process.
disable_created_metrics()  # type: ignore[no-untyped-call]


REST_CLIENT_BUCKETS: tuple[float, ...] = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
REST_SIZE_BUCKETS: tuple[float, ...] = (64, 256, 512, *(2.0**power for power in (10, 12, 14, 16, 18, 20, 22, 24)))
"""64 bytes to 16 MiB, client-go's."""


class Metrics:
    """All metric families of the library in one registry."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """With no registry given, a new one."""
        self.registry = registry or CollectorRegistry()
        self._lock = threading.Lock()
        """Guards the names below."""
        self._controllers: set[str] = set()
        self.workqueue = WorkqueueMetrics(self.registry)
        self.informers = InformerMetrics(self.registry)
        self.reconcile = Counter(
            "controller_runtime_reconcile_total",
            "Total number of reconciliations per controller",
            ("controller", "result"),
            registry=self.registry,
        )
        self.reconcile_errors = self._counter(
            "controller_runtime_reconcile_errors_total", "Total number of reconciliation errors per controller"
        )
        self.terminal_errors = self._counter(
            "controller_runtime_terminal_reconcile_errors_total",
            "Total number of terminal reconciliation errors per controller",
        )
        self.reconcile_panics = self._counter(
            "controller_runtime_reconcile_panics_total",
            "Total number of reconciliations per controller that raised an error of programming",
        )
        self.reconcile_timeouts = self._counter(
            "controller_runtime_reconcile_timeouts_total",
            "Total number of reconciliations per controller that overran the reconcile timeout",
        )
        self.handler_errors = self._counter(
            "controller_runtime_event_handler_errors_total",
            "Total number of events per controller whose predicate or handler raised",
        )
        self.reconcile_time = Histogram(
            "controller_runtime_reconcile_time_seconds",
            "Length of time per reconciliation per controller",
            ("controller",),
            buckets=RECONCILE_TIME_BUCKETS,
            registry=self.registry,
        )
        self.max_concurrent_reconciles = self._gauge(
            "controller_runtime_max_concurrent_reconciles",
            "Maximum number of concurrent reconciles per controller",
            "controller",
        )
        self.active_workers = self._gauge(
            "controller_runtime_active_workers", "Number of currently used workers per controller", "controller"
        )
        self.leader_election_master_status = self._gauge(
            "leader_election_master_status",
            "Gauge of if the reporting system is master of the relevant lease, 0 indicates backup, 1 indicates master.",
            "name",
        )
        self.leader_election_slowpath = Counter(
            "leader_election_slowpath_total",
            "Total number of slow path exercised in renewing leader leases.",
            ("name",),
            registry=self.registry,
        )
        self.events_dropped = Counter(
            "localmodel_events_dropped_total",
            "Total number of Kubernetes events not written: queue full, filtered as spam, refused by the server",
            ("reason",),
            registry=self.registry,
        )

        self.rest_requests = Counter(
            "rest_client_requests_total",
            "Number of HTTP requests, partitioned by status code, method, and host.",
            ("code", "method", "host"),
            registry=self.registry,
        )
        self.rest_request_duration = Histogram(
            "rest_client_request_duration_seconds",
            "Request latency in seconds. Broken down by verb, and host.",
            ("verb", "host"),
            buckets=REST_CLIENT_BUCKETS,
            registry=self.registry,
        )
        self.rest_rate_limiter_duration = self._per_verb(
            "rest_client_rate_limiter_duration_seconds",
            "Client side rate limiter latency in seconds. Broken down by verb, and host.",
            REST_CLIENT_BUCKETS,
        )
        self.rest_request_size = self._per_verb(
            "rest_client_request_size_bytes",
            "Request size in bytes. Broken down by verb and host.",
            REST_SIZE_BUCKETS,
        )
        self.rest_response_size = self._per_verb(
            "rest_client_response_size_bytes",
            "Response size in bytes. Broken down by verb and host.",
            REST_SIZE_BUCKETS,
        )
        self.rest_request_retries = Counter(
            "rest_client_request_retries_total",
            "Number of request retries, partitioned by status code, verb, and host.",
            ("code", "verb", "host"),
            registry=self.registry,
        )

        self.webhook_latency = Histogram(
            "controller_runtime_webhook_latency_seconds",
            "Histogram of the latency of processing admission requests",
            ("webhook",),
            registry=self.registry,
        )
        self.webhook_requests = Counter(
            "controller_runtime_webhook_requests_total",
            "Total number of admission requests by the code of their answer.",
            ("webhook", "code"),
            registry=self.registry,
        )
        self.webhook_requests_in_flight = self._gauge(
            "controller_runtime_webhook_requests_in_flight",
            "Current number of admission requests being served.",
            "webhook",
        )
        self.webhook_panics = Counter(
            "controller_runtime_webhook_panics_total",
            "Total number of webhooks that raised an error of programming",
            registry=self.registry,
        )
        self.certificate_reads = Counter(
            "certwatcher_read_certificate_total", "Total number of certificate reads", registry=self.registry
        )
        self.certificate_read_errors = Counter(
            "certwatcher_read_certificate_errors_total",
            "Total number of certificate read errors",
            registry=self.registry,
        )

    def for_controller(self, name: str, *, workers: int, unique: bool = True) -> ControllerMetrics:
        """The series of the controller of that name, which exist from now on at zero.

        Raises ValueError if another controller has the name, unless not `unique`: their series would be one.
        """
        with self._lock:
            if unique and name in self._controllers:
                raise ValueError(f"there is a controller named {name} already; name this one: Builder.named")
            self._controllers.add(name)
        return ControllerMetrics(self, name, workers)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(name, text, ("controller",), registry=self.registry)

    def _per_verb(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, text, ("verb", "host"), buckets=buckets, registry=self.registry)

    def _gauge(self, name: str, text: str, label: str) -> Gauge:
        return Gauge(name, text, (label,), registry=self.registry)


class ControllerMetrics:
    """The series of one controller, each looked up once; a rate can be taken of the first step of each."""

    def __init__(self, families: Metrics, name: str, workers: int) -> None:
        self.results = {result: families.reconcile.labels(name, result) for result in RECONCILE_RESULTS}
        self.errors = families.reconcile_errors.labels(name)
        self.terminal_errors = families.terminal_errors.labels(name)
        self.panics = families.reconcile_panics.labels(name)
        self.timeouts = families.reconcile_timeouts.labels(name)
        self.handler_errors = families.handler_errors.labels(name)
        self.time = families.reconcile_time.labels(name)
        self.active_workers = families.active_workers.labels(name)
        families.max_concurrent_reconciles.labels(name).set(workers)
