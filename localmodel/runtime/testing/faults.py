"""`Faults`: what goes wrong between a client and an API server, on demand.

A rule applies to the next requests that fit it, or to all until it is removed. Time passes on the registry's clock, so
that an injected latency costs a test nothing: with a `FakeClock`, the request waits until the test moves the clock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from localmodel.runtime.errors import TransportError
from localmodel.runtime.objects import Object

from .builtins import definition_of
from .registry import Registry

if TYPE_CHECKING:
    from .fake import Action

_NEVER = threading.Event()


@dataclass(eq=False, slots=True)
class Fault:
    """One rule; `remaining` counts down, None never ends. `hits` is how often it was applied."""

    verb: str
    kind: type[Object] | None
    subresource: str | None
    error: Exception | None
    latency: float
    after: bool
    remaining: int | None
    hits: int = 0

    def fits(self, action: Action) -> bool:
        if self.remaining == 0 or self.verb not in ("", action.verb):
            return False
        if self.kind is not None and self.kind.mapping != action.kind.mapping:
            return False
        return self.subresource is None or self.subresource == action.subresource


class Faults:
    """The faults of one client. Thread-safe."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._lock = threading.Lock()
        self._rules: list[Fault] = []

    def fail(
        self,
        error: Exception,
        *,
        verb: str = "",
        kind: type[Object] | None = None,
        subresource: str | None = None,
        times: int | None = 1,
    ) -> Fault:
        """The request raises `error` and has no effect. Empty verb: any; kind None: any; times None: until cleared."""
        return self._add(Fault(verb, kind, subresource, error, 0.0, False, times))

    def drop_answer(
        self,
        error: Exception | None = None,
        *,
        verb: str = "",
        kind: type[Object] | None = None,
        subresource: str | None = None,
        times: int | None = 1,
    ) -> Fault:
        """The request takes effect, but its answer is lost: it raises `error`, by default a TransportError."""
        lost = error or TransportError("the connection was closed before the answer came")
        return self._add(Fault(verb, kind, subresource, lost, 0.0, True, times))

    def delay(
        self,
        seconds: float,
        *,
        verb: str = "",
        kind: type[Object] | None = None,
        subresource: str | None = None,
        times: int | None = 1,
    ) -> Fault:
        """The request takes effect only when the registry's clock has moved on by `seconds`."""
        return self._add(Fault(verb, kind, subresource, None, seconds, False, times))

    def clear(self, fault: Fault | None = None) -> None:
        """Removes one rule, or all."""
        with self._lock:
            self._rules = [rule for rule in self._rules if fault is not None and rule is not fault]

    def cut_watches(self, kind: type[Object] | None = None, error: Exception | None = None) -> int:
        """Ends the running watches (of one kind), quietly or with `error`; how many."""
        return self._registry.end_watches(kind.mapping.group_resource if kind else "", error)

    def compact(self, kind: type[Object] | None = None) -> None:
        """Forgets the history (of one kind): older resource versions and continue tokens expire."""
        self._registry.store.compact(definition_of(kind).resource if kind else None)

    def intercept(self, action: Action, proceed: Callable[[], Any]) -> Any:
        """An interceptor that applies the rules."""
        fitting = self._take(action)
        for rule in fitting:
            if rule.latency:
                self._registry.clock.wait_event(_NEVER, rule.latency)
        for rule in fitting:
            if rule.error is not None and not rule.after:
                raise rule.error
        answer = proceed()
        for rule in fitting:
            if rule.error is not None:
                raise rule.error
        return answer

    def _add(self, fault: Fault) -> Fault:
        with self._lock:
            self._rules.append(fault)
        return fault

    def _take(self, action: Action) -> list[Fault]:
        """The rules for this request, the first of each effect; counts them down."""
        with self._lock:
            taken: list[Fault] = []
            for rule in self._rules:
                error_taken = any(other.error is not None for other in taken)
                if rule.fits(action) and not (rule.error is not None and error_taken):
                    taken.append(rule)
            for rule in taken:
                rule.hits += 1
                if rule.remaining is not None:
                    rule.remaining -= 1
            return taken
