"""Where download processes keep what must not outlive them: their credentials, their home, their last words.

One directory per agent, its owner's alone, in memory where the node has such a file system (`/dev/shm`, which every
container runtime gives a container, else TMPDIR): what is written there reaches no disk. Each download has a directory
of its own below it, which goes with the download; what a killed agent left goes when the next one starts.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from .errors import DownloadSetupError

_SHARED_MEMORY: Final = Path("/dev/shm")
_MEMORY_BACKED: Final = ("tmpfs", "ramfs")


class Scratch:
    """The directories of one agent's downloads. Methods raise OSError and DownloadSetupError."""

    def __init__(self, root: Path, *, parent: Path | None = None) -> None:
        """`root` is the models root, which tells agents on one machine apart; `parent` is chosen where it is None."""
        self._name = f"localmodel-agent-{hashlib.sha256(os.fsencode(root.absolute())).hexdigest()[:16]}"
        self._parent = parent

    @property
    def directory(self) -> Path:
        if self._parent is None:
            self._parent = _choose()
        return self._parent / self._name

    def make(self, name: str, files: Mapping[str, bytes]) -> Path:
        """A fresh directory with these files, below `files`, readable by the owner alone."""
        if files and not is_in_memory(self.directory.parent):
            raise DownloadSetupError(
                f"the download needs credentials in files, and {self.directory.parent} is not in memory: mount an "
                "emptyDir with medium: Memory at the agent's TMPDIR, or set downloadMode: Job"
            )
        self._make_own()
        folder = self.directory / name
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(mode=0o700)
        for path, content in files.items():
            target = folder / "files" / path
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
        return folder

    def remove(self, folder: Path) -> None:
        """Also where it is gone already."""
        shutil.rmtree(folder, ignore_errors=not folder.exists())

    def clear(self) -> None:
        """Removes what an agent before this one has left. The caller holds the models root, so no agent uses it."""
        if self.directory.is_dir():
            self._make_own()
            for folder in list(self.directory.iterdir()):
                shutil.rmtree(folder)

    def close(self) -> None:
        """Removes the directory of all, unless some download's is still there; the next agent clears that."""
        with contextlib.suppress(OSError):
            self.directory.rmdir()

    def _make_own(self) -> None:
        """In a directory that everybody may write to, somebody else may have made one of that name first."""
        try:
            self.directory.mkdir(mode=0o700)
        except FileExistsError:
            found = self.directory.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
                raise DownloadSetupError(
                    f"{self.directory} is not a directory of the agent's user alone; remove it"
                ) from None


def _choose() -> Path:
    temporary = Path(tempfile.gettempdir())
    if _SHARED_MEMORY.is_dir() and os.access(_SHARED_MEMORY, os.W_OK | os.X_OK) and is_in_memory(_SHARED_MEMORY):
        return _SHARED_MEMORY
    return temporary


def is_in_memory(path: Path) -> bool:
    """Whether the path is on a file system that is never written to a disk. Swap aside, which kubelet forbids."""
    resolved, best, kind = str(path.resolve()), "", ""
    for line in Path("/proc/self/mounts").read_text(errors="replace").splitlines():
        _, place, type_, *_ = line.split(" ")
        place = place.replace("\\040", " ")
        if len(place) >= len(best) and (resolved == place or resolved.startswith(place.rstrip("/") + "/")):
            best, kind = place, type_
    return kind in _MEMORY_BACKED
