"""`eventually`: waiting for what another thread or process brings about, with a deadline (Gomega's Eventually)."""

from __future__ import annotations

import time
from collections.abc import Callable

from localmodel.runtime.errors import NotFoundError

_POLL_SECONDS = 0.002


def eventually(condition: Callable[[], object], *, timeout: float = 10.0, message: str = "") -> None:
    """Returns once `condition` is truthy; raises AssertionError after `timeout` seconds of real time.

    An AssertionError or NotFoundError that the condition itself raises counts as "not yet", and is raised at the end.
    """
    deadline = time.monotonic() + timeout
    while True:
        last: AssertionError | NotFoundError | None = None
        try:
            if condition():
                return
        except (AssertionError, NotFoundError) as error:
            last = error
        if time.monotonic() >= deadline:
            raise last or AssertionError(message or f"not true after {timeout} s")
        time.sleep(_POLL_SECONDS)
