"""The CEL of admission: what match conditions and policies may name, and its values for one write.

https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/#validation-expression
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Any

from localmodel.runtime.testing.definitions import ResourceDefinition
from localmodel.sandbox.apiserver.cel import CompilationError, Environment, EvaluationError, Program
from localmodel.sandbox.apiserver.cel.authorizer import Authorizer, Question, ResourceCheck
from localmodel.sandbox.apiserver.cel.types import Messages
from localmodel.sandbox.apiserver.rbac import Attributes, Rbac
from localmodel.sandbox.apiserver.schema import compile_schema
from localmodel.sandbox.apiserver.users import User, service_account_groups, service_account_name

from .matching import Target, converted
from .review import request_attributes

Json = dict[str, Any]

_TEXT = {"type": "string"}
_ANY = {"x-kubernetes-int-or-string": True}
_TEXTS = {"type": "array", "items": _TEXT}
_MAP = {"type": "object", "additionalProperties": _TEXT}


def _fields(*names: str, **more: Json) -> Json:
    return {"type": "object", "properties": {**dict.fromkeys(names, _TEXT), **more}}


_REQUEST = _fields(
    "subResource",
    "requestSubResource",
    "name",
    "namespace",
    "operation",
    kind=_fields("group", "version", "kind"),
    resource=_fields("group", "version", "resource"),
    requestKind=_fields("group", "version", "kind"),
    requestResource=_fields("group", "version", "resource"),
    userInfo=_fields("username", "uid", groups=_TEXTS, extra={"type": "object", "additionalProperties": _TEXTS}),
    dryRun={"type": "boolean"},
    options=_ANY,
)
_NAMESPACE = _fields(
    "apiVersion",
    "kind",
    metadata=_fields(
        "name",
        "generateName",
        "namespace",
        "uid",
        "selfLink",
        "resourceVersion",
        labels=_MAP,
        annotations=_MAP,
        finalizers=_TEXTS,
        generation={"type": "integer"},
        creationTimestamp={"type": "string", "format": "date-time"},
        deletionTimestamp={"type": "string", "format": "date-time"},
        deletionGracePeriodSeconds={"type": "integer"},
    ),
    spec=_fields(finalizers=_TEXTS),
    status=_fields("phase"),
)


@lru_cache(maxsize=2)
def environment(*, has_params: bool = False) -> Environment:
    """Of match conditions and of policies, which may have parameters."""
    messages = Messages(is_escaped=False)
    variables = {
        "object": "dyn",
        "oldObject": "dyn",
        "request": messages.type_of(compile_schema(_REQUEST)),
        "authorizer": Authorizer.type_name,
        "authorizer.requestResource": ResourceCheck.type_name,
        "namespaceObject": messages.type_of(compile_schema(_NAMESPACE)),
    }
    if has_params:
        variables["params"] = "dyn"
    return Environment(variables, messages=messages.file)


class Values:
    """The variables' values for one write, as the matched definition shows it."""

    def __init__(self, target: Target, matched: ResourceDefinition, rbac: Rbac) -> None:
        self._target = target
        self._matched = matched
        self._rbac = rbac

    @cached_property
    def all(self) -> Json:
        """By name; without `params`, which differ from binding to binding."""
        attributes = self._target.attributes
        own = attributes.definition
        return {
            "object": converted(attributes.object, own, self._matched),
            "oldObject": converted(attributes.old_object, own, self._matched),
            "request": request_attributes(self._target, self._matched),
            "authorizer": Authorizer(self._decide),
            "authorizer.requestResource": ResourceCheck(self._decide, self._request_resource()),
            "namespaceObject": self._target.namespace_object,
        }

    def _request_resource(self) -> Question:
        attributes, requested = self._target.attributes, self._target.requested
        return Question(
            group=requested.group,
            resource=requested.plural,
            subresource=attributes.subresource,
            namespace=self._target.namespace,
            name=attributes.name,
        )

    def _decide(self, question: Question) -> tuple[bool, str]:
        user = self._user(question)
        if question.path:
            asked = Attributes(user=user, verb=question.verb, path=question.path)
        else:
            asked = Attributes(
                user=user,
                verb=question.verb,
                namespace=question.namespace,
                group=question.group,
                resource=question.resource,
                subresource=question.subresource,
                name=question.name,
            )
        verdict = self._rbac.authorize(asked)
        return verdict.allowed, verdict.reason

    def _user(self, question: Question) -> User:
        if question.service_account is not None:
            namespace, name = question.service_account
            return User(service_account_name(namespace, name), service_account_groups(namespace))
        user = self._target.attributes.user
        return User(user.name, user.groups, user.uid, {key: list(values) for key, values in user.extra.items()})


class Conditions:
    """Compiled matchConditions."""

    def __init__(self, raw: list[Json], programs: list[Program]) -> None:
        self._raw = raw
        self._programs = programs

    @classmethod
    def compile(cls, raw: list[Json] | None, env: Environment) -> Conditions:
        """Raises CompilationError."""
        conditions = list(raw or ())
        return cls(conditions, [env.compile(str(condition.get("expression") or "")) for condition in conditions])

    def hold(self, values: Json, lazy: dict[str, Callable[[], Any]] | None = None) -> bool:
        """Whether all do. One that is false decides; else a failure is raised (EvaluationError, all of them)."""
        failures = []
        for condition, program in zip(self._raw, self._programs, strict=True):
            try:
                if program.evaluate(values, lazy) is not True:
                    return False
            except EvaluationError as error:
                failures.append(f"expression '{condition['expression']}' resulted in error: {error}")
        if failures:
            raise EvaluationError(failures[0] if len(failures) == 1 else f"[{', '.join(failures)}]")
        return True


__all__ = ["CompilationError", "Conditions", "EvaluationError", "Values", "environment"]
