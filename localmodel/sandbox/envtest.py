"""`Environment`: an API server for a test, with its clients and kubeconfigs (controller-runtime's envtest).

It is the embedded API server in this process, over HTTPS on a free port, with authentication and RBAC; kubectl and any
other client work with it. It has no controllers: nothing schedules pods or collects garbage.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from localmodel.runtime.kubeconfig import load_config
from localmodel.runtime.objects import Unstructured
from localmodel.runtime.rest import LiveClient

from .apiserver.server import ApiServer, ApiServerOptions
from .install import apply_all

USER_AGENT = "envtest/1"


class Environment:
    """Usage: `with Environment(crds=[Path("config/crd")]) as environment: environment.client().list(...)`."""

    def __init__(self, *, crds: Iterable[Path | dict[str, Any]] = ()) -> None:
        """`crds`: definitions to install at the start; see `install`."""
        self.server = ApiServer(ApiServerOptions())
        self._crds = tuple(crds)
        self._directory = tempfile.TemporaryDirectory(prefix="localmodel-envtest-")
        self._clients: list[LiveClient] = []
        self._numbers = itertools.count()

    @property
    def url(self) -> str:
        return self.server.url

    def start(self) -> None:
        """Returns when the server answers and the definitions are installed; raises what `install` raises."""
        self.server.start()
        self.install(*self._crds)

    def stop(self) -> None:
        """Ends the clients, the server and its watches. Idempotent."""
        for client in self._clients:
            client.close()
        self.server.stop()
        self._directory.cleanup()

    def kubeconfig(self, user: str = "admin", *, groups: Iterable[str] | None = None, token: str | None = None) -> Path:
        """A kubeconfig of a cluster administrator of that name.

        With `groups` (which may be empty), of the user with just those groups, by a client certificate; with `token`,
        of the user whose token it is. A file of its own for each call: clients read theirs again, and must not come to
        be another user.
        """
        path = Path(self._directory.name) / f"kubeconfig-{next(self._numbers)}"
        certificate = None if groups is None else self.server.client_certificate(user, tuple(groups))
        self.server.write_kubeconfig(path, user=user, token=token, certificate=certificate)
        return path

    def client(
        self,
        user: str = "admin",
        *,
        groups: Iterable[str] | None = None,
        token: str | None = None,
        user_agent: str = USER_AGENT,
    ) -> LiveClient:
        """A client of its own, closed at `stop`; whose, see `kubeconfig`."""
        client = LiveClient(load_config(self.kubeconfig(user, groups=groups, token=token), user_agent=user_agent))
        self._clients.append(client)
        return client

    def install(self, *manifests: Path | dict[str, Any]) -> list[Unstructured]:
        """Applies manifests: objects, YAML files, or directories of YAML files; what was stored.

        A custom resource may follow its definition. Raises ApiError, OSError, and ValueError for a kind that is not
        served.
        """
        documents = [document for manifest in manifests for document in _documents(manifest)]
        return apply_all(self.client(), documents) if documents else []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _documents(manifest: Path | dict[str, Any]) -> list[dict[str, Any]]:
    if isinstance(manifest, dict):
        return [manifest]
    files = sorted(manifest.glob("*.yaml")) if manifest.is_dir() else [manifest]
    found = [document for path in files for document in yaml.safe_load_all(path.read_text())]
    return [document for document in found if document and document.get("kind") != "Kustomization"]
