"""How to reach and authenticate to an API server, as a `RestConfig`.

The official client reads kubeconfigs and service account mounts; this module turns its `Configuration` into what
`transport` needs: an address, and sources of the Authorization header and of TLS contexts, which follow what changes
(`credentials`). Credential plugins are run by `execplugin`.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlsplit
from urllib.request import getproxies

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
    proxy: str = field(default="", repr=False)
    """`http://[USER:PASSWORD@]HOST:PORT`, through which the server is reached; none when empty."""
    connect_timeout: float = 10.0
    request_timeout: float = 30.0
    """Seconds without an answer after which a request other than a watch fails."""
    impersonation: tuple[tuple[str, str], ...] = ()
    """Names and values of the headers that make every request another user's (kubeconfig: `as`, `as-groups`)."""
    qps: float = -1.0
    """Requests per second that this client limits itself to; negative: no limit, which is left to the server's
    priority and fairness, as controller-runtime does; 0: client-go's DEFAULT_QPS."""
    burst: int = 0
    """Requests at once beyond that; 0: client-go's DEFAULT_BURST."""


def load_config(kubeconfig: str | Path | None = None, *, user_agent: str, clock: Clock | None = None) -> RestConfig:
    """The file given, else the pod's service account, else `$KUBECONFIG`, else `~/.kube/config`.

    A proxy is that of the file, else that of the environment (HTTPS_PROXY, NO_PROXY). As with client-go, a server
    without TLS is shown no credentials. Raises `ConfigError` if there is none or it cannot be read.
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
        # The official client takes any YAML, and stumbles over it later.
        why = "it has not the form of one" if isinstance(error, TypeError | AttributeError) else error
        raise ConfigError(
            f"cannot read the kubeconfig {_described(kubeconfig)}: {why}; give --kubeconfig FILE or set KUBECONFIG"
        ) from error
    configuration = identity.configuration
    return RestConfig(
        server=configuration.host.rstrip("/"),
        authorization=credentials.authorization if is_https else _no_authorization,
        user_agent=user_agent,
        tls=credentials.tls if is_https else None,
        server_name=configuration.tls_server_name or "",
        proxy=_proxy(configuration),
        impersonation=identity.impersonation,
    )


def _no_authorization(*, refresh: bool = False) -> None:
    """For a server that everybody on the way could read the credentials of."""


def _proxy(configuration: Any) -> str:
    """The proxy to use, if any; raises ConfigError for one of a sort that `transport` does not speak to."""
    proxy: str = configuration.proxy or ""
    if proxy in getproxies().values() and _is_exempt(
        urlsplit(configuration.host).hostname or "", configuration.no_proxy
    ):
        return ""
    if proxy and urlsplit(proxy).scheme != "http":
        raise ConfigError(f"a proxy is reached by http:// only, not {urlsplit(proxy).scheme}://: name another one")
    return proxy


def _is_exempt(host: str, no_proxy: str | None) -> bool:
    """Whether the environment's proxy is not for this host (golang.org/x/net/http/httpproxy).

    NO_PROXY lists hosts, domains, addresses and networks; loopback is never reached through a proxy.
    """
    try:
        address = ip_address(host)
    except ValueError:
        address = None
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    return any(_is_named(host, address, entry.strip().lower()) for entry in (no_proxy or "").split(","))


def _is_named(host: str, address: IPv4Address | IPv6Address | None, entry: str) -> bool:
    if entry == "*":
        return True
    if address is not None:
        try:
            return address in ip_network(entry, strict=False)
        except ValueError:
            return entry.rpartition(":")[0].strip("[]") == host
    domain = entry.partition(":")[0].removeprefix("*")
    return bool(domain) and (host == domain or host.endswith(domain if domain.startswith(".") else f".{domain}"))


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
    context = merged["contexts"].get_with_name(merged["current-context"])["context"].value
    cluster = merged["clusters"].get_with_name(context["cluster"]).value["cluster"]
    _check_verification(cluster)
    plugin = _take_plugin(merged, context, cluster)
    configuration = Configuration()
    config.KubeConfigLoader(config_dict=merged, config_base_path=None).load_and_set(configuration)
    return Identity(configuration, plugin, _impersonation(merged, context))


def _check_verification(cluster: dict[str, Any]) -> None:
    """Raises ConfigError where the official client would not verify the server and client-go refuses the entry."""
    is_insecure = cluster.get("insecure-skip-tls-verify", False)
    if not isinstance(is_insecure, bool):
        raise ConfigError(f"insecure-skip-tls-verify is {is_insecure!r}: write true or false, without quotes")
    if is_insecure and (cluster.get("certificate-authority") or cluster.get("certificate-authority-data")):
        raise ConfigError("insecure-skip-tls-verify does not go with a certificate authority: leave one of them out")


def _impersonation(merged: Any, context: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """The headers for whom the current user acts as; raises ConfigError for what names groups but no user.

    The official client does not know them, and would act with the rights of the user itself.
    """
    named = merged["users"].get_with_name(context.get("user", ""), safe=True)
    user = (named.value.get("user") or {}) if named is not None else {}
    name, uid = user.get("as") or "", user.get("as-uid") or ""
    groups, extra = user.get("as-groups") or [], user.get("as-user-extra") or {}
    if not name and (uid or groups or extra):
        raise ConfigError("as-uid, as-groups and as-user-extra need a user to act as: add `as`")
    headers = [("Impersonate-User", str(name))] if name else []
    headers += [("Impersonate-Uid", str(uid))] if uid else []
    headers += [("Impersonate-Group", str(group)) for group in groups]
    headers += [
        (f"Impersonate-Extra-{quote(str(key), safe='')}", str(value))
        for key, values in extra.items()
        for value in values
    ]
    return tuple(headers)


def _take_plugin(merged: Any, context: dict[str, Any], cluster: dict[str, Any]) -> ExecPlugin | None:
    """The credential plugin of the current user, if it has no token; takes it out of the official client's hands."""
    named = merged["users"].get_with_name(context.get("user", ""), safe=True)
    if named is None:
        return None
    user = named.value.get("user") or {}
    entry = user.pop("exec", None)
    if not entry or user.get("token") or user.get("tokenFile"):
        return None
    return ExecPlugin(entry, cluster=cluster, directory=Path(named.path).resolve().parent)
