"""How to reach and authenticate to an API server, as a `RestConfig`.

The official client reads kubeconfigs and service account mounts; this module turns its `Configuration` into what
`transport` needs: an address, and sources of the Authorization header and of TLS contexts, which follow what changes
(`credentials`). Credential plugins are run by `execplugin`.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from .clock import Clock
from .credentials import Credentials, Identity, Loader
from .errors import RuntimeLibraryError
from .execplugin import ExecPlugin


class ConfigError(RuntimeLibraryError):
    """No usable kubeconfig; the message names the file and the cause."""


class AuthorizationSource(Protocol):
    """Gives the Authorization header's value, or None for certificate users."""

    def __call__(self, *, refresh: bool = False) -> str | None:
        """`refresh` reads the credentials again first: the server refused the last ones."""


DEFAULT_QPS = 5.0
DEFAULT_BURST = 10

TLSSource = Callable[[], ssl.SSLContext]
"""Gives the context for a new connection."""


@dataclass(frozen=True, kw_only=True)
class RestConfig:
    """Everything a transport needs to talk to one API server."""

    server: str
    """Base URL: scheme, host, port and perhaps a path, without a trailing slash."""
    authorization: AuthorizationSource
    user_agent: str
    """`localmodel-<program>/<version>`; its part before the slash is the default field manager on the server."""
    tls: TLSSource | None = None
    """None for a plain http server."""
    server_name: str = ""
    """Name to verify the certificate against, where it differs from the host."""
    proxy: str = ""
    connect_timeout: float = 10.0
    request_timeout: float = 30.0
    """Seconds without an answer after which a request other than a watch fails."""
    qps: float = -1.0
    """Requests per second that this client limits itself to; negative: no limit, which is left to the server's
    priority and fairness, as controller-runtime does; 0: client-go's DEFAULT_QPS."""
    burst: int = 0
    """Requests at once beyond that; 0: client-go's DEFAULT_BURST."""


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
        identity = loader()
        credentials = Credentials(loader, identity, clock=clock)
        is_https = urlsplit(identity.configuration.host).scheme == "https"
        if is_https:
            credentials.tls()
    except Exception as error:
        raise ConfigError(
            f"cannot read the kubeconfig {_described(kubeconfig)}: {error}; give --kubeconfig FILE or set KUBECONFIG"
        ) from error
    configuration = identity.configuration
    return RestConfig(
        server=configuration.host.rstrip("/"),
        authorization=credentials.authorization,
        user_agent=user_agent,
        tls=credentials.tls if is_https else None,
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


def _loader(kubeconfig: str | Path | None) -> Loader:
    return _load_in_cluster if _is_in_cluster(kubeconfig) else lambda: _load_file(kubeconfig)


def _load_in_cluster() -> Identity:
    from kubernetes import config as untyped
    from kubernetes.client import Configuration

    config: Any = untyped
    configuration = Configuration()
    config.load_incluster_config(client_configuration=configuration)
    return Identity(configuration)


def _load_file(kubeconfig: str | Path | None) -> Identity:
    from kubernetes.client import Configuration
    from kubernetes.config import kube_config as untyped

    config: Any = untyped
    merged = config.KubeConfigMerger(_described(kubeconfig)).config
    plugin = _take_plugin(merged)
    configuration = Configuration()
    config.KubeConfigLoader(config_dict=merged, config_base_path=None).load_and_set(configuration)
    return Identity(configuration, plugin)


def _take_plugin(merged: Any) -> ExecPlugin | None:
    """The credential plugin of the current user, if it has no token; takes it out of the official client's hands."""
    context = merged["contexts"].get_with_name(merged["current-context"])["context"].value
    named = merged["users"].get_with_name(context.get("user", ""), safe=True)
    if named is None:
        return None
    user = named.value.get("user") or {}
    entry = user.pop("exec", None)
    if not entry or user.get("token") or user.get("tokenFile"):
        return None
    cluster = merged["clusters"].get_with_name(context["cluster"]).value["cluster"]
    return ExecPlugin(entry, cluster=cluster, directory=Path(named.path).resolve().parent)
