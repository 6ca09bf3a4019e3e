"""One file from its source into its place: continue, stream, verify, make durable, rename.

The bytes go to a part file in `DEST/.localmodel/parts/`, whose name is made of the file's path and of the identity of
its content; so a part of another revision is never continued, and one of the same content always is. A part survives
any end of the process; what it holds is hashed again before more is appended. Only a file whose size and digest are
those announced is renamed to its path, so at a path in DEST stands a whole file or none.

Invariant of `FileTransfer`: `_digest` has seen exactly the bytes that the part file holds.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import structlog

from localmodel.download.clock import Clock
from localmodel.download.digests import RunningDigest
from localmodel.download.errors import (
    CancelledError,
    DestinationError,
    DownloadError,
    IntegrityError,
    NoSpaceError,
    TransientError,
    human_bytes,
)
from localmodel.download.manifest import NOTES_DIR, FileEntry
from localmodel.download.options import DownloadOptions
from localmodel.download.progress import ProgressTracker
from localmodel.download.retry import with_retries
from localmodel.download.sources.base import PlannedFile
from localmodel.download.throttle import Throttle

_FULL = (errno.ENOSPC, errno.EDQUOT)
_WHOLE_ATTEMPTS = 3  # how often a file is fetched anew when its content does not match what was announced

log = structlog.get_logger(__name__)


def free_bytes(path: Path) -> int:
    """Bytes that the file system of `path` still takes from an ordinary user."""
    return shutil.disk_usage(path).free


def parts_dir(dest: Path) -> Path:
    """Where unfinished files of a download into `dest` lie."""
    return dest / NOTES_DIR / "parts"


@cache
def _boot_id() -> str:
    """What tells one boot of this machine from the next, or empty where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def part_path(dest: Path, file: PlannedFile) -> Path:
    """The part file of one planned file, whose readable end is only for people who look into the directory.

    A part is not synced while it grows, so after a power cut it may hold holes. Where a digest is announced that comes
    out in the end; where none is, a part counts only within the same boot.
    """
    boot = "" if file.has_digest else _boot_id()
    key = hashlib.sha256(f"{file.path}\0{file.identity}\0{boot}".encode()).hexdigest()[:32]
    return parts_dir(dest) / f"{key}-{file.path.rpartition('/')[2][-40:]}.part"


@dataclass(frozen=True, kw_only=True)
class TransferContext:
    """What all transfers of one download share.

    `keep_as_part` leaves the finished file where its part is: an archive is unpacked from there.
    """

    dest: Path
    options: DownloadOptions
    clock: Clock
    stop: threading.Event
    tracker: ProgressTracker
    throttle: Throttle
    write: Callable[[int, bytes | memoryview], int] = os.write
    free_bytes: Callable[[Path], int] = free_bytes
    keep_as_part: bool = False


class FileTransfer:
    """Fetches one planned file. `run` is called once, from one thread."""

    def __init__(self, file: PlannedFile, *, context: TransferContext) -> None:
        """Touches nothing yet."""
        self._file = file
        self._context = context
        self._part = part_path(context.dest, file)
        self._digest = self._new_digest()

    def run(self) -> FileEntry:
        """Fetches, verifies and places the file. Raises DownloadError, of the kind that says why it could not."""
        for attempt in range(1, _WHOLE_ATTEMPTS + 1):
            try:
                return self._fetch_whole()
            except IntegrityError as error:
                if attempt == _WHOLE_ATTEMPTS:
                    raise
                log.warning("fetching the file anew", path=self._file.path, error=str(error))
        raise AssertionError("unreachable")

    def _fetch_whole(self) -> FileEntry:
        descriptor = self._open_part()
        try:
            self._recover(descriptor)
            with_retries(
                lambda: self._fetch_rest(descriptor),
                options=self._context.options,
                clock=self._context.clock,
                stop=self._context.stop,
                progressed=lambda: self._digest.size,
            )
            try:
                self._verify()
            except IntegrityError:
                self._start_over(descriptor)
                raise
            os.fsync(descriptor)
        except OSError as error:
            raise self._write_error(error) from error
        finally:
            os.close(descriptor)
        if not self._context.keep_as_part:
            place_file(self._part, dest=self._context.dest, path=self._file.path)
        self._context.tracker.file_done()
        return FileEntry(path=self._file.path, size=self._digest.size, sha256=self._digest.sha256)

    def _open_part(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        if self._file.identity is None:
            flags |= os.O_TRUNC
        try:
            return os.open(self._part, flags, 0o644)
        except OSError as error:
            raise self._write_error(error) from error

    def _recover(self, descriptor: int) -> None:
        """Takes over what an earlier run left."""
        os.lseek(descriptor, 0, os.SEEK_SET)
        self._digest = self._new_digest()
        while block := os.read(descriptor, self._context.options.chunk_bytes):
            if self._context.stop.is_set():
                raise CancelledError("the download was stopped")
            self._digest.update(block)
            self._context.tracker.found(len(block))
        have = self._digest.size
        if self._file.size is not None and have > self._file.size:
            log.warning("discarding a part that is larger than its file", path=self._file.path, bytes=have)
            self._start_over(descriptor)
        elif have:
            log.info("continuing", path=self._file.path, bytes=have, size=self._file.size)

    def _start_over(self, descriptor: int) -> None:
        self._context.tracker.found(-self._digest.size)
        self._digest = self._new_digest()
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)

    def _fetch_rest(self, descriptor: int) -> None:
        """Appends what is missing. Raises TransientError when the source lets go before the end."""
        if self._file.size is not None and self._digest.size == self._file.size:
            return
        context = self._context
        chunk = context.throttle.chunk(context.options.chunk_bytes)
        with closing(self._file.open(self._digest.size)) as stream:
            if stream.offset != self._digest.size:
                log.info("the source does not continue, starting over", path=self._file.path)
                self._start_over(descriptor)
            while data := stream.read(chunk):
                if context.stop.is_set():
                    raise CancelledError("the download was stopped")
                self._append(descriptor, data)
                if self._file.size is not None and self._digest.size > self._file.size:
                    break
                context.throttle.take(len(data), context.stop)
        if self._file.size is not None and self._digest.size < self._file.size:
            raise TransientError(
                f"the source closed the connection after {self._digest.size} of {self._file.size} bytes of "
                f"{self._file.path}"
            )

    def _append(self, descriptor: int, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            written = self._context.write(descriptor, rest)
            self._digest.update(bytes(rest[:written]) if written < len(data) else data)
            rest = rest[written:]
            self._context.tracker.received(written)

    def _verify(self) -> None:
        file, digest = self._file, self._digest
        pairs = (("size", file.size, digest.size), ("sha256", file.sha256, digest.sha256))
        for what, expected, actual in (*pairs, ("git blob id", file.git_sha1, digest.git_sha1)):
            if expected is not None and expected != actual:
                raise IntegrityError(
                    f"{file.path} is damaged: its {what} is {actual} but the source announced {expected}; if this "
                    "persists, the source itself or a proxy on the way is at fault"
                )

    def _new_digest(self) -> RunningDigest:
        return RunningDigest(git_size=self._file.size if self._file.git_sha1 is not None else None)

    def _write_error(self, error: OSError) -> DownloadError:
        if error.errno in _FULL:
            free = self._context.free_bytes(self._context.dest)
            missing = (self._file.size or 0) - self._digest.size
            return no_space(self._context.dest, needed=max(missing, 0), free=free)
        return DestinationError(f"cannot write {self._file.path} into {self._context.dest}: {error.strerror or error}")


def no_space(dest: Path, *, needed: int, free: int) -> NoSpaceError:
    """The error for a file system without room, with the numbers in its text."""
    return NoSpaceError(
        f"no space: {human_bytes(needed)} ({needed} bytes) still have to be written to {dest}, but its file system has "
        f"only {human_bytes(free)} ({free} bytes) free; free some, or use a larger disk",
        needed=needed,
        free=free,
    )


def place_file(finished: Path, *, dest: Path, path: str) -> None:
    """Renames a finished, synced file to `dest/path`, making directories as needed.

    Raises DestinationError if something other than a plain directory stands in the way: following a link there could
    write anywhere.
    """
    directory = dest
    try:
        for part in path.split("/")[:-1]:
            directory /= part
            directory.mkdir(exist_ok=True)
            if directory.is_symlink():
                raise DestinationError(f"{directory} is a link; nothing is written through links, remove it")
        finished.replace(dest / path)
    except OSError as error:
        raise DestinationError(f"cannot put {path} into {dest}: {error.strerror or error}") from error
