"""The lock of a download process: held for exactly as long as some process may write into a key's staging directory.

The agent takes it and hands the open file to the process, which knows nothing of it and keeps it until it ends, however
it ends. So an agent that has been started anew can tell whether a process of the one before still runs. The file lies
beside the staging directories (`models/.localmodel/downloads/<storageKey>`), not in them: those are moved and replaced.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path


class DownloadLock:
    """An exclusive lock on one file, held by whoever has a copy of its descriptor. Methods raise OSError."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def acquire(self, *, wait: bool = False) -> int | None:
        """The descriptor, whose owner closes it; None where another process holds the lock and `wait` is not set."""
        while True:
            descriptor = self._open()
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                os.close(descriptor)
                return None
            except BaseException:
                os.close(descriptor)
                raise
            if self._is_at_its_path(descriptor):
                return descriptor
            os.close(descriptor)  # Its last holder has removed the file: another one is the lock now.

    def is_free(self) -> bool:
        """Nobody holds it; leaves no file behind."""
        if not os.path.lexists(self.path):
            return True
        descriptor = self.acquire()
        if descriptor is None:
            return False
        self.release(descriptor)
        return True

    def release(self, descriptor: int) -> None:
        """Removes the file and gives the lock back; the caller holds it and no other process does."""
        try:
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()
        finally:
            os.close(descriptor)

    def _open(self) -> int:
        """Follows no link out of the models root: neither for the file nor for its directory."""
        self.path.parent.mkdir(exist_ok=True)
        directory = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            return os.open(self.path.name, flags, 0o600, dir_fd=directory)
        finally:
            os.close(directory)

    def _is_at_its_path(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self.path.stat(follow_symlinks=False))
        except FileNotFoundError:
            return False
