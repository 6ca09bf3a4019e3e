"""The admission plugins that are always on: namespace life cycle and the service accounts of pods.

Each is called with `AdmissionAttributes` and refuses with an ApiError or changes the object.
"""

from __future__ import annotations

from typing import Any

import msgspec

from localmodel.runtime.errors import ForbiddenError, NotFoundError
from localmodel.runtime.testing.definitions import AdmissionAttributes, ResourceDefinition
from localmodel.runtime.testing.registry import Registry

Json = dict[str, Any]

IMMORTAL_NAMESPACES = frozenset({"default", "kube-system", "kube-public"})


class NamespaceLifecycle:
    """Nothing is created in a namespace that does not exist (404) or is being deleted (403); some never go."""

    def __init__(self, registry: Registry) -> None:
        self._store = registry.store

    def handles(self, operation: str, definition: ResourceDefinition, _subresource: str) -> bool:
        if definition.group_resource == "namespaces":
            return operation == "DELETE"
        return operation == "CREATE" and definition.mapping.namespaced

    def __call__(self, attributes: AdmissionAttributes) -> None:
        definition = attributes.definition
        if definition.group_resource == "namespaces":
            name = ((attributes.old_object or {}).get("metadata") or {}).get("name", attributes.name)
            if name in IMMORTAL_NAMESPACES:
                raise ForbiddenError.of(
                    f'namespaces "{name}" is forbidden: this namespace may not be deleted',
                    details={"name": name, "kind": "namespaces"},
                )
            return
        entry = self._store.get("namespaces", "", attributes.namespace)
        if entry is None:
            raise NotFoundError.of(
                f'namespaces "{attributes.namespace}" not found',
                details={"name": attributes.namespace, "kind": "namespaces"},
            )
        namespace: Json = msgspec.json.decode(entry.value)
        if namespace["metadata"].get("deletionTimestamp"):
            raise _terminating(attributes)


def _terminating(attributes: AdmissionAttributes) -> ForbiddenError:
    resource, namespace = attributes.definition.group_resource, attributes.namespace
    text = f"unable to create new content in namespace {namespace} because it is being terminated"
    subject = f'{resource} "{attributes.name}"' if attributes.name else resource
    cause = {
        "reason": "NamespaceTerminating",
        "message": f"namespace {namespace} is being terminated",
        "field": "metadata.namespace",
    }
    details: Json = {"name": attributes.name, "kind": attributes.definition.mapping.plural, "causes": [cause]}
    if group := attributes.definition.mapping.gvk.group:
        details["group"] = group
    return ForbiddenError.of(f"{subject} is forbidden: {text}", details=details)


class ServiceAccountAdmission:
    """A new pod runs as `default` unless it says otherwise; its service account must exist."""

    def __init__(self, registry: Registry) -> None:
        self._store = registry.store

    def handles(self, operation: str, definition: ResourceDefinition, subresource: str) -> bool:
        return operation == "CREATE" and definition.group_resource == "pods" and not subresource

    def __call__(self, attributes: AdmissionAttributes) -> None:
        pod = attributes.object
        spec = pod.get("spec") if pod is not None else None
        if not isinstance(spec, dict):
            return
        name = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
        spec["serviceAccountName"] = spec["serviceAccount"] = name
        if self._store.get("serviceaccounts", attributes.namespace, name) is None:
            raise ForbiddenError.of(
                f'pods "{attributes.name}" is forbidden: error looking up service account '
                f'{attributes.namespace}/{name}: serviceaccount "{name}" not found',
                details={"name": attributes.name, "kind": "pods"},
            )
