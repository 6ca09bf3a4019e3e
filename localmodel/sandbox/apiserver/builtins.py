"""The built-in kinds that this server has, as one table.

A row says how a kind is named and served; what its fields are is in the packaged schemas (`schemas`), what its columns
are in `printers`, what is defaulted and checked in `defaults` and `checks`. A kind that is not in the table is not
served: clients get the 404 that a cluster without it gives.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from localmodel.runtime.objects import RESTMapping

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


class Subresource(msgspec.Struct, frozen=True):
    """One subresource: its verbs, and the kind of its body where that is not the kind of its parent."""

    name: str
    verbs: tuple[str, ...]
    group: str = ""
    version: str = ""
    kind: str = ""


STATUS = Subresource("status", ("get", "patch", "update"))
SCALE = Subresource("scale", ("get", "patch", "update"), "autoscaling", "v1", "Scale")
FINALIZE = Subresource("finalize", ("update",))
BINDING = Subresource("binding", ("create",), "", "v1", "Binding")
EVICTION = Subresource("eviction", ("create",), "policy", "v1", "Eviction")
LOG = Subresource("log", ("get",))
TOKEN = Subresource("token", ("create",), "authentication.k8s.io", "v1", "TokenRequest")


class BuiltinKind(msgspec.Struct, frozen=True):
    """One row: where the kind is served and under which names."""

    mapping: RESTMapping
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[Subresource, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS

    @property
    def singular(self) -> str:
        return self.mapping.gvk.kind.lower()

    @property
    def is_stored(self) -> bool:
        """Reviews are answered, never stored."""
        return "list" in self.verbs


def _kind(
    group: str,
    kind: str,
    short: str = "",
    *subresources: Subresource,
    plural: str = "",
    namespaced: bool = True,
    categories: tuple[str, ...] = (),
    verbs: tuple[str, ...] = ALL_VERBS,
) -> BuiltinKind:
    mapping = RESTMapping.of(group, "v1", kind, plural, namespaced=namespaced)
    return BuiltinKind(mapping, tuple(short.split()), categories, subresources, verbs)


def _review(group: str, kind: str, *, namespaced: bool = False) -> BuiltinKind:
    return _kind(group, kind, namespaced=namespaced, verbs=("create",))


_ALL = ("all",)
_EXTENSIONS = ("api-extensions",)
_ADMISSION = "admissionregistration.k8s.io"
_RBAC = "rbac.authorization.k8s.io"
_STORAGE = "storage.k8s.io"
_AUTHENTICATION = "authentication.k8s.io"
_AUTHORIZATION = "authorization.k8s.io"

BUILTIN_KINDS: tuple[BuiltinKind, ...] = (
    _kind(
        "",
        "Namespace",
        "ns",
        STATUS,
        FINALIZE,
        namespaced=False,
        verbs=tuple(verb for verb in ALL_VERBS if verb != "deletecollection"),
    ),
    _kind("", "Node", "no", STATUS, namespaced=False),
    _kind("", "Pod", "po", STATUS, LOG, BINDING, EVICTION, categories=_ALL),
    _kind("", "ConfigMap", "cm"),
    _kind("", "Secret"),
    _kind("", "ServiceAccount", "sa", TOKEN),
    _kind("", "Event", "ev"),
    _kind("", "PersistentVolume", "pv", STATUS, namespaced=False),
    _kind("", "PersistentVolumeClaim", "pvc", STATUS),
    _kind("", "Service", "svc", STATUS, categories=_ALL),
    _kind("", "Endpoints", "ep", plural="endpoints"),
    _kind("", "ReplicationController", "rc", STATUS, SCALE, categories=_ALL),
    _kind("", "LimitRange", "limits"),
    _kind("", "ResourceQuota", "quota", STATUS),
    _kind("", "PodTemplate"),
    _kind("apps", "Deployment", "deploy", STATUS, SCALE, categories=_ALL),
    _kind("apps", "DaemonSet", "ds", STATUS, categories=_ALL),
    _kind("apps", "ReplicaSet", "rs", STATUS, SCALE, categories=_ALL),
    _kind("apps", "StatefulSet", "sts", STATUS, SCALE, categories=_ALL),
    _kind("apps", "ControllerRevision"),
    _kind("batch", "Job", "", STATUS, categories=_ALL),
    _kind("batch", "CronJob", "cj", STATUS, categories=_ALL),
    _kind(_RBAC, "Role"),
    _kind(_RBAC, "RoleBinding"),
    _kind(_RBAC, "ClusterRole", namespaced=False),
    _kind(_RBAC, "ClusterRoleBinding", namespaced=False),
    _kind("coordination.k8s.io", "Lease"),
    _kind("events.k8s.io", "Event", "ev"),
    _kind(_STORAGE, "StorageClass", "sc", plural="storageclasses", namespaced=False),
    _kind(_STORAGE, "CSIDriver", namespaced=False),
    _kind(_STORAGE, "CSINode", namespaced=False),
    _kind(_STORAGE, "CSIStorageCapacity", plural="csistoragecapacities"),
    _kind(_STORAGE, "VolumeAttachment", "", STATUS, namespaced=False),
    _kind(
        "apiextensions.k8s.io",
        "CustomResourceDefinition",
        "crd crds",
        STATUS,
        namespaced=False,
        categories=_EXTENSIONS,
    ),
    _kind(_ADMISSION, "MutatingWebhookConfiguration", namespaced=False, categories=_EXTENSIONS),
    _kind(_ADMISSION, "ValidatingWebhookConfiguration", namespaced=False, categories=_EXTENSIONS),
    _kind(
        _ADMISSION,
        "ValidatingAdmissionPolicy",
        "",
        STATUS,
        plural="validatingadmissionpolicies",
        namespaced=False,
        categories=_EXTENSIONS,
    ),
    _kind(_ADMISSION, "ValidatingAdmissionPolicyBinding", namespaced=False, categories=_EXTENSIONS),
    _kind("policy", "PodDisruptionBudget", "pdb", STATUS),
    _kind("networking.k8s.io", "NetworkPolicy", "netpol", plural="networkpolicies"),
    _kind("networking.k8s.io", "Ingress", "ing", STATUS, plural="ingresses"),
    _kind("networking.k8s.io", "IngressClass", plural="ingressclasses", namespaced=False),
    _kind("discovery.k8s.io", "EndpointSlice"),
    _kind("scheduling.k8s.io", "PriorityClass", "pc", plural="priorityclasses", namespaced=False),
    _review(_AUTHENTICATION, "TokenReview"),
    _review(_AUTHENTICATION, "SelfSubjectReview"),
    _review(_AUTHORIZATION, "SubjectAccessReview"),
    _review(_AUTHORIZATION, "SelfSubjectAccessReview"),
    _review(_AUTHORIZATION, "SelfSubjectRulesReview"),
    _review(_AUTHORIZATION, "LocalSubjectAccessReview", namespaced=True),
)


def stored_kinds() -> Iterator[BuiltinKind]:
    """The kinds whose objects are kept in the store."""
    return (kind for kind in BUILTIN_KINDS if kind.is_stored)
