"""Keeps Python's cyclic garbage collector out of the way while caches fill.

Filling a cache only adds objects, so the collector finds nothing and yet walks everything again and again: about half
of the time of a large first list. While anything fills, its thresholds are raised; when the last is done, what is there
is moved out of its sight (`gc.freeze`).
"""

from __future__ import annotations

import gc
import threading

_THRESHOLDS = (100_000, 50, 1000)

_lock = threading.Lock()
_filling = 0
"""Caches that are filling now."""
_former: tuple[int, int, int] = gc.get_threshold()
"""The thresholds to restore; taken when `_filling` leaves zero."""


def begin_filling() -> None:
    """Raises the thresholds. Each call needs one `end_filling`."""
    global _filling, _former
    with _lock:
        if _filling == 0:
            _former = gc.get_threshold()
            gc.set_threshold(*_THRESHOLDS)
        _filling += 1


def end_filling(*, freeze: bool) -> None:
    """Restores the thresholds after the last cache; `freeze` if it is there to stay."""
    global _filling
    with _lock:
        _filling -= 1
        if _filling:
            return
        gc.set_threshold(*_former)
        if freeze:
            gc.collect()
            gc.freeze()
