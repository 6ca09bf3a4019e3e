"""Raw lists and watches of any kind: the interface between a reflector and an API server (cache.ListerWatcher).

Implemented over HTTP by `rest_listwatch` and in memory by `testing`. Every call raises `errors.ApiError` or
`errors.TransportError`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

if TYPE_CHECKING:
    from .objects import Object

INITIAL_EVENTS_END = "k8s.io/initial-events-end"
"""Annotation of the bookmark that ends the initial events of a watch; its value is "true"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOptions:
    """One request for a page of a collection."""

    namespace: str = ""
    label_selector: str = ""
    field_selector: str = ""
    resource_version: str = ""
    resource_version_match: Literal["", "Exact", "NotOlderThan"] = ""
    limit: int = 0
    continue_: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchOptions:
    """One watch request. `timeout_seconds` asks the server to end it; `silence_seconds` is our own limit.

    `send_initial_events` asks for a streamed list: the collection as ADDED events, at least as new as the resource
    version, then a bookmark with the annotation INITIAL_EVENTS_END, then changes. None leaves it to the server, which
    sends the collection for no version or "0"; with False it sends none of it.
    """

    namespace: str = ""
    label_selector: str = ""
    field_selector: str = ""
    resource_version: str = ""
    allow_bookmarks: bool = True
    send_initial_events: bool | None = None
    timeout_seconds: int = 300
    silence_seconds: float = 90.0

    @property
    def begins_with_state(self) -> bool:
        """Whether the server begins with the collection as ADDED events (SetListOptionsDefaults of metav1)."""
        if self.send_initial_events is None:
            return self.resource_version in ("", "0")
        return self.send_initial_events


@dataclass(slots=True)
class ListPage:
    """Raw items (each the JSON of one object, which may lack apiVersion and kind) and the collection's metadata.

    The items may be an iterator over an answer that is still arriving: then they can be taken once, taking one may
    raise TransportError, and the other fields are known when all are taken.
    """

    items: Iterable[bytes | msgspec.Raw]
    resource_version: str = ""
    continue_: str = ""


class WatchEvent(msgspec.Struct, frozen=True, gc=False):
    """ADDED, MODIFIED, DELETED, BOOKMARK or ERROR, with the raw JSON of the object (for ERROR, of a Status)."""

    type: str
    object: bytes | msgspec.Raw

    def verify(self) -> None:
        """For an event that cannot be read: raises TransportError if what came from the server is no event at all."""

    def __repr__(self) -> str:
        return f"WatchEvent({self.type!r}, {len(bytes(self.object))} bytes)"


class WatchStream(Protocol):
    """The events of one watch, ended by the server, by an error, or by `close` from any thread."""

    def __iter__(self) -> Iterator[WatchEvent]:
        """Blocks for each event. Ends quietly on EOF; raises TransportError on silence or a broken stream."""

    def limit_silence(self, seconds: float) -> None:
        """Changes the limit that the watch was opened with, from the iterating thread. Streams in memory have none."""

    def close(self) -> None:
        """Idempotent; wakes a thread that is blocked in the iteration."""


class ListerWatcher(Protocol):
    """Raw list and watch of any kind, as a reflector uses them (cache.ListerWatcher)."""

    def list_page(self, kind: type[Object], options: ListOptions) -> ListPage: ...

    def watch(self, kind: type[Object], options: WatchOptions) -> WatchStream: ...
