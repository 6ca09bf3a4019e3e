"""A hub's bandwidth as a gate: downloads come to a halt at a chosen byte, and stay there until the test goes on."""

from __future__ import annotations

import threading

from localmodel.download.clock import SystemClock
from localmodel.download.throttle import Throttle

CONFIGURATION = 1 << 16
"""Bytes that no file but the weights has: below it nothing is held."""


class Gate(Throttle):
    """Put in the place of `HubServer.throttle`. Counts the bytes of each connection."""

    def __init__(self) -> None:
        super().__init__(bytes_per_second=0, clock=SystemClock())
        self._limit = 0
        self._opened = threading.Event()
        self._opened.set()
        self._connection = threading.local()
        self._held = 0
        self._counting = threading.Lock()

    @property
    def held(self) -> int:
        """Connections that are held now: a download may have several."""
        return self._held

    def close_at(self, size: int) -> None:
        """From now on each download is held once it has about this many bytes; at 0, when its weights begin."""
        self._limit = max(size, CONFIGURATION)
        self._opened.clear()

    def open(self) -> None:
        """Lets everything pass again."""
        self._opened.set()

    def take(self, count: int, stop: threading.Event) -> None:
        self._connection.sent = sent = getattr(self._connection, "sent", 0) + count
        if sent < self._limit or self._opened.is_set():
            return
        with self._counting:
            self._held += 1
        while not (stop.is_set() or self._opened.wait(0.05)):
            continue
        with self._counting:
            self._held -= 1
