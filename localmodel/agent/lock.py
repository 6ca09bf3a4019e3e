"""The lock on a models root: one agent per root, for as long as its process lives."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import IO, Final

import structlog

from .errors import StoreLockedError

_FLAGS: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

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
        file = self._locked(os.O_RDONLY | (os.O_CREAT if for_writing else 0))
        self._file = file
        if for_writing:
            self._write_owner()

    def _locked(self, flags: int) -> IO[bytes]:
        """Open for reading only, where that will do: a file open for writing keeps the disk from being remounted."""
        descriptor = os.open(self._path, flags | _FLAGS, 0o664)
        file = open(descriptor, "rb", buffering=0)  # noqa: PTH123, SIM115 - a descriptor that is kept
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            with file:
                holder = os.read(file.fileno(), 300).decode(errors="replace").strip()
            raise StoreLockedError(
                f"{self._path.parent.parent} is in use by another agent (node {holder or 'unknown'}); "
                "give each agent a models root of its own",
                holder=holder,
            ) from error
        except OSError as error:
            file.close()
            if error.errno != errno.EBADF or flags & os.O_ACCMODE == os.O_RDWR:
                raise
            # NFS locks exclusively only what is open for writing.
            return self._locked(flags | os.O_RDWR)
        return file

    def _write_owner(self) -> None:
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_TRUNC | _FLAGS)
            try:
                os.write(descriptor, self._owner.encode())
            finally:
                os.close(descriptor)
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
