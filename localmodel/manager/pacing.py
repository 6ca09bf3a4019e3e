"""How often one object's status is written: at once after a quiet time, then at most once in an interval.

A hundred nodes that report in the same second cost one write, and the last report is never lost: whoever is told to
wait comes back after that time.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import Final

from localmodel.runtime.clock import Clock

INTERVAL: Final = 1.0
INTERVAL_MANY_NODES: Final = 10.0
MANY_NODES: Final = 500


def interval_for(nodes: int) -> float:
    """Seconds between two writes of the status of something that lies on that many nodes."""
    return INTERVAL if nodes <= MANY_NODES else INTERVAL_MANY_NODES


class Pacer:
    """Remembers when each object may be written again. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._due: dict[Hashable, float] = {}

    def delay(self, key: Hashable, clock: Clock) -> float:
        """Seconds until the object may be written again; 0 for now."""
        with self._lock:
            due = self._due.get(key)
        return 0.0 if due is None else max(0.0, due - clock.monotonic())

    def wrote(self, key: Hashable, interval: float, clock: Clock) -> None:
        """It was written now, and may be again in `interval` seconds."""
        with self._lock:
            self._due[key] = clock.monotonic() + interval

    def forget(self, key: Hashable) -> None:
        """The object is gone."""
        with self._lock:
            self._due.pop(key, None)
