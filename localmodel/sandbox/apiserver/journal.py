"""`SqliteJournal`: makes the store's writes outlive the process, in one sqlite database in WAL mode.

Each write is one committed transaction before it becomes visible, so a killed process loses nothing that was
acknowledged. It is not synced to the disk: a power cut may lose the last writes, never the database's order.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path

from localmodel.runtime.errors import RuntimeLibraryError
from localmodel.runtime.testing.store import JournalRecord

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, revision INTEGER NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (resource, namespace, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS revision (id INTEGER PRIMARY KEY CHECK (id = 0), value INTEGER NOT NULL);
"""


class JournalError(RuntimeLibraryError):
    """The database cannot be opened or is in use; the message names the file."""


class SqliteJournal:
    """Implements `localmodel.runtime.testing.store.Journal`. Appends come one at a time, from any thread."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # The store's lock orders the callers; sqlite's own check of the thread would only be in the way.
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=2)
            # One process per database: two would each believe in their own revisions.
            self._connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=OFF")
            self._connection.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise JournalError(f"cannot use the database {path}: {error}; is another server using it?") from error

    def load(self) -> tuple[int, Iterable[JournalRecord]]:
        row = self._connection.execute("SELECT value FROM revision").fetchone()
        rows = self._connection.execute("SELECT resource, namespace, name, revision, value FROM objects")
        return (row[0] if row else 0), [JournalRecord(*fields) for fields in rows]

    def append(self, record: JournalRecord) -> None:
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
