"""`Endpoints`: the ports of a manager: metrics, health, webhooks; bound at once, so that a busy port fails early."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import structlog

from .address import Address
from .authfilter import AuthFilter
from .certwatcher import CertWatcher
from .client import Client
from .clock import Clock
from .errors import RuntimeLibraryError
from .httpserver import HttpServer, Route
from .manager_options import ManagerOptions
from .metrics import Metrics
from .serving import HealthChecks, metrics_route

if TYPE_CHECKING:
    from .webhook import WebhookServer

log = structlog.get_logger(__name__)

METRICS_PATH: Final = "/metrics"
WEBHOOK_GRACE = 10.0
"""Seconds for admission requests under way; an API server waits ten by default."""


class NoWebhookServerError(RuntimeLibraryError):
    """Webhooks were registered at a manager that serves none."""


class Endpoints:
    """The servers of one manager, started and stopped together."""

    def __init__(self, options: ManagerOptions, *, client: Client, clock: Clock, metrics: Metrics) -> None:
        """Raises OSError when a port is taken, and AddressError; then none is bound."""
        self.healthz = HealthChecks("healthz")
        self.readyz = HealthChecks("readyz")
        self.certificate: CertWatcher | None = None
        """Of the metrics server, if it speaks TLS; somebody has to run it."""
        self._options = options
        self._clock = clock
        self._metrics = metrics
        self._auth = AuthFilter(client, clock=clock) if options.metrics_auth else None
        self._metrics_server: HttpServer | None = None
        self._probe_server: HttpServer | None = None
        self._webhook_server: WebhookServer | None = None
        with contextlib.ExitStack() as undo:
            undo.callback(self.stop)
            self._metrics_server = self._bind_metrics()
            self._probe_server = self._bind_probes()
            self._webhook_server = self._bind_webhooks()
            undo.pop_all()

    @property
    def metrics_url(self) -> str:
        return f"{self._metrics_server.url}{METRICS_PATH}" if self._metrics_server else ""

    @property
    def probe_url(self) -> str:
        return self._probe_server.url if self._probe_server else ""

    @property
    def webhook_server(self) -> WebhookServer:
        """Raises NoWebhookServerError."""
        if self._webhook_server is None:
            raise NoWebhookServerError("this manager serves no webhooks: set ManagerOptions.webhook")
        return self._webhook_server

    def add_metrics_route(self, path: str, route: Route) -> None:
        """Serves something more beside the metrics, to the same users. While they are off that is only logged.

        Raises ValueError for a path that is taken.
        """
        if self._metrics_server is None:
            log.info("Metrics are off, so an extra handler is not served", path=path)
            return
        self._metrics_server.add_route(path, self._guarded(path, route))

    def _guarded(self, path: str, route: Route) -> Route:
        return self._auth.protect(path, route) if self._auth is not None else route

    def start(self) -> None:
        """Serves; metrics and health first, so that a start that hangs can be looked at."""
        if self.certificate is not None:
            self.certificate.read()
        for server in self._http_servers():
            server.start()
        if self._webhook_server is not None:
            self._webhook_server.start()

    def stop(self, grace: float = WEBHOOK_GRACE) -> None:
        """Frees the ports, those of the webhooks first; requests under way get `grace` seconds. Idempotent."""
        if self._webhook_server is not None:
            self._webhook_server.stop(grace)
        for server in self._http_servers():
            server.stop()

    def _http_servers(self) -> Iterator[HttpServer]:
        yield from (server for server in (self._metrics_server, self._probe_server) if server)

    def _bind_metrics(self) -> HttpServer | None:
        address = Address.parse(self._options.metrics_addr)
        if address is None:
            return None
        route = self._guarded(METRICS_PATH, metrics_route(self._metrics.registry))
        directory = self._options.metrics_cert_dir
        if directory is not None:
            self.certificate = CertWatcher(
                directory / "tls.crt",
                directory / "tls.key",
                options=self._options.metrics_tls,
                clock=self._clock,
                metrics=self._metrics,
            )
        return HttpServer("metrics", address, {METRICS_PATH: route}, tls=self.certificate)

    def _bind_probes(self) -> HttpServer | None:
        address = Address.parse(self._options.health_probe_addr)
        routes = {"/healthz": self.healthz.serve, "/readyz": self.readyz.serve}
        return HttpServer("health", address, routes) if address else None

    def _bind_webhooks(self) -> WebhookServer | None:
        if self._options.webhook is None:
            return None
        from .webhook import WebhookServer

        server = WebhookServer(self._options.webhook, clock=self._clock, metrics=self._metrics)
        self.readyz.add("webhook", server.started_checker)
        return server
