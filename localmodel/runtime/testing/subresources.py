"""Subresources that are not a part of their object: scale, eviction, token, and binding to a node.

Each is translated into a read or an ordinary write of the object it belongs to; the embedded API server serves them by
the same functions. (status and finalize are merges of the registry.)
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec

from localmodel.runtime.client import JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH, Write, WriteOptions
from localmodel.runtime.errors import BadRequestError, InternalError, NotFoundError, make_status
from localmodel.runtime.objects import ObjectKey, format_time
from localmodel.runtime.selectors import Selector

from .answers import cause, invalid_kind, not_found
from .definitions import NOBODY, Json, ResourceDefinition, UserInfo
from .patch import json_patch, merge_patch
from .registry import Registry
from .writerequest import Written

FAKE_TOKEN = "fake-token"
"""Of every TokenRequest to a FakeClient, as in controller-runtime's."""
_SCALABLE = frozenset({"deployments.apps", "replicasets.apps", "statefulsets.apps", "replicationcontrollers"})


SCALE_PATHS = "scale_paths"
"""The key of a custom resource's ScalePaths in its definition's `extra`."""


class ScalePaths(msgspec.Struct, frozen=True):
    """Where a custom resource has what its Scale shows; dotted paths that begin with a dot. No selector is ""."""

    spec: str
    status: str
    selector: str = ""


def has_scale(definition: ResourceDefinition) -> bool:
    return definition.group_resource in _SCALABLE or definition.extra.get(SCALE_PATHS) is not None


def _at(obj: Json, path: str) -> Any:
    current: Any = obj
    for name in path.removeprefix(".").split("."):
        current = current.get(name) if isinstance(current, dict) else None
    return current


def scale_of(obj: Json, paths: ScalePaths | None = None, *, absent: int | None = None) -> Json:
    """The autoscaling/v1 Scale of a workload, or of a custom resource by its paths.

    Where a custom resource has no number of replicas it is `absent`; without that raises InternalError, like
    kube-apiserver.
    """
    metadata = obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    scale: Json = {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: metadata[key] for key in kept if key in metadata},
    }
    if paths is not None:
        replicas, selector = _at(obj, paths.spec), _at(obj, paths.selector) if paths.selector else None
        if replicas is None:
            replicas = absent
        if replicas is None:
            text = f'the spec replicas field "{paths.spec}" does not exist'
            raise InternalError(
                make_status("InternalError", 500, f"Internal error occurred: {text}", {"causes": [{"message": text}]})
            )
        status = {"replicas": _at(obj, paths.status) or 0, **({"selector": selector} if selector else {})}
        return {**scale, "spec": {"replicas": replicas}, "status": status}
    wanted = (obj.get("spec") or {}).get("selector") or {}
    is_map = not wanted.keys() & {"matchLabels", "matchExpressions"}  # of a replication controller
    selector = str(Selector.of(wanted) if is_map else Selector.of_label_selector(wanted))
    spec = {"replicas": (obj.get("spec") or {}).get("replicas", 0)}
    status = {"replicas": (obj.get("status") or {}).get("replicas", 0), "selector": selector}
    return {**scale, "spec": spec, "status": status}


def shown_scale(definition: ResourceDefinition, obj: Json, *, absent: int | None = None) -> Json:
    """The Scale of an object of this kind; see `scale_of`."""
    return scale_of(obj, definition.extra.get(SCALE_PATHS), absent=absent)


def patched_scale(current: Json, patch: Any, patch_type: str) -> Json:
    """What a patch makes of a Scale; without its resource version, unless the patch has one.

    Raises BadRequestError for a patch that is none, InvalidError for one that cannot be applied.
    """
    if patch_type == JSON_PATCH:
        metadata = {key: value for key, value in current["metadata"].items() if key != "resourceVersion"}
        return json_patch({**current, "metadata": metadata}, patch)
    if patch_type not in (MERGE_PATCH, STRATEGIC_MERGE_PATCH) or not isinstance(patch, dict):
        raise BadRequestError.of(f"scale takes {MERGE_PATCH}, {STRATEGIC_MERGE_PATCH} and {JSON_PATCH}")
    # A Scale has no lists, so a strategic merge patch does what a merge patch does.
    patched: Json = merge_patch({"spec": current["spec"]}, patch)
    return patched


def rescale(
    registry: Registry,
    definition: ResourceDefinition,
    key: ObjectKey,
    scale: Json,
    options: WriteOptions,
    *,
    user: UserInfo = NOBODY,
    is_admitted: bool = False,
) -> Written:
    """Gives a workload the replicas of a Scale, on condition of the Scale's resource version if it has one.

    Raises NotFoundError, ConflictError, and InvalidError for what is no number of replicas.
    """
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    paths: ScalePaths | None = definition.extra.get(SCALE_PATHS)
    if paths is None and (not isinstance(replicas, int) or replicas < 0):
        why = f"Invalid value: {replicas}: must be greater than or equal to 0"
        raise invalid_kind("Scale", "autoscaling", key.name, [cause("FieldValueInvalid", "spec.replicas", why)])
    change: Json = {}
    parent = change
    *above, last = paths.spec.removeprefix(".").split(".") if paths else ("spec", "replicas")
    for name in above:
        parent = parent.setdefault(name, {})
    parent[last] = replicas
    if version := (scale.get("metadata") or {}).get("resourceVersion"):
        change["metadata"] = {"resourceVersion": version}
    return registry.patch(
        definition,
        key.namespace,
        key.name,
        change,
        MERGE_PATCH,
        options,
        owned_through="scale",
        user=user,
        is_admitted=is_admitted,
    )


def _no_subresource(definition: ResourceDefinition, name: str) -> NotFoundError:
    """A path below an object of a custom resource that leads nowhere tells of the object, others of the path."""
    if definition.strategic:
        return NotFoundError.of("the server could not find the requested resource")
    return not_found(definition, name)


def read_subresource(registry: Registry, definition: ResourceDefinition, key: ObjectKey, subresource: str) -> bytes:
    """The JSON of a subresource. Raises NotFoundError where the kind does not have it."""
    if subresource == "scale" and has_scale(definition):
        return msgspec.json.encode(shown_scale(definition, registry.get(definition, key.namespace, key.name)))
    if definition.subresource(subresource) is None:
        raise _no_subresource(definition, key.name)
    return registry.get_raw(definition, key.namespace, key.name)


def write_subresource(registry: Registry, definition: ResourceDefinition, write: Write[Any]) -> Written | None:
    """Carries a write out, or returns None for a subresource that the registry merges itself."""
    body: Any = write.body if isinstance(write.body, dict | list) else write.body.to_dict()
    key = write.key
    match write.verb, definition.group_resource, write.subresource:
        case "update" | "patch", _, "scale" if has_scale(definition):
            current = shown_scale(definition, registry.get(definition, key.namespace, key.name))
            scale = body if write.verb == "update" else patched_scale(current, body, write.patch_type)
            written = rescale(registry, definition, key, scale, write.options)
            return Written(msgspec.json.encode(shown_scale(definition, written.object)))
        case "create", "pods", "eviction":
            registry.delete(definition, key.namespace, key.name, options=write.options)
            return Written(msgspec.json.encode(body), created=True)
        case "create", "serviceaccounts", "token":
            registry.get(definition, key.namespace, key.name)
            seconds = (body.get("spec") or {}).get("expirationSeconds") or 3600
            expires = format_time(registry.clock.now() + timedelta(seconds=seconds))
            status = {"token": FAKE_TOKEN, "expirationTimestamp": expires}
            return Written(msgspec.json.encode(body | {"status": status}), created=True)
    if write.verb == "create" or definition.subresource(write.subresource) is None:
        raise _no_subresource(definition, key.name)
    return None
