"""Keeps what an agent never uses out of its memory: it runs on every node, and uses little of what libraries import.

The official client, which reads kubeconfigs and service account mounts, brings three quarters of what it would cost:
its API client with HTTP libraries and parsers of dates, watches, websockets, and OAuth for one sort of kubeconfig.
structlog brings asyncio for loggers of coroutines, and rich, where it is installed, for coloured tracebacks; the
standard library brings archives. Called by the program before anything else imports these modules; in another process
it would be too late, and is without effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from localmodel.runtime.lazy import import_with_stand_ins, import_without

_UNUSED: Final = {
    "kubernetes.client.api_client": ("ApiClient",),
    "kubernetes.dynamic": ("DynamicClient",),
    "kubernetes.watch": ("Watch",),
    "kubernetes.stream": ("stream",),
    "kubernetes.leaderelection": (),
    "kubernetes.informer": (),
}
_OAUTH: Final = {"oauthlib": ("oauth2",), "oauthlib.oauth2": (), "requests_oauthlib": ("OAuth2Session",)}
_NEEDS_OAUTH: Final = b"auth-provider"
"""In a kubeconfig: the user's token comes from an identity provider, and is refreshed by OAuth."""


def import_libraries() -> None:
    """Imports what every part of the agent needs without what it never uses of it."""
    import_without("shutil", "bz2", "lzma")
    import_without("zipfile", "bz2", "lzma")
    unused = {"asyncio": (), "pickle": ("PicklingError",)}
    import_with_stand_ins("structlog", unused, "rich", "better_exceptions")


def import_official_client(kubeconfig: str | Path | None, env: Mapping[str, str]) -> None:
    """Imports of the official client what reads this kubeconfig, or without one the pod's service account."""
    if kubeconfig is None and "KUBERNETES_SERVICE_HOST" not in env:
        return  # On somebody's desk, with a kubeconfig of any sort.
    needs_oauth = kubeconfig is not None and _NEEDS_OAUTH in _content(Path(kubeconfig))
    import_with_stand_ins("kubernetes.config", _UNUSED if needs_oauth else _UNUSED | _OAUTH)


def _content(path: Path) -> bytes:
    """Of a file that cannot be read nothing: whoever reads it as a kubeconfig says why."""
    try:
        return path.read_bytes()
    except OSError:
        return b""
