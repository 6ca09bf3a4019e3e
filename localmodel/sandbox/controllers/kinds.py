"""The kinds that the generic controllers (garbage collector, namespaces) look after, and types that others share."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from localmodel.runtime.client import Reader
from localmodel.runtime.errors import ApiError
from localmodel.runtime.objects import CustomResourceDefinition, Object, RESTMapping

Json = dict[str, Any]

_of = RESTMapping.of

BUILT_IN: tuple[RESTMapping, ...] = (
    _of("", "v1", "ConfigMap"),
    _of("", "v1", "Node", namespaced=False),
    _of("", "v1", "PersistentVolume", namespaced=False),
    _of("", "v1", "PersistentVolumeClaim"),
    _of("", "v1", "Pod"),
    _of("", "v1", "Secret"),
    _of("", "v1", "Service"),
    _of("", "v1", "ServiceAccount"),
    _of("apps", "v1", "ControllerRevision"),
    _of("apps", "v1", "DaemonSet"),
    _of("apps", "v1", "Deployment"),
    _of("apps", "v1", "ReplicaSet"),
    _of("apps", "v1", "StatefulSet"),
    _of("batch", "v1", "CronJob"),
    _of("batch", "v1", "Job"),
    _of("coordination.k8s.io", "v1", "Lease"),
    _of("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
    _of("policy", "v1", "PodDisruptionBudget"),
    _of("rbac.authorization.k8s.io", "v1", "Role"),
    _of("rbac.authorization.k8s.io", "v1", "RoleBinding"),
    _of("rbac.authorization.k8s.io", "v1", "ClusterRole", namespaced=False),
    _of("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", namespaced=False),
)
"""Kinds with owners or owned. Events are left out: nothing owns them, and they are many."""

EVENTS = _of("", "v1", "Event")

MIRROR = "kubernetes.io/config.mirror"
"""The annotation of a pod that only shows what its kubelet runs without it."""


class Node(Object):
    """A Node as the scheduler and the kubelet see it: whole, and written back."""

    mapping: ClassVar[RESTMapping] = _of("", "v1", "Node", namespaced=False)
    spec: Json = Field(default_factory=dict)
    status: Json = Field(default_factory=dict)

    @property
    def is_ready(self) -> bool:
        return any(c.get("type") == "Ready" and c.get("status") == "True" for c in self.status.get("conditions") or [])


class Binding(Object):
    """core/v1 Binding; `Binding.type_for(pod_name)` is created at pods/NAME/binding, the only way to place a pod."""

    mapping: ClassVar[RESTMapping] = _of("", "v1", "Binding")
    target: Json = Field(default_factory=dict)

    @classmethod
    def type_for(cls, pod_name: str) -> type[Binding]:
        mapping = _of("", "v1", "Binding", f"pods/{pod_name}/binding")
        return type("Binding", (cls,), {"mapping": mapping, "__module__": __name__})


def custom_kinds(reader: Reader) -> list[RESTMapping]:
    """The storage version of every custom resource that the API server serves."""
    return [mapping for crd in reader.list(CustomResourceDefinition) for mapping in served_kinds(crd)]


def served_kinds(crd: CustomResourceDefinition) -> list[RESTMapping]:
    """The storage version of one definition; empty until it is established."""
    if not any(
        c.get("type") == "Established" and c.get("status") == "True" for c in crd.status.get("conditions") or []
    ):
        return []
    names, namespaced = crd.spec["names"], crd.spec.get("scope") == "Namespaced"
    return [
        _of(crd.spec["group"], version["name"], names["kind"], names["plural"], namespaced=namespaced)
        for version in crd.spec["versions"]
        if version.get("storage") and version.get("served")
    ]


def is_namespace_terminating(error: ApiError) -> bool:
    """Whether an object was not made because its namespace is on its way out: nothing that has to be told."""
    return any(cause.get("reason") == "NamespaceTerminating" for cause in error.causes)
