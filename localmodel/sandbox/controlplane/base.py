"""`ControlPlane`: an API server that a test can start, stop, and be any user of.

Implementations differ in what they let a test do beside what any client can do. What one cannot do it refuses with
`UnsupportedError`, which says which server it is; tests that need it are skipped there (`pytest_plugin`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from localmodel.runtime.errors import RuntimeLibraryError
from localmodel.sandbox.apiserver.audit import AuditRecord

if TYPE_CHECKING:
    from localmodel.sandbox.apiserver.server import ApiServer

Json = dict[str, Any]


class ControlPlaneError(RuntimeLibraryError):
    """The API server could not be had; the message says which, why, and what to do."""


class UnsupportedError(ControlPlaneError):
    """Asked of an API server that cannot do it, which the message names."""


class ControlPlane(ABC):
    """One API server. Started once and stopped once."""

    name: ClassVar[str]
    """What it is, in messages."""
    is_shared: ClassVar[bool]
    """It takes seconds to start, or is somebody's: all tests of a process have one, and clear away what they made."""
    is_ours: ClassVar[bool]
    """Nobody else uses it, so a test may do what concerns the whole cluster."""

    @abstractmethod
    def start(self) -> None:
        """Returns when it answers. Raises ControlPlaneError."""

    @abstractmethod
    def stop(self) -> None:
        """Ends what `start` started. Idempotent."""

    @property
    @abstractmethod
    def url(self) -> str: ...

    @abstractmethod
    def cluster(self) -> Json:
        """The entry `cluster` of a kubeconfig."""

    @abstractmethod
    def user(self, name: str, groups: Sequence[str] | None) -> Json:
        """The entry `user` of a kubeconfig: of a cluster administrator (None), or of a user with just these groups."""

    @property
    def server(self) -> ApiServer:
        """The embedded server itself. Raises UnsupportedError elsewhere."""
        raise self.unsupported("be reached other than over HTTPS")

    def token_for(self, name: str, groups: Sequence[str]) -> str:
        """A bearer token of any user. Raises UnsupportedError where only service accounts have some."""
        raise self.unsupported(f"give {name} in {list(groups)} a token: only service accounts have some")

    def audit(self) -> list[AuditRecord]:
        """The requests that were answered so far; of a watch, its start. Raises UnsupportedError."""
        raise self.unsupported("tell what it was asked")

    def end_watches(self, resource: str) -> int:
        """Ends the watches of a resource ("configmaps"), as a restart would; how many. Raises UnsupportedError."""
        raise self.unsupported(f"end the watches of {resource}")

    def compact(self) -> None:
        """Forgets all history, so that older resource versions are 410. Raises UnsupportedError."""
        raise self.unsupported("forget its history at once")

    def unsupported(self, what: str) -> UnsupportedError:
        return UnsupportedError(f"{self.name} cannot {what}")
