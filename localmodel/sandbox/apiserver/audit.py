"""The audit log: one JSON line per request, written and flushed when it is answered (a watch: when it starts).

Lines are short and appended whole, so a reader never sees half of one behind the last line break.
"""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec


class AuditRecord(msgspec.Struct, rename="camel", kw_only=True):
    """What one line says. `path` includes the query; `code` is the HTTP status; `ms` the time to the answer."""

    user: str
    impersonated_user: str | msgspec.UnsetType = msgspec.UNSET
    """Whom `user` acts as; left out if that is nobody."""
    user_agent: str
    verb: str
    path: str
    code: int
    ms: float


class AuditLog:
    """Appends records to a file. Thread-safe."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)
        self._encoder = msgspec.json.Encoder()
        self._lock = threading.Lock()

    def write(self, record: AuditRecord) -> None:
        line = self._encoder.encode(record) + b"\n"
        with self._lock:
            if not self._file.closed:
                self._file.write(line)

    def close(self) -> None:
        with self._lock:
            self._file.close()
