"""Raw lists and watches over HTTP: what reflectors read. Neither a list nor a watch is ever held whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from .answer import Answer, Stream
from .errors import TransportError
from .list_splitter import ListSplitter
from .listwatch import ListerWatcher, ListOptions, ListPage, WatchEvent, WatchOptions, WatchStream
from .objects import Object
from .request import Requester

_METADATA = "application/json;as=PartialObjectMetadata{list};g=meta.k8s.io;v=v1,application/json"


class _Event(WatchEvent, frozen=True, gc=False):
    """As it is decoded, without a look at the object."""

    object: msgspec.Raw


class _CutEvent(WatchEvent, frozen=True, gc=False):
    """Cut out of its line. Whoever decodes the object finds out whether it is one JSON value, as it must be."""

    def verify(self) -> None:
        try:
            msgspec.json.decode(self.object)
        except msgspec.DecodeError as error:
            raise _not_json(error) from error


_decode_event = msgspec.json.Decoder(_Event).decode
_PREFIXES = tuple((type_, f'{{"type":"{type_}","object":'.encode()) for type_ in ("MODIFIED", "ADDED", "DELETED"))
_ENDS = (b"}\n", b"}")
"""API servers write an event in this way only. To decode a line to find the object in it takes as long as to decode
the object."""


def _event_in(line: bytes) -> WatchEvent:
    """Raises TransportError for a line that is not JSON, so far as it is looked at."""
    for type_, prefix in _PREFIXES:
        if line.startswith(prefix) and line.endswith(_ENDS):
            return _CutEvent(type_, line[len(prefix) : line.rindex(b"}")])
    try:
        return _decode_event(line)
    except msgspec.DecodeError as error:
        raise _not_json(error) from error


def _not_json(error: msgspec.DecodeError) -> TransportError:
    return TransportError(f"a watch event is not JSON: {error}")


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
        page = ListPage(())
        page.items = _items(self._requester.open(path, parameters, accept=accept(kind, "List")), page)
        return page

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
        if options.send_initial_events is not None:
            wanted = "true" if options.send_initial_events else "false"
            parameters |= {"sendInitialEvents": wanted, "resourceVersionMatch": "NotOlderThan"}
        stream = self._requester.stream(
            kind.mapping.path(options.namespace), parameters, accept=accept(kind), silence=options.silence_seconds
        )
        return _LiveWatch(stream)


def _items(answer: Answer, page: ListPage) -> Iterator[msgspec.Raw]:
    """As they arrive; the page's metadata is complete at the end. Raises TransportError for what is no whole list."""
    splitter = ListSplitter()
    for piece in answer.pieces():
        yield from splitter.feed(piece)
    try:
        items = splitter.finish()
    except msgspec.MsgspecError as error:
        raise TransportError(f"the answer to a list is not a list: {error}") from error
    page.resource_version, page.continue_ = splitter.metadata.resource_version, splitter.metadata.continue_
    yield from items


class _LiveWatch(WatchStream):
    """Decodes a stream's lines.

    A line that is no event breaks the watch, unlike in client-go, which skips it: what it hid would be lost until the
    next list, while a watch from the last version gets it again.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[WatchEvent]:
        return map(_event_in, self._stream.lines())

    def limit_silence(self, seconds: float) -> None:
        self._stream.limit_silence(seconds)

    def close(self) -> None:
        self._stream.close()


def accept(kind: type[Object], suffix: Literal["", "List"] = "") -> str:
    return _METADATA.format(list=suffix) if kind.metadata_only else "application/json"
