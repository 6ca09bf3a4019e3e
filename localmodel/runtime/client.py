"""The client interfaces: what a reconciler reads and writes with.

`Client` is implemented three times with the same meaning: by `LiveClient` (HTTP, in `rest`), by `CachedClient` (reads
from informers, writes live, in `cached_client`) and by `testing.FakeClient` (in memory). What a reflector needs is in
`listwatch`. Objects handed out are private copies. Every method raises `errors.ApiError` or `errors.TransportError`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

from .objects import Object, T

PatchType = Literal[
    "application/merge-patch+json",
    "application/json-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
]
MERGE_PATCH: PatchType = "application/merge-patch+json"
JSON_PATCH: PatchType = "application/json-patch+json"
STRATEGIC_MERGE_PATCH: PatchType = "application/strategic-merge-patch+json"
APPLY_PATCH: PatchType = "application/apply-patch+yaml"

Propagation = Literal["Background", "Foreground", "Orphan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preconditions:
    """A delete happens only if the object still has this uid or resource version."""

    uid: str | None = None
    resource_version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteOptions:
    """Options common to all writes."""

    dry_run: bool = False
    """The server answers as if, and changes nothing."""
    field_manager: str = ""
    """The owner recorded in managedFields; the user agent's first part when empty."""
    field_validation: Literal["", "Ignore", "Warn", "Strict"] = ""
    """What the server does with unknown fields; its default when empty."""


DEFAULT_WRITE = WriteOptions()


class Reader(ABC):
    """Reads objects."""

    @abstractmethod
    def get(self, kind: type[T], name: str, *, namespace: str = "") -> T:
        """The object; raises NotFoundError."""

    @abstractmethod
    def list(
        self,
        kind: type[T],
        *,
        namespace: str = "",
        labels: str | dict[str, str] = "",
        fields: str | dict[str, str] = "",
        limit: int = 0,
    ) -> list[T]:
        """All matching objects, of all namespaces when `namespace` is empty, sorted by key; only the first `limit` if
        that is not 0.

        There is no continuing after them: a page of a cache that changes would be of no consistent list. `labels` and
        `fields` are selectors in kubectl's grammar or maps of equal pairs. A cached reader serves `fields` only where
        an index of that name exists (UnindexedFieldError), as controller-runtime does.
        """

    def find(self, kind: type[T], name: str, *, namespace: str = "") -> T | None:
        """The object, or None where `get` would raise NotFoundError."""
        from .errors import NotFoundError

        try:
            return self.get(kind, name, namespace=namespace)
        except NotFoundError:
            return None


class StatusWriter(ABC):
    """Writes the status subresource; everything but status is ignored by the server."""

    @abstractmethod
    def update(self, obj: T, *, options: WriteOptions = DEFAULT_WRITE) -> T:
        """PUT /status with the object's resource version: ConflictError if it is stale."""

    @abstractmethod
    def patch(
        self, obj: T, patch: Any, *, patch_type: PatchType = MERGE_PATCH, options: WriteOptions = DEFAULT_WRITE
    ) -> T:
        """PATCH /status of the object named by obj's metadata."""


class Client(Reader):
    """Reads and writes objects. A write returns the object as the server stored it."""

    @property
    @abstractmethod
    def status(self) -> StatusWriter: ...

    @abstractmethod
    def create(self, obj: T, *, options: WriteOptions = DEFAULT_WRITE) -> T:
        """Raises AlreadyExistsError, InvalidError, ForbiddenError."""

    @abstractmethod
    def update(self, obj: T, *, options: WriteOptions = DEFAULT_WRITE) -> T:
        """PUT with the object's resource version: ConflictError if it is stale, NotFoundError if it is gone."""

    @abstractmethod
    def patch(
        self, obj: T, patch: Any, *, patch_type: PatchType = MERGE_PATCH, options: WriteOptions = DEFAULT_WRITE
    ) -> T:
        """Patches the object named by obj's metadata; `patch` is plain JSON types."""

    @abstractmethod
    def apply(self, obj: T, *, field_owner: str, force: bool = False, options: WriteOptions = DEFAULT_WRITE) -> T:
        """Server-side apply of exactly the fields in obj; ConflictError names other owners unless forced."""

    @abstractmethod
    def delete(
        self,
        obj: Object,
        *,
        propagation: Propagation = "Background",
        preconditions: Preconditions | None = None,
        grace_period_seconds: int | None = None,
        options: WriteOptions = DEFAULT_WRITE,
    ) -> None:
        """Deletes the object named by obj's metadata; raises NotFoundError, ConflictError (preconditions)."""
