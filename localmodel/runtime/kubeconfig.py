"""How to reach and authenticate to an API server, as a `RestConfig`.

The official client reads kubeconfigs and service account mounts, runs exec plugins and refreshes what expires; this
module turns its `Configuration` into what `transport` needs: an address, one TLS context and a source of the
Authorization header. A static token is read again each minute (kubelets rotate token files under the same name) and
once more, at once, when the server answers 401; a read that fails keeps the old token (client-go's
CachingTokenSource).
"""

from __future__ import annotations

import base64
import os
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import structlog
import yaml

from .clock import Clock, RealClock
from .errors import RuntimeLibraryError

log = structlog.get_logger(__name__)

TOKEN_PERIOD = 50.0
"""Seconds after which credentials are read again: a minute less ten seconds of leeway."""


class ConfigError(RuntimeLibraryError):
    """No usable kubeconfig; the message names the file and the cause."""


class AuthorizationSource(Protocol):
    """Gives the Authorization header's value, or None for certificate users."""

    def __call__(self, *, refresh: bool = False) -> str | None:
        """`refresh` reads the credentials again first: the server refused the last ones."""


@dataclass(frozen=True, kw_only=True)
class RestConfig:
    """Everything a transport needs to talk to one API server."""

    server: str
    """Base URL: scheme, host, port and perhaps a path, without a trailing slash."""
    authorization: AuthorizationSource
    user_agent: str
    """`localmodel-<program>/<version>`; its part before the slash is the default field manager on the server."""
    tls: ssl.SSLContext | None = None
    """None for a plain http server."""
    server_name: str = ""
    """Name to verify the certificate against, where it differs from the host."""
    proxy: str = ""
    connect_timeout: float = 10.0
    request_timeout: float = 30.0
    """Seconds without an answer after which a request other than a watch fails."""


Loader = Callable[[], Any]
"""Reads the credentials afresh and returns a `kubernetes.client.Configuration`."""


def load_config(kubeconfig: str | Path | None = None, *, user_agent: str, clock: Clock | None = None) -> RestConfig:
    """The file given, else the pod's service account, else `$KUBECONFIG`, else `~/.kube/config`.

    Raises `ConfigError` if there is none or it cannot be read.
    """
    loader = _loader(kubeconfig)
    if not _is_in_cluster(kubeconfig) and not _files(kubeconfig):
        raise ConfigError(
            f"there is no kubeconfig {_described(kubeconfig)}: give --kubeconfig FILE or set KUBECONFIG to one there is"
        )
    try:
        configuration = loader()
    except Exception as error:
        raise ConfigError(
            f"cannot read the kubeconfig {_described(kubeconfig)}: {error}; give --kubeconfig FILE or set KUBECONFIG"
        ) from error
    return RestConfig(
        server=configuration.host.rstrip("/"),
        authorization=_Credentials(loader, configuration, clock or RealClock(), renews_itself=_has_plugin(kubeconfig)),
        user_agent=user_agent,
        tls=_tls_context(configuration),
        server_name=configuration.tls_server_name or "",
        proxy=configuration.proxy or "",
    )


def _described(kubeconfig: str | Path | None) -> str:
    return str(kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config")


def _is_in_cluster(kubeconfig: str | Path | None) -> bool:
    return kubeconfig is None and "KUBERNETES_SERVICE_HOST" in os.environ


def _files(kubeconfig: str | Path | None) -> list[Path]:
    """The kubeconfigs that exist; KUBECONFIG may list several."""
    paths = _described(kubeconfig).split(os.pathsep)
    return [path for text in paths if (path := Path(text).expanduser()).exists()]


def _has_plugin(kubeconfig: str | Path | None) -> bool:
    """Whether some user of the kubeconfig gets its token from a program, which is dear to run."""
    if _is_in_cluster(kubeconfig):
        return False
    files = _files(kubeconfig)
    users = [user.get("user") or {} for path in files for user in yaml.safe_load(path.read_text()).get("users") or []]
    return any("exec" in user or "auth-provider" in user for user in users)


def _loader(kubeconfig: str | Path | None) -> Loader:
    from kubernetes import config as untyped
    from kubernetes.client import Configuration

    config: Any = untyped

    in_cluster = _is_in_cluster(kubeconfig)

    def load() -> Any:
        configuration = Configuration()
        if in_cluster:
            config.load_incluster_config(client_configuration=configuration)
        else:
            path = None if kubeconfig is None else str(kubeconfig)
            config.load_kube_config(config_file=path, client_configuration=configuration, persist_config=False)
        return configuration

    return load


class _Credentials:
    """An AuthorizationSource over the official configuration; safe to call from any thread."""

    def __init__(self, loader: Loader, configuration: Any, clock: Clock, *, renews_itself: bool) -> None:
        """`renews_itself`: the configuration's own hook runs the exec plugin again when its token expires."""
        self._loader = loader
        self._renews_itself = renews_itself
        self._configuration = configuration
        self._clock = clock
        self._read_at = clock.monotonic()
        self._lock = threading.Lock()

    def __call__(self, *, refresh: bool = False) -> str | None:
        with self._lock:
            stale = self._clock.monotonic() - self._read_at >= TOKEN_PERIOD
            if refresh or (stale and not self._renews_itself):
                self._reload()
            return self._header()

    def _reload(self) -> None:
        self._read_at = self._clock.monotonic()
        try:
            self._configuration = self._loader()
        except Exception:
            log.warning("cannot read the credentials again, keeping the old ones", exc_info=True)

    def _header(self) -> str | None:
        configuration = self._configuration
        token: str | None = configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        if token:
            scheme, _, rest = token.partition(" ")
            return f"Bearer {rest.strip()}" if scheme.lower() == "bearer" else token
        if configuration.username:
            pair = f"{configuration.username}:{configuration.password or ''}".encode()
            return "Basic " + base64.b64encode(pair).decode()
        return None


def _tls_context(configuration: Any) -> ssl.SSLContext | None:
    if urlsplit(configuration.host).scheme != "https":
        return None
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert or None)
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file or None)
    return context
