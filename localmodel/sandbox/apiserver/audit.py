"""The audit log: one JSON line per request, written and flushed when it is answered (a watch: when it starts).

Lines are short and appended whole, so a reader never sees half of one behind the last line break.
"""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import msgspec
import structlog

log = structlog.get_logger(__name__)


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
    """Appends records to a file. Thread-safe. A line that cannot be written (a full disk) is lost: the log says so when
    that begins and how many were lost when it is over, and requests are answered all the same."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file = path.open("ab", buffering=0)
        self._encoder = msgspec.json.Encoder()
        self._lock = threading.Lock()
        # Lines lost since the last that was written.
        self._lost = 0

    def write(self, record: AuditRecord) -> None:
        line = self._encoder.encode(record) + b"\n"
        with self._lock:
            if self._file.closed:
                return
            try:
                self._append(line)
            except OSError as error:
                if not self._lost:
                    log.error("Cannot write the audit log", file=str(self._path), error=str(error))
                self._lost += 1
                return
            if self._lost:
                log.warning("The audit log is written again", file=str(self._path), lost=self._lost)
                self._lost = 0

    def _append(self, line: bytes) -> None:
        """Raises OSError, and then nothing of the line is in the file."""
        written = self._file.write(line)
        if written == len(line):
            return
        # The disk is full to the byte. What stands there would be half a line.
        size = os.fstat(self._file.fileno()).st_size
        os.ftruncate(self._file.fileno(), size - (written or 0))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        with self._lock:
            self._file.close()
