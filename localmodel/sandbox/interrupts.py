"""Ends a foreground program the same way whether Ctrl-C, SIGTERM or a closed terminal asks for it."""

from __future__ import annotations

import signal
from types import FrameType


def interrupt_on_termination() -> None:
    """From now on SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt in the main thread, so that `finally` runs.

    To be called in the main thread. SIGINT is set too: a shell starts background jobs with it ignored.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a signal handler's signature
    raise KeyboardInterrupt
