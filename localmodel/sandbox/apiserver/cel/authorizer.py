"""`authorizer` in expressions: may the user of the request do something else?

authorizer.group('').resource('pods').namespace('n').name('p').check('get').allowed(), .path('/x').check('get'),
.serviceAccount(namespace, name), and the Decision that a check gives. Who decides is given from outside.
https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-authorizer-library
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar

from .functions import Function, member
from .values import Opaque

Decide = Callable[["Question"], tuple[bool, str]]
"""Whether it is allowed, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked: a verb on a resource, or on a path; for the request's own user if `service_account` is None."""

    verb: str = ""
    path: str = ""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    service_account: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Authorizer(Opaque):
    type_name: ClassVar[str] = "kubernetes.authorization.Authorizer"
    decide: Decide = field(compare=False)
    question: Question = Question()


class PathCheck(Authorizer):
    type_name = "kubernetes.authorization.PathCheck"


class GroupCheck(Authorizer):
    type_name = "kubernetes.authorization.GroupCheck"


class ResourceCheck(Authorizer):
    type_name = "kubernetes.authorization.ResourceCheck"


@dataclass(frozen=True, slots=True)
class Decision(Opaque):
    type_name: ClassVar[str] = "kubernetes.authorization.Decision"
    allowed: bool
    reason: str


def _service_account(authorizer: Authorizer, namespace: str, name: str) -> Authorizer:
    return Authorizer(authorizer.decide, replace(authorizer.question, service_account=(namespace, name)))


def _check(check: Authorizer, verb: str) -> Decision:
    return Decision(*check.decide(replace(check.question, verb=verb)))


def _resource(check: Authorizer, resource: str) -> ResourceCheck:
    return ResourceCheck(check.decide, replace(check.question, resource=resource))


def _narrowed(attribute: str) -> Callable[[Authorizer, str], ResourceCheck]:
    def narrow(check: Authorizer, value: str) -> ResourceCheck:
        changed: dict[str, str] = {attribute: value}
        return ResourceCheck(check.decide, replace(check.question, **changed))  # type: ignore[arg-type]

    return narrow


_AUTHORIZER, _GROUP, _RESOURCE = Authorizer.type_name, GroupCheck.type_name, ResourceCheck.type_name

AUTHORIZER: tuple[Function, ...] = (
    member(
        _AUTHORIZER,
        "path",
        ["string"],
        PathCheck.type_name,
        lambda authorizer, path: PathCheck(authorizer.decide, replace(authorizer.question, path=path)),
    ),
    member(
        _AUTHORIZER,
        "group",
        ["string"],
        _GROUP,
        lambda authorizer, group: GroupCheck(authorizer.decide, replace(authorizer.question, group=group)),
    ),
    member(_AUTHORIZER, "serviceAccount", ["string", "string"], _AUTHORIZER, _service_account),
    member(_GROUP, "resource", ["string"], _RESOURCE, _resource),
    member(_RESOURCE, "subresource", ["string"], _RESOURCE, _narrowed("subresource")),
    member(_RESOURCE, "namespace", ["string"], _RESOURCE, _narrowed("namespace")),
    member(_RESOURCE, "name", ["string"], _RESOURCE, _narrowed("name")),
    member(_RESOURCE, "check", ["string"], Decision.type_name, _check),
    member(PathCheck.type_name, "check", ["string"], Decision.type_name, _check),
    member(Decision.type_name, "allowed", [], "bool", lambda decision: decision.allowed),
    member(Decision.type_name, "reason", [], "string", lambda decision: decision.reason),
    member(Decision.type_name, "errored", [], "bool", lambda _: False),
    member(Decision.type_name, "error", [], "string", lambda _: ""),
)
