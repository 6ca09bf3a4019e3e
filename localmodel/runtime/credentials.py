"""What a client shows to the API server, and what it knows the server by, as both change while the program runs.

A static token is read again each minute (kubelets rotate token files under the same name) and once more, at once, when
the server answers 401; a read that fails keeps the old token (client-go's CachingTokenSource). A plugin's credential is
renewed before it expires and after a 401. Certificates are looked at for each new connection: a new authority or client
certificate on disk is used from then on, one that cannot be loaded leaves the former in place. Connections that are
open stay as they are; a server that no longer wants them closes them.
"""

from __future__ import annotations

import base64
import ssl
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog

from .clock import Clock, RealClock
from .execplugin import ExecCredential, ExecPlugin, ExecPluginError

log = structlog.get_logger(__name__)

TOKEN_PERIOD = 50.0
"""Seconds after which static credentials are read again: a minute less ten seconds of leeway."""
EXPIRY_LEEWAY = 60.0
"""Seconds before its end that a plugin's credential is renewed, or a fifth of its life if that is less."""
RETRY_PERIOD = 10.0
"""Seconds from one run of a plugin to the next, after a failure or a 401: a plugin is dear to run."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What was read: the official client's Configuration, and what it lacks: a plugin, whom to act as (headers)."""

    configuration: Any
    plugin: ExecPlugin | None = None
    impersonation: tuple[tuple[str, str], ...] = ()


Loader = Callable[[], Identity]
"""Reads afresh."""


class Credentials:
    """An `AuthorizationSource` and `TLSSource`; safe to call from any thread."""

    def __init__(self, loader: Loader, identity: Identity, *, clock: Clock | None = None) -> None:
        """Runs the plugin, if there is one; raises ExecPluginError."""
        self._loader = loader
        self._clock = clock or RealClock()
        self._lock = threading.Lock()
        """Guards what follows; held while credentials are read."""
        self._identity = identity
        self._read_at = self._clock.monotonic()
        self._credential = ExecCredential()
        self._renew_at: datetime | None = None
        self._next_run = 0.0
        """Monotonic time before which the plugin is not run again."""
        if identity.plugin is not None:
            self._take(identity.plugin.run())
        self._contents: object = None
        """What the TLS context was made of; of a failed one it is kept too, to be reported once."""
        self._context: ssl.SSLContext | None = None

    def authorization(self, *, refresh: bool = False) -> str | None:
        """The header's value, or None for certificate users. `refresh`: the server refused the last one."""
        with self._lock:
            if refresh or self._clock.monotonic() - self._read_at >= TOKEN_PERIOD:
                self._reload()
            if self._identity.plugin is not None and (refresh or self._is_expiring()):
                self._renew(self._identity.plugin)
            return self._header()

    def tls(self) -> ssl.SSLContext:
        """For a new connection. Raises OSError if the first one cannot be made."""
        with self._lock:
            configuration, credential = self._identity.configuration, self._credential
            try:
                contents = (_contents(configuration), credential.certificate, credential.key)
                if contents != self._contents or self._context is None:
                    self._contents = contents
                    self._context = _context(configuration, credential)
            except OSError as error:  # which ssl.SSLError is
                if self._context is None:
                    raise
                log.warning("cannot load the certificates, keeping the old ones", error=str(error))
            return self._context

    def _reload(self) -> None:
        self._read_at = self._clock.monotonic()
        try:
            self._identity = self._loader()
        except Exception:
            log.warning("cannot read the credentials again, keeping the old ones", exc_info=True)

    def _is_expiring(self) -> bool:
        return self._renew_at is not None and self._clock.now() >= self._renew_at

    def _renew(self, plugin: ExecPlugin) -> None:
        if self._clock.monotonic() < self._next_run:
            return
        try:
            self._take(plugin.run())
        except ExecPluginError as error:
            log.warning("cannot renew the credential, keeping the old one", error=str(error))
        finally:
            self._next_run = self._clock.monotonic() + RETRY_PERIOD

    def _take(self, credential: ExecCredential) -> None:
        self._credential, self._renew_at = credential, None
        if credential.expires is not None:
            life = credential.expires - self._clock.now()
            leeway = min(EXPIRY_LEEWAY, life.total_seconds() / 5)
            self._renew_at = datetime.fromtimestamp(credential.expires.timestamp() - leeway, credential.expires.tzinfo)

    def _header(self) -> str | None:
        if self._credential.token:
            return f"Bearer {self._credential.token}"
        configuration = self._identity.configuration
        token: str | None = configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        if token:
            scheme, _, rest = token.partition(" ")
            return f"Bearer {rest.strip()}" if scheme.lower() == "bearer" else token
        if configuration.username:
            pair = f"{configuration.username}:{configuration.password or ''}".encode()
            return "Basic " + base64.b64encode(pair).decode()
        return None


def _contents(configuration: Any) -> tuple[bytes | None, ...]:
    """Of the files that a context is made of; raises OSError."""
    names = (configuration.ssl_ca_cert, configuration.cert_file, configuration.key_file)
    return tuple(Path(name).read_bytes() if name else None for name in names)


def _context(configuration: Any, credential: ExecCredential) -> ssl.SSLContext:
    """Raises OSError."""
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert or None)
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if credential.certificate:
        # OpenSSL loads pairs from files only; this one is gone again at once.
        with tempfile.NamedTemporaryFile("w") as pair:
            pair.write(f"{credential.certificate}\n{credential.key}\n")
            pair.flush()
            context.load_cert_chain(pair.name)
    elif configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file or None)
    return context
