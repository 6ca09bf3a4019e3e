"""`Trouble`: why a collection is not being followed at the moment, for people and logs, and how long to wait."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from localmodel.runtime.backoff import Backoff
from localmodel.runtime.errors import ApiError
from localmodel.runtime.phase import Phase, explain

log = structlog.get_logger(__name__)

MISSING_KIND_DELAY = 10.0
"""Seconds at most between two tries to list a kind that is not served: its CRD may be installed at any moment, and who
installs it watches."""


class Trouble:
    """The last failure, until it is overcome. Written by the reflector's thread, read by anyone."""

    def __init__(self, backoff: Backoff, *, where: str, facts: Mapping[str, str]) -> None:
        """`where` is the collection in words, `facts` name it in logs."""
        self.message = ""
        """Empty when there is none."""
        self.phase: Phase | None = None
        """None exactly when the message is empty."""
        self._backoff = backoff
        self._where = where
        self._facts = facts

    def met(self, what: str, error: Exception) -> float:
        """Seconds to wait before the next try. What repeats is logged loudly once."""
        delay = self._backoff.next_delay((error.retry_after or 0) if isinstance(error, ApiError) else 0)
        phase = Phase.of_failure(error)
        if phase is Phase.KIND_MISSING:
            delay = min(delay, MISSING_KIND_DELAY)
        message = f"{what} {self._where}: {explain(error)}"
        emit = log.debug if message == self.message else log.warning
        emit("A reflector failed and will try again", error=message, delay=round(delay, 3), **self._facts)
        self.message, self.phase = message, phase
        return delay

    def overcome(self) -> bool:
        """Whether there was any."""
        if self.phase is None:
            return False
        log.info("A reflector works again", after=self.message, **self._facts)
        self.message, self.phase = "", None
        return True
