"""file:// - a directory or a single file that the process can see.

KServe's storage-initializer only puts symbolic links into the destination. That is not enough here: what is published
must stand by itself, on the node's disk, when the source is unmounted, changed or invisible to the pod that serves it.
So the tree is copied, links are followed, and every file gets the same digests and manifest as from anywhere else.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from localmodel.download.errors import DownloadError, InvalidURIError, NotFoundError
from localmodel.download.manifest import NOTES_DIR, check_path
from localmodel.download.sources.base import ByteStream, Plan, PlannedFile
from localmodel.download.sources.http import archive_kind


class FileSource:
    """Copies from the local file system."""

    def __init__(self, uri: str) -> None:
        """Raises InvalidURIError unless the URI holds an absolute path and no other host."""
        parts = urlsplit(uri)
        path = unquote(parts.path)
        if parts.netloc not in ("", "localhost") or not path.startswith("/"):
            raise InvalidURIError(f"{uri} must be file:// and an absolute path, such as file:///data/model")
        self._uri = uri
        self._root = Path(path)

    def resolve(self) -> Plan:
        """Lists the tree. Raises NotFoundError if there is nothing, DownloadError on what cannot be read or copied."""
        try:
            if not self._root.is_dir():
                name = check_path(self._root.name)
                return Plan(revision=None, files=(_plan(self._root, name),), archive=archive_kind(name))
            return Plan(revision=None, files=tuple(_plan(path, name) for path, name in _walk(self._root)))
        except FileNotFoundError as error:
            raise NotFoundError(f"not found: {error.filename} of {self._uri} does not exist") from error
        except OSError as error:
            raise DownloadError(f"cannot read {self._uri}: {error}") from error


def _walk(root: Path) -> Iterator[tuple[Path, str]]:
    """All files below `root` with their relative paths, links followed, notes of a download left out."""
    pending = [(root, "", frozenset[tuple[int, int]]())]
    while pending:
        directory, prefix, above = pending.pop()
        status = directory.stat()
        here = (status.st_dev, status.st_ino)
        if here in above:
            raise DownloadError(f"{directory} is a link to a directory that contains it")
        for entry in sorted(directory.iterdir()):
            name = f"{prefix}{entry.name}"
            if name == NOTES_DIR:
                continue
            if entry.is_dir():
                pending.append((entry, f"{name}/", above | {here}))
            else:
                yield entry, check_path(name)


def _plan(path: Path, name: str) -> PlannedFile:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise DownloadError(f"{path} is neither a file nor a directory, so it cannot be copied")
    identity = f"{path} {status.st_dev} {status.st_ino} {status.st_size} {status.st_mtime_ns}"
    return PlannedFile(path=name, size=status.st_size, identity=identity, open=lambda offset: _open(path, offset))


class _LocalStream:
    def __init__(self, descriptor: int, offset: int, path: Path) -> None:
        self._descriptor = descriptor
        self._path = path
        self.offset = offset

    def read(self, limit: int) -> bytes:
        try:
            return os.read(self._descriptor, limit)
        except OSError as error:
            raise DownloadError(f"cannot read {self._path}: {error}") from error

    def close(self) -> None:
        os.close(self._descriptor)


def _open(path: Path, offset: int) -> ByteStream:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise DownloadError(f"cannot read {path}: {error}") from error
    os.lseek(descriptor, offset, os.SEEK_SET)
    return _LocalStream(descriptor, offset, path)
