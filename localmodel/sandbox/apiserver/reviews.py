"""The review kinds: questions that are answered from the request, never stored.

SubjectAccessReview and its like ask the authorizer, TokenReview the authenticator, SelfSubjectReview who one is.
Faults and their texts are kube-apiserver's; its reviews name no kind in a 422.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from localmodel.runtime.clock import Clock
from localmodel.runtime.errors import BadRequestError, InvalidError
from localmodel.runtime.objects import GroupVersionKind, format_time
from localmodel.runtime.testing.answers import invalid_kind

from .authentication import Authenticator
from .fielderrors import Cause, invalid
from .rbac import Attributes, Rbac
from .tokens import ISSUER, BadTokenError
from .users import User

Json = dict[str, Any]

_GROUP = "authorization.k8s.io"
_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


class Reviews:
    """Answers reviews by kind."""

    def __init__(self, rbac: Rbac, authenticator: Authenticator, *, clock: Clock) -> None:
        self._rbac = rbac
        self._authenticator = authenticator
        self._clock = clock
        self._answers: dict[str, Callable[[Json, User, str], Json]] = {
            "SelfSubjectAccessReview": self._self_access,
            "SubjectAccessReview": self._access,
            "LocalSubjectAccessReview": self._local_access,
            "SelfSubjectRulesReview": self._rules,
            "TokenReview": self._token,
            "SelfSubjectReview": self._self,
        }

    def answer(self, kind: str, review: Json, user: User, namespace: str) -> Json:
        """The review with its status."""
        metadata = {"creationTimestamp": None, **(review.get("metadata") or {})}
        if namespace and metadata.setdefault("namespace", namespace) != namespace:
            raise BadRequestError.of(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        review = {**review, "metadata": metadata}
        return {**review, **self._answers[kind](review, user, namespace)}

    def _self(self, review: Json, user: User, _: str) -> Json:
        metadata = {**review["metadata"], "creationTimestamp": format_time(self._clock.now())}
        return {"metadata": metadata, "status": {"userInfo": user_info(user)}}

    # access ---------------------------------------------------------------------------------------------------

    def _self_access(self, review: Json, user: User, _: str) -> Json:
        spec = _spec(review)
        _refuse([*_attribute_faults(spec), *_metadata_faults(review, "must be empty")])
        return {"spec": spec, "status": self._verdict(spec, user)}

    def _access(self, review: Json, _user: User, _: str) -> Json:
        spec = _spec(review)
        _refuse([*_attribute_faults(spec), *_subject_faults(spec), *_metadata_faults(review, "must be empty")])
        return {"spec": spec, "status": self._verdict(spec, _subject(spec))}

    def _local_access(self, review: Json, _user: User, namespace: str) -> Json:
        spec = _spec(review)
        faults = [*_attribute_faults(spec), *_subject_faults(spec)]
        faults += _metadata_faults(review, "must be empty except for namespace", allowed="namespace")
        wanted = (spec.get("resourceAttributes") or {}).get("namespace", "")
        if spec.get("resourceAttributes") is not None and wanted != namespace:
            faults.append(invalid("spec.resourceAttributes.namespace", wanted, "must match metadata.namespace"))
        if path := spec.get("nonResourceAttributes"):
            faults.append(_invalid_path(path, "disallowed on this kind of request"))
        _refuse(faults)
        return {"spec": spec, "status": self._verdict(spec, _subject(spec))}

    def _verdict(self, spec: Json, user: User) -> Json:
        resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
        if path is not None:
            attributes = Attributes(user=user, verb=path.get("verb", ""), path=path.get("path", ""))
        else:
            fields = ("verb", "namespace", "group", "resource", "subresource", "name")
            values = {field: str((resource or {}).get(field) or "") for field in fields}
            attributes = Attributes(user=user, **values)
        verdict = self._rbac.authorize(attributes)
        status: Json = {"allowed": verdict.allowed}
        if verdict.reason:
            status["reason"] = verdict.reason
        ignored = [
            f"spec.resourceAttributes.{field} ignored due to parse error"
            for field in ("fieldSelector", "labelSelector")
            if not _is_readable((resource or {}).get(field))
        ]
        return {**status, "evaluationError": ", ".join(ignored)} if ignored else status

    def _rules(self, review: Json, user: User, _: str) -> Json:
        namespace = _spec(review).get("namespace") or ""
        if not namespace:
            raise BadRequestError.of("no namespace on request")
        rules = self._rbac.rules_for(user, namespace)
        granted = [rule for rule, _ in rules.granted]
        by_path = [rule for rule in granted if rule.get("nonResourceURLs")]
        status: Json = {
            "resourceRules": [rule for rule in granted if not rule.get("nonResourceURLs")],
            "nonResourceRules": [{"verbs": r["verbs"], "nonResourceURLs": r["nonResourceURLs"]} for r in by_path],
            "incomplete": False,
        }
        if rules.missing:
            status["evaluationError"] = rules.errors
        return {"spec": {}, "status": status}

    # authentication -------------------------------------------------------------------------------------------

    def _token(self, review: Json, _user: User, _: str) -> Json:
        spec = _spec(review)
        if not spec.get("token"):
            raise BadRequestError.of("token is required for TokenReview in authentication")
        try:
            user, audiences = self._authenticator.review(spec["token"], spec.get("audiences") or [ISSUER])
        except BadTokenError as error:
            return {"spec": spec, "status": {"user": {}, "error": str(error)}}
        return {"spec": spec, "status": {"authenticated": True, "user": user_info(user), "audiences": audiences}}


def check_kind(body: Any, gvk: GroupVersionKind) -> Json:
    """A body that is an object of the kind, or does not say what it is. Raises BadRequestError."""
    if not isinstance(body, dict):
        raise BadRequestError.of(
            f"the object provided is unrecognized (must be of type {gvk.kind}): couldn't get version/kind; json parse "
            "error: the body is not a JSON object"
        )
    kind, version = body.get("kind") or gvk.kind, body.get("apiVersion") or gvk.api_version
    if (kind, version) != (gvk.kind, gvk.api_version):
        number = str(version).rpartition("/")[2]
        raise BadRequestError.of(
            f'{kind} in version "{number}" cannot be handled as a {gvk.kind}: no kind "{kind}" is registered for '
            f'version "{version}" in scheme "pkg/runtime/scheme.go:100"'
        )
    return body


def _spec(review: Json) -> Json:
    return review.get("spec") or {}


def _subject(spec: Json) -> User:
    groups, extra = tuple(spec.get("groups") or ()), spec.get("extra") or {}
    return User(spec.get("user") or "", groups, spec.get("uid") or "", extra)


def _attribute_faults(spec: Json) -> Iterator[Cause]:
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if resource is not None and path is not None:
        yield _invalid_path(path, "cannot be specified in combination with resourceAttributes")
    if resource is None and path is None:
        text = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        yield invalid("spec.resourceAttributes", "null", text)
    for field in ("fieldSelector", "labelSelector"):
        selector = (resource or {}).get(field)
        if selector is None:
            continue
        place, raw, requirements = (
            f"spec.resourceAttributes.{field}",
            selector.get("rawSelector"),
            selector.get("requirements"),
        )
        if raw and requirements:
            yield invalid(f"{place}.rawSelector", raw, "may not specified at the same time as requirements")


def _subject_faults(spec: Json) -> Iterator[Cause]:
    if not spec.get("user") and not spec.get("groups"):
        yield invalid("spec.user", "", "at least one of user or group must be specified")


def _metadata_faults(review: Json, text: str, *, allowed: str = "") -> Iterator[Cause]:
    free = {allowed, "managedFields", "creationTimestamp"}
    given = {key: value for key, value in review["metadata"].items() if value and key not in free}
    if given:
        yield invalid("metadata", given, text)


def _invalid_path(path: Json, text: str) -> Cause:
    """As Go shows the struct."""
    shown = f'authorization.NonResourceAttributes{{Path:"{path.get("path", "")}", Verb:"{path.get("verb", "")}"}}'
    message = f"Invalid value: {shown}: {text}"
    return {"reason": "FieldValueInvalid", "message": message, "field": "spec.nonResourceAttributes"}


def _refuse(faults: list[Cause]) -> None:
    if not faults:
        return
    error: InvalidError = invalid_kind("", _GROUP, "", faults)
    error.status["details"] = {"group": _GROUP, "causes": faults}
    raise error


def _is_readable(selector: Json | None) -> bool:
    """Whether the authorizer can parse a selector's requirements (a raw one it passes on unread)."""
    return all(
        requirement.get("operator") in _OPERATORS and requirement.get("key")
        for requirement in (selector or {}).get("requirements") or ()
    )


def user_info(user: User) -> Json:
    """authentication.k8s.io UserInfo."""
    info: Json = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        info["uid"] = user.uid
    if user.extra:
        info["extra"] = user.extra
    return info
