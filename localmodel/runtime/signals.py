"""Stopping a program by signal: the first SIGTERM or SIGINT asks it to stop, the second ends it at once."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

import structlog

from .errors import RuntimeLibraryError

log = structlog.get_logger(__name__)

_installed = threading.Event()


def setup_signal_handler() -> threading.Event:
    """An event that is set by the first SIGTERM or SIGINT; the second ends the process with code 1.

    Once per process, in the main thread (signals.SetupSignalHandler).
    """
    if _installed.is_set():
        raise RuntimeLibraryError("the signal handler is set up already: pass on the event of the first call")
    _installed.set()
    stop = threading.Event()
    requested = False

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        nonlocal requested
        if requested:
            os._exit(1)
        requested = True
        # The handler runs inside the main thread, which may hold the event's lock at this moment; another thread can
        # wait for it.
        threading.Thread(target=_request_stop, args=(stop, number), name="signal", daemon=True).start()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
    return stop


def _request_stop(stop: threading.Event, number: int) -> None:
    log.info("Stopping", signal=signal.Signals(number).name)
    stop.set()
