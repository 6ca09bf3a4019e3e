"""The review kinds: questions that are answered from the request, never stored.

SubjectAccessReview and its like ask the authorizer, TokenReview the authenticator, SelfSubjectReview who one is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from localmodel.runtime.errors import BadRequestError

from .authentication import ISSUER, Authenticator
from .rbac import Attributes, Rbac
from .users import User

Json = dict[str, Any]


class Reviews:
    """Answers reviews by kind."""

    def __init__(self, rbac: Rbac, authenticator: Authenticator) -> None:
        self._rbac = rbac
        self._authenticator = authenticator
        self._answers: dict[str, Callable[[Json, User, str], Json]] = {
            "SelfSubjectAccessReview": lambda spec, user, _: self._access(spec, user),
            "SubjectAccessReview": lambda spec, _user, _: self._access(spec, _subject(spec)),
            "LocalSubjectAccessReview": self._local_access,
            "SelfSubjectRulesReview": self._rules,
            "TokenReview": self._token,
            "SelfSubjectReview": lambda _spec, user, _: {"userInfo": user_info(user)},
        }

    def answer(self, kind: str, review: Json, user: User, namespace: str) -> Json:
        """The review with its status."""
        spec = review.get("spec") or {}
        if not isinstance(spec, dict):
            raise BadRequestError.of(f"{kind}.spec must be an object")
        metadata = {"creationTimestamp": None, **(review.get("metadata") or {})}
        return {**review, "metadata": metadata, "status": self._answers[kind](spec, user, namespace)}

    def _local_access(self, spec: Json, _: User, namespace: str) -> Json:
        wanted = (spec.get("resourceAttributes") or {}).get("namespace")
        if wanted != namespace:
            raise BadRequestError.of("spec.resourceAttributes.namespace must match metadata.namespace")
        return self._access(spec, _subject(spec))

    def _access(self, spec: Json, user: User) -> Json:
        resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
        if (resource is None) == (path is None):
            raise BadRequestError.of("exactly one of nonResourceAttributes or resourceAttributes must be specified")
        if path is not None:
            attributes = Attributes(user=user, verb=path.get("verb", ""), path=path.get("path", ""))
        else:
            fields = ("verb", "namespace", "group", "resource", "subresource", "name")
            values = {field: str((resource or {}).get(field) or "") for field in fields}
            attributes = Attributes(user=user, **values)
        verdict = self._rbac.authorize(attributes)
        return {"allowed": verdict.allowed, **({"reason": verdict.reason} if verdict.reason else {})}

    def _rules(self, spec: Json, user: User, _: str) -> Json:
        namespace = spec.get("namespace") or ""
        if not namespace:
            raise BadRequestError.of("no namespace on request")
        rules = [rule for rule, _ in self._rbac.rules_for(user, namespace)]
        if user.is_master:
            rules = [*rules, {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]
            rules = [*rules, {"verbs": ["*"], "nonResourceURLs": ["*"]}]
        by_path = [rule for rule in rules if rule.get("nonResourceURLs")]
        return {
            "resourceRules": [rule for rule in rules if not rule.get("nonResourceURLs")],
            "nonResourceRules": [{"verbs": r["verbs"], "nonResourceURLs": r["nonResourceURLs"]} for r in by_path],
            "incomplete": False,
        }

    def _token(self, spec: Json, _user: User, _: str) -> Json:
        user = self._authenticator.user_of(str(spec.get("token") or ""))
        if user is None:
            return {"user": {}, "error": "invalid bearer token"}
        return {"authenticated": True, "user": user_info(user), "audiences": spec.get("audiences") or [ISSUER]}


def _subject(spec: Json) -> User:
    if not spec.get("user") and not spec.get("groups"):
        raise BadRequestError.of("at least one of user or group must be specified")
    return User(str(spec.get("user") or ""), tuple(spec.get("groups") or ()), str(spec.get("uid") or ""))


def user_info(user: User) -> Json:
    """authentication.k8s.io UserInfo."""
    info: Json = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        info["uid"] = user.uid
    if user.extra:
        info["extra"] = user.extra
    return info
