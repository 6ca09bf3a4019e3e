"""Directories that a plain removal cannot take away: those that forbid it, and those that are nested too deep.

An archive can hold thousands of levels, and the interpreter cannot recurse into so many. Nothing here follows a link.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_DIRECTORY: Final = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_HANDLE: Final = getattr(os, "O_PATH", os.O_RDONLY)
"""Where the kernel can, a directory that may not be read is opened all the same, to change its mode."""


def open_up(name: str, parent: int) -> None:
    """Gives back the rights on a directory of `parent` and all below it, as far as they belong to the agent's user."""
    _give_rights(name, parent)
    for _, names, _, directory in os.fwalk(name, dir_fd=parent, onerror=None):
        for inner in names:
            _give_rights(inner, directory)


def remove_deep(name: str, parent: int) -> None:
    """Removes the directory `name` of `parent` with all it holds. Raises OSError.

    It is made flat instead of gone down into: what lies in a directory of it is moved up to it before that is removed.
    Neither the stack nor the number of open files grows with the depth.
    """
    count = 0
    with _opened(name, parent) as top:
        while inner := _directories_left(top):
            for directory in inner:
                with _opened(directory, top) as descriptor:
                    for moved in _directories_left(descriptor):
                        count = _next_free(top, count)
                        os.rename(moved, _moved_name(count), src_dir_fd=descriptor, dst_dir_fd=top)
                os.rmdir(directory, dir_fd=top)
    os.rmdir(name, dir_fd=parent)


def _directories_left(descriptor: int) -> list[str]:
    """The directories in one that are not empty, once all else in it is removed."""
    with os.scandir(descriptor) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    left = []
    for name, is_directory in found:
        if not is_directory:
            os.unlink(name, dir_fd=descriptor)
            continue
        try:
            os.rmdir(name, dir_fd=descriptor)
        except OSError:
            _give_rights(name, descriptor)  # To be moved it must be writable: its `..` changes.
            left.append(name)
    return left


def _next_free(top: int, count: int) -> int:
    while True:
        count += 1
        try:
            os.stat(_moved_name(count), dir_fd=top, follow_symlinks=False)
        except FileNotFoundError:
            return count


def _moved_name(count: int) -> str:
    return f".moved-up-{count}"


@contextmanager
def _opened(name: str, parent: int) -> Iterator[int]:
    descriptor = os.open(name, os.O_RDONLY | _DIRECTORY, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _give_rights(name: str, parent: int) -> None:
    """Those of others cannot be helped; removing tells of them."""
    with suppress(OSError):
        handle = os.open(name, _HANDLE | _DIRECTORY, dir_fd=parent)
        try:
            found = os.fstat(handle)
            if found.st_uid == os.geteuid() and (found.st_mode & stat.S_IRWXU) != stat.S_IRWXU:
                Path(f"/proc/self/fd/{handle}").chmod(stat.S_IRWXU)
        finally:
            os.close(handle)
