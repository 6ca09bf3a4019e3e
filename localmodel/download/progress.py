"""Progress: a small file that says how far a download is, for whoever watches it from outside.

`DEST/.localmodel/progress.json` is replaced atomically, at most twice a second and at every change of state, and stays
after the end. The agent polls it; nothing else about a running download is visible from outside, so a reader tells a
stalled one by an old `updatedAt`. The tracker is shared by the threads that fetch files; its lock guards all counters,
and the file is written under it so that no older state can replace a newer one.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec
import structlog

from localmodel.download.atomic import write_atomically
from localmodel.download.clock import Clock
from localmodel.download.manifest import NOTES_DIR

PROGRESS_FILE = "progress.json"
WRITE_INTERVAL_SECONDS = 0.5
_RATE_WINDOW_SECONDS = 5.0

State = Literal["resolving", "downloading", "verifying", "done", "failed"]

log = structlog.get_logger(__name__)


class Progress(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One moment of a download.

    `bytes_done` counts what is on disk, including what an earlier run left; `bytes_total` and `files_total` are None
    until the source has told them. `bytes_per_second` is the mean of the last few seconds of transfer. `updated_at` is
    RFC 3339 in UTC. `message` is the cause of a failure, else a short remark or empty.
    """

    uri: str
    state: State
    bytes_done: int = 0
    bytes_total: int | None = None
    files_done: int = 0
    files_total: int | None = None
    bytes_per_second: float = 0.0
    updated_at: str = ""
    message: str = ""


def progress_path(dest: Path | str) -> Path:
    """Where a download into `dest` reports its progress."""
    return Path(dest) / NOTES_DIR / PROGRESS_FILE


def read_progress(dest: Path | str) -> Progress | None:
    """The progress of the download into `dest`, or None when there is none (yet) or it cannot be understood."""
    try:
        return msgspec.json.decode(progress_path(dest).read_bytes(), type=Progress)
    except (OSError, msgspec.DecodeError):
        return None


class ProgressTracker:
    """Counts what the fetching threads do and publishes it."""

    def __init__(
        self, *, uri: str, dest: Path, clock: Clock, on_progress: Callable[[Progress], None] | None = None
    ) -> None:
        """`on_progress` gets every state that is written, in order, from whichever thread writes it."""
        self._path = progress_path(dest)
        self._clock = clock
        self._on_progress = on_progress
        self._lock = threading.Lock()
        self._current = Progress(uri=uri, state="resolving")
        self._samples: deque[tuple[float, int]] = deque()  # (moment, bytes transferred up to it), for the rate
        self._transferred = 0
        self._written_at = float("-inf")
        self._write_failed = False

    @property
    def transferred(self) -> int:
        """Bytes received by this process so far; those found on disk do not count."""
        with self._lock:
            return self._transferred

    def enter(self, state: State, *, message: str = "") -> None:
        """Changes the state and writes at once."""
        with self._lock:
            self._current = msgspec.structs.replace(self._current, state=state, message=message)
            self._write()

    def plan(self, *, bytes_total: int | None, files_total: int) -> None:
        """Sets the totals, and the counters to nothing done."""
        with self._lock:
            self._current = msgspec.structs.replace(
                self._current, bytes_total=bytes_total, files_total=files_total, bytes_done=0, files_done=0
            )

    def received(self, count: int) -> None:
        """`count` bytes came from the source and are on disk."""
        with self._lock:
            self._transferred += count
            self._count(count)

    def found(self, count: int) -> None:
        """`count` bytes were on disk already; negative when bytes that counted as done are thrown away."""
        with self._lock:
            self._count(count)

    def file_done(self) -> None:
        """One more file is whole."""
        with self._lock:
            self._current = msgspec.structs.replace(self._current, files_done=self._current.files_done + 1)
            self._write_if_due()

    def _count(self, count: int) -> None:
        self._current = msgspec.structs.replace(self._current, bytes_done=self._current.bytes_done + count)
        self._write_if_due()

    def _write_if_due(self) -> None:
        if self._clock.monotonic() - self._written_at >= WRITE_INTERVAL_SECONDS:
            self._write()

    def _write(self) -> None:
        self._written_at = self._clock.monotonic()
        stamp = self._clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._current = msgspec.structs.replace(self._current, updated_at=stamp, bytes_per_second=self._rate())
        try:
            write_atomically(self._path, msgspec.json.encode(self._current) + b"\n", durable=False)
        except OSError as error:
            # Reporting must not end a download that could go on; a full disk is noticed where the model is written.
            if not self._write_failed:
                log.warning("cannot write the progress file", path=str(self._path), error=str(error))
            self._write_failed = True
        if self._on_progress is not None:
            self._on_progress(self._current)

    def _rate(self) -> float:
        now = self._clock.monotonic()
        self._samples.append((now, self._transferred))
        while len(self._samples) > 2 and now - self._samples[1][0] >= _RATE_WINDOW_SECONDS:
            self._samples.popleft()
        began, before = self._samples[0]
        return round((self._transferred - before) / (now - began), 1) if now > began else 0.0
