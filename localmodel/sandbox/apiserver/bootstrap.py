"""The objects that a fresh cluster has: system namespaces, what every namespace contains, and the system roles.

They are written through the registry like everything else, where they are missing: after a restart with a data
directory nothing is changed, and what a user changed stays.
"""

from __future__ import annotations

from typing import Any

import msgspec

from localmodel.runtime.client import WriteOptions
from localmodel.runtime.errors import AlreadyExistsError, ForbiddenError, NotFoundError
from localmodel.runtime.listwatch import WatchEvent, WatchOptions
from localmodel.runtime.testing.definitions import ResourceDefinition
from localmodel.runtime.testing.registry import Registry

from .rbac import GROUP
from .users import AUTHENTICATED, MASTERS

Json = dict[str, Any]

SYSTEM_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
ROOT_CA = "kube-root-ca.crt"
_TRUSTED = WriteOptions(field_manager="kube-apiserver", field_validation="Ignore")

_READ = ["get", "list", "watch"]
_WRITE = ["create", "delete", "deletecollection", "patch", "update"]


def _rules(verbs: list[str], resources: dict[str, list[str]]) -> list[Json]:
    return [{"verbs": verbs, "apiGroups": [group], "resources": names} for group, names in resources.items()]


_VIEWED = {
    "": [
        "configmaps", "endpoints", "events", "limitranges", "namespaces", "persistentvolumeclaims",
        "persistentvolumeclaims/status", "pods", "pods/log", "pods/status", "replicationcontrollers", "resourcequotas",
        "serviceaccounts", "services", "services/status",
    ],
    "apps": [
        "controllerrevisions", "daemonsets", "daemonsets/status", "deployments", "deployments/scale",
        "deployments/status", "replicasets", "replicasets/scale", "replicasets/status", "statefulsets",
        "statefulsets/scale", "statefulsets/status",
    ],
    "batch": ["cronjobs", "cronjobs/status", "jobs", "jobs/status"],
    "discovery.k8s.io": ["endpointslices"],
    "networking.k8s.io": ["ingresses", "ingresses/status", "networkpolicies"],
    "policy": ["poddisruptionbudgets", "poddisruptionbudgets/status"],
}  # fmt: skip
_EDITED = {
    "": [
        "configmaps", "events", "persistentvolumeclaims", "pods", "pods/eviction", "replicationcontrollers", "secrets",
        "serviceaccounts", "services",
    ],
    "apps": ["daemonsets", "deployments", "deployments/scale", "replicasets", "replicasets/scale", "statefulsets"],
    "batch": ["cronjobs", "jobs"],
    "networking.k8s.io": ["ingresses", "networkpolicies"],
    "policy": ["poddisruptionbudgets"],
}  # fmt: skip
_VIEW = _rules(_READ, _VIEWED)
_EDIT = [
    *_VIEW,
    *_rules(_READ, {"": ["secrets"]}),
    *_rules(_WRITE, _EDITED),
    *_rules(["create"], {"": ["serviceaccounts/token"]}),
    *_rules(["impersonate"], {"": ["serviceaccounts"]}),
]
_ADMIN = [*_EDIT, *_rules([*_READ, *_WRITE], {GROUP: ["rolebindings", "roles"]})]

_CLUSTER_ROLES: dict[str, list[Json]] = {
    "cluster-admin": [
        {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
        {"verbs": ["*"], "nonResourceURLs": ["*"]},
    ],
    "admin": _ADMIN,
    "edit": _EDIT,
    "view": _VIEW,
    "system:discovery": [
        {
            "verbs": ["get"],
            "nonResourceURLs": [
                "/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz",
                "/version", "/version/",
            ],
        }
    ],
    "system:basic-user": [
        {
            "verbs": ["create"],
            "apiGroups": ["authorization.k8s.io"],
            "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
        },
        {"verbs": ["create"], "apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"]},
    ],
    "system:public-info-viewer": [
        {"verbs": ["get"], "nonResourceURLs": ["/healthz", "/livez", "/readyz", "/version", "/version/"]}
    ],
    "system:auth-delegator": [
        {"verbs": ["create"], "apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"]},
        {"verbs": ["create"], "apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"]},
    ],
}  # fmt: skip
_CLUSTER_ROLE_BINDINGS = {
    "cluster-admin": MASTERS,
    "system:discovery": AUTHENTICATED,
    "system:basic-user": AUTHENTICATED,
    "system:public-info-viewer": AUTHENTICATED,
}
_SYSTEM_LABELS = {"kubernetes.io/bootstrapping": "rbac-defaults"}


def bootstrap(registry: Registry, *, authority_pem: str) -> None:
    """Writes what is missing, and fills every namespace from now on."""
    contents = NamespaceContents(registry, authority_pem=authority_pem)
    for name in SYSTEM_NAMESPACES:
        _ensure(registry, _definition(registry, "", "namespaces"), "", {"metadata": {"name": name}})
    contents.start()
    for name, rules in _CLUSTER_ROLES.items():
        role: Json = {"metadata": _system_metadata(name), "rules": rules}
        _ensure(registry, _definition(registry, GROUP, "clusterroles"), "", role)
    for name, group in _CLUSTER_ROLE_BINDINGS.items():
        binding = {
            "metadata": _system_metadata(name),
            "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": GROUP, "kind": "Group", "name": group}],
        }
        _ensure(registry, _definition(registry, GROUP, "clusterrolebindings"), "", binding)


def _system_metadata(name: str) -> Json:
    return {"name": name, "labels": dict(_SYSTEM_LABELS)}


def _definition(registry: Registry, group: str, plural: str) -> ResourceDefinition:
    definition = registry.lookup(group, "v1", plural)
    if definition is None:
        raise LookupError(f"{plural} is not registered")
    return definition


def _ensure(registry: Registry, definition: ResourceDefinition, namespace: str, obj: Json) -> None:
    if registry.store.get(definition.resource, namespace, obj["metadata"]["name"]) is not None:
        return
    try:
        registry.create(definition, namespace, obj, _TRUSTED)
    except (AlreadyExistsError, ForbiddenError, NotFoundError):
        # Somebody else was first, or the namespace is on its way out.
        return


class NamespaceContents:
    """Gives every namespace its `default` ServiceAccount and the ConfigMap with the server's authority."""

    def __init__(self, registry: Registry, *, authority_pem: str) -> None:
        self._registry = registry
        self._authority = authority_pem

    def start(self) -> None:
        options = WatchOptions(timeout_seconds=2**31, allow_bookmarks=False)
        self._registry.watch(_definition(self._registry, "", "namespaces"), options, self._on_event)

    def _on_event(self, event: WatchEvent) -> None:
        if event.type != "ADDED":
            return
        namespace: Json = msgspec.json.decode(event.object)
        if namespace["metadata"].get("deletionTimestamp"):
            return
        name = namespace["metadata"]["name"]
        account = {"metadata": {"name": "default"}}
        _ensure(self._registry, _definition(self._registry, "", "serviceaccounts"), name, account)
        config_map = {"metadata": {"name": ROOT_CA}, "data": {"ca.crt": self._authority}}
        _ensure(self._registry, _definition(self._registry, "", "configmaps"), name, config_map)
