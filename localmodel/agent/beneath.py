"""Opening what lies below the models root without ever following a link there.

A path is a chain of names, and whoever may write one of the directories can put a link in the place of a name between
two looks at it: a download owns its staging directory, and runs as the agent's own user. So each name is opened by
itself, relative to the directory before it, and no link is followed. The root may be reached by links; it is the
administrator's.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_DIRECTORY: Final = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ON_THE_WAY: Final = getattr(os, "O_PATH", os.O_RDONLY)
"""Where the kernel can, a directory that is only passed through need not be readable."""
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""NONBLOCK: opening a pipe without a writer must not hang."""

MAX_NOTE_BYTES: Final = 64 << 20
"""No file that is read as a whole is larger: the manifest of half a million files."""


class Beneath:
    """Opens paths below one directory. All methods raise OSError with the whole path, ELOOP for a link on the way."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextmanager
    def parent(self, path: Path) -> Iterator[tuple[int, str]]:
        """The directory that holds `path`, and the last name: for calls that take a `dir_fd`.

        The descriptor is good for such calls only, and until the end of the block. Errors of the block get the path.
        """
        *above, name = self._parts(path)
        descriptor = self._open(above, _ON_THE_WAY)
        try:
            with _naming(path):
                yield descriptor, name
        finally:
            os.close(descriptor)

    @contextmanager
    def directory(self, path: Path) -> Iterator[int]:
        """The directory at `path`, open for listing and syncing."""
        descriptor = self._open(self._parts(path), os.O_RDONLY)
        try:
            with _naming(path):
                yield descriptor
        finally:
            os.close(descriptor)

    def open_file(self, path: Path) -> int:
        """A descriptor of the regular file at `path`, for reading; the caller closes it."""
        with self.parent(path) as (directory, name):
            descriptor = os.open(name, _FILE, dir_fd=directory)
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return descriptor
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a regular file", str(path))

    def read(self, path: Path, limit: int = MAX_NOTE_BYTES) -> bytes:
        """The content of the regular file at `path`; one of more than `limit` bytes is an error (EFBIG)."""
        with open(self.open_file(path), "rb") as file:  # noqa: PTH123 - a descriptor, not a path
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                raise OSError(errno.EFBIG, f"has {size} bytes, more than {limit}", str(path))
            return file.read(size)  # Whoever goes on writing does not make it more.

    def _parts(self, path: Path) -> Sequence[str]:
        return path.relative_to(self.root).parts

    def _open(self, names: Sequence[str], flags: int) -> int:
        """The directory that the names lead to; only it has to fit the flags."""
        with _naming(self.root):
            descriptor = os.open(self.root, os.O_DIRECTORY | os.O_CLOEXEC | (_ON_THE_WAY if names else flags))
        for number, name in enumerate(names, 1):
            last = number == len(names)
            try:
                with _naming(self.root.joinpath(*names[:number])):
                    below = _open_directory(name, descriptor, flags if last else _ON_THE_WAY)
            finally:
                os.close(descriptor)
            descriptor = below
        return descriptor


def _open_directory(name: str, directory: int, flags: int) -> int:
    try:
        return os.open(name, _DIRECTORY | flags, dir_fd=directory)
    except NotADirectoryError:
        # The kernel says so of a link, too, and which of both it is matters.
        if stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            raise OSError(errno.ELOOP, "is a symbolic link") from None
        raise


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Calls relative to a directory know the last name only; whoever reads the error needs all."""
    try:
        yield
    except OSError as error:
        if not str(error.filename or "").startswith("/"):
            error.filename = str(path)
        raise
