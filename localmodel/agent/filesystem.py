"""The operations that change a models root, each one atomic step of the kernel or a short chain of such steps.

`ModelStore` changes the disk only through a `FileSystem`. Every primitive calls `step` first, which does nothing here;
a test overrides it to die before any chosen step, so that each crash point of a publication can be visited. Reading
needs no such care and happens elsewhere. No operation here follows a symbolic link at its target.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import stat
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_NO_EXCHANGE = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTTY})
TEMPORARY_SUFFIX = ".tmp"


class FileSystem:
    """Steps that change the disk. All raise OSError."""

    def step(self, name: str, path: Path) -> None:
        """Called before each primitive with its name and target; a test raises here."""

    def make_directory(self, path: Path, mode: int) -> None:
        """One directory with exactly this mode, whatever the umask; its parent must exist."""
        self.step("make_directory", path)
        path.mkdir()
        self.step("chmod", path)
        path.chmod(mode)

    def write_file(self, path: Path, data: bytes) -> None:
        """Replaces a file by a synced one: readers and a crash see the old content or the new, never a part."""
        temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
        self.step("write", temporary)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self.rename(temporary, path)
        self.sync_directory(path.parent)

    def rename(self, source: Path, target: Path) -> None:
        self.step("rename", source)
        source.rename(target)

    def exchange(self, first: Path, second: Path) -> bool:
        """Swaps two paths in one step; False, and nothing changed, where file system or C library cannot."""
        self.step("exchange", first)
        library = ctypes.CDLL(None, use_errno=True)
        if not hasattr(library, "renameat2"):
            return False
        if library.renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0:
            return True
        number = ctypes.get_errno()
        if number in _NO_EXCHANGE:
            return False
        raise OSError(number, os.strerror(number), str(first), None, str(second))

    def remove_file(self, path: Path) -> None:
        """A missing file is no error."""
        self.step("remove_file", path)
        path.unlink(missing_ok=True)

    def remove_tree(self, path: Path) -> None:
        """A file, a link (not its target) or a directory with all it holds; a missing one is no error."""
        self.step("remove_tree", path)
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            return
        if stat.S_ISDIR(mode):
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def sync_file(self, path: Path) -> None:
        self.step("sync_file", path)
        self._sync(path, os.O_RDONLY | os.O_NOFOLLOW)

    def sync_directory(self, path: Path) -> None:
        self.step("sync_directory", path)
        self._sync(path, os.O_RDONLY | os.O_DIRECTORY)

    @staticmethod
    def _sync(path: Path, flags: int) -> None:
        descriptor = os.open(path, flags | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
