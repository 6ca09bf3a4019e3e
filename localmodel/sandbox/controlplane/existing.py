"""`ExistingCluster`: a cluster that is there already, by its kubeconfig (`LOCALMODEL_TEST_KUBECONFIG`).

It may be somebody's: nothing is changed outside of what a test makes itself (see `envtest`). Other users than the
kubeconfig's own are impersonated, which a cluster administrator may do.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import yaml

from localmodel.runtime.errors import ApiError, RuntimeLibraryError, TransportError
from localmodel.runtime.kubeconfig import load_config
from localmodel.runtime.objects import Namespace
from localmodel.runtime.rest import LiveClient
from localmodel.sandbox.apiserver.users import MASTERS

from .base import ControlPlane, ControlPlaneError, Json

VARIABLE = "LOCALMODEL_TEST_KUBECONFIG"
_FILES = ("certificate-authority", "client-certificate", "client-key", "tokenFile")


class ExistingCluster(ControlPlane):
    """The current context of one kubeconfig file."""

    name: ClassVar[str] = f"the cluster of {VARIABLE}"
    is_shared: ClassVar[bool] = True
    is_ours: ClassVar[bool] = False

    def __init__(self, kubeconfig: Path) -> None:
        """Raises ControlPlaneError if the file cannot be used."""
        self._path = kubeconfig
        try:
            content = yaml.safe_load(kubeconfig.read_text())
            context = _named(content["contexts"], content["current-context"], "context")
            self._cluster = _absolute(_named(content["clusters"], context["cluster"], "cluster"), kubeconfig)
            self._user = _absolute(_named(content["users"], context["user"], "user"), kubeconfig)
        except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
            raise ControlPlaneError(
                f"{VARIABLE} is {kubeconfig}, which is no kubeconfig with a current context: {error!r}"
            ) from error

    @property
    def url(self) -> str:
        return str(self._cluster["server"]).rstrip("/")

    def start(self) -> None:
        """Asks for the namespace `default`, to say early what does not work."""
        try:
            client = LiveClient(load_config(self._path, user_agent="envtest/1"))
            try:
                client.get(Namespace, "default")
            finally:
                client.close()
        except (ApiError, TransportError, RuntimeLibraryError) as error:
            raise ControlPlaneError(f"{self.name} ({self._path}) cannot be used: {error}") from error

    def stop(self) -> None:
        """Nothing of it was started here."""

    def cluster(self) -> Json:
        return dict(self._cluster)

    def user(self, name: str, groups: Sequence[str] | None) -> Json:
        if groups is None and name == "admin":
            return dict(self._user)
        return self._user | {"as": name, "as-groups": [MASTERS] if groups is None else list(groups)}


def _named(entries: list[Json], name: str, key: str) -> Json:
    found: list[Any] = [entry[key] for entry in entries if entry["name"] == name]
    if not found or not isinstance(found[0], dict):
        raise ValueError(f"there is no {key} named {name}")
    return found[0]


def _absolute(entry: Json, kubeconfig: Path) -> Json:
    """With paths that hold elsewhere: in a kubeconfig they are relative to its directory."""
    directory = kubeconfig.absolute().parent
    return {key: str(directory / value) if key in _FILES else value for key, value in entry.items()}
