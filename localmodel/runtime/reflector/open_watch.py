"""`OpenWatch`: one watch under way, from its answer to its end."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from localmodel.runtime.listwatch import WatchEvent, WatchStream


class OpenWatch:
    """Iterated once or in parts by the reflector's thread; closed by any, and once however often it is asked to."""

    def __init__(self, stream: WatchStream, started: float) -> None:
        self.started = started
        """Monotonic seconds at which it was asked for, or had brought the list."""
        self.progressed = False
        """It moved the resource version."""
        self._stream = stream
        self._events = iter(stream)
        self._silence: float | None = None
        self._lock = threading.Lock()
        self._is_closed = False

    def __iter__(self) -> Iterator[WatchEvent]:
        """Goes on where the last iteration was left; raises TransportError."""
        return self._events

    def limit_silence(self, seconds: float) -> None:
        if seconds != self._silence:
            self._silence = seconds
            self._stream.limit_silence(seconds)

    def close(self) -> None:
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        self._stream.close()
