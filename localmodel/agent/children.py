"""The download processes of one agent: the only code that starts them, and what is to be known of each.

One per storage key at most, each under its `DownloadLock`. What has ended is kept until it is asked to be forgotten or
another is started for its key: an agent that starts anew knows nothing of it, and starts the attempt again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from .cgroups import MemoryGroups
from .childlock import DownloadLock
from .childplan import ChildPlan
from .childprocess import GRACE_SECONDS, Child, end_all
from .errors import DownloadSetupError, EarlierDownloadError, disk_errors
from .scratch import Scratch

log = structlog.get_logger(__name__)

LOCKS: Final = "downloads"
"""The directory of the locks, below the store's notes."""
_PATIENCE_SECONDS: Final = 2.0
"""For processes to be gone after SIGKILL."""


class Children:
    """Thread-safe, except that one thread starts them."""

    def __init__(
        self,
        notes: Path,
        scratch: Scratch,
        *,
        groups: MemoryGroups | None = None,
        program: tuple[str, ...] | None = None,
        grace: float = GRACE_SECONDS,
    ) -> None:
        """`notes` is the store's directory of notes. `program` stands in for `localmodel-download`; `grace` is in
        seconds."""
        self._notes = notes
        self._scratch = scratch
        self._groups = groups or MemoryGroups()
        self._program = program
        self._grace = grace
        self.on_change: Callable[[], object] = lambda: None
        """Called when a process has begun or ended, in whichever thread finds out: no object changes with it."""
        self._lock = threading.Lock()
        """Guards the fields below."""
        self._children: dict[str, Child] = {}
        self._awaited: set[str] = set()
        """Storage keys whose lock some other process holds, and a thread waits for."""
        self._is_closed = False
        self._is_clear = False
        """What an earlier agent left in the scratch directory is gone."""

    def find(self, key: str) -> Child | None:
        """The process for the key that runs, or has ended last."""
        with self._lock:
            return self._children.get(key)

    def under_way(self) -> set[str]:
        """The storage keys of all processes that run."""
        with self._lock:
            return {key for key, child in self._children.items() if child.exit is None}

    def start(self, plan: ChildPlan) -> Child:
        """Starts a process; the staging directory is there. Raises EarlierDownloadError while another may still write
        there, DownloadSetupError where none can be started, StoreError where the disk fails."""
        known, lock = self.find(plan.key), self._lock_of(plan.key)
        if self._is_closed or (known is not None and known.exit is None):
            raise EarlierDownloadError("waiting for a download process to end")
        with disk_errors(lock.path):
            descriptor = lock.acquire()
        if descriptor is None:
            self._await(plan.key)
            raise EarlierDownloadError("waiting for a download process of an earlier agent to end")
        try:
            child = self._child(plan, descriptor)
            with self._lock:
                self._children[plan.key] = child
            child.start()
        except (OSError, ValueError) as error:
            self.forget(plan.key)
            self._remove_scratch(plan.key)
            raise DownloadSetupError(f"no download process can be started: {error}") from error
        finally:
            # The process has its own copy by now. Without one the lock is free with this.
            os.close(descriptor)
        self.on_change()
        return child

    def end(self, key: str) -> bool:
        """Ends the process of a key and forgets it; whether none writes any more, also none of an earlier agent."""
        child = self.find(key)
        if child is not None and child.exit is None:
            child.end()
            return False
        self.forget(key)
        return self.is_free(key)

    def is_free(self, key: str) -> bool:
        """Whether no process, of this agent or an earlier one, writes for the key. Raises StoreError.

        Where one does that is not this agent's own, `on_change` is called once it has ended.
        """
        lock = self._lock_of(key)
        with disk_errors(lock.path):
            if lock.is_free():
                return True
        child = self.find(key)
        if child is None or child.exit is not None:
            self._await(key)
        return False

    def forget(self, key: str) -> None:
        """Of a process that has ended, or never came about."""
        with self._lock:
            self._children.pop(key, None)

    def close(self) -> None:
        """Ends all and starts none any more; what they have written stays for the next agent. Idempotent."""
        self._is_closed = True
        with self._lock:
            running = [child for child in self._children.values() if child.exit is None]
        for child in end_all(running, patience=self._grace + _PATIENCE_SECONDS):
            log.error("a download process does not end", storage_key=child.plan.key, pid=child.pid)
        self._scratch.close()

    # steps -------------------------------------------------------------------------------------------------------

    def _child(self, plan: ChildPlan, descriptor: int) -> Child:
        if not self._is_clear:
            self._scratch.clear()
            self._is_clear = True
        return Child(
            plan,
            scratch=self._scratch.make(plan.key, plan.files),
            lock=descriptor,
            on_end=self._tidy,
            on_exit=self._changed,
            cgroup=self._groups.make(plan.key, plan.memory_bytes),
            program=self._program,
            grace=self._grace,
        )

    def _changed(self) -> None:
        """As `on_change` is at that time."""
        self.on_change()

    def _tidy(self, child: Child) -> None:
        """Removes what only the process needed. That it fails keeps no download from being what it is."""
        key = child.plan.key
        self._remove_scratch(key)
        try:
            if child.cgroup is not None:
                child.cgroup.remove()
            self._lock_of(key).is_free()
        except OSError as error:
            log.warning("what a download process needed cannot be removed", storage_key=key, error=str(error))

    def _remove_scratch(self, key: str) -> None:
        try:
            self._scratch.remove(self._scratch.directory / key)
        except OSError as error:
            log.warning("the files of a download process cannot be removed", storage_key=key, error=str(error))

    def _await(self, key: str) -> None:
        with self._lock:
            if key in self._awaited or self._is_closed:
                return
            self._awaited.add(key)
        threading.Thread(target=self._wait_for, args=(key,), name=f"await-{key}", daemon=True).start()

    def _wait_for(self, key: str) -> None:
        lock = self._lock_of(key)
        try:
            descriptor = lock.acquire(wait=True)
            if descriptor is not None:
                lock.release(descriptor)
        except OSError as error:
            log.warning("cannot wait for an earlier download to end", storage_key=key, error=str(error))
        finally:
            with self._lock:
                self._awaited.discard(key)
            self.on_change()

    def _lock_of(self, key: str) -> DownloadLock:
        return DownloadLock(self._notes / LOCKS / key)
