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
_LONGEST_WAIT: Final = 1.0
"""Then the rate is asked for again: whoever has set one that is far too low must not wait for days to mend it."""
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
        self._owed = 0.0
        """Bytes that were read before their time."""
        self._seen = clock.monotonic()

    def spend(self, size: int, stop: threading.Event) -> None:
        """Call after `size` bytes: waits out the time they should take. Raises InterruptedError if `stop` is set."""
        if stop.is_set():
            raise InterruptedError
        rate = self._rate()
        # Time in which nothing was read gives no right to read faster afterwards.
        self._pay(rate)
        self._owed += size
        while rate > 0 and self._owed >= _BURST_SECONDS * rate:
            if self._clock.wait_event(stop, min(self._owed / rate, _LONGEST_WAIT)):
                raise InterruptedError
            rate = self._rate()
            self._pay(rate)

    def _pay(self, rate: int) -> None:
        now = self._clock.monotonic()
        self._owed = max(0.0, self._owed - (now - self._seen) * rate) if rate > 0 else 0.0
        self._seen = now


def yield_disk() -> None:
    """The calling thread gets the disk when no other process wants it, where the kernel's scheduler knows of that."""
    number = _IOPRIO_SET.get(os.uname().machine) if sys.platform == "linux" else None
    if number is None:
        return
    library = ctypes.CDLL(None, use_errno=True)
    if library.syscall(number, _WHO_THREAD, 0, _IDLE) != 0:
        log.debug("the thread's priority on the disk stays as it is", error=os.strerror(ctypes.get_errno()))
