"""The models root as a place: its directories, its marker, its lock, and what is wrong with it.

Part of `store`. Opening is cheap where it was done before and looks each time: a disk may have been taken away, given
back, replaced or made read-only since. What forbids writing does not forbid reading: such a root is open, with
`trouble`, if this agent can hold its lock; what is whole on it is served and reported.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import structlog

from .errors import (
    DiskFullError,
    ReadOnlyError,
    RootEmptyError,
    RootMissingError,
    RootNotMountedError,
    StoreError,
    WrongOwnerError,
    disk_errors,
    owner_of,
)
from .filesystem import FileSystem
from .lock import RootLock
from .mounts import is_whole_file_system

DIRECTORY_MODE: Final = 0o2775
"""Set-gid, so that what a download writes belongs to the directory's group, which the agent shares."""
_MARKER_TEXT: Final = b'{"comment":"localmodel keeps models here; without this file the disk counts as not mounted"}\n'
_LEAST_BYTES: Final = 64 << 10
"""Less than that is no room for the agent's own notes."""

log = structlog.get_logger(__name__)


class ModelsRoot:
    """One root, held by at most one agent. Not for use by several threads at once."""

    def __init__(self, root: Path, *, owner: str, filesystem: FileSystem) -> None:
        """`owner`, the node's name, is written into the lock for others to read."""
        self.root = root
        self.models = root / "models"
        self.staging = self.models / ".staging"
        self.trash = self.models / ".trash"
        self.notes = self.models / ".localmodel"
        self.records = self.notes / "records"
        self.marker = self.notes / "marker"
        self.trouble: StoreError | None = None
        """Why the root could not be made ready for writing the last time `open` tried; it tries at each call then."""
        self._fs = filesystem
        self._lock = RootLock(self.notes / "lock", owner=owner)

    @property
    def is_open(self) -> bool:
        """The root is held, and its marker was there the last time `open` looked."""
        return self._lock.is_held

    @property
    def directories(self) -> tuple[Path, ...]:
        """What must be there, each after the one that holds it."""
        return self.models, self.staging, self.trash, self.notes, self.records

    def open(
        self, downloaded: Mapping[str, str], *, forget: Callable[[], None], finish: Callable[[list[str]], None]
    ) -> list[str]:
        """See `ModelStore.open`. `forget` is called when the root may be another one, `finish` with the keys to adopt
        when it is held, before the marker is written. Raises StoreError or OSError, and is closed then."""
        try:
            return self._open(downloaded, forget, finish)
        except (StoreError, OSError):
            self.close()
            raise

    def _open(
        self, downloaded: Mapping[str, str], forget: Callable[[], None], finish: Callable[[list[str]], None]
    ) -> list[str]:
        if not self.root.is_dir():
            raise RootMissingError(f"{self.root} does not exist; create it or mount the models' disk there")
        there = [self._is_directory(path) for path in self.directories]
        marked = self._is_marked()
        held = self._lock.is_at_its_path()
        if marked and held and all(there) and self.trouble is None:
            return []
        if not held:
            self.close()
            forget()
        found = [key for key, uri in downloaded.items() if uri and not marked and self._may_adopt(key)]
        if not marked and downloaded and not found:
            raise self._unmounted(len(downloaded))
        try:
            with disk_errors(self.models):
                self._make_ready(found, finish, marked=marked)
            self.trouble = None
        except (ReadOnlyError, WrongOwnerError, DiskFullError) as error:
            if not marked:
                raise
            self.trouble = error
            self._hold_as_it_is(error)
        return found

    def _make_ready(self, found: list[str], finish: Callable[[list[str]], None], *, marked: bool) -> None:
        for path in self.directories:
            if not path.is_dir():
                self._fs.make_directory(path, DIRECTORY_MODE)
        if not self._lock.is_held:
            self._lock.acquire()
        finish(found)
        if not marked:
            # Last: a crash before this line repeats the adoption.
            self._fs.write_file(self.marker, _MARKER_TEXT)

    def _hold_as_it_is(self, error: StoreError) -> None:
        """What forbids writing does not forbid the lock; raises the error where it does."""
        if not self._lock.is_held:
            try:
                self._lock.acquire(for_writing=False)
            except OSError:
                raise error from None

    def close(self) -> None:
        """Gives the root back. Idempotent."""
        self._lock.release()
        self.trouble = None

    def _is_directory(self, path: Path) -> bool:
        """False where nothing is; raises OSError for a link or a file: what is ours never lies elsewhere."""
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            return False
        if stat.S_ISDIR(mode):
            return True
        number = errno.ELOOP if stat.S_ISLNK(mode) else errno.ENOTDIR
        raise OSError(number, "is a symbolic link" if number == errno.ELOOP else "is no directory", str(path))

    def _is_marked(self) -> bool:
        try:
            return stat.S_ISREG(self.marker.lstat().st_mode)
        except FileNotFoundError:
            return False

    def _may_adopt(self, key: str) -> bool:
        folder = self.models / key
        return not folder.is_symlink() and folder.is_dir() and any(folder.iterdir())

    def _unmounted(self, count: int) -> RootNotMountedError:
        what = f"has none of the {count} models that were downloaded to this node and lacks {self.marker}"
        if is_whole_file_system(self.root):
            return RootEmptyError(
                f"the file system at {self.root} {what}: it is another disk, or was emptied. Mount the right one; or, "
                f"if it was replaced on purpose, create that file, and the models are downloaded again"
            )
        return RootNotMountedError(
            f"{self.models} {what}: its disk is probably not mounted. Mount it, or, if the disk was replaced on "
            f"purpose, create that file"
        )

    # health ------------------------------------------------------------------------------------------------------

    def problem(self) -> StoreError | None:
        """What forbids to write to the open root, as far as that can be known without writing; None if nothing does.

        Raises OSError. Costs some system calls, none of which touches the disk's content.
        """
        if self.trouble is not None:
            return self.trouble
        system = os.statvfs(self.models)
        if system.f_flag & os.ST_RDONLY:
            return ReadOnlyError(
                f"{self.models} is on a read-only file system: what is there is served, nothing can be downloaded or "
                f"removed; mount {self.root} read-write (a disk that fails is often remounted so: see the kernel's log)"
            )
        if system.f_bavail * system.f_frsize < _LEAST_BYTES or (system.f_files and not system.f_favail):
            what = "space" if system.f_favail or not system.f_files else "file (inode)"
            return DiskFullError(f"no {what} is left on the file system of {self.models}; remove something from it")
        for path in self.directories:
            if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
                return WrongOwnerError(
                    f"cannot write {path}, {owner_of(path)}; make it writable for the agent, which runs as "
                    f"{os.geteuid()}:{os.getegid()} like the downloads: chown {os.geteuid()}:{os.getegid()} {path}"
                )
        return None
