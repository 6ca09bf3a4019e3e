"""Nobody grants rights that they do not have: the checks on writes of roles and bindings.

Writing a role needs every right in it, or the verb `escalate` on the role; writing a binding needs every right of the
role that it names, or the verb `bind` on that role. system:masters and the server itself are exempt. The rules and
texts are those of kube-apiserver (registry/rbac and component-helpers' rule covering).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any

from localmodel.runtime.errors import ForbiddenError, NotFoundError
from localmodel.runtime.testing.definitions import AdmissionAttributes, ResourceDefinition

from .rbac import GROUP, Attributes, Rbac
from .users import User

Json = dict[str, Any]

_ROLES = (f"roles.{GROUP}", f"clusterroles.{GROUP}")
_BINDINGS = (f"rolebindings.{GROUP}", f"clusterrolebindings.{GROUP}")
_EVERYTHING = (
    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
    {"verbs": ["*"], "nonResourceURLs": ["*"]},
)
_FIELDS = (
    ("apiGroups", "APIGroups"),
    ("resources", "Resources"),
    ("nonResourceURLs", "NonResourceURLs"),
    ("resourceNames", "ResourceNames"),
    ("verbs", "Verbs"),
)


class EscalationCheck:
    """An admission plugin, called with what would be stored."""

    def __init__(self, rbac: Rbac) -> None:
        self._rbac = rbac

    def handles(self, _operation: str, definition: ResourceDefinition, _subresource: str) -> bool:
        return definition.group_resource in _ROLES or definition.group_resource in _BINDINGS

    def __call__(self, attributes: AdmissionAttributes) -> None:
        resource, new = attributes.definition.group_resource, attributes.object
        if new is None or not attributes.user.name:
            return
        user = User(attributes.user.name, attributes.user.groups)
        if user.is_master or _changes_only_what_deletion_needs(attributes.old_object, new):
            return
        if resource in _ROLES:
            self._check_role(attributes, new, user)
        else:
            self._check_binding(attributes, new, user)

    def _check_role(self, attributes: AdmissionAttributes, new: Json, user: User) -> None:
        # Of a create the request names no role: a right on one name does not allow it.
        name = attributes.name if attributes.operation == "UPDATE" else ""
        if self._may(user, "escalate", attributes.definition.mapping.plural, name, attributes.namespace):
            return
        missing = self._missing(user, attributes.namespace, new.get("rules") or ())
        if missing:
            raise _forbidden(attributes, missing)
        aggregates = new.get("aggregationRule") or (attributes.old_object or {}).get("aggregationRule")
        if aggregates and self._missing(user, attributes.namespace, _EVERYTHING):
            raise _forbidden(attributes, "must have cluster-admin privileges to use the aggregationRule")

    def _check_binding(self, attributes: AdmissionAttributes, new: Json, user: User) -> None:
        reference, namespace = new["roleRef"], attributes.namespace
        plural = "clusterroles" if reference["kind"] == "ClusterRole" else "roles"
        if self._may(user, "bind", plural, reference["name"], namespace):
            return
        rules = self._rbac.role_rules(reference["kind"], reference["name"], namespace)
        if rules is None:
            plural = attributes.definition.mapping.plural
            raise NotFoundError.of(
                f'{attributes.definition.group_resource} "{reference["name"]}" not found',
                details={"name": reference["name"], "group": GROUP, "kind": plural},
            )
        if missing := self._missing(user, namespace, rules):
            raise _forbidden(attributes, missing)

    def _may(self, user: User, verb: str, plural: str, name: str, namespace: str) -> bool:
        wanted = Attributes(user=user, verb=verb, group=GROUP, resource=plural, name=name, namespace=namespace)
        return self._rbac.authorize(wanted).allowed

    def _missing(self, user: User, namespace: str, wanted: Iterable[Json]) -> str:
        """What the user lacks, as text; empty if that is nothing."""
        held = self._rbac.rules_for(user, namespace)
        lacking = uncovered([rule for rule, _ in held.granted], wanted)
        if not lacking:
            return ""
        groups = " ".join(f'"{group}"' for group in user.groups)
        lines = "\n".join(sorted({described(rule) for rule in compacted(lacking)}))
        who = f'user "{user.name}" (groups=[{groups}])'
        text = f"{who} is attempting to grant RBAC permissions not currently held:\n{lines}"
        if held.missing:
            errors = " ".join(f'{kind.lower()}s.{GROUP} "{name}" not found' for kind, name in held.missing)
            text += f"; resolution errors: [{errors}]"
        return text


def _changes_only_what_deletion_needs(old: Json | None, new: Json) -> bool:
    """An update of nothing but finalizers and owners, as the garbage collector makes it."""
    if old is None:
        return False
    free = ("finalizers", "ownerReferences", "managedFields", "resourceVersion")

    def rest(obj: Json) -> Json:
        return {**obj, "metadata": {key: value for key, value in obj["metadata"].items() if key not in free}}

    return rest(old) == rest(new)


def uncovered(held: list[Json], wanted: Iterable[Json]) -> list[Json]:
    """The single rights among the wanted rules that no held rule gives."""
    return [right for rule in wanted for right in _single(rule) if not any(_covers(rule, right) for rule in held)]


def _single(rule: Json) -> Iterator[Json]:
    """A rule broken down into rules of one group, one resource, one verb and at most one name."""
    verbs = rule.get("verbs") or ()
    names = [{"resourceNames": [name]} for name in rule.get("resourceNames") or ()] or [{}]
    for group, resource, verb, name in product(rule.get("apiGroups") or (), rule.get("resources") or (), verbs, names):
        yield {"apiGroups": [group], "resources": [resource], "verbs": [verb], **name}
    for url, verb in product(rule.get("nonResourceURLs") or (), verbs):
        yield {"nonResourceURLs": [url], "verbs": [verb]}


def _covers(held: Json, right: Json) -> bool:
    """Whether a rule gives one single right."""
    if not _has_all(held.get("verbs"), right["verbs"]):
        return False
    if urls := right.get("nonResourceURLs"):
        patterns = held.get("nonResourceURLs") or ()
        return all(any(_covers_url(pattern, url) for pattern in patterns) for url in urls)
    names = held.get("resourceNames") or []
    return (
        _has_all(held.get("apiGroups"), right["apiGroups"])
        and _covers_resource(held.get("resources") or (), right["resources"][0])
        and (not names or (bool(right.get("resourceNames")) and set(right["resourceNames"]) <= set(names)))
    )


def _has_all(held: list[str] | None, wanted: list[str]) -> bool:
    return held is not None and ("*" in held or set(wanted) <= set(held))


def _covers_resource(held: Iterable[str], wanted: str) -> bool:
    subresource = wanted.partition("/")[2]
    return any(resource in ("*", wanted) or bool(subresource and resource == f"*/{subresource}") for resource in held)


def _covers_url(pattern: str, url: str) -> bool:
    return pattern in ("*", url) or (pattern.endswith("*") and url.startswith(pattern[:-1]))


def compacted(rules: list[Json]) -> list[Json]:
    """Single rights on the same resource (and name) become one rule with all their verbs."""
    merged: dict[tuple[object, ...], Json] = {}
    for rule in rules:
        if "nonResourceURLs" in rule:
            key: tuple[object, ...] = (id(rule),)
        else:
            key = (*rule["apiGroups"], *rule["resources"], *rule.get("resourceNames", ()))
        known = merged.setdefault(key, {**rule, "verbs": []})
        known["verbs"] += [verb for verb in rule["verbs"] if verb not in known["verbs"]]
    return list(merged.values())


def described(rule: Json) -> str:
    """A rule in one line."""
    parts = []
    for field, name in _FIELDS:
        if values := rule.get(field):
            listed = " ".join(f'"{value}"' for value in values)
            parts.append(f"{name}:[{listed}]")
    return "{" + ", ".join(parts) + "}"


def _forbidden(attributes: AdmissionAttributes, why: str) -> ForbiddenError:
    name, plural = attributes.name, attributes.definition.mapping.plural
    return ForbiddenError.of(
        f'{attributes.definition.group_resource} "{name}" is forbidden: {why}',
        details={"name": name, "group": GROUP, "kind": plural},
    )
