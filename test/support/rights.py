"""What the shipped roles grant: enforced in a FakeClient, and compared with the audit log of a run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localmodel.runtime.listwatch import ListOptions, WatchOptions
from localmodel.runtime.selectors import FieldSelector
from localmodel.runtime.testing.fake import Action
from localmodel.sandbox import install
from localmodel.sandbox.apiserver.messages import Request
from localmodel.sandbox.apiserver.rbac import Attributes, allows, forbidden
from localmodel.sandbox.apiserver.routing import parse
from localmodel.sandbox.apiserver.users import User, service_account_name

Json = dict[str, Any]

MANAGER = service_account_name(install.NAMESPACE, install.MANAGER_ACCOUNT)
AGENT = service_account_name(install.NAMESPACE, install.AGENT_ACCOUNT)


@dataclass(frozen=True, order=True)
class Right:
    """One verb on one resource, in one namespace or everywhere."""

    user: str
    role: str
    group: str
    resource: str
    verb: str
    namespace: str = ""
    names: tuple[str, ...] = ()
    """The objects that it is about; all if there are none."""

    def __str__(self) -> str:
        place = f" in {self.namespace}" if self.namespace else ""
        resource = f"{self.resource}.{self.group}" if self.group else self.resource
        return f"{self.verb} {resource}{place}"

    def allows(self, attributes: Attributes) -> bool:
        rule = {
            "verbs": [self.verb],
            "apiGroups": [self.group],
            "resources": [self.resource],
            "resourceNames": list(self.names),
        }
        return (
            attributes.user.name == self.user
            and self.namespace in ("", attributes.namespace)
            and allows(rule, attributes)
        )


def shipped_rights() -> list[Right]:
    """All that config/rbac grants, to whom."""
    documents = install.roles()
    roles = {(d["kind"], d["metadata"].get("namespace", ""), d["metadata"]["name"]): d for d in documents}
    rights: list[Right] = []
    for binding in documents:
        if not binding["kind"].endswith("Binding"):
            continue
        namespace, reference = binding["metadata"].get("namespace", ""), binding["roleRef"]
        scope = namespace if reference["kind"] == "Role" else ""
        role = roles[reference["kind"], scope, reference["name"]]
        for subject in binding["subjects"]:
            user = service_account_name(subject["namespace"], subject["name"])
            rights += _rights(user, reference["name"], role["rules"], namespace)
    return rights


def _rights(user: str, role: str, rules: Iterable[Json], namespace: str) -> Iterator[Right]:
    for rule in rules:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    names = tuple(rule.get("resourceNames", ()))
                    yield Right(user, role, group, resource, verb, namespace, names)


def kserves_rights() -> list[Right]:
    """What KServe's own role grants its manager (kserve-behaviour.md 14)."""
    read, everything = ("get", "list", "watch"), ("create", "delete", "get", "list", "patch", "update", "watch")
    granted: dict[tuple[str, tuple[str, ...]], tuple[str, ...]] = {
        ("", ("configmaps",)): ("get",),
        ("", ("nodes",)): read,
        ("", ("persistentvolumes", "persistentvolumeclaims")): everything,
        ("serving.kserve.io", ("localmodelnodegroups", "inferenceservices", "llminferenceservices")): read,
        ("serving.kserve.io", ("localmodelcaches", "localmodelnamespacecaches", "localmodelnodes")): everything,
        ("serving.kserve.io", ("localmodelcaches/status", "localmodelnamespacecaches/status")): (
            "get", "patch", "update",
        ),
    }  # fmt: skip
    rules = [
        {"apiGroups": [group], "resources": list(resources), "verbs": list(verbs)}
        for (group, resources), verbs in granted.items()
    ]
    return list(_rights(MANAGER, "kserve-localmodel-manager-role", rules, ""))


class ActingAs:
    """An interceptor of a FakeClient: the requests are those of an account with the shipped rights, or with others."""

    def __init__(self, user: str, rights: Iterable[Right] | None = None) -> None:
        self._user = User(user)
        self._rights = [right for right in (shipped_rights() if rights is None else rights) if right.user == user]

    def __call__(self, action: Action, proceed: Callable[[], Any]) -> Any:
        """Raises ForbiddenError, as the API server would answer."""
        asked = self._attributes(action)
        if not any(right.allows(asked) for right in self._rights):
            raise forbidden(asked)
        return proceed()

    def _attributes(self, action: Action) -> Attributes:
        name = action.name
        if isinstance(action.options, ListOptions | WatchOptions):
            named = FieldSelector.of(action.options.field_selector).requirements
            name = next((term.value for term in named if term.field == "metadata.name"), "")
        return Attributes(
            user=self._user,
            verb="patch" if action.verb == "apply" else action.verb,
            namespace=action.namespace,
            group=action.kind.mapping.gvk.group,
            resource=action.kind.mapping.plural,
            subresource=action.subresource,
            name="" if action.verb == "create" and not action.subresource else name,
        )


def requests(audit: Path, *users: str) -> list[tuple[Json, Attributes]]:
    """The lines of an audit log that are about resources and of these users, each with what it asked for."""
    found = []
    for line in audit.read_text().splitlines():
        record = json.loads(line)
        path, _, query = record["path"].partition("?")
        info = parse(Request(method="GET", path=path, raw_query=query))
        if record["user"] in users and info.is_resource:
            attributes = Attributes.of(User(record["user"]), info)
            asked = Attributes(
                user=attributes.user,
                verb=record["verb"],
                namespace=attributes.namespace,
                group=attributes.group,
                resource=attributes.resource,
                subresource=attributes.subresource,
                name=attributes.name,
            )
            found.append((record, asked))
    return found
