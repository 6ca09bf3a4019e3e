"""`CertWatcher`: a server's certificate that follows its files without a restart (pkg/certwatcher).

The files are looked at every ten seconds. A pair that changed gets a TLS context of its own, which takes the place of
the former in one assignment: a context that is in use is never changed, because one that failed to load would be left
half changed. So a handshake sees the old pair or the new one, whole. A pair that cannot be loaded is counted and
logged, and the former stays. In contrast to controller-runtime a server may start before its certificate is there; it
answers once the files have come, and `check` fails until then.
"""

from __future__ import annotations

import ssl
import threading
from pathlib import Path

import structlog

from .clock import Clock, RealClock
from .errors import RuntimeLibraryError
from .metrics import Metrics
from .tls import TLSOptions, server_context

log = structlog.get_logger(__name__)

DEFAULT_INTERVAL = 10.0
_TRIES = 3
"""To read files that are changed at that very moment, before it counts as an error."""


class CertificateNotLoadedError(RuntimeLibraryError):
    """There is no certificate yet; the message says why."""


class CertWatcher:
    """A certificate source for `HttpServer`, and a runnable that keeps it up to date. Thread-safe."""

    name = "certwatcher"
    need_leader_election = False

    def __init__(
        self,
        cert_path: Path,
        key_path: Path,
        interval: float = DEFAULT_INTERVAL,
        *,
        options: TLSOptions | None = None,
        clock: Clock | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        """`cert_path` holds the certificate and its chain, in PEM; nothing is read yet. `interval` is in seconds."""
        self._cert_path = cert_path
        self._key_path = key_path
        self._interval = interval
        self._options = options or TLSOptions()
        self._clock = clock or RealClock()
        metrics = metrics or Metrics()
        self._reads = metrics.certificate_reads
        self._errors = metrics.certificate_read_errors
        self._loading = threading.Lock()
        """Held while the fields below change."""
        self._files: tuple[bytes, ...] = ()
        """What the files held that `_context` was made of."""
        self._context: ssl.SSLContext | None = None
        self._reason = "its files were not read yet"
        """Why there is no context."""

    @property
    def ssl_context(self) -> ssl.SSLContext:
        """For the next handshake; raises CertificateNotLoadedError."""
        context = self._context
        if context is None:
            raise CertificateNotLoadedError(f"no certificate loaded from {self._cert_path}: {self._reason}")
        return context

    def check(self) -> None:
        """For a readiness endpoint: raises CertificateNotLoadedError while there is no certificate."""
        _ = self.ssl_context

    def start(self, stop: threading.Event) -> None:
        """Looks at the files now and every `interval` seconds until `stop` is set."""
        self.read()
        self.watch(stop)

    def watch(self, stop: threading.Event) -> None:
        """Looks at the files every `interval` seconds until `stop` is set."""
        while not self._clock.wait_event(stop, self._interval):
            self.read()

    def read(self) -> None:
        """Looks at the files once: a changed, whole pair is taken over; a bad one is counted, logged, and not."""
        self._reads.inc()
        with self._loading:
            try:
                if self._load():
                    log.info("Certificate loaded", path=str(self._cert_path))
            except OSError as error:
                self._errors.inc()
                self._reason = str(error)
                log.error(
                    "Certificate not loaded",
                    path=str(self._cert_path),
                    kept_former=self._context is not None,
                    error=self._reason,
                )

    def _load(self) -> bool:
        """Whether the files changed; raises OSError, which ssl.SSLError is."""
        for last in (*[False] * (_TRIES - 1), True):
            files = self._contents()
            if files == self._files:
                return False
            try:
                context = server_context(self._cert_path, self._key_path, self._options)
            except OSError:
                # Half of the files was read before, half after a change, if they are others by now.
                if last or self._contents() == files:
                    raise
                continue
            if self._contents() == files:
                break
        # Else the files change faster than they are read: this pair is whole, and not the last one.
        self._files, self._context = files, context
        return True

    def _contents(self) -> tuple[bytes, ...]:
        paths = (self._cert_path, self._key_path, self._options.client_ca)
        return tuple(path.read_bytes() for path in paths if path is not None)
