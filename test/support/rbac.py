"""Roles and bindings for tests of the API server's core."""

from __future__ import annotations

from typing import Any

from .apicore import InProcess

Json = dict[str, Any]

RBAC = "/apis/rbac.authorization.k8s.io/v1"
GROUP = "rbac.authorization.k8s.io"
PODS: Json = {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}


def rule(verbs: str, resources: str = "pods", group: str = "", **more: Any) -> Json:
    """A PolicyRule; verbs and resources are words."""
    return {"verbs": verbs.split(), "apiGroups": [group], "resources": resources.split(), **more}


def grant(api: InProcess, name: str, subject: Json, rules: list[Json], *, namespace: str = "") -> None:
    """A role with a binding: in the namespace, or in the whole cluster."""
    prefix, scope = ("Cluster", RBAC) if not namespace else ("", f"{RBAC}/namespaces/{namespace}")
    api.create(f"{scope}/{prefix.lower()}roles", {"metadata": {"name": name}, "rules": rules})
    _bind(api, name, f"{prefix}Role", name, subject, namespace)


def bind(api: InProcess, role: str, user: str, *, namespace: str = "", kind: str = "ClusterRole") -> None:
    """Binds a role, which need not exist, to a user: in the namespace, or in the whole cluster."""
    _bind(api, f"{user}-{role}", kind, role, {"kind": "User", "name": user}, namespace)


def _bind(api: InProcess, name: str, kind: str, role: str, subject: Json, namespace: str) -> None:
    scope = f"{RBAC}/namespaces/{namespace}/rolebindings" if namespace else f"{RBAC}/clusterrolebindings"
    reference = {"apiGroup": GROUP, "kind": kind, "name": role}
    api.create(scope, {"metadata": {"name": name}, "roleRef": reference, "subjects": [subject]})
