"""What the built-in kinds have that custom resources have not: selectable fields, grace periods, unconditional updates.

`definition_of` makes the registry's definition of a typed kind. Sources: the strategies and field label conversions of
kubernetes/pkg/registry and kubernetes/pkg/apis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from localmodel.runtime.objects import RESTMapping
from localmodel.runtime.selectors import field_value

from . import events, metadata
from .answers import bad_request
from .definitions import Json, ResourceDefinition, SubresourceMerge, take_status
from .schema import BUILTIN, UNTYPED
from .zerovalues import zero_value

if TYPE_CHECKING:
    from localmodel.runtime.objects import Object

Field = Callable[[Json], str]


def field_at(*path: str, default: str = "") -> Field:
    """The value at a path as a field selector compares it; `default` where there is none."""

    def value(obj: Json) -> str:
        return field_value(obj, path, default)

    return value


def fields_at(*paths: str) -> dict[str, Field]:
    """Selectable fields that are named by their own path (spec.nodeName)."""
    return {path: field_at(*path.split(".")) for path in paths}


_REFERENCE = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")

SELECTABLE_FIELDS: Mapping[str, Mapping[str, Field]] = {
    "pods": {
        **fields_at("spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName"),
        **fields_at("status.phase", "status.podIP", "status.nominatedNodeName"),
        "spec.hostNetwork": field_at("spec", "hostNetwork", default="false"),
        "status.podIPs": field_at("status", "podIP"),
    },
    "nodes": {"spec.unschedulable": field_at("spec", "unschedulable", default="false")},
    "namespaces": fields_at("status.phase"),
    "secrets": fields_at("type"),
    "services": fields_at("spec.clusterIP", "spec.type"),
    "events": {
        **fields_at("reason", "reportingComponent", "type"),
        "source": events.source_of,
        **fields_at(*(f"involvedObject.{name}" for name in _REFERENCE)),
    },
    "events.events.k8s.io": {
        **fields_at("reason", "reportingController", "type"),
        **fields_at(*(f"regarding.{name}" for name in _REFERENCE)),
    },
    "jobs.batch": {"status.successful": field_at("status", "succeeded", default="0")},
    "replicationcontrollers": {"status.replicas": field_at("status", "replicas", default="0")},
}
"""By group resource, beside metadata.name and metadata.namespace."""

WITHOUT_GENERATION = frozenset(
    {
        "configmaps",
        "endpoints",
        "events",
        "events.events.k8s.io",
        "leases.coordination.k8s.io",
        "namespaces",
        "nodes",
        "persistentvolumeclaims",
        "persistentvolumes",
        "pods",
        "resourcequotas",
        "secrets",
        "serviceaccounts",
        "services",
        "storageclasses.storage.k8s.io",
        "csinodes.storage.k8s.io",
        "clusterrolebindings.rbac.authorization.k8s.io",
        "clusterroles.rbac.authorization.k8s.io",
        "rolebindings.rbac.authorization.k8s.io",
        "roles.rbac.authorization.k8s.io",
    }
)
WITHOUT_UNCONDITIONAL_UPDATE = frozenset(
    {"customresourcedefinitions.apiextensions.k8s.io", "leases.coordination.k8s.io", "poddisruptionbudgets.policy"}
)
CREATED_BY_UPDATE = frozenset(
    {
        "clusterrolebindings.rbac.authorization.k8s.io",
        "clusterroles.rbac.authorization.k8s.io",
        "endpoints",
        "events",
        "events.events.k8s.io",
        "leases.coordination.k8s.io",
        "limitranges",
        "rolebindings.rbac.authorization.k8s.io",
        "roles.rbac.authorization.k8s.io",
        "services",
    }
)
_GROUPS = frozenset({"", "apps", "autoscaling", "batch", "policy"})
DEFAULT_GRACE_PERIOD = 30


def is_builtin(mapping: RESTMapping) -> bool:
    """Served by kube-apiserver itself, not from a CustomResourceDefinition."""
    group = mapping.gvk.group
    return group in _GROUPS or (
        group.endswith(".k8s.io") and group not in ("metrics.k8s.io", "snapshot.storage.k8s.io")
    )


def pod_grace_period(pod: Json, requested: int | None) -> int:
    """Seconds that a deleted pod waits for its kubelet: none if it has no node or has finished (podStrategy)."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    if not spec.get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
        return 0
    if requested is not None:
        return max(requested, 0)
    own = spec.get("terminationGracePeriodSeconds")
    return DEFAULT_GRACE_PERIOD if own is None else int(own)


def _namespace_is_held(namespace: Json) -> bool:
    return bool((namespace.get("spec") or {}).get("finalizers"))


def _namespace_terminates(namespace: Json) -> None:
    namespace["status"] = {**(namespace.get("status") or {}), "phase": "Terminating"}


def take_spec_finalizers(old: Json, new: Json) -> Json:
    """The finalize subresource of a namespace: spec.finalizers of the new object only. Raises BadRequestError."""
    spec = new.get("spec") or {}
    if not isinstance(spec, dict):
        raise bad_request(f"the spec of a Namespace must be an object, not {spec!r}")
    return {**old, "spec": {**(old.get("spec") or {}), "finalizers": spec.get("finalizers") or []}}


def take_node(old: Json, new: Json) -> Json:
    """The binding subresource of a pod: its node, which nothing else may set later, and the status that says so."""
    return {**old, "spec": {**old["spec"], "nodeName": new["spec"]["nodeName"]}, "status": new.get("status") or {}}


def _status_taker(resource: str, group: str) -> SubresourceMerge:
    """The status subresource of a built-in kind: status and metadata of the new object; spec and all else stay.

    Workloads keep their labels, pods their owners (the kinds' status strategies).
    """
    kept = ("labels",) if group == "apps" else ("ownerReferences",) if resource == "pods" else ()

    def merge(old: Json, new: Json) -> Json:
        merged = take_status(old, new)
        before = old["metadata"]
        metadata = {key: value for key, value in new["metadata"].items() if key not in kept}
        merged["metadata"] = metadata | {key: before[key] for key in kept if key in before}
        return merged

    return merge


def builtin_definition(mapping: RESTMapping, *, status_subresource: bool = True, **more: Any) -> ResourceDefinition:
    """The definition of a built-in kind; `more` sets or overrides fields of it (defaults, validation, extra)."""
    resource = mapping.group_resource
    traits: dict[str, Any] = {
        "status_subresource": status_subresource,
        "subresources": {"status": _status_taker(resource, mapping.gvk.group)},
        "fields": SELECTABLE_FIELDS.get(resource, {}),
        "generation": resource not in WITHOUT_GENERATION,
        "allow_unconditional_update": resource not in WITHOUT_UNCONDITIONAL_UPDATE,
        "allow_create_on_update": resource in CREATED_BY_UPDATE,
        "strategic": True,
        "schema": BUILTIN,
        "zero": zero_value(mapping),
    }
    if resource == "events":
        traits["validate"] = events.validator(events.core_event_faults)
    elif resource == "events.events.k8s.io":
        traits |= {
            "storage": events.CORE,
            "from_storage": events.from_core,
            "to_storage": events.to_core,
            "validate": events.validator(events.event_faults),
        }
    elif resource == "pods":
        traits |= {
            "grace_period": pod_grace_period,
            "subresources": {**traits["subresources"], "binding": take_node},
        }
    elif resource == "nodes":
        traits["status_on_create"] = True
    elif resource == "namespaces":
        traits |= {
            "validate_name": metadata.dns1123_label,
            "holds_deletion": _namespace_is_held,
            "on_deleting": _namespace_terminates,
            "subresources": {**traits["subresources"], "finalize": take_spec_finalizers},
            "kept_fields": (("spec", "finalizers"),),
        }
    elif mapping.gvk.group == "rbac.authorization.k8s.io":
        traits["validate_name"] = metadata.path_segment
    return ResourceDefinition(mapping=mapping, **(traits | more))


def definition_of(kind: type[Object]) -> ResourceDefinition:
    """The definition of a typed kind: a status subresource if it declares a status, or does not declare its fields."""
    from localmodel.runtime.objects import Object

    declared = set(kind.model_fields) - set(Object.model_fields)
    status = "status" in declared or not declared
    if is_builtin(kind.mapping):
        return builtin_definition(kind.mapping, status_subresource=status)
    return ResourceDefinition(mapping=kind.mapping, status_subresource=status, schema=UNTYPED)
