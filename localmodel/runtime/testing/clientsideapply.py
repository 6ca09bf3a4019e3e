"""From client-side to server-side apply: what kube-apiserver does for the field manager `kubectl` only.

kubectl's client-side apply left an annotation with what was applied last, and is the manager
`kubectl-client-side-apply`. An apply by `kubectl` may take those fields over without force, as long as nobody has
changed them since, and keeps the annotation up to date so that one can go back.

Source: k8s.io/apimachinery/pkg/util/managedfields/internal (lastappliedmanager.go, lastappliedupdater.go).
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from localmodel.runtime.errors import ConflictError

from .apply import Applied, Manager, owned_fields, server_side_apply
from .definitions import Json, ResourceDefinition
from .fieldset import difference_of, paths, subtract

ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"
KUBECTL = "kubectl"


def apply_as(
    definition: ResourceDefinition, live: Json | None, patch: Json, manager: Manager, now: datetime, *, force: bool
) -> Applied:
    """`server_side_apply`, and the migration if the manager is kubectl. Raises what that raises."""
    if manager.name != KUBECTL or manager.subresource:
        return server_side_apply(definition, live, patch, manager, now, force=force)
    try:
        applied = server_side_apply(definition, live, patch, manager, now, force=force)
    except ConflictError as error:
        allowed = _allowed_conflicts(definition, live or {})
        if not {cause["field"] for cause in error.causes} <= allowed:
            raise
        applied = server_side_apply(definition, live, patch, manager, now, force=True)
    _renew_annotation(applied.object, patch)
    return applied


def _allowed_conflicts(definition: ResourceDefinition, live: Json) -> set[str]:
    """The paths of the fields that were applied last and are still as they were."""
    last = _last_applied(live)
    if last is None:
        return set()
    fields = owned_fields(definition, last)
    changed, _ = difference_of(last, {key: live.get(key) for key in last}, definition.schema)
    return set(paths(subtract(fields, changed or {})))


def _last_applied(obj: Json) -> Json | None:
    annotation = ((obj.get("metadata") or {}).get("annotations") or {}).get(ANNOTATION)
    if not annotation:
        return None
    try:
        value = json.loads(annotation)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _renew_annotation(obj: Json, patch: Json) -> None:
    metadata = obj.get("metadata") or {}
    annotations = metadata.get("annotations") or {}
    if annotations.get(ANNOTATION):
        obj["metadata"] = {**metadata, "annotations": {**annotations, ANNOTATION: _encoded(patch)}}


def _encoded(patch: Json) -> str:
    """What was applied, without the annotation itself, as Go encodes it."""
    metadata = dict(patch.get("metadata") or {})
    annotations: dict[str, Any] = {k: v for k, v in (metadata.get("annotations") or {}).items() if k != ANNOTATION}
    metadata.pop("annotations", None)
    if annotations:
        metadata["annotations"] = annotations
    text = json.dumps({**patch, "metadata": metadata}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return f"{text}\n"
