"""How long a reflector waits after a failure: longer after each, short again after a quiet time."""

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
