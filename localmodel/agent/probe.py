"""Does the disk answer? Asked before each pass, in a thread of its own: a call to a disk that hangs never returns.

A disk that does not answer in time counts as not responding until that very question is answered; no second one is
asked meanwhile, so a dead disk costs one thread and not one a minute. Looking costs nothing; writing is what shows that
a disk is gone while the kernel still knows its directories, and wears it, so a small file is written and synced only
now and then: at first, after a failure, and each ten minutes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Final

import structlog

from localmodel.runtime.clock import Clock, RealClock

from .errors import NotRespondingError, StoreError, disk_errors
from .filesystem import FileSystem
from .store import ModelStore

DEADLINE: Final = 20.0
WRITE_INTERVAL: Final = 600.0
NOTE: Final = "probe"
_LATELY: Final = 5.0

log = structlog.get_logger(__name__)


class _Question:
    """One look at the disk, under way or answered."""

    def __init__(self, *, asked: datetime, begun: float, writes: bool) -> None:
        self.asked = asked
        self.begun = begun
        """By the monotonic clock, in seconds."""
        self.writes = writes
        self.doing = "thread started"
        """What the thread does now, for messages."""
        self.answered = threading.Event()
        self.error: OSError | None = None
        """What the disk answered, where it was no success."""
        self.was_late = False


class DiskProbe:
    """Asks one store's disk. `check` and `check_alive` may be called by any threads."""

    def __init__(
        self,
        store: ModelStore,
        *,
        filesystem: FileSystem | None = None,
        deadline: float = DEADLINE,
        write_interval: float = WRITE_INTERVAL,
        clock: Clock | None = None,
    ) -> None:
        """`deadline`: seconds that an answer may take. `filesystem` is what the question goes through."""
        self._store = store
        self._fs = filesystem or FileSystem()
        self._fs.confine(store.root)
        self.deadline = deadline
        self._write_interval = write_interval
        self.clock: Clock = clock or RealClock()
        self._lock = threading.Lock()
        """Guards the fields below."""
        self._current: _Question | None = None
        """The question that is not answered yet, or the last one."""
        self._written = float("-inf")
        self.on_recovery: Callable[[], object] = lambda: None
        """Called by the thread of a question that was answered too late."""

    def check(self) -> StoreError | None:
        """Asks, and waits for the answer at most until the deadline: what the disk said, None if all went well.

        Raises NotRespondingError, without waiting where an earlier question is overdue.
        """
        with self._lock:
            question = self._ask()
        if question.was_late or not self.clock.wait_event(question.answered, self._left(question)):
            self._check_answered(question)
        try:
            with disk_errors(self._store.models):
                if question.error is not None:
                    raise question.error
        except StoreError as error:
            return error
        return None

    def check_alive(self, *, writing: bool = False) -> None:
        """A readiness check: asks without waiting, if nobody did lately; raises NotRespondingError where a question is
        overdue. `writing`: asks by a write, which shows more (see the module)."""
        with self._lock:
            question = self._current
            is_recent = question is not None and self.clock.monotonic() - question.begun < _LATELY
            if question is None or not is_recent or (writing and not question.writes):
                question = self._ask(writing=writing)
        if not question.answered.is_set() and self._left(question) <= 0:
            self._check_answered(question)

    def _left(self, question: _Question) -> float:
        return max(0.0, question.begun + self.deadline - self.clock.monotonic())

    def _check_answered(self, question: _Question) -> None:
        with self._lock:
            if question.answered.is_set():
                return
            if not question.was_late:
                question.was_late = True
                log.error("the disk does not respond", root=str(self._store.root), doing=question.doing)
        raise NotRespondingError(
            f"the disk at {self._store.root} has not answered since {question.asked:%Y-%m-%dT%H:%M:%SZ} "
            f"({question.doing}); nothing on it is read, written or deleted until it does: look at the node's kernel "
            "log and at the device or file server behind it"
        )

    def _ask(self, *, writing: bool = False) -> _Question:
        """The question under way, else a new one; `writing`: one that writes before its time."""
        if self._current is not None and not self._current.answered.is_set():
            return self._current
        now = self.clock.monotonic()
        failed = self._current is not None and (self._current.was_late or self._current.error is not None)
        # Written only where the root is ours: what is not mounted, or another agent's, stays untouched.
        due = writing or failed or now - self._written >= self._write_interval
        writes = due and self._store.is_open
        question = _Question(asked=self.clock.now(), begun=now, writes=writes)
        self._current = question
        threading.Thread(target=self._answer, args=(question,), name="disk-probe", daemon=True).start()
        return question

    def _answer(self, question: _Question) -> None:
        try:
            self._look(question)
        except OSError as error:
            question.error = error
        with self._lock:
            if question.writes:
                self._written = self.clock.monotonic()
            question.answered.set()
        if question.was_late:
            log.info("the disk responds again", root=str(self._store.root))
            self.on_recovery()

    def _look(self, question: _Question) -> None:
        question.doing = f"stat of {self._store.models}"
        self._fs.step("stat", self._store.models)
        if not self._store.models.is_dir():
            return  # What that means the store says.
        question.doing = f"statfs of {self._store.models}"
        os.statvfs(self._store.models)
        if question.writes:
            question.doing = f"write and fsync of {self._store.notes / NOTE}"
            self._fs.write_file(self._store.notes / NOTE, b"")
