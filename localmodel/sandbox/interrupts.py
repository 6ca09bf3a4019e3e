"""Ends a foreground program the same way whether Ctrl-C, SIGTERM or a closed terminal asks for it."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class _Holding:
    """What the handler of signals, which is one for the process, must know of `held_back`. Main thread only."""

    blocks: int = 0
    """How many blocks are under way, one within the other."""
    missed: bool = False
    """A signal came meanwhile."""


_HOLDING = _Holding()


def interrupt_on_termination() -> None:
    """From now on SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt in the main thread, so that `finally` runs.

    To be called in the main thread. SIGINT is set too: a shell starts background jobs with it ignored.
    """
    for number in _SIGNALS:
        signal.signal(number, _interrupt)


@contextlib.contextmanager
def stopping_afterwards() -> Iterator[None]:
    """When the block ends, the program does, and further signals are ignored: an impatient second Ctrl-C must not
    break off the removal of what the first one ended. To be entered last, in the main thread."""
    try:
        yield
    finally:
        _ignore()


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """An interrupt that comes within the block is raised at its end: what the block starts, somebody knows of.

    Must be short. In other threads than the main one it does nothing, since none is interrupted.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _HOLDING.blocks += 1
    try:
        yield
    finally:
        _HOLDING.blocks -= 1
        if _HOLDING.missed and not _HOLDING.blocks:
            _HOLDING.missed = False
            raise KeyboardInterrupt


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a signal handler's signature
    # Once: a second interrupt while the first unwinds could strike inside a lock's release and leave it broken.
    _ignore()
    if _HOLDING.blocks:
        _HOLDING.missed = True
    else:
        raise KeyboardInterrupt


def _ignore() -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
