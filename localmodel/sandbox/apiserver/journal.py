"""`SqliteJournal`: makes the store's writes outlive the process, in one sqlite database in WAL mode.

Each write is one committed transaction before it becomes visible, so a killed process loses nothing that was
acknowledged. It is not synced to the disk: a power cut may lose the last writes, never the database's order. A write
that cannot be stored (a full disk) is refused and has not happened; the next one is tried as ever.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path

import structlog

from localmodel.runtime.errors import InternalError, RuntimeLibraryError
from localmodel.runtime.testing.store import JournalRecord

log = structlog.get_logger(__name__)

_APPLICATION_ID = 0x4C4D4150
"""Marks a database as ours ("LMAP"), so that we write into no other program's."""
_TABLES = {"objects", "revision"}
_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, revision INTEGER NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (resource, namespace, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS revision (id INTEGER PRIMARY KEY CHECK (id = 0), value INTEGER NOT NULL);
"""


class JournalError(RuntimeLibraryError):
    """The database cannot be used: it is in use, damaged or somebody else's. The message names the file."""


class SqliteJournal:
    """Implements `localmodel.runtime.testing.store.Journal`. Appends come one at a time, from any thread."""

    def __init__(self, path: Path) -> None:
        """Raises JournalError."""
        self._path = path
        # Whether the last append failed: the log tells when that begins and when it ends.
        self._is_failing = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # The store's lock orders the callers; sqlite's own check of the thread would only be in the way.
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=2)
            try:
                self._open()
            except BaseException:
                self._connection.close()
                raise
        except (sqlite3.Error, OSError) as error:
            raise JournalError(f"cannot use the database {path}: {_explained(error)}") from error

    def _open(self) -> None:
        connection = self._connection
        # One process per database: two would each believe in their own revisions.
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        if tables and application != _APPLICATION_ID and tables != _TABLES:
            raise JournalError(f"cannot use the database {self._path}: it belongs to another program")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=OFF")
        connection.executescript(_SCHEMA)
        connection.execute(f"PRAGMA application_id={_APPLICATION_ID}")
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise JournalError(f"cannot use the database {self._path}: it is damaged ({found})")

    def load(self) -> tuple[int, Iterable[JournalRecord]]:
        """Raises JournalError."""
        try:
            row = self._connection.execute("SELECT value FROM revision").fetchone()
            rows = self._connection.execute("SELECT resource, namespace, name, revision, value FROM objects")
            return (row[0] if row else 0), [JournalRecord(*fields) for fields in rows]
        except sqlite3.Error as error:
            raise JournalError(f"cannot read the database {self._path}: {_explained(error)}") from error

    def append(self, record: JournalRecord) -> None:
        """Raises InternalError if the record cannot be stored; then the database is as it was."""
        try:
            self._append(record)
        except sqlite3.Error as error:
            if not self._is_failing:
                log.error("Cannot store writes", file=str(self._path), error=str(error))
            self._is_failing = True
            raise InternalError.of(f"the write was not stored: {error}") from error
        if self._is_failing:
            self._is_failing = False
            log.info("Writes are stored again", file=str(self._path))

    def _append(self, record: JournalRecord) -> None:
        connection = self._connection
        connection.execute("BEGIN")
        try:
            if record.value is None:
                connection.execute(
                    "DELETE FROM objects WHERE resource = ? AND namespace = ? AND name = ?",
                    (record.resource, record.namespace, record.name),
                )
            else:
                connection.execute(
                    "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?)",
                    (record.resource, record.namespace, record.name, record.revision, record.value),
                )
            connection.execute("INSERT OR REPLACE INTO revision VALUES (0, ?)", (record.revision,))
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def close(self) -> None:
        self._connection.close()


def _explained(error: Exception) -> str:
    text = str(error)
    if "locked" in text:
        return f"{text}; is another server using it?"
    return (
        f"{text}; it is damaged or no database"
        if isinstance(error, sqlite3.DatabaseError) and ("malformed" in text or "not a database" in text)
        else text
    )
