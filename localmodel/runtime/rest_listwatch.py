"""Raw lists and watches over HTTP: what reflectors read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from .errors import TransportError
from .listwatch import ListerWatcher, ListOptions, ListPage, WatchEvent, WatchOptions, WatchStream
from .objects import Object
from .request import Requester
from .transport import Stream

_METADATA = "application/json;as=PartialObjectMetadata{list};g=meta.k8s.io;v=v1,application/json"


class _ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct):
    metadata: _ListMeta = msgspec.field(default_factory=_ListMeta)
    items: list[msgspec.Raw] | None = None


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


_decode_list = msgspec.json.Decoder(_List).decode
_decode_event = msgspec.json.Decoder(_Event).decode


class LiveListerWatcher(ListerWatcher):
    """Lists and watches of any kind."""

    def __init__(self, requester: Requester) -> None:
        self._requester = requester

    def list_page(self, kind: type[Object], options: ListOptions) -> ListPage:
        parameters = {
            "labelSelector": options.label_selector,
            "fieldSelector": options.field_selector,
            "resourceVersion": options.resource_version,
            "resourceVersionMatch": options.resource_version_match,
            "limit": options.limit or "",
            "continue": options.continue_,
        }
        path = kind.mapping.path(options.namespace)
        body = _decode_list(self._requester.request("GET", path, parameters, accept=accept(kind, "List")))
        return ListPage(body.items or [], body.metadata.resource_version, body.metadata.continue_)

    def watch(self, kind: type[Object], options: WatchOptions) -> WatchStream:
        """Raises the typed error of an answer that is not a stream (410, 403, 404, ...)."""
        parameters = {
            "watch": "true",
            "labelSelector": options.label_selector,
            "fieldSelector": options.field_selector,
            "resourceVersion": options.resource_version,
            "allowWatchBookmarks": "true" if options.allow_bookmarks else "",
            "timeoutSeconds": options.timeout_seconds,
        }
        if options.send_initial_events:
            parameters |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        stream = self._requester.stream(
            kind.mapping.path(options.namespace), parameters, accept=accept(kind), silence=options.silence_seconds
        )
        return _LiveWatch(stream)


class _LiveWatch(WatchStream):
    """Decodes a stream's lines; a line that is no event breaks the watch, because what it hid is lost."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[WatchEvent]:
        for line in self._stream.lines():
            try:
                event = _decode_event(line)
            except msgspec.DecodeError as error:
                raise TransportError(f"a watch event is not JSON: {error}") from error
            yield WatchEvent(event.type, event.object)

    def close(self) -> None:
        self._stream.close()


def accept(kind: type[Object], suffix: Literal["", "List"] = "") -> str:
    return _METADATA.format(list=suffix) if kind.metadata_only else "application/json"
