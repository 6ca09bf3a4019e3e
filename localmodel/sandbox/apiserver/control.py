"""`/sandbox/...`: the paths by which tests in any language inject faults into this server; no real server has them.

| path | methods | body or answer |
| --- | --- | --- |
| /sandbox/faults | GET, POST, DELETE | the rules; adds one (`Rule`) and answers it with its id; removes all |
| /sandbox/faults/ID | DELETE | removes one |
| /sandbox/watches | POST | ends or silences running watches (`Watches`); answers how many |
| /sandbox/compact | POST | forgets the history (`Compaction`) |
| /sandbox/clock | GET, POST | how far the server's clock is ahead (`Skew`) |
| /sandbox/tokens | POST | the tokens of a user that were made until now have expired (`Expiry`) |

They are non-resource paths, so RBAC decides who may: a cluster administrator may. Nothing here is kept over restarts.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import msgspec

from localmodel.runtime.errors import ApiError, BadRequestError, MethodNotAllowedError
from localmodel.runtime.testing.faults import Fault, Target

from .faults import Cut, ServerFault, ServerFaults, status_error
from .messages import Request, Response
from .negotiation import decode_body
from .routing import not_found_page
from .tokens import Tokens

Json = dict[str, Any]
PREFIX = "/sandbox/"
LONGEST_LATENCY = 600.0


class Targeted(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """Which requests are meant; what is left out is any."""

    verb: str = ""
    resource: str = ""
    """`plural.group`, or `plural` in the core group."""
    subresource: str | None = None
    """An empty one is the object itself."""
    namespace: str = ""
    name: str = ""
    user: str = ""
    user_agent: str = ""
    """How it begins."""

    def target(self) -> Target:
        return Target(**{field: getattr(self, field) for field in Targeted.__struct_fields__})


class Rule(Targeted):
    """One fault: a latency, and at most one end (code, reset, dropAnswer or hold)."""

    latency_seconds: float = 0.0
    code: int = 0
    """The request fails with this HTTP code (400 to 599)..."""
    reason: str = ""
    """...and this reason of a Status; the usual one of the code if it is left out."""
    message: str = ""
    retry_after_seconds: int | None = None
    """Sent as Retry-After and in details.retryAfterSeconds."""
    reset: bool = False
    """The connection is closed, and the request has had no effect."""
    drop_answer: bool = False
    """The connection is closed without an answer; the request has had its effect."""
    hold: bool = False
    """Watches start and stay silent."""
    rate: float = 1.0
    """The share of the fitting requests that are hit."""
    times: int | None = None
    """How many requests are hit; without it all, until the rule is removed."""

    def fault(self) -> ServerFault:
        """Raises BadRequestError for values that make no sense."""
        ends = [name for name in ("code", "reset", "drop_answer", "hold") if getattr(self, name)]
        if len(ends) > 1:
            raise BadRequestError.of(f"a fault has one end, not {' and '.join(map(_camel, ends))}: make two rules")
        if not ends and not self.latency_seconds:
            raise BadRequestError.of("a fault needs latencySeconds, code, reset, dropAnswer or hold")
        if self.code and not 400 <= self.code <= 599:
            raise BadRequestError.of(f"code: {self.code} is no HTTP code of a failure (400 to 599)")
        if not self.code and (self.reason or self.message or self.retry_after_seconds is not None):
            raise BadRequestError.of("reason, message and retryAfterSeconds go with a code")
        if not 0 < self.rate <= 1:
            raise BadRequestError.of(f"rate: {self.rate} is not above 0 and at most 1")
        if not 0 <= self.latency_seconds <= LONGEST_LATENCY:
            raise BadRequestError.of(f"latencySeconds: {self.latency_seconds} is not from 0 to {LONGEST_LATENCY:.0f}")
        if self.times is not None and self.times < 1:
            raise BadRequestError.of(f"times: {self.times} is less than 1")
        return ServerFault(
            target=self.target(),
            error=self._error(),
            latency=self.latency_seconds,
            reset=self.reset,
            drop_answer=self.drop_answer,
            hold=self.hold,
            rate=self.rate,
            remaining=self.times,
        )

    def _error(self) -> ApiError | None:
        if not self.code:
            return None
        return status_error(self.code, reason=self.reason, message=self.message, retry_after=self.retry_after_seconds)


class Watches(Targeted):
    """The running watches to end or to silence."""

    hold: bool = False
    """Their connections stay open, and nothing more comes."""
    how: Cut = "end"
    """Otherwise they end: as at their timeout ("end"), by a reset ("reset"), or after an ERROR event ("expired")."""


class Compaction(msgspec.Struct, forbid_unknown_fields=True):
    resource: str = ""
    """All, if it is left out."""


class Skew(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    skew_seconds: float


class Expiry(msgspec.Struct, forbid_unknown_fields=True):
    user: str
    """For a service account `system:serviceaccount:NAMESPACE:NAME`."""


S = TypeVar("S", bound=msgspec.Struct)


class Control:
    """Answers the paths below /sandbox/."""

    def __init__(self, faults: ServerFaults, tokens: Tokens) -> None:
        self._faults = faults
        self._tokens = tokens
        self._ids = itertools.count(1)
        # The rules that came this way, with what they were made of, by id.
        self._rules: dict[str, tuple[Rule, Fault]] = {}
        self._actions: dict[tuple[str, str], Callable[[Request], Json]] = {
            ("get", "faults"): lambda _: self._list(),
            ("post", "faults"): lambda request: self.add(_value(request), request.path),
            ("delete", "faults"): lambda _: self._clear(),
            ("post", "watches"): self._watches,
            ("post", "compact"): self._compact,
            ("get", "clock"): lambda _: self._clock(),
            ("post", "clock"): self._skew,
            ("post", "tokens"): self._expire,
        }

    def answer(self, request: Request, path: str) -> Response:
        """Raises NotFoundError, MethodNotAllowedError, BadRequestError."""
        noun, _, rest = path.removeprefix(PREFIX).partition("/")
        method = request.method.lower()
        if noun == "faults" and rest:
            return self._remove(method, rest)
        if rest or all(known != noun for _, known in self._actions):
            raise not_found_page()
        action = self._actions.get((method, noun))
        if action is None:
            raise MethodNotAllowedError.of("the server does not allow this method on the requested resource")
        return Response.of_json(action(request))

    def add(self, value: Any, source: str = "fault") -> Json:
        """Adds a rule given as JSON; raises BadRequestError, which names the source."""
        rule = _converted(value, Rule, source)
        fault = self._faults.add(rule.fault())
        id_ = str(next(self._ids))
        self._rules[id_] = (rule, fault)
        return _shown(id_, rule, fault)

    def _list(self) -> Json:
        return {"faults": [_shown(id_, rule, fault) for id_, (rule, fault) in self._rules.items()]}

    def _clear(self) -> Json:
        self._rules.clear()
        self._faults.clear()
        return self._list()

    def _remove(self, method: str, id_: str) -> Response:
        if id_ not in self._rules:
            raise not_found_page()
        if method != "delete":
            raise MethodNotAllowedError.of("the server does not allow this method on the requested resource")
        rule, fault = self._rules.pop(id_)
        self._faults.clear(fault)
        return Response.of_json(_shown(id_, rule, fault))

    def _watches(self, request: Request) -> Json:
        wanted = _body(request, Watches)
        if wanted.hold:
            return {"watches": self._faults.hold_watches(wanted.target())}
        return {"watches": self._faults.cut_watches(wanted.target(), how=wanted.how)}

    def _compact(self, request: Request) -> Json:
        self._faults.compact(_body(request, Compaction).resource)
        return {}

    def _clock(self) -> Json:
        return {"skewSeconds": self._faults.clock_skew.total_seconds()}

    def _skew(self, request: Request) -> Json:
        try:
            self._faults.clock_skew = timedelta(seconds=_body(request, Skew).skew_seconds)
        except (OverflowError, ValueError) as error:
            raise BadRequestError.of(f"skewSeconds: {error}") from None
        return self._clock()

    def _expire(self, request: Request) -> Json:
        self._tokens.expire(_body(request, Expiry).user)
        return {}


def _body(request: Request, type_: type[S]) -> S:
    return _converted(_value(request), type_, request.path)


def _value(request: Request) -> Any:
    if not request.body:
        return {}
    return decode_body(request.body, request.headers.get("content-type", ""), find_duplicates=False).value


def _converted(value: Any, type_: type[S], source: str) -> S:
    try:
        return msgspec.convert(value, type_)
    except msgspec.ValidationError as error:
        raise BadRequestError.of(f"{source}: {error}") from None


def _shown(id_: str, rule: Rule, fault: Fault) -> Json:
    shown: Json = {"id": id_, **msgspec.to_builtins(rule), "hits": fault.hits}
    if fault.remaining is not None:
        shown["remaining"] = fault.remaining
    return shown


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)
