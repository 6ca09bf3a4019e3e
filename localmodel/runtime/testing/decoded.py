"""`DecodedObjects`: what was written last, decoded, so that who writes it again need not decode it.

Status is written over and over to the same objects, and decoding one costs more than anything else of such a write.
(kube-apiserver's watch cache holds its objects decoded for the same reason.)
"""

from __future__ import annotations

import threading

from .definitions import Json
from .store import Entry

_LIMIT = 2 * 1024 * 1024
"""Bytes of JSON whose objects are kept; decoded they take up to eight times as much."""
_Key = tuple[str, str, str]


class DecodedObjects:
    """By resource, namespace and name. Thread-safe. The objects are shared: whoever gets one must not change it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._size = 0
        # Revision, size and object; the longest not written ones first.
        self._kept: dict[_Key, tuple[int, int, Json]] = {}

    def get(self, resource: str, entry: Entry) -> Json | None:
        """The object of an entry, if it is kept."""
        found = self._kept.get((resource, entry.namespace, entry.name))
        return found[2] if found is not None and found[0] == entry.revision else None

    def put(self, resource: str, entry: Entry, obj: Json) -> None:
        """Keeps the object of an entry, which is the caller's no more."""
        size = len(entry.value)
        with self._lock:
            self._drop((resource, entry.namespace, entry.name))
            self._kept[(resource, entry.namespace, entry.name)] = entry.revision, size, obj
            self._size += size
            while self._size > _LIMIT:
                self._drop(next(iter(self._kept)))

    def _drop(self, key: _Key) -> None:
        known = self._kept.pop(key, None)
        if known is not None:
            self._size -= known[1]
