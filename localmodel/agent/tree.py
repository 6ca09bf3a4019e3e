"""Reading a model's directory tree: which files it holds, what they weigh, their digests.

Links are looked at, never trusted: a relative one that stays inside the folder counts as the file it names, any other
makes the folder unusable, and so does anything that is neither file nor directory. Content is read only below
directories that were opened without following a link.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from localmodel.download.manifest import NOTES_DIR, FileEntry

from .beneath import Beneath
from .errors import VerificationError

MAX_DEPTH: Final = 100
"""Directories above a file. No model has so many; an archive that wants to hurt whoever walks it has."""
_MAX_PATH: Final = 2048
"""Bytes of a file's path below its folder, so that the kernel takes it with the path of the folder before it."""
_BLOCK: Final = 1 << 20
_DROPPED: Final = 64 * _BLOCK
"""So much of a file may fill the kernel's memory before it is dropped from there."""


def scan(folder: Path) -> dict[str, int]:
    """The folder's files: path with "/" -> size in bytes. The notes directory at its top is left out.

    Raises VerificationError for a link that leaves the folder and for special files, OSError where it cannot read.
    """
    files: dict[str, int] = {}
    for root, directories, names in walk(folder):
        if not root and NOTES_DIR in directories:
            directories.remove(NOTES_DIR)
        for name in names:
            relative = f"{root}{name}"
            size = _file_size(folder, relative)
            if relative != NOTES_DIR:
                files[relative] = size
    return files


def walk(folder: Path) -> Iterable[tuple[str, list[str], list[str]]]:
    """The directories of a folder from the top down: path with "/" at its end (empty for the folder), the names of the
    directories in it, of which those are visited that the caller leaves in the list, and of all else.

    No link is followed, also where one takes a directory's place meanwhile. Raises OSError, and VerificationError for
    what is too deep. Not os.fwalk: that keeps a descriptor and a stack frame for each level.
    """
    beneath = Beneath(folder.parent)
    pending = [""]
    while pending:
        path = pending.pop()
        if path.count("/") > MAX_DEPTH or len(os.fsencode(path)) > _MAX_PATH:
            raise VerificationError(f"{path[:60]!r}... is too deep: at most {MAX_DEPTH} directories, {_MAX_PATH} bytes")
        directories: list[str] = []
        names: list[str] = []
        with beneath.directory(folder / path) as descriptor, os.scandir(descriptor) as entries:
            for entry in entries:
                (directories if entry.is_dir(follow_symlinks=False) else names).append(entry.name)
        yield path, directories, names
        pending += [f"{path}{name}/" for name in reversed(directories)]


def _file_size(folder: Path, relative: str) -> int:
    try:
        relative.encode()
    except UnicodeEncodeError:
        raise VerificationError(f"{relative!r} is not a name in UTF-8") from None
    path = folder / relative
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        inner = inner_file(folder, relative)
        if inner is None:
            raise VerificationError(
                f"{relative} is a symbolic link to {path.readlink()}, which is no file of the model; "
                "use a download image that copies files"
            )
        return (folder / inner).lstat().st_size
    if not stat.S_ISREG(found.st_mode):
        raise VerificationError(f"{relative} is neither a file nor a directory")
    return found.st_size


def inner_file(folder: Path, relative: str) -> str | None:
    """The regular file of the folder that a path stands for: itself, or what a relative link names; or None."""
    path = folder / relative
    if path.is_symlink() and path.readlink().is_absolute():
        return None
    target, base = path.resolve(), folder.resolve()
    if not target.is_relative_to(base) or not stat.S_ISREG(_mode(target)):
        return None
    return target.relative_to(base).as_posix()


def _mode(path: Path) -> int:
    try:
        return path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0


def directories(folder: Path) -> list[Path]:
    """The folder and all directories below it, deepest first, the order in which they must be synced."""
    return sorted((folder / root for root, _, _ in walk(folder)), key=lambda path: -len(path.parts))


def disk_size(path: Path) -> int:
    """Bytes of all files below a path, links not followed. What vanishes meanwhile, cannot be read, or lies deeper than
    a path can tell weighs nothing."""
    total = 0
    pending = [os.fspath(path)]
    while pending:
        with suppress(OSError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                    continue
                with suppress(FileNotFoundError):
                    total += entry.stat(follow_symlinks=False).st_size
    return total


def last_change(path: Path) -> float:
    """When something below a path was last written, made or renamed, by the kernel's clock (`st_ctime`, which no
    download can set), as seconds since 1970; 0 where there is nothing. What cannot be read does not count."""
    newest = 0.0
    pending = [os.fspath(path)]
    while pending:
        directory = pending.pop()
        with suppress(OSError):
            newest = max(newest, os.lstat(directory).st_ctime)
            with os.scandir(directory) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    else:
                        newest = max(newest, entry.stat(follow_symlinks=False).st_ctime)
    return newest


def first_difference(folder: Path | str, files: Iterable[FileEntry]) -> str:
    """Why the folder does not hold these files with these sizes; empty if it does. Files beside them are allowed.

    They are: a serving pod may write caches next to the weights, and must not thereby cause a new download.
    """
    base = os.fspath(folder)
    known = {""}
    for file in files:
        parent = file.path.rpartition("/")[0]
        if parent not in known:
            link = _first_link(base, parent)
            if link:
                return f"{link} is a symbolic link"
            known.add(parent)
        path = f"{base}/{file.path}"
        try:
            found = os.lstat(path)
            if stat.S_ISLNK(found.st_mode):
                inner = inner_file(Path(folder), file.path)
                if inner is None:
                    return f"{file.path} is a link to no file of the model"
                found = os.lstat(f"{base}/{inner}")
        except (FileNotFoundError, NotADirectoryError):
            return f"{file.path} is missing"
        if not stat.S_ISREG(found.st_mode):
            return f"{file.path} is not a file"
        if found.st_size != file.size:
            return f"{file.path} has {found.st_size} bytes instead of {file.size}"
    return ""


def _first_link(base: str, directory: str) -> str:
    """The first of the directories down to this one that is a link; empty if none is, or one is missing."""
    path = ""
    for name in directory.split("/"):
        path = f"{path}/{name}" if path else name
        try:
            if stat.S_ISLNK(os.lstat(f"{base}/{path}").st_mode):
                return path
        except (FileNotFoundError, NotADirectoryError):
            return ""
    return ""


def file_digest(
    folder: Path,
    relative: str,
    *,
    on_block: Callable[[int], None] = lambda _size: None,
    from_disk: bool = False,
) -> str:
    """The sha256 of one of the folder's files in hex. `on_block` hears of each block's bytes, and may raise.

    `from_disk`: what the kernel keeps of the file in memory is dropped before, so that the disk itself is read, and
    now and then, so that reading leaves others' pages in place. What a pod has mapped stays. Raises FileNotFoundError
    for what is no file of the folder.
    """
    inner = inner_file(folder, relative)
    if inner is None:
        raise FileNotFoundError(f"{relative} is no file of {folder}")
    digest = hashlib.sha256()
    descriptor = Beneath(folder.parent).open_file(folder / inner)
    try:
        kept = 0
        while block := _read(descriptor, drop=from_disk and kept == 0):
            on_block(len(block))
            digest.update(block)
            kept = (kept + len(block)) % _DROPPED
        if from_disk:
            _drop(descriptor)
    finally:
        os.close(descriptor)
    return digest.hexdigest()


def _read(descriptor: int, *, drop: bool) -> bytes:
    if drop:
        _drop(descriptor)
    return os.read(descriptor, _BLOCK)


def _drop(descriptor: int) -> None:
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
