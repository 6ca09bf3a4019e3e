"""Reads what a watch brings besides objects: bookmarks and errors."""

from __future__ import annotations

import msgspec

from localmodel.runtime.errors import ApiError, ObjectDecodeError, error_from_status
from localmodel.runtime.listwatch import INITIAL_EVENTS_END, WatchEvent


class _BookmarkMeta(msgspec.Struct, rename="camel"):
    resource_version: str
    annotations: dict[str, str] | None = None


class _Bookmark(msgspec.Struct):
    metadata: _BookmarkMeta


class Bookmark(msgspec.Struct, frozen=True):
    """Everything up to this version has been delivered."""

    resource_version: str
    ends_initial_events: bool
    """All that a streamed list has is there, too."""


_decode_bookmark = msgspec.json.Decoder(_Bookmark).decode


def bookmark_of(event: WatchEvent) -> Bookmark:
    """Raises ObjectDecodeError or msgspec.MsgspecError for a bookmark that says nothing."""
    metadata = _decode_bookmark(event.object).metadata
    if not metadata.resource_version:
        raise ObjectDecodeError("a bookmark without a resource version")
    return Bookmark(metadata.resource_version, (metadata.annotations or {}).get(INITIAL_EVENTS_END) == "true")


def error_in(event: WatchEvent) -> ApiError | ObjectDecodeError:
    """What to raise for an event that brings neither an object nor a bookmark."""
    if event.type != "ERROR":
        return ObjectDecodeError(f"a watch event of the unknown type {event.type!r}")
    try:
        status = msgspec.json.decode(event.object)
    except msgspec.MsgspecError:
        status = None
    if not isinstance(status, dict):
        status = {"message": f"an ERROR event without a Status: {bytes(event.object)[:200]!r}"}
    return error_from_status(status)
