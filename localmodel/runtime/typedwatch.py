"""A watch for programs that want to see changes and need no cache (client.WithWatch in controller-runtime).

One stream, until the server ends it, which servers do after some minutes: whoever needs every change goes on from
`resource_version`, lists anew when that has expired, waits between failures ... and is better served by an informer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Literal, Self, cast

import msgspec

from .client import selector_text
from .errors import error_from_status
from .listwatch import ListerWatcher, WatchOptions, WatchStream
from .objects import T
from .selectors import FieldSelector, Selector

ChangeType = Literal["ADDED", "MODIFIED", "DELETED"]


@dataclass(frozen=True, slots=True)
class WatchedChange(Generic[T]):
    """One change. Of a deletion, `object` is the last state."""

    type: ChangeType
    object: T


class TypedWatch(Generic[T]):
    """The changes of one kind, decoded. A context manager; `close` may be called from any thread."""

    def __init__(self, kind: type[T], stream: WatchStream, resource_version: str = "") -> None:
        self._kind = kind
        self._stream = stream
        self.resource_version = resource_version
        """Of the last change or bookmark: where another watch goes on."""

    def __iter__(self) -> Iterator[WatchedChange[T]]:
        """Blocks for each change; ends when the server ends the watch, and on `close`.

        Raises ApiError for an error that the server sends (ExpiredError: list anew), TransportError, and
        `pydantic.ValidationError` for an object that does not fit the type.
        """
        for event in self._stream:
            if event.type == "ERROR":
                raise error_from_status(msgspec.json.decode(event.object))
            try:
                self.resource_version = _decode_version(event.object).metadata.resource_version
            except msgspec.MsgspecError:
                event.verify()
                raise
            if event.type != "BOOKMARK":
                yield WatchedChange(cast("ChangeType", event.type), self._kind.from_json(event.object))

    def close(self) -> None:
        """Idempotent."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def watch(
    client: ListerWatcher,
    kind: type[T],
    *,
    namespace: str = "",
    labels: str | dict[str, str] = "",
    fields: str | dict[str, str] = "",
    resource_version: str = "",
    timeout_seconds: int = 300,
) -> TypedWatch[T]:
    """Watches the matching objects of a kind; without a resource version those that there are come as ADDED first.

    `client` is a `LiveClient` or a `FakeClient`. Raises ApiError, TransportError.

    >>> with watch(client, Pod, namespace="shop", labels="app=web") as changes:
    ...     for change in changes:
    ...         print(change.type, change.object.name)
    """
    options = WatchOptions(
        namespace=namespace,
        label_selector=selector_text(Selector, labels),
        field_selector=selector_text(FieldSelector, fields),
        resource_version=resource_version,
        timeout_seconds=timeout_seconds,
    )
    return TypedWatch(kind, client.watch(kind, options), resource_version)


class _Metadata(msgspec.Struct, rename="camel"):
    resource_version: str = ""


class _Versioned(msgspec.Struct):
    metadata: _Metadata


_decode_version = msgspec.json.Decoder(_Versioned).decode
