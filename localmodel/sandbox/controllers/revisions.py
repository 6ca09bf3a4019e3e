"""A DaemonSet's history: one ControllerRevision per pod template it had, numbered in the order of their use.

`kubectl rollout history` and `undo` read them. A template that comes back gets a new number and keeps its hash, so
pods that were made from it count as up to date again.
Rules: https://kubernetes.io/docs/tasks/manage-daemon/rollback-daemon-set/.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
from pydantic import Field

from localmodel.runtime.controllerutil import get_controller_of, set_controller_reference
from localmodel.runtime.errors import AlreadyExistsError, NotFoundError
from localmodel.runtime.objects import DaemonSet, Object, ObjectMeta, Pod, RESTMapping

from .daemonpods import REVISION_HASH, template

if TYPE_CHECKING:
    from localmodel.runtime.client import Client, Reader

Json = dict[str, Any]

DEFAULT_LIMIT = 10


class ControllerRevision(Object):
    mapping: ClassVar[RESTMapping] = RESTMapping.of("apps", "v1", "ControllerRevision")
    data: Json = Field(default_factory=dict)
    revision: int = 0

    @property
    def hash(self) -> str:
        return self.metadata.labels.get(REVISION_HASH, "")


def revisions_of(reader: Reader, daemon_set: DaemonSet) -> list[ControllerRevision]:
    """The history, oldest first."""
    found = [
        revision
        for revision in reader.list(ControllerRevision, namespace=daemon_set.namespace)
        if (owner := get_controller_of(revision)) is not None and owner.uid == daemon_set.metadata.uid
    ]
    return sorted(found, key=lambda revision: (revision.revision, revision.name))


def current_revision(client: Client, live: Reader, daemon_set: DaemonSet) -> ControllerRevision:
    """The revision of the present template, made or given the highest number where needed; raises ApiError."""
    data = {"spec": {"template": {**copy.deepcopy(template(daemon_set)), "$patch": "replace"}}}
    known = revisions_of(client, daemon_set)
    newest = known[-1].revision if known else 0
    found = next((revision for revision in known if revision.data == data), None)
    if found is None:
        return _create(client, live, daemon_set, data, newest + 1)
    if found.revision < newest:
        found = client.patch(found, {"revision": newest + 1})
    return found


def _create(client: Client, live: Reader, daemon_set: DaemonSet, data: Json, number: int) -> ControllerRevision:
    digest = template_hash(data)
    labels = {**((template(daemon_set).get("metadata") or {}).get("labels") or {}), REVISION_HASH: digest}
    metadata = ObjectMeta(
        name=f"{daemon_set.name}-{digest}",
        namespace=daemon_set.namespace,
        labels=labels,
        annotations=dict(daemon_set.metadata.annotations),
    )
    revision = ControllerRevision(metadata=metadata, data=data, revision=number)
    set_controller_reference(daemon_set, revision)
    try:
        return client.create(revision)
    except AlreadyExistsError:
        existing = live.find(ControllerRevision, revision.name, namespace=revision.namespace)
        if existing is not None and existing.data == data:
            owner = get_controller_of(existing)
            if owner is not None and owner.uid == daemon_set.metadata.uid:
                return existing
            if owner is None:  # of a DaemonSet that was deleted without its history
                references = [reference.to_dict() for reference in revision.metadata.owner_references]
                return client.patch(existing, {"metadata": {"ownerReferences": references}, "revision": number})
        raise


def template_hash(data: Json) -> str:
    """Ten hexadecimal digits that stand for a template."""
    return hashlib.sha256(msgspec.json.encode(data, order="deterministic")).hexdigest()[:10]


def clean_up(client: Client, daemon_set: DaemonSet, pods: Sequence[Pod], current: ControllerRevision) -> None:
    """Deletes the oldest of the former revisions beyond the limit; one that a pod is of stays."""
    in_use = {pod.metadata.labels.get(REVISION_HASH) for pod in pods}
    former = [revision for revision in revisions_of(client, daemon_set) if revision.name != current.name]
    surplus = len(former) - int(daemon_set.spec.get("revisionHistoryLimit", DEFAULT_LIMIT))
    for revision in [revision for revision in former if revision.hash not in in_use][: max(surplus, 0)]:
        try:
            client.delete(revision)
        except NotFoundError:
            continue
