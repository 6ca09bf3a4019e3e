"""Stopping a program by signal: the first SIGTERM or SIGINT asks it to stop, the second ends it at once.

Python runs signal handlers in the main thread, between two of its steps. A signal that comes just as the main thread
begins to wait is not noticed before that wait ends, and a handler that takes a lock can meet the main thread inside it.
So the handlers here do nothing: the interpreter writes each signal's number into a pipe the moment it comes, and a
thread reads it.
"""

from __future__ import annotations

import os
import signal
import threading

import structlog

from .errors import RuntimeLibraryError

log = structlog.get_logger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_installed = threading.Event()


def setup_signal_handler() -> threading.Event:
    """An event that is set by the first SIGTERM or SIGINT; the second ends the process with code 1.

    Once per process, in the main thread (signals.SetupSignalHandler). It starts the thread "signal", which stays.
    """
    if _installed.is_set():
        raise RuntimeLibraryError("the signal handler is set up already: pass on the event of the first call")
    _installed.set()
    stop = threading.Event()
    arriving, sending = os.pipe()
    os.set_blocking(sending, False)
    threading.Thread(target=_listen, args=(arriving, stop), name="signal", daemon=True).start()
    signal.set_wakeup_fd(sending, warn_on_full_buffer=False)
    for number in _SIGNALS:
        # Without a handler of Python's the interpreter would not see the signal.
        signal.signal(number, lambda *_: None)
    return stop


def _listen(arriving: int, stop: threading.Event) -> None:
    """Reads the numbers of signals for as long as the process lives."""
    requested = False
    while True:
        for number in os.read(arriving, 64):
            if number not in _SIGNALS:
                continue
            if requested:
                os._exit(1)
            requested = True
            log.info("Stopping", signal=signal.Signals(number).name)
            stop.set()
