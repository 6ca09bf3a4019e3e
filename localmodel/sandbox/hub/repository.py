"""A directory seen as a model repository: its files with the digests that the hub would publish, and a commit.

The hub keeps large files outside git (LFS) and knows them by sha256; small ones are git blobs, known by git's blob id.
The commit is a function of the content, so the same directory has the same commit in every process. Digests are
computed once per (path, modification time, size): a directory that changes while it is served gets a new commit.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_LFS_SUFFIXES = (".safetensors", ".bin")
_LFS_MIN_BYTES = 10_000
_HIDDEN = (".git", ".cache", ".localmodel")
_BLOCK = 1 << 20


def git_blob_id(content: bytes) -> str:
    """Git's name for a file with this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@dataclass(frozen=True, kw_only=True)
class RepositoryFile:
    """One file: its path in the repository, where it lies, its size in bytes and its digests as lower-case hex.

    `sha256` is set for LFS files only; `blob_id` is then the id of the pointer that git holds in the file's place, and
    `pointer_size` that pointer's size.
    """

    path: str
    location: Path
    size: int
    blob_id: str
    sha256: str | None = None
    pointer_size: int = 0

    @property
    def etag(self) -> str:
        """What the hub gives as ETag, without quotes."""
        return self.sha256 or self.blob_id


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """All files of a repository at one commit, by path in sorted order."""

    commit: str
    files: Mapping[str, RepositoryFile]


class Repository:
    """Serves snapshots of one directory. Threads may share it."""

    def __init__(self, directory: Path) -> None:
        """Raises NotADirectoryError."""
        if not directory.is_dir():
            raise NotADirectoryError(f"{directory} is not a directory, so it cannot be served as a model")
        self._directory = directory
        self._lock = threading.Lock()
        self._known: dict[tuple[str, int, int], RepositoryFile] = {}

    def snapshot(self) -> Snapshot:
        """The directory as it is now."""
        with self._lock:
            files = {}
            for location in sorted(self._directory.rglob("*")):
                path = location.relative_to(self._directory).as_posix()
                if location.is_file() and path.split("/")[0] not in _HIDDEN:
                    files[path] = self._file(path, location)
        lines = "".join(f"{file.etag} {path}\n" for path, file in files.items())
        return Snapshot(commit=hashlib.sha1(lines.encode(), usedforsecurity=False).hexdigest(), files=files)

    def _file(self, path: str, location: Path) -> RepositoryFile:
        status = location.stat()
        key = (path, status.st_mtime_ns, status.st_size)
        if key not in self._known:
            self._known[key] = describe(path, location)
        return self._known[key]


def describe(path: str, location: Path) -> RepositoryFile:
    """Reads the file once and works out what the hub would say of it."""
    size = location.stat().st_size
    if size < _LFS_MIN_BYTES and not path.endswith(_LFS_SUFFIXES):
        return RepositoryFile(path=path, location=location, size=size, blob_id=git_blob_id(location.read_bytes()))
    digest = hashlib.sha256()
    with location.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    sha256 = digest.hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
    return RepositoryFile(
        path=path, location=location, size=size, blob_id=git_blob_id(pointer), sha256=sha256, pointer_size=len(pointer)
    )
