"""The admission plugins that look up classes: the priority of a new pod, and whether a claim of a class may grow.

Both are always on in kube-apiserver (Priority, PersistentVolumeClaimResize). They refuse with ForbiddenError.
"""

from __future__ import annotations

from typing import Any

import msgspec

from localmodel.runtime.errors import ForbiddenError
from localmodel.runtime.objects import parse_quantity
from localmodel.runtime.testing.answers import details
from localmodel.runtime.testing.definitions import AdmissionAttributes, ResourceDefinition
from localmodel.runtime.testing.registry import Registry
from localmodel.runtime.testing.store import VersionedStore

Json = dict[str, Any]

_CLASSES = "priorityclasses.scheduling.k8s.io"
_STORAGE_CLASSES = "storageclasses.storage.k8s.io"
_USUAL_POLICY = "PreemptLowerPriority"


class PriorityAdmission:
    """Gives a new pod the priority of its class, or of the default class; there may be one such."""

    def __init__(self, registry: Registry) -> None:
        self._store = registry.store

    def handles(self, _operation: str, definition: ResourceDefinition, subresource: str) -> bool:
        return definition.group_resource in ("pods", _CLASSES) and not subresource

    def __call__(self, attributes: AdmissionAttributes) -> None:
        obj, resource = attributes.object, attributes.definition.group_resource
        if obj is None:
            return
        if resource == "pods" and attributes.operation == "CREATE" and isinstance(obj.get("spec"), dict):
            self._prioritise(obj["spec"], attributes)
        elif resource == _CLASSES and obj.get("globalDefault"):
            self._check_default(attributes)

    def _prioritise(self, spec: Json, attributes: AdmissionAttributes) -> None:
        name = spec.get("priorityClassName") or ""
        found = _find(self._store, _CLASSES, name) if name else self._default()
        if name and found is None:
            raise _forbidden(attributes, f"no PriorityClass with name {name} was found")
        named = found or {}
        value, policy = int(named.get("value") or 0), named.get("preemptionPolicy") or _USUAL_POLICY
        said = "must not be provided in pod spec; priority admission controller computed"
        if spec.get("priority") is not None and spec["priority"] != value:
            text = (
                f"the integer value of priority ({spec['priority']}) {said} {value} from the given PriorityClass name"
            )
            raise _forbidden(attributes, text)
        given = spec.get("preemptionPolicy")
        if given is not None and given != policy:
            text = f"the string value of PreemptionPolicy ({given}) {said} {policy} from the given PriorityClass name"
            raise _forbidden(attributes, text)
        spec |= {"priority": value, "preemptionPolicy": policy}
        if found:
            spec["priorityClassName"] = found["metadata"]["name"]

    def _default(self) -> Json | None:
        """The default class of least value."""
        classes = [msgspec.json.decode(entry.value) for entry in self._store.list(_CLASSES)[1]]
        return min((c for c in classes if c.get("globalDefault")), key=lambda c: int(c["value"]), default=None)

    def _check_default(self, attributes: AdmissionAttributes) -> None:
        current = self._default()
        if current is not None and current["metadata"]["name"] != attributes.name:
            name = current["metadata"]["name"]
            text = f"PriorityClass {name} is already marked as default. Only one default can exist"
            raise _forbidden(attributes, text)


class ClaimResizeAdmission:
    """A bound claim grows only if its storage class says so."""

    def __init__(self, registry: Registry) -> None:
        self._store = registry.store

    def handles(self, operation: str, definition: ResourceDefinition, subresource: str) -> bool:
        return operation == "UPDATE" and definition.group_resource == "persistentvolumeclaims" and not subresource

    def __call__(self, attributes: AdmissionAttributes) -> None:
        new, old = attributes.object, attributes.old_object
        if new is None or old is None or (old.get("status") or {}).get("phase") != "Bound":
            return
        if _size(new) <= _size(old):
            return
        name = (new.get("spec") or {}).get("storageClassName") or ""
        found = _find(self._store, _STORAGE_CLASSES, name) if name else None
        if found is None or not found.get("allowVolumeExpansion"):
            text = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must "
            raise _forbidden(attributes, f"{text}support resize")


def _find(store: VersionedStore, resource: str, name: str) -> Json | None:
    entry = store.get(resource, "", name)
    return msgspec.json.decode(entry.value) if entry else None


def _size(claim: Json) -> int:
    """Bytes; a claim is decoded before admission, so that a size is a quantity."""
    asked = (((claim.get("spec") or {}).get("resources") or {}).get("requests") or {}).get("storage")
    return parse_quantity(asked) if asked else 0


def _forbidden(attributes: AdmissionAttributes, text: str) -> ForbiddenError:
    definition, name = attributes.definition, attributes.name
    return ForbiddenError.of(
        f'{definition.group_resource} "{name}" is forbidden: {text}', details=details(definition, name)
    )
