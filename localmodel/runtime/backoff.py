"""How a reflector meets failures that repeat: it waits longer after each, and bears with some for a while only.

`Backoff` says how long to wait, `RetryWindow` how long to try the same thing again.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from .clock import Clock, RealClock


@dataclass(frozen=True, slots=True, kw_only=True)
class BackoffOptions:
    """client-go's values (tools/cache/reflector.go)."""

    initial: float = 0.8
    """Seconds of the first delay, before jitter."""
    maximum: float = 30.0
    """Seconds that a delay grows to, before jitter."""
    factor: float = 2.0
    jitter: float = 1.0
    """A delay is lengthened by a random share of itself up to this, so that clients spread after an outage."""
    reset_after: float = 120.0
    """Seconds without failure after which the delay starts anew."""


@dataclass(slots=True, kw_only=True)
class Backoff:
    """Exponential delays; used by one thread."""

    options: BackoffOptions = BackoffOptions()
    clock: Clock = field(default_factory=RealClock)
    rng: random.Random = field(default_factory=random.Random)
    _base: float = 0.0
    """The last delay before jitter; 0 before the first."""
    _last: float = 0.0

    def next_delay(self, at_least: float = 0.0) -> float:
        """Seconds to wait now. `at_least` is what the server asked for (Retry-After)."""
        now = self.clock.monotonic()
        if not self._base or now - self._last > self.options.reset_after:
            self._base = self.options.initial
        else:
            self._base = min(self._base * self.options.factor, self.options.maximum)
        self._last = now
        return max(at_least, self._base * (1 + self.rng.random() * self.options.jitter))


@dataclass(slots=True, kw_only=True)
class RetryWindow:
    """Opened by the first of a series of errors, for some seconds (client-go's RetryWithDeadline)."""

    seconds: float
    """0: it never opens."""
    clock: Clock = field(default_factory=RealClock)
    quiet_seconds: float = 60.0
    """So long after an error the next one starts a new series."""
    _opened: float | None = None
    _last: float = 0.0

    def is_open(self) -> bool:
        """Asked at each error, of which it takes note."""
        now = self.clock.monotonic()
        if self._opened is None or now - self._last >= self.quiet_seconds:
            self._opened = now
        self._last = now
        if self.seconds > 0 and now - self._opened <= self.seconds:
            return True
        self._opened = None
        return False
