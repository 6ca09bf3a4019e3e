"""When to try again. A download that makes progress may fail as often as the network likes; one that makes none may
fail `max_attempts` times in a row. Only errors that say so (`TransientError`) are tried again, so a refused token or a
missing model is reported at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import structlog
from tenacity import RetryCallState, Retrying, retry_if_exception_type

from localmodel.download.clock import Clock
from localmodel.download.errors import CancelledError, TransientError
from localmodel.download.options import DownloadOptions

_LONGEST_WAIT_SECONDS = 30.0
# The Hugging Face hub counts requests in windows of five minutes and asks to be left alone until the window ends.
_LONGEST_ASKED_WAIT_SECONDS = 300.0

T = TypeVar("T")

log = structlog.get_logger(__name__)


class _Policy:
    """Counts failures between which `progressed` has not grown. tenacity asks for the wait first, then for the end."""

    def __init__(self, *, options: DownloadOptions, progressed: Callable[[], int]) -> None:
        self._options = options
        self._progressed = progressed
        self._best = progressed()
        self._failures = 0

    def wait(self, state: RetryCallState) -> float:
        """Seconds before the next attempt: doubling with each failure in a row, or what the server asked for."""
        reached = self._progressed()
        self._failures = 1 if reached > self._best else self._failures + 1
        self._best = max(self._best, reached)
        wait = min(self._options.retry_seconds * 2.0 ** (self._failures - 1), _LONGEST_WAIT_SECONDS)
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after if isinstance(error, TransientError) else None
        return max(wait, min(asked or 0.0, _LONGEST_ASKED_WAIT_SECONDS))

    def stop(self, _state: RetryCallState) -> bool:
        """Whether the attempts are used up."""
        return self._failures >= self._options.max_attempts


def with_retries(
    call: Callable[[], T],
    *,
    options: DownloadOptions,
    clock: Clock,
    stop: threading.Event,
    progressed: Callable[[], int] = lambda: 0,
) -> T:
    """Calls until it succeeds, fails for good or has used up its attempts; then its last error goes to the caller.

    `progressed` returns a number that grows while the call gets somewhere. Raises CancelledError once `stop` is set.
    """

    def attempt() -> T:
        if stop.is_set():
            raise CancelledError("the download was stopped")
        return call()

    def sleep(seconds: float) -> None:
        clock.wait(stop, seconds)

    def note(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        log.warning("trying again", error=str(error), wait_seconds=round(state.upcoming_sleep, 1))

    policy = _Policy(options=options, progressed=progressed)
    retrying = Retrying(
        retry=retry_if_exception_type(TransientError),
        stop=policy.stop,
        wait=policy.wait,
        sleep=sleep,
        before_sleep=note,
        reraise=True,
    )
    return retrying(attempt)
