"""The operations that change a models root, each one atomic step of the kernel or a short chain of such steps.

`ModelStore` changes the disk only through a `FileSystem`. Every primitive calls `step` first, which does nothing here;
a test overrides it to die before any chosen step, so that each crash point of a publication can be visited. Reading
needs no such care and happens elsewhere. No operation here follows a symbolic link below the root: see `beneath`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from .beneath import Beneath
from .deeptree import open_up, remove_deep

_RENAME_EXCHANGE: Final = 2
_NO_EXCHANGE: Final = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTTY})
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
TEMPORARY_SUFFIX: Final = ".tmp"


class FileSystem:
    """Steps that change what lies below one root, which `confine` names. All raise OSError with the whole path."""

    def __init__(self) -> None:
        self._beneath = Beneath(Path("/"))

    def confine(self, root: Path) -> None:
        """Below this directory no link is followed, and above it nothing is touched."""
        self._beneath = Beneath(root)

    def step(self, name: str, path: Path) -> None:
        """Called before each primitive with its name and target; a test raises here."""

    def room(self, path: Path) -> tuple[int, int]:
        """The bytes that the file system at the path has for users, as df counts them, and how many of them are left.

        What it keeps back for root or a quota does not count: nobody can use it, so it makes no disk full.
        """
        found = os.statvfs(path)
        used = found.f_blocks - found.f_bfree
        return (used + found.f_bavail) * found.f_frsize, found.f_bavail * found.f_frsize

    def make_directory(self, path: Path, mode: int) -> None:
        """One directory with exactly this mode, whatever the umask; its parent must exist."""
        with self._beneath.parent(path) as (parent, name):
            self.step("make_directory", path)
            os.mkdir(name, dir_fd=parent)
        self.change_mode(path, mode)

    def change_mode(self, path: Path, mode: int) -> None:
        """Of a directory."""
        with self._beneath.directory(path) as descriptor:
            self.step("chmod", path)
            os.fchmod(descriptor, mode)

    def write_file(self, path: Path, data: bytes) -> None:
        """Replaces a file by a synced one: readers and a crash see the old content or the new, never a part."""
        temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
        with self._beneath.parent(temporary) as (parent, name):
            self.step("write", temporary)
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=parent)
            with open(os.open(name, _NEW_FILE, 0o664, dir_fd=parent), "wb") as file:  # noqa: PTH123 - a descriptor
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        self.rename(temporary, path)
        self.sync_directory(path.parent)

    def rename(self, source: Path, target: Path) -> None:
        with (
            self._beneath.parent(source) as (source_parent, source_name),
            self._beneath.parent(target) as (target_parent, target_name),
        ):
            self.step("rename", source)
            try:
                os.rename(source_name, target_name, src_dir_fd=source_parent, dst_dir_fd=target_parent)
            except OSError as error:
                error.filename, error.filename2 = str(source), str(target)
                raise

    def exchange(self, first: Path, second: Path) -> bool:
        """Swaps two paths in one step; False, and nothing changed, where file system or C library cannot."""
        library = ctypes.CDLL(None, use_errno=True)
        with (
            self._beneath.parent(first) as (first_parent, first_name),
            self._beneath.parent(second) as (second_parent, second_name),
        ):
            self.step("exchange", first)
            if not hasattr(library, "renameat2"):
                return False
            names = (first_parent, os.fsencode(first_name), second_parent, os.fsencode(second_name))
            if library.renameat2(*names, _RENAME_EXCHANGE) == 0:
                return True
            number = ctypes.get_errno()
            if number in _NO_EXCHANGE:
                return False
            raise OSError(number, os.strerror(number), str(first), None, str(second))

    def remove_file(self, path: Path) -> None:
        """A missing file is no error."""
        with self._beneath.parent(path) as (parent, name):
            self.step("remove_file", path)
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=parent)

    def remove_empty_directory(self, path: Path) -> None:
        """Needs no right on the directory itself, which another user may have made."""
        with self._beneath.parent(path) as (parent, name):
            self.step("remove_empty_directory", path)
            os.rmdir(name, dir_fd=parent)

    def remove_tree(self, path: Path) -> None:
        """A file, a link (not its target) or a directory with all it holds; a missing one is no error.

        Directories of ours that forbid it are opened up first.
        """
        with self._beneath.parent(path) as (parent, name):
            self.step("remove_tree", path)
            try:
                mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
            except FileNotFoundError:
                return
            if not stat.S_ISDIR(mode):
                os.unlink(name, dir_fd=parent)
                return
            try:
                _remove_tree(path, parent)
            except RecursionError:
                remove_deep(name, parent)

    def sync_file(self, path: Path) -> None:
        descriptor = self._beneath.open_file(path)
        try:
            self.step("sync_file", path)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def sync_directory(self, path: Path) -> None:
        with self._beneath.directory(path) as descriptor:
            self.step("sync_directory", path)
            os.fsync(descriptor)


def _remove_tree(path: Path, parent: int) -> None:
    try:
        _remove_as_it_is(path, parent)
    except PermissionError:
        open_up(path.name, parent)
        _remove_as_it_is(path, parent)


def _remove_as_it_is(path: Path, parent: int) -> None:
    """Relative to `parent`, each directory opened by itself: a link that takes the place of one leads nowhere."""
    if not shutil.rmtree.avoids_symlink_attacks:
        raise OSError(errno.ENOTSUP, "this platform cannot remove a directory without following links", str(path))

    def failed(_function: object, where: str, error: Any) -> None:
        found: BaseException = error[1] if isinstance(error, tuple) else error
        if isinstance(found, OSError):
            found.filename = str(path.parent / where)
        raise found

    if sys.version_info >= (3, 12):
        shutil.rmtree(path.name, dir_fd=parent, onexc=failed)
    else:
        shutil.rmtree(path.name, dir_fd=parent, onerror=failed)
