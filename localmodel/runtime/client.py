"""The client interfaces: what a reconciler reads and writes with.

`Client` is implemented by `LiveClient` (HTTP, in `rest`), `CachedClient` (reads from informers, writes live, in
`cached_client`), the wrappers in `delegating_client` and `testing.FakeClient` (in memory), all with the same meaning.
The methods that a reconciler calls make values of what it wants, `Write` and `Deletion`, so that an implementation has
few methods and a wrapper sees every write in one place. What a reflector needs is in `listwatch`. Objects handed out
are private copies. Every method raises `errors.ApiError` or `errors.TransportError`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from .listwatch import ListOptions
from .restmapper import RESTMapper
from .selectors import FieldSelector, Selector

if TYPE_CHECKING:
    from .objects import Object, ObjectKey, RESTMapping, T, Unstructured

P = TypeVar("P")
A = TypeVar("A", bound="Object")
"""The type of an answer, where it is not that of the object written."""

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

SEEN_TIMEOUT = 5.0
"""Seconds that a read waits for a write, as kopf; a watch brings it in milliseconds."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Write(Generic[A]):
    """A create, update, patch or apply of an object, or of one of its subresources."""

    verb: Literal["create", "update", "patch", "apply"]
    kind: type[Object]
    """Of the object; the body of a subresource may be of another."""
    key: ObjectKey
    """Its name is empty where a create lets the server generate one."""
    body: Any = field(repr=False)
    """An Object; for a patch plain JSON types."""
    answer: type[A]
    """What the server's answer is decoded as."""
    subresource: str = ""
    patch_type: PatchType = MERGE_PATCH
    """Of a patch."""
    force: bool = False
    """Of an apply."""
    options: WriteOptions = DEFAULT_WRITE

    def __post_init__(self) -> None:
        """Raises ValueError for an update with a part of an object: an update deletes what it does not send."""
        if self.verb != "update" or isinstance(self.body, dict | list):
            return
        from .objects import Object

        if not isinstance(self.body, Object):
            return
        if self.body.metadata_only:
            raise ValueError(f"cannot update {self.body} with its metadata only: patch it, or read all of it")
        if self.body.model_config.get("extra") == "ignore":
            kind = type(self.body).__name__
            raise ValueError(
                f"cannot update {self.body}: {kind} ignores fields that it does not declare, and an update would "
                'delete them; patch it, or use a type with extra="allow"'
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """A delete of one object, or of a collection of them."""

    kind: type[Object]
    target: ObjectKey | ListOptions
    """ListOptions: all that a list with these would find."""
    uid: str = ""
    """Of the object as the caller knew it; nothing that the server is told."""
    propagation: Propagation = "Background"
    preconditions: Preconditions | None = None
    grace_period_seconds: int | None = None
    options: WriteOptions = DEFAULT_WRITE


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

    def parts(self, kind: type[T], extract: Callable[[T], Mapping[str, P]], value: str) -> dict[ObjectKey, P]:
        """What `extract` gives under this value for each object of the kind, by the object's key.

        For what a thousand objects say of one thing. A cached reader has it from an index that `Cache.index_parts` made
        and decodes nothing (UnindexedFieldError without); any other lists the kind. The parts are shared: do not change
        them.
        """
        found = ((obj.key, extract(obj)) for obj in self.list(kind))
        return {key: parts[value] for key, parts in found if value in parts}

    def find(self, kind: type[T], name: str, *, namespace: str = "") -> T | None:
        """The object, or None where `get` would raise NotFoundError."""
        from .errors import NotFoundError

        try:
            return self.get(kind, name, namespace=namespace)
        except NotFoundError:
            return None


class Client(Reader):
    """Reads and writes objects. A write returns the object as the server stored it."""

    # what an implementation has -----------------------------------------------------------------------------------

    @abstractmethod
    def write(self, write: Write[A]) -> A:
        """Carries out what the methods below ask for."""

    @abstractmethod
    def remove(self, deletion: Deletion) -> None:
        """Carries out `delete` and `delete_all_of`."""

    @abstractmethod
    def read_subresource(self, kind: type[Object], key: ObjectKey, subresource: str, answer: type[A]) -> A:
        """Carries out `SubresourceClient.get`."""

    @property
    @abstractmethod
    def rest_mapper(self) -> RESTMapper:
        """Where the server serves which kind."""

    # what a reconciler calls --------------------------------------------------------------------------------------

    @property
    def status(self) -> SubresourceClient:
        """Writes of the status; the server ignores everything else in the object."""
        return SubresourceClient(self, "status")

    @property
    def _itself(self) -> SubresourceClient:
        """The object is written as its subresource without a name."""
        return SubresourceClient(self, "")

    def subresource(self, name: str) -> SubresourceClient:
        """Reads and writes of a subresource: "scale", "eviction", "token", ..."""
        return SubresourceClient(self, name)

    def kind(self, api_version: str, kind: str) -> type[Unstructured]:
        """The type of a kind for which there is no class: `client.kind("apps/v1", "Deployment")`.

        Where it is served is asked of the server. Raises NoKindMatchError. For its metadata only:
        `PartialObjectMetadata.of(client.kind(...).mapping)`.
        """
        group, _, version = api_version.rpartition("/")
        return _unstructured(self.rest_mapper.mapping(group, kind, version))

    def wait_until_seen(self, written: Object, timeout: float = SEEN_TIMEOUT) -> None:
        """Until reads show the version that a write returned, or a newer one; raises StaleCacheError.

        Reads at the server show every write at once; see `CachedClient` for those that do not.
        """

    def wait_until_gone(self, deleted: Object, timeout: float = SEEN_TIMEOUT) -> None:
        """Until reads show that an object of this uid was deleted; as `wait_until_seen`."""

    def create(self, obj: T, *, options: WriteOptions = DEFAULT_WRITE) -> T:
        """Raises AlreadyExistsError, InvalidError, ForbiddenError."""
        return self._itself.create(obj, obj, options=options)

    def update(self, obj: T, *, options: WriteOptions = DEFAULT_WRITE) -> T:
        """PUT with the object's resource version: ConflictError if it is stale, NotFoundError if it is gone."""
        return self._itself.update(obj, options=options)

    def patch(
        self, obj: T, patch: Any, *, patch_type: PatchType = MERGE_PATCH, options: WriteOptions = DEFAULT_WRITE
    ) -> T:
        """Patches the object named by obj's metadata; `patch` is plain JSON types, see `mergepatch.merge_from`."""
        return self._itself.patch(obj, patch, patch_type=patch_type, options=options)

    def apply(self, obj: T, *, field_owner: str = "", force: bool = False, options: WriteOptions = DEFAULT_WRITE) -> T:
        """Server-side apply of exactly the fields in obj; ConflictError names other owners unless forced.

        `field_owner` is `options.field_manager` if empty; the server refuses an apply that has neither.
        """
        return self._itself.apply(obj, field_owner=field_owner, force=force, options=options)

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
        self.remove(
            Deletion(
                kind=type(obj),
                target=obj.key,
                uid=obj.metadata.uid,
                propagation=propagation,
                preconditions=preconditions,
                grace_period_seconds=grace_period_seconds,
                options=options,
            )
        )

    def delete_all_of(
        self,
        kind: type[Object],
        *,
        namespace: str = "",
        labels: str | dict[str, str] = "",
        fields: str | dict[str, str] = "",
        propagation: Propagation = "Background",
        grace_period_seconds: int | None = None,
        options: WriteOptions = DEFAULT_WRITE,
    ) -> None:
        """Deletes in one request all objects of a kind, in one namespace if it is namespaced, that the selectors match.

        `labels` and `fields` are as in `list`; the server's selectors, so `fields` needs no index.
        """
        selection = ListOptions(
            namespace=namespace,
            label_selector=selector_text(Selector, labels),
            field_selector=selector_text(FieldSelector, fields),
        )
        self.remove(
            Deletion(
                kind=kind,
                target=selection,
                propagation=propagation,
                grace_period_seconds=grace_period_seconds,
                options=options,
            )
        )


class SubresourceClient:
    """Reads and writes one subresource of any object (client.SubResourceClient).

    Where the body is an object of another kind, as a Scale, an Eviction or a TokenRequest is, it is given beside the
    object it belongs to and the answer is of its type; else it is the object itself, as for the status.
    """

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._name = name

    @overload
    def get(self, obj: T) -> T: ...
    @overload
    def get(self, obj: Object, kind: type[A]) -> A: ...
    def get(self, obj: Object, kind: type[Object] | None = None) -> Object:
        """GET of the subresource, as a `kind`; raises NotFoundError where the kind of obj does not have it."""
        return self._client.read_subresource(type(obj), obj.key, self._name, kind or type(obj))

    def create(self, obj: Object, body: A, *, options: WriteOptions = DEFAULT_WRITE) -> A:
        """POST, for what is done and not kept: an eviction, a token."""
        return self._client.write(
            Write(
                verb="create",
                kind=type(obj),
                key=obj.key,
                body=body,
                answer=type(body),
                subresource=self._name,
                options=options,
            )
        )

    @overload
    def update(self, obj: T, *, options: WriteOptions = DEFAULT_WRITE) -> T: ...
    @overload
    def update(self, obj: Object, body: A, *, options: WriteOptions = DEFAULT_WRITE) -> A: ...
    def update(self, obj: Object, body: Object | None = None, *, options: WriteOptions = DEFAULT_WRITE) -> Object:
        """PUT with the body's resource version: ConflictError if it is stale."""
        sent = obj if body is None else body
        return self._client.write(
            Write(
                verb="update",
                kind=type(obj),
                key=obj.key,
                body=sent,
                answer=type(sent),
                subresource=self._name,
                options=options,
            )
        )

    @overload
    def patch(
        self, obj: T, patch: Any, *, patch_type: PatchType = MERGE_PATCH, options: WriteOptions = DEFAULT_WRITE
    ) -> T: ...
    @overload
    def patch(
        self,
        obj: Object,
        patch: Any,
        kind: type[A],
        *,
        patch_type: PatchType = MERGE_PATCH,
        options: WriteOptions = DEFAULT_WRITE,
    ) -> A: ...
    def patch(
        self,
        obj: Object,
        patch: Any,
        kind: type[Object] | None = None,
        *,
        patch_type: PatchType = MERGE_PATCH,
        options: WriteOptions = DEFAULT_WRITE,
    ) -> Object:
        """PATCH of the subresource of the object named by obj's metadata; the answer is a `kind`."""
        return self._client.write(
            Write(
                verb="patch",
                kind=type(obj),
                key=obj.key,
                body=patch,
                answer=kind or type(obj),
                subresource=self._name,
                patch_type=patch_type,
                options=options,
            )
        )

    @overload
    def apply(
        self, obj: T, *, field_owner: str = "", force: bool = False, options: WriteOptions = DEFAULT_WRITE
    ) -> T: ...
    @overload
    def apply(
        self, obj: Object, body: A, *, field_owner: str = "", force: bool = False, options: WriteOptions = DEFAULT_WRITE
    ) -> A: ...
    def apply(
        self,
        obj: Object,
        body: Object | None = None,
        *,
        field_owner: str = "",
        force: bool = False,
        options: WriteOptions = DEFAULT_WRITE,
    ) -> Object:
        """Server-side apply of exactly the fields in the body; see `Client.apply`."""
        sent = obj if body is None else body
        return self._client.write(
            Write(
                verb="apply",
                kind=type(obj),
                key=obj.key,
                body=sent,
                answer=type(sent),
                subresource=self._name,
                force=force,
                options=owned(options, field_owner),
            )
        )


def owned(options: WriteOptions, field_owner: str) -> WriteOptions:
    """The options with that field manager, unless it is empty."""
    return replace(options, field_manager=field_owner) if field_owner else options


def selector_text(parser: type[Selector] | type[FieldSelector], selector: str | dict[str, str]) -> str:
    """A selector as a request carries it. Raises SelectorError for a map with what is no label: a value with a comma
    would be another term."""
    return selector if isinstance(selector, str) else str(parser.of(selector))


@lru_cache(maxsize=512)
def _unstructured(mapping: RESTMapping) -> type[Unstructured]:
    """One type for each resource: making one costs about a millisecond."""
    from .objects import Unstructured

    return Unstructured.of(mapping)
