"""Downloads that run and do nothing: a foreign image may wait for its source for ever (D-41).

A deadline for a whole download would have to be longer than the largest model takes. What tells a hung one is that
neither its files grow nor its own progress is written; our downloader ends by itself long before. Times are of the
monotonic clock: another agent process begins anew.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from localmodel.runtime.clock import Clock

from .symptoms import Symptom, Trouble


@dataclass(slots=True)
class _Seen:
    evidence: Hashable
    since: float


class Stalls:
    """The downloads of one node that run. Not for use by several threads at once."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: dict[str, _Seen] = {}

    def observe(self, key: str, evidence: Hashable, *, timeout: int) -> Symptom | None:
        """What to say of a download whose `evidence` of work has not changed for `timeout` seconds; 0 is never."""
        now = self._clock.monotonic()
        seen = self._seen.get(key)
        if seen is None or seen.evidence != evidence:
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
