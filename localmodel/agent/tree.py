"""Reading a model's directory tree: which files it holds, what they weigh, their digests.

Links are looked at, never trusted: a relative one that stays inside the folder counts as the file it names, any other
makes the folder unusable, and so does anything that is neither file nor directory.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from localmodel.download.manifest import NOTES_DIR, FileEntry

from .errors import VerificationError

_BLOCK = 1 << 20


def scan(folder: Path) -> dict[str, int]:
    """The folder's files: path with "/" -> size in bytes. The notes directory at its top is left out.

    Raises VerificationError for a link that leaves the folder and for special files, OSError where it cannot read.
    """
    files: dict[str, int] = {}
    pending = [folder]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                path = Path(entry.path)
                relative = path.relative_to(folder).as_posix()
                if relative == NOTES_DIR:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    pending.append(path)
                else:
                    files[relative] = _file_size(folder, path, relative)
    return files


def _file_size(folder: Path, path: Path, relative: str) -> int:
    try:
        relative.encode()
    except UnicodeEncodeError:
        raise VerificationError(f"{relative!r} is not a name in UTF-8") from None
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        target = path.resolve()
        inside = not path.readlink().is_absolute() and target.is_relative_to(folder.resolve())
        if not inside or not target.is_file():
            raise VerificationError(
                f"{relative} is a symbolic link to {path.readlink()}, which is no file of the model; "
                "use a download image that copies files"
            )
        return target.stat().st_size
    if not stat.S_ISREG(found.st_mode):
        raise VerificationError(f"{relative} is neither a file nor a directory")
    return found.st_size


def directories(folder: Path) -> list[Path]:
    """The folder and all directories below it, deepest first, the order in which they must be synced."""
    return [Path(root) for root, _, _ in os.walk(folder, topdown=False)]


def disk_size(path: Path) -> int:
    """Bytes of all files below a path, links not followed. Files that vanish meanwhile weigh nothing."""
    total = 0
    for root, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_size  # noqa: PTH118 - Path costs five times as much here
            except FileNotFoundError:
                continue
    return total


def first_difference(folder: Path, files: Iterable[FileEntry]) -> str:
    """Why the folder does not hold these files with these sizes; empty if it does. Files beside them are allowed.

    They are: a serving pod may write caches next to the weights, and must not thereby cause a new download.
    """
    base = os.fspath(folder)
    for file in files:
        path = f"{base}/{file.path}"
        try:
            found = os.lstat(path)
            if stat.S_ISLNK(found.st_mode):
                found = os.stat(path)  # noqa: PTH116 - one of many thousand calls of a pass
        except (FileNotFoundError, NotADirectoryError):
            return f"{file.path} is missing"
        if not stat.S_ISREG(found.st_mode):
            return f"{file.path} is not a file"
        if found.st_size != file.size:
            return f"{file.path} has {found.st_size} bytes instead of {file.size}"
    return ""


def file_digest(path: Path, *, stop: Callable[[], bool] = lambda: False) -> str:
    """The sha256 of a file in hex; InterruptedError if `stop` says so between two blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            if stop():
                raise InterruptedError
            digest.update(block)
    return digest.hexdigest()
