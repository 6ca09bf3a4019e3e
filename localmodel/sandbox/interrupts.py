"""Ends a foreground program the same way whether Ctrl-C, SIGTERM or a closed terminal asks for it."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


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


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a signal handler's signature
    # Once: a second interrupt while the first unwinds could strike inside a lock's release and leave it broken.
    _ignore()
    raise KeyboardInterrupt


def _ignore() -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
