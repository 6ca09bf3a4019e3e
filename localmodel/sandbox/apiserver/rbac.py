"""Role-based access control: enforces the Role, ClusterRole and binding objects that are in the registry.

Rules are gathered per user and namespace and remembered until any RBAC object changes. An aggregated ClusterRole has
the rules that stand in it (`aggregation` writes them). Texts and matching follow kube-apiserver's rbac package.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from localmodel.runtime.errors import ForbiddenError
from localmodel.runtime.listwatch import ListOptions, WatchOptions
from localmodel.runtime.objects import RESTMapping
from localmodel.runtime.testing.registry import Registry

from .routing import RequestInfo
from .users import User, parse_service_account

Json = dict[str, Any]

GROUP = "rbac.authorization.k8s.io"
_REMEMBERED = 4096
"""Users and namespaces whose rules are remembered; when there are more, all are forgotten."""


class Attributes(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody wants to do (authorizer.Attributes)."""

    user: User
    verb: str
    namespace: str = ""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""
    path: str = ""
    """For a non-resource request; then `resource` is empty."""

    @classmethod
    def of(cls, user: User, info: RequestInfo) -> Attributes:
        if not info.is_resource:
            return cls(user=user, verb=info.verb, path=info.path)
        return cls(
            user=user,
            verb=info.verb,
            namespace=info.namespace,
            group=info.group,
            resource=info.resource,
            subresource=info.subresource,
            name=info.name or (info.selected_name if info.verb in ("list", "watch") else ""),
        )

    @property
    def full_resource(self) -> str:
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


class Verdict(msgspec.Struct, frozen=True):
    """Whether it is allowed, and by which binding or why not."""

    allowed: bool
    reason: str = ""


class Rules(msgspec.Struct, frozen=True):
    """What binds a user in a namespace."""

    granted: tuple[tuple[Json, str], ...]
    """Rules, each with the binding that it comes from."""
    missing: tuple[tuple[str, str], ...]
    """Kind and name of the roles that bindings name and that do not exist."""

    @property
    def errors(self) -> str:
        """The missing roles in the words of the authorizer; empty if there are none."""
        texts = list(dict.fromkeys(f'{kind.lower()}.{GROUP} "{name}" not found' for kind, name in self.missing))
        return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]" if texts else ""


class Rbac:
    """The authorizer. Thread-safe: its cache is replaced, never changed in place, when an RBAC object is written."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._rules: dict[tuple[str, tuple[str, ...], str], Rules] = {}
        for mapping in rbac_mappings():
            definition = registry.lookup(GROUP, "v1", mapping.plural)
            if definition is None:
                raise LookupError(f"{mapping.group_resource} is not registered")
            options = WatchOptions(resource_version=str(registry.store.revision), timeout_seconds=2**31)
            registry.watch(definition, options, lambda _: self._forget())

    def _forget(self) -> None:
        self._rules = {}

    def authorize(self, attributes: Attributes) -> Verdict:
        if attributes.user.is_master:
            return Verdict(True)
        rules = self.rules_for(attributes.user, attributes.namespace)
        for rule, source in rules.granted:
            if allows(rule, attributes):
                return Verdict(True, f"RBAC: allowed by {source}")
        return Verdict(False, f"RBAC: {rules.errors}" if rules.missing else "")

    def require(self, attributes: Attributes) -> None:
        """Raises ForbiddenError unless it is allowed."""
        if attributes.user.is_master:
            return
        verdict = self.authorize(attributes)
        if not verdict.allowed:
            raise forbidden(attributes, verdict.reason)

    def rules_for(self, user: User, namespace: str) -> Rules:
        """The rules that bind a user, cluster-wide and in the namespace."""
        key = (user.name, user.groups, namespace)
        known = self._rules
        rules = known.get(key)
        if rules is None:
            rules = self._resolve(user, namespace)
            if len(known) >= _REMEMBERED:
                known.clear()
            known[key] = rules
        return rules

    def _resolve(self, user: User, namespace: str) -> Rules:
        granted: list[tuple[Json, str]] = []
        missing: list[tuple[str, str]] = []
        bindings = [("ClusterRoleBinding", binding) for binding in self._list("clusterrolebindings")]
        if namespace:
            bindings += [("RoleBinding", binding) for binding in self._list("rolebindings", namespace)]
        for kind, binding in bindings:
            subjects = (s for s in binding.get("subjects") or () if _is_subject(s, user, namespace))
            subject = next(subjects, None)
            if subject is None:
                continue
            reference = binding["roleRef"]
            rules = self.role_rules(reference["kind"], reference["name"], namespace)
            if rules is None:
                missing.append((reference["kind"], reference["name"]))
                continue
            place = f"/{namespace}" if kind == "RoleBinding" else ""
            source = (
                f'{kind} "{binding["metadata"]["name"]}{place}" of {reference["kind"]} "{reference["name"]}" to '
                f"{_described(subject, namespace)}"
            )
            granted += [(rule, source) for rule in rules]
        return Rules(tuple(granted), tuple(missing))

    def role_rules(self, kind: str, name: str, namespace: str) -> list[Json] | None:
        """The rules of a Role or ClusterRole; None if there is no such role."""
        is_cluster = kind == "ClusterRole"
        resource = f"{'clusterroles' if is_cluster else 'roles'}.{GROUP}"
        entry = self._registry.store.get(resource, "" if is_cluster else namespace, name)
        return None if entry is None else list(msgspec.json.decode(entry.value).get("rules") or ())

    def _list(self, plural: str, namespace: str = "") -> list[Json]:
        definition = self._registry.lookup(GROUP, "v1", plural)
        if definition is None:
            return []
        page = self._registry.list(definition, ListOptions(namespace=namespace))
        return [msgspec.json.decode(item) for item in page.items]


def rbac_mappings() -> list[RESTMapping]:
    kinds = ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
    return [RESTMapping.of(GROUP, "v1", kind, namespaced=not kind.startswith("Cluster")) for kind in kinds]


def _is_subject(subject: Json, user: User, namespace: str) -> bool:
    match subject.get("kind"):
        case "User":
            return bool(user.name == subject.get("name"))
        case "Group":
            return subject.get("name") in user.groups
        case "ServiceAccount":
            account = parse_service_account(user.name)
            return account == (subject.get("namespace") or namespace, subject.get("name"))
        case _:
            return False


def _described(subject: Json, namespace: str) -> str:
    """A subject as the authorizer's reason names it; a service account with its namespace last."""
    if subject["kind"] == "ServiceAccount":
        return f'ServiceAccount "{subject["name"]}/{subject.get("namespace") or namespace}"'
    return f'{subject["kind"]} "{subject["name"]}"'


def allows(rule: Json, attributes: Attributes) -> bool:
    """Whether one PolicyRule covers the request."""
    if not _has(rule.get("verbs"), attributes.verb):
        return False
    if not attributes.resource:
        return any(_matches_path(pattern, attributes.path) for pattern in rule.get("nonResourceURLs") or ())
    if not _has(rule.get("apiGroups"), attributes.group):
        return False
    if not _matches_resource(rule.get("resources") or [], attributes):
        return False
    names = rule.get("resourceNames")
    return not names or attributes.name in names


def _has(values: list[str] | None, value: str) -> bool:
    return values is not None and ("*" in values or value in values)


def _matches_resource(resources: list[str], attributes: Attributes) -> bool:
    for resource in resources:
        if resource in ("*", attributes.full_resource):
            return True
        if attributes.subresource and resource == f"*/{attributes.subresource}":
            return True
    return False


def _matches_path(pattern: str, path: str) -> bool:
    if pattern in ("*", path):
        return True
    return pattern.endswith("*") and path.startswith(pattern[:-1])


def forbidden(attributes: Attributes, reason: str = "") -> ForbiddenError:
    """The 403 of kube-apiserver."""
    user = f"User {json.dumps(attributes.user.name, ensure_ascii=False)}"
    suffix = f": {reason}" if reason else ""
    if not attributes.resource:
        error = ForbiddenError.of(f'forbidden: {user} cannot {attributes.verb} path "{attributes.path}"{suffix}')
        error.status["details"] = {}
        return error
    place = f'in the namespace "{attributes.namespace}"' if attributes.namespace else "at the cluster scope"
    group_resource = f"{attributes.resource}.{attributes.group}" if attributes.group else attributes.resource
    subject = f'{group_resource} "{attributes.name}"' if attributes.name else group_resource
    message = (
        f"{subject} is forbidden: {user} cannot {attributes.verb} resource "
        f'"{attributes.full_resource}" in API group "{attributes.group}" {place}{suffix}'
    )
    details = {"name": attributes.name, "group": attributes.group, "kind": attributes.resource}
    return ForbiddenError.of(message, details={key: value for key, value in details.items() if value})
