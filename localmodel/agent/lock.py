"""The lock on a models root: one agent per root, for as long as its process lives."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO

import structlog

from .errors import StoreLockedError

log = structlog.get_logger(__name__)


class RootLock:
    """An exclusive lock on a file. The kernel releases it with the process, so a killed agent leaves nothing behind."""

    def __init__(self, path: Path, *, owner: str) -> None:
        """`owner` is written into the file, to tell others who holds it."""
        self._path = path
        self._owner = owner
        self._file: IO[bytes] | None = None

    @property
    def is_held(self) -> bool:
        return self._file is not None

    def acquire(self, *, for_writing: bool = True) -> None:
        """Takes the lock without waiting; raises StoreLockedError with the holder's name, or OSError.

        Not `for_writing` it must be there, and is taken as it is: enough on a disk that is read-only now.
        """
        flags = os.O_RDWR | os.O_CREAT if for_writing else os.O_RDONLY
        descriptor = os.open(self._path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o664)
        file = open(descriptor, "r+b" if for_writing else "rb", buffering=0)  # noqa: PTH123, SIM115 - a descriptor
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = os.read(file.fileno(), 300).decode(errors="replace").strip()
            file.close()
            raise StoreLockedError(
                f"{self._path.parent.parent} is in use by another agent (node {holder or 'unknown'}); "
                "give each agent a models root of its own",
                holder=holder,
            ) from error
        self._file = file
        if for_writing:
            self._write_owner(file)

    def _write_owner(self, file: IO[bytes]) -> None:
        try:
            os.ftruncate(file.fileno(), 0)
            os.write(file.fileno(), self._owner.encode())
        except OSError as error:
            # A full disk must not keep away the agent that can free it; the name is only for people.
            log.warning("the holder's name cannot be written into the lock", path=str(self._path), error=str(error))

    def is_at_its_path(self) -> bool:
        """The held file is the one at the path: no other disk was mounted over it, nobody removed it."""
        if self._file is None:
            return False
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), self._path.lstat())
        except (FileNotFoundError, NotADirectoryError):
            return False

    def release(self) -> None:
        """Idempotent."""
        if self._file is not None:
            self._file.close()
            self._file = None
