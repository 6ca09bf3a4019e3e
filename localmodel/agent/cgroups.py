"""A control group for each download, where the agent may make one: then the kernel counts what a download really uses.

That is so where the agent's own group (version 2) was given to it to divide: its directory can be written to, and the
agent is alone in it. In a plain container it is not, and RLIMIT_DATA limits a download instead (`child`). A group with
controllers may have no process of its own beside its children, so the agent moves itself into one first.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import structlog

log = structlog.get_logger(__name__)

_ROOT: Final = Path("/sys/fs/cgroup")
_AGENT: Final = "agent"
_PREFIX: Final = "download-"


class MemoryGroup:
    """The group of one download. Methods raise OSError."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def limit(self, memory_bytes: int) -> None:
        """Also says that where memory runs out, all of the download ends and nothing else; swap is none."""
        (self.directory / "memory.max").write_text(str(memory_bytes))
        (self.directory / "memory.oom.group").write_text("1")
        if (self.directory / "memory.swap.max").exists():
            (self.directory / "memory.swap.max").write_text("0")

    def has_killed(self) -> bool:
        """Whether the kernel has ended a process of the group for want of memory."""
        for line in (self.directory / "memory.events").read_text().splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return count.strip() not in ("", "0")
        return False

    def remove(self) -> None:
        """Once its processes have ended."""
        self.directory.rmdir()


class MemoryGroups:
    """Makes the groups. What the system does not allow is found out once, and said."""

    def __init__(self, *, root: Path = _ROOT, own: Path = Path("/proc/self/cgroup")) -> None:
        self._root = root
        self._own = own
        self._parent: Path | None = None
        self._looked = False

    def make(self, name: str, memory_bytes: int) -> MemoryGroup | None:
        """The group of a download; None where the agent may make none."""
        if not self._looked:
            self._looked = True
            self._parent = self._divide()
        if self._parent is None:
            return None
        group = MemoryGroup(self._parent / f"{_PREFIX}{name}")
        try:
            group.directory.mkdir(exist_ok=True)
            group.limit(memory_bytes)
        except OSError as error:
            log.warning("no control group for a download", group=str(group.directory), error=str(error))
            return None
        return group

    def _divide(self) -> Path | None:
        """The agent's own group, with its processes in a child of it and the memory controller for its children."""
        try:
            parent = self._find()
            if parent is None:
                return None
            home = parent / _AGENT
            home.mkdir(exist_ok=True)
            (home / "cgroup.procs").write_text(str(os.getpid()))
            (parent / "cgroup.subtree_control").write_text("+memory")
        except OSError as error:
            log.info("downloads are limited without control groups", error=str(error))
            return None
        log.info("downloads are limited by control groups", parent=str(parent))
        return parent

    def _find(self) -> Path | None:
        for line in self._own.read_text().splitlines():
            hierarchy, _, path = line.split(":", 2)
            if hierarchy == "0":
                own = self._root / path.lstrip("/")
                own = own.parent if own.name == _AGENT else own
                return own if self._may_be_divided(own) else None
        return None

    @staticmethod
    def _may_be_divided(own: Path) -> bool:
        """Not the machine's root group, which alone has no limits, and not one with processes that are not ours."""
        if not (own / "memory.max").exists() or not os.access(own, os.W_OK):
            return False
        others = set((own / "cgroup.procs").read_text().split()) - {str(os.getpid())}
        return not others
