"""Downloads that run and do nothing: a foreign image may wait for its source for ever (D-41).

A deadline for a whole download would have to be longer than the largest model takes. What tells a hung one is that
neither its files grow nor its own progress is written; our downloader ends by itself long before. Times are of the
monotonic clock. Another agent process goes on from the last change of the files, so that an agent that restarts now
and then lets nothing hang for ever, but looks at each download for a minute before it ends one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from localmodel.runtime.clock import Clock

from . import tree
from .symptoms import Symptom, Trouble

LEAST_SECONDS: Final = 60.0
"""How long a process watches a download before it ends it, whatever the files' times say."""


@dataclass(slots=True)
class _Seen:
    evidence: tuple[int, int]
    """Bytes in the staging directory, and when the download's own progress was written."""
    since: float


class Stalls:
    """The downloads of one node that run. Not for use by several threads at once."""

    def __init__(self, staging: Path, clock: Clock) -> None:
        """`staging` is the store's, with a directory for each storage key."""
        self._staging = staging
        self._clock = clock
        self._seen: dict[str, _Seen] = {}

    def observe(self, key: str, written: int, *, timeout: int, started: datetime | None = None) -> Symptom | None:
        """What to say of a download that shows no work for `timeout` seconds; 0 is never. `written` in bytes.

        `started`: since when it runs, where that is not in this process.
        """
        # Imported here: an idle agent never needs it.
        from localmodel.download.progress import progress_path

        evidence = written, _last_change(progress_path(self._staging / key))
        now = self._clock.monotonic()
        seen = self._seen.get(key)
        if seen is None:
            before = min(self._idle(key, started), max(timeout - LEAST_SECONDS, 0.0))
            self._seen[key] = _Seen(evidence, now - before)
            return None
        if seen.evidence != evidence:
            self._seen[key] = _Seen(evidence, now)
            return None
        if not timeout or now - seen.since < timeout:
            return None
        return Symptom(
            Trouble.STALLED,
            f"the download has written nothing for {timeout} s and was ended; does its source answer? A source that "
            "takes longer needs a greater localModel.downloadStallSeconds",
        )

    def forget(self, key: str) -> None:
        """The key's download does not run."""
        self._seen.pop(key, None)

    def _idle(self, key: str, started: datetime | None) -> float:
        """Seconds since the download began to run or anything changed in its directory, whichever was later."""
        if started is None:
            return 0.0
        last = max(tree.last_change(self._staging / key), started.timestamp())
        return max(self._clock.now().timestamp() - last, 0.0)


def _last_change(path: Path) -> int:
    """In nanoseconds; 0 where there is no such file."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
