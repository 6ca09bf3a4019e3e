"""A cap on bandwidth, shared by all the threads of one download."""

from __future__ import annotations

import threading

from localmodel.download.clock import Clock


class Throttle:
    """Spreads bytes over time: each `take` books a slice of the time line and waits until its turn.

    A waiter that is told to stop keeps its booking; nobody takes any more by then.
    """

    def __init__(self, *, bytes_per_second: int, clock: Clock) -> None:
        """`bytes_per_second` 0 means no cap."""
        self.bytes_per_second = bytes_per_second
        self._clock = clock
        self._lock = threading.Lock()
        self._free_at = float("-inf")

    def chunk(self, limit: int) -> int:
        """How much to read at once, at most `limit`: a tenth of a second's share, so that a low cap still flows."""
        if not self.bytes_per_second:
            return limit
        return max(1, min(limit, self.bytes_per_second // 10))

    def take(self, count: int, stop: threading.Event) -> None:
        """Waits until `count` bytes may have passed, or `stop` is set."""
        if not self.bytes_per_second:
            return
        with self._lock:
            now = self._clock.monotonic()
            self._free_at = max(self._free_at, now) + count / self.bytes_per_second
            pause = self._free_at - now
        self._clock.wait(stop, pause)
