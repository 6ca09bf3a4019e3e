"""The clock that everything else is given, so that tests can move time by hand (`testing.FakeClock`)."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Wall time for what is written down, monotonic time for what is waited for."""

    def now(self) -> datetime:
        """Wall time in UTC."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""

    def wait(self, condition: threading.Condition, timeout: float | None) -> None:
        """Waits on a held condition, at most `timeout` seconds of this clock. May wake early; callers loop."""

    def wait_event(self, event: threading.Event, timeout: float) -> bool:
        """Waits until the event is set or `timeout` seconds of this clock have passed; whether it is set."""


class RealClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def wait(self, condition: threading.Condition, timeout: float | None) -> None:
        condition.wait(timeout)

    def wait_event(self, event: threading.Event, timeout: float) -> bool:
        return event.wait(timeout)
