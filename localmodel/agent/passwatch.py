"""A pass that hangs in the middle: the probe asked before it, and then the disk went.

Its thread can say nothing any more, so another looks now and then how long the pass has been under way. Where it takes
long, which it may while it publishes or deletes much, the disk is asked by a small write: one that can still be read
may hang at writing only, as one that is frozen or whose device is gone does. If that is not answered in time either,
the condition says so. A call that comes back lets the pass go on and say the rest.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from localmodel.runtime.errors import RuntimeLibraryError

from .errors import NotRespondingError
from .probe import DiskProbe

log = structlog.get_logger(__name__)


class PassWatch:
    """A runnable of the manager, beside the one thread that makes the passes."""

    need_leader_election = False

    def __init__(self, probe: DiskProbe, *, report: Callable[[NotRespondingError], object]) -> None:
        """`report` hears that the pass under way hangs, at each look, in this thread. Looks four times in a probe's
        deadline, and asks once half of it is over."""
        self._probe = probe
        self._report = report
        self._begun: float | None = None
        """When the pass under way began (monotonic); None between passes."""

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Around a pass."""
        self._begun = self._probe.clock.monotonic()
        try:
            yield
        finally:
            self._begun = None

    def start(self, stop: threading.Event) -> None:
        """Blocks until `stop` is set."""
        while not self._probe.clock.wait_event(stop, self._probe.deadline / 4):
            self.look()

    def look(self) -> None:
        """Asks the disk if a pass takes long, without waiting for the answer, and reports one that is overdue."""
        begun = self._begun
        if begun is None or self._probe.clock.monotonic() - begun < self._probe.deadline / 2:
            return
        try:
            self._probe.check_alive(writing=True)
        except NotRespondingError as error:
            try:
                self._report(error)
            except RuntimeLibraryError as failure:
                log.warning("cannot say that the disk hangs, trying again", error=str(failure))
