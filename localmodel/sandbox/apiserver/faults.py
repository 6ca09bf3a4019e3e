"""`ServerFaults`: what goes wrong on this server, on demand, for tests of its clients.

Rules hit resource requests once it is known who asks for what: a delay, a failure with any Status (429 with
Retry-After), a connection that is closed before the request takes effect or after it did, a watch that goes silent.
Running watches can be cut or silenced, history compacted, the clock moved, tokens expired. Health, discovery and the
control of faults itself (`control`) are never hit. Neighbours: `core` asks here on the way of each request.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from localmodel.runtime.clock import Clock
from localmodel.runtime.errors import ApiError, ExpiredError
from localmodel.runtime.testing.faults import Fault, FaultRules, Target
from localmodel.runtime.testing.registry import Registry

from .messages import Answer, NoAnswer, Response, WatchResponse
from .routing import RequestInfo
from .watchlines import event_line

Cut = Literal["end", "reset", "expired"]
"""How a watch ends: as at its timeout, by a reset connection, or with an event of type ERROR (410) first."""


@dataclass(eq=False, slots=True, kw_only=True)
class ServerFault(Fault):
    """A rule of a server. At most one of `error`, `reset`, `drop_answer` and `hold` says how the request ends."""

    reset: bool = False
    """The connection is closed before the request takes effect."""
    drop_answer: bool = False
    """The request takes effect; then the connection is closed without an answer."""
    hold: bool = False
    """A watch starts and never says anything: half open. Other requests are not hit."""

    @property
    def is_delay(self) -> bool:
        return self.error is None and not (self.reset or self.drop_answer or self.hold)


class SkewedClock:
    """Another clock with its wall time moved by `skew`; monotonic time and waits are the other's."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.skew = timedelta()

    def now(self) -> datetime:
        return self._clock.now() + self.skew

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def wait(self, condition: threading.Condition, timeout: float | None) -> None:
        self._clock.wait(condition, timeout)

    def wait_event(self, event: threading.Event, timeout: float) -> bool:
        return self._clock.wait_event(event, timeout)


def request_target(info: RequestInfo, user: str, user_agent: str) -> Target:
    """A request as rules see it."""
    return Target(
        verb=info.verb,
        resource=info.group_resource,
        subresource=info.subresource,
        namespace=info.namespace,
        name=info.name,
        user=user,
        user_agent=user_agent,
    )


class ServerFaults(FaultRules):
    """The faults of one server. Thread-safe."""

    def __init__(self, registry: Registry, clock: SkewedClock, *, seed: int | None = None) -> None:
        super().__init__(seed=seed)
        self._registry = registry
        self._clock = clock
        self._stopping = threading.Event()
        # The running watches and what they asked for.
        self._watches: weakref.WeakKeyDictionary[WatchResponse, Target] = weakref.WeakKeyDictionary()

    def stop(self) -> None:
        """Ends all delays: the server stops."""
        self._stopping.set()

    @property
    def has_delays(self) -> bool:
        """Whether a request may have to wait."""
        return any(rule.latency for rule in self.rules)

    def before(self, request: Target) -> list[ServerFault]:
        """What hits this request, after its delays; to be given to `after` with the answer. Raises ApiError.

        Blocks for the delays.
        """
        taken = [rule for rule in self.take(request) if isinstance(rule, ServerFault)]
        for rule in taken:
            if rule.latency:
                self._clock.wait_event(self._stopping, rule.latency)
        for rule in taken:
            if rule.error is not None:
                raise rule.error
        return taken

    def after(self, taken: Sequence[ServerFault], request: Target, answer: Response | WatchResponse) -> Answer:
        """The answer as it goes out."""
        for rule in taken:
            if rule.hold and isinstance(answer, WatchResponse):
                answer.hold()
            if rule.drop_answer:
                if isinstance(answer, WatchResponse):
                    answer.close()
                return NoAnswer(answer.status if isinstance(answer, Response) else 200)
        if isinstance(answer, WatchResponse):
            with self._lock:
                self._watches[answer] = request
        return answer

    def cut_watches(self, target: Target | None = None, *, how: Cut = "end") -> int:
        """Ends the running watches that fit; how many there were."""
        found = self._running(target)
        for watch in found:
            if how == "expired":
                gone = ExpiredError.of("The resourceVersion for the provided watch is too old.")
                watch.push(event_line("ERROR", msgspec.json.encode(gone.status)))
            if how == "reset":
                watch.abort(reset=True)
            else:
                watch.finish()
        return len(found)

    def hold_watches(self, target: Target | None = None) -> int:
        """Silences the running watches that fit, for good: their connections stay open. How many there were."""
        found = self._running(target)
        for watch in found:
            watch.hold()
        return len(found)

    def compact(self, resource: str = "") -> None:
        """Forgets the history of one resource, or all: older resource versions and continue tokens expire."""
        self._registry.store.compact(resource or None)

    @property
    def clock_skew(self) -> timedelta:
        """How far the server's wall clock is ahead of the machine's."""
        return self._clock.skew

    @clock_skew.setter
    def clock_skew(self, skew: timedelta) -> None:
        self._clock.skew = skew

    def _running(self, target: Target | None) -> list[WatchResponse]:
        wanted = target or Target()
        with self._lock:
            return [watch for watch, asked in self._watches.items() if not watch.ended and wanted.fits(asked)]


def status_error(code: int, *, reason: str = "", message: str = "", retry_after: int | None = None) -> ApiError:
    """The error that a rule fails requests with, of the class and reason that belong to an HTTP code."""
    from localmodel.runtime.errors import error_from_status, make_status

    details = {"retryAfterSeconds": retry_after} if retry_after is not None else None
    known = error_from_status({}, code=code)
    text = message or f"injected fault: the server answers {code} on request"
    return error_from_status(make_status(reason or known.reason_name or "InternalError", code, text, details))
