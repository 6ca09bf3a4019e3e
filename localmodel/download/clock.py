"""Time as the download sees it, so that tests can stand in for it."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """The three questions about time that a download asks."""

    def now(self) -> datetime:
        """The wall clock, with a time zone."""

    def monotonic(self) -> float:
        """Seconds that never go back."""

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Waits until the event is set (True) or the seconds have passed (False)."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The current time in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """`time.monotonic`."""
        return time.monotonic()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """`event.wait(seconds)`."""
        return event.wait(seconds)
