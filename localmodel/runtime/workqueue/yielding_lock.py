"""`YieldingLock`: a lock for short work by many threads, which do not come to march in step.

CPython's lock is taken over by a sleeping thread before that thread may run. Once two threads have met at it, each
holds the lock while it waits for the interpreter, so every other one must sleep too, and from then on each operation
costs a switch of threads: a fifth of the speed, for as long as all are busy. Here a thread that finds the lock taken
first lets the others run and looks again; mostly the holder has finished by then. Only then does it sleep.
"""

from __future__ import annotations

import threading
import time

_LOOKS = 20


class YieldingLock:
    """As `threading.Lock`, also as the lock of a `threading.Condition`."""

    __slots__ = ("acquire", "release")

    def __init__(self) -> None:
        lock = threading.Lock()
        self.acquire = lock.acquire
        """Sleeps at once if the lock is taken."""
        self.release = lock.release

    def __enter__(self) -> None:
        if self.acquire(False):
            return
        for _ in range(_LOOKS):
            time.sleep(0)
            if self.acquire(False):
                return
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()
