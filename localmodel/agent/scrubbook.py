"""When each model was last read as a whole, as a file beside the manifests: a scrub goes on over restarts.

Only the scrubber writes it. What is lost of it costs reading a model once more, nothing else.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

import msgspec
import structlog

from .errors import StoreError
from .manifest import ModelManifest
from .store import ModelStore

NOTE: Final = "scrubs.json"

log = structlog.get_logger(__name__)


class _Unfinished(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The model that is being read: `files` of it, in the manifest's order, were good."""

    key: str
    digest: str
    files: int


class _Read(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """When a model was read to its end; `published` says which model that was."""

    time: datetime
    published: datetime


class _Content(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    scrubbed: dict[str, _Read] = {}
    """By storage key."""
    unfinished: _Unfinished | None = None


class ScrubBook:
    """The book of one store, read at the first question. Methods raise StoreError where it cannot be written."""

    def __init__(self, store: ModelStore) -> None:
        self._store = store
        self._content: _Content | None = None

    def forget(self) -> None:
        """The root may be another one now: the next question reads it again."""
        self._content = None

    def last_read(self, key: str, manifest: ModelManifest) -> datetime:
        """When the model was last known to be good: at its last scrub, or when it was published."""
        found = self._read().scrubbed.get(key)
        # Not the later of both: a clock that went back has published in what is the future now.
        return (
            found.time if found is not None and found.published == manifest.published_time else manifest.published_time
        )

    def is_due(self, key: str, manifest: ModelManifest, *, now: datetime, interval: timedelta) -> bool:
        """`interval` after it was last read. A time that lies further ahead shows that the clock went back."""
        return abs(now - self.last_read(key, manifest)) >= interval

    def files_done(self, key: str, manifest: ModelManifest) -> int:
        """How many files of the manifest, in its order, an interrupted scrub has found good."""
        found = self._read().unfinished
        return found.files if found is not None and (found.key, found.digest) == (key, manifest.digest) else 0

    def note_files(self, key: str, manifest: ModelManifest, files: int) -> None:
        """So many files are good; see `files_done`."""
        self._write(msgspec.structs.replace(self._read(), unfinished=_Unfinished(
            key=key, digest=manifest.digest, files=files
        )))  # fmt: skip

    def note_end(self, key: str, manifest: ModelManifest, now: datetime, *, known: Collection[str]) -> None:
        """The model was read to its end. What is not among the `known` keys any more is dropped."""
        kept = {other: read for other, read in self._read().scrubbed.items() if other in known}
        self._write(_Content(scrubbed={**kept, key: _Read(time=now, published=manifest.published_time)}))

    def _read(self) -> _Content:
        if self._content is None:
            self._content = _Content()
            try:
                data = self._store.read_note(NOTE)
                self._content = msgspec.json.decode(data, type=_Content) if data else _Content()
            except (StoreError, msgspec.DecodeError) as error:
                log.warning("the book of scrubs cannot be read and counts as empty", note=NOTE, error=str(error))
        return self._content

    def _write(self, content: _Content) -> None:
        self._content = content
        self._store.write_note(NOTE, msgspec.json.encode(content))
