"""Faults: what goes wrong between a client and an API server, on demand.

A `Fault` says which requests it hits (its `Target`), how often, and what happens to them. `FaultRules` keeps them and
gives out those that a request meets. `Faults` injects them into a `FakeClient`; the embedded API server has its own
way, on the same rules. Time passes on the registry's clock, so that an injected latency costs a test nothing: with a
`FakeClock`, the request waits until the test moves the clock.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from localmodel.runtime.errors import TransportError

from .builtins import definition_of
from .registry import Registry

if TYPE_CHECKING:
    from localmodel.runtime.objects import Object

    from .fake import Action

_NEVER = threading.Event()


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Which requests a fault hits, or what one request is; an empty field of a fault's target fits any request."""

    verb: str = ""
    """get, list, watch, create, update, patch, apply (of a FakeClient only), delete or deletecollection."""
    resource: str = ""
    """`plural.group`, or `plural` in the core group."""
    subresource: str | None = None
    """None is any, an empty one the object itself."""
    namespace: str = ""
    name: str = ""
    user: str = ""
    user_agent: str = ""
    """How it begins."""

    def fits(self, request: Target) -> bool:
        """Whether a request, given as a target, is hit."""
        return (
            self.verb in ("", request.verb)
            and self.resource in ("", request.resource)
            and self.subresource in (None, request.subresource)
            and self.namespace in ("", request.namespace)
            and self.name in ("", request.name)
            and self.user in ("", request.user)
            and request.user_agent.startswith(self.user_agent)
        )


_ANY = Target()


@dataclass(eq=False, slots=True, kw_only=True)
class Fault:
    """One rule. It delays by `latency` seconds and then, unless it is only a delay, ends the request in its way."""

    target: Target = _ANY
    error: Exception | None = None
    """The request fails with this."""
    latency: float = 0.0
    after: bool = False
    """The request takes effect before it fails."""
    rate: float = 1.0
    """The share of the fitting requests that it hits."""
    remaining: int | None = None
    """Counts down; None never ends."""
    hits: int = 0
    """How often it was applied."""

    @property
    def is_delay(self) -> bool:
        """It leaves the request its own end."""
        return self.error is None


class FaultRules:
    """The faults of one client or server. Thread-safe. `seed` makes the rates come out the same again."""

    def __init__(self, *, seed: int | None = None) -> None:
        self._lock = threading.Lock()
        # Replaced as a whole when a rule comes or goes, so that whoever only asks whether there are any needs no lock.
        self.rules: tuple[Fault, ...] = ()
        self._random = random.Random(seed)

    def add(self, fault: Fault) -> Fault:
        with self._lock:
            self.rules = (*self.rules, fault)
        return fault

    def clear(self, fault: Fault | None = None) -> None:
        """Removes one rule, or all."""
        with self._lock:
            self.rules = tuple(rule for rule in self.rules if fault is not None and rule is not fault)

    def take(self, request: Target) -> list[Fault]:
        """The rules that hit this request: all delays, and the first that ends it. Counts them down."""
        with self._lock:
            taken: list[Fault] = []
            for rule in self.rules:
                is_ended = any(not other.is_delay for other in taken)
                if rule.remaining == 0 or (is_ended and not rule.is_delay) or not rule.target.fits(request):
                    continue
                if rule.rate >= 1 or self._random.random() < rule.rate:
                    taken.append(rule)
            for rule in taken:
                rule.hits += 1
                if rule.remaining is not None:
                    rule.remaining -= 1
            return taken


class Faults(FaultRules):
    """The faults of one FakeClient."""

    def __init__(self, registry: Registry) -> None:
        super().__init__()
        self._registry = registry

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
        return self.add(Fault(target=_target(verb, kind, subresource), error=error, remaining=times))

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
        return self.add(Fault(target=_target(verb, kind, subresource), error=lost, after=True, remaining=times))

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
        return self.add(Fault(target=_target(verb, kind, subresource), latency=seconds, remaining=times))

    def cut_watches(self, kind: type[Object] | None = None, error: Exception | None = None) -> int:
        """Ends the running watches (of one kind), quietly or with `error`; how many."""
        return self._registry.end_watches(kind.mapping.group_resource if kind else "", error)

    def compact(self, kind: type[Object] | None = None) -> None:
        """Forgets the history (of one kind): older resource versions and continue tokens expire."""
        self._registry.store.compact(definition_of(kind).resource if kind else None)

    def intercept(self, action: Action, proceed: Callable[[], Any]) -> Any:
        """An interceptor that applies the rules."""
        if not self.rules:
            return proceed()
        fitting = self.take(_target(action.verb, action.kind, action.subresource))
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


def _target(verb: str, kind: type[Object] | None, subresource: str | None) -> Target:
    return Target(verb=verb, resource=kind.mapping.group_resource if kind else "", subresource=subresource)
