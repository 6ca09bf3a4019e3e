"""What the shipped roles grant, and which of it a run has used according to the API server's audit log."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localmodel.sandbox import install
from localmodel.sandbox.apiserver.messages import Request
from localmodel.sandbox.apiserver.rbac import Attributes, allows
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

    def __str__(self) -> str:
        place = f" in {self.namespace}" if self.namespace else ""
        resource = f"{self.resource}.{self.group}" if self.group else self.resource
        return f"{self.verb} {resource}{place}"

    def allows(self, attributes: Attributes) -> bool:
        rule = {"verbs": [self.verb], "apiGroups": [self.group], "resources": [self.resource]}
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
                    yield Right(user, role, group, resource, verb, namespace)


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
