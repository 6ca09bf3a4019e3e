"""Work in the background that takes little: so many bytes a second, and the disk only when nobody else wants it."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable
from typing import Final

import structlog

from localmodel.runtime.clock import Clock

_BURST_SECONDS: Final = 0.25
"""How far reading runs ahead before it waits: a wait for each block would wake the process a hundred times a second."""
_IOPRIO_SET: Final = {"x86_64": 251, "aarch64": 30}
_WHO_THREAD: Final = 1
_IDLE: Final = 3 << 13

log = structlog.get_logger(__name__)


class Pace:
    """Holds one thread to a number of bytes a second, which may change at any time."""

    def __init__(self, clock: Clock, *, rate: Callable[[], int]) -> None:
        """`rate`: bytes a second; 0 is no limit."""
        self._clock = clock
        self._rate = rate
        self._ahead = 0.0
        """Seconds that the bytes so far should have taken, less those that went by."""
        self._seen = clock.monotonic()

    def spend(self, size: int, stop: threading.Event) -> None:
        """Call after `size` bytes: waits out the time they should take. Raises InterruptedError if `stop` is set."""
        if stop.is_set():
            raise InterruptedError
        rate = self._rate()
        if rate <= 0:
            return
        now = self._clock.monotonic()
        # Time in which nothing was read gives no right to read faster afterwards.
        self._ahead = max(0.0, self._ahead - (now - self._seen)) + size / rate
        self._seen = now
        if self._ahead >= _BURST_SECONDS and self._clock.wait_event(stop, self._ahead):
            raise InterruptedError


def yield_disk() -> None:
    """The calling thread gets the disk when no other process wants it, where the kernel's scheduler knows of that."""
    number = _IOPRIO_SET.get(os.uname().machine) if sys.platform == "linux" else None
    if number is None:
        return
    library = ctypes.CDLL(None, use_errno=True)
    if library.syscall(number, _WHO_THREAD, 0, _IDLE) != 0:
        log.debug("the thread's priority on the disk stays as it is", error=os.strerror(ctypes.get_errno()))
