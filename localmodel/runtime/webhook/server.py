"""`WebhookServer`: webhooks on one port with TLS, whose certificate is followed on disk."""

from __future__ import annotations

import contextlib
import socket
import ssl
import tempfile
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

from localmodel.runtime.address import Address
from localmodel.runtime.certwatcher import DEFAULT_INTERVAL, CertWatcher
from localmodel.runtime.clock import Clock, RealClock
from localmodel.runtime.errors import RuntimeLibraryError
from localmodel.runtime.httpconnections import ServerLimits
from localmodel.runtime.httpserver import HttpServer
from localmodel.runtime.metrics import Metrics
from localmodel.runtime.tls import TLSOptions

from .admission import Handler
from .review import ReviewRoute

MAX_BODY_BYTES = 7 * 1024 * 1024
"""Twice an object of the largest size that etcd takes, and the rest of the review (admission/http.go)."""
_CHECK_SECONDS = 10.0


class WebhookServerError(RuntimeLibraryError):
    """The server does not answer at its port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookServerOptions:
    """Options of a webhook server; the defaults are controller-runtime's."""

    host: str = ""
    """The address to listen on; every interface when empty."""
    port: int = 9443
    """0 picks a free port."""
    cert_dir: Path = field(default_factory=lambda: Path(tempfile.gettempdir(), "k8s-webhook-server", "serving-certs"))
    cert_name: str = "tls.crt"
    """The certificate with its chain, in `cert_dir`."""
    key_name: str = "tls.key"
    cert_interval: float = DEFAULT_INTERVAL
    """Seconds between two looks at these files."""
    client_ca_name: str = ""
    """Authorities in `cert_dir` whose clients alone are served, in place of those of `tls`; all clients when empty."""
    tls: TLSOptions = field(default_factory=TLSOptions)
    """Versions and cipher suites."""
    limits: ServerLimits = field(default_factory=lambda: ServerLimits(body_bytes=MAX_BODY_BYTES))
    """What clients are allowed."""


class WebhookServer:
    """Serves handlers from `start` to `stop`."""

    def __init__(
        self,
        options: WebhookServerOptions | None = None,
        *,
        clock: Clock | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        """Binds the port: raises OSError that names it when it is taken. The certificate may come later."""
        self.options = options or WebhookServerOptions()
        self._clock = clock or RealClock()
        self._metrics = metrics or Metrics()
        directory, tls = self.options.cert_dir, self.options.tls
        if self.options.client_ca_name:
            tls = replace(tls, client_ca=directory / self.options.client_ca_name)
        self._needs_client_certificate = tls.client_ca is not None
        self.certificate = CertWatcher(
            directory / self.options.cert_name,
            directory / self.options.key_name,
            self.options.cert_interval,
            options=tls,
            clock=self._clock,
            metrics=self._metrics,
        )
        self._http = HttpServer(
            "webhook",
            Address(self.options.host, self.options.port),
            methods=("POST",),
            tls=self.certificate,
            limits=self.options.limits,
        )
        self._stop = threading.Event()
        self._watcher: threading.Thread | None = None

    @property
    def port(self) -> int:
        return self._http.port

    @property
    def url(self) -> str:
        return self._http.url

    def register(self, path: str, handler: Handler) -> None:
        """Serves the handler at the path, also when the server runs; raises ValueError for a path that is taken."""
        if not path.startswith("/"):
            raise ValueError(f"{path!r} is not a path: begin it with a slash")
        self._http.add_route(path, ReviewRoute(path, handler, clock=self._clock, metrics=self._metrics))

    def start(self) -> None:
        """Reads the certificate, then answers and follows the certificate in threads of its own."""
        self.certificate.read()
        self._watcher = threading.Thread(target=self.certificate.watch, args=(self._stop,), name="certwatcher")
        self._watcher.start()
        self._http.start()

    def stop(self, grace: float = 10.0) -> None:
        """Frees the port; requests under way get `grace` seconds to be answered. Idempotent."""
        self._stop.set()
        self._http.stop(grace)
        if self._watcher is not None:
            self._watcher.join()

    def started_checker(self) -> None:
        """For a readiness endpoint: raises while there is no certificate or the port does not answer.

        CertificateNotLoadedError, WebhookServerError.
        """
        self.certificate.check()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        address = (self.options.host or "127.0.0.1", self.port)
        try:
            with contextlib.ExitStack() as stack:
                connection = stack.enter_context(socket.create_connection(address, timeout=_CHECK_SECONDS))
                stack.enter_context(context.wrap_socket(connection))
        except OSError as error:
            # To one who has no certificate the server may say so in the handshake, and that is an answer.
            if not (self._needs_client_certificate and isinstance(error, ssl.SSLError)):
                raise WebhookServerError(f"the webhook server does not answer at port {self.port}: {error}") from error
