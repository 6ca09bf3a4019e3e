"""Which evicted models a workload wants back on a node: the value of the annotation WANTED_ANNOTATION.

A service asks for a model at most once per node: it must have been created after the model was last downloaded there.
So two services whose models do not fit beside each other get each its turn once, and never again throw each other's
models out (design.md section 7).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from localmodel.api import Cache, LocalModelInfo, LocalModelNode, NodeModel
from localmodel.api.names import WANTED_ANNOTATION
from localmodel.runtime.client import Reader
from localmodel.runtime.objects import Object, PartialObjectMetadata

from .consumers import GroupOf, services_on
from .entries import key_of
from .reports import evicted_copies, report_of, storage_key_of


def wanted_value(
    node: LocalModelNode,
    entries: Iterable[LocalModelInfo],
    caches: Mapping[str, Cache],
    reader: Reader,
    admits: Callable[[PartialObjectMetadata], bool],
) -> str:
    """The annotation's value: storage keys, sorted, separated by commas; empty if nothing is wanted.

    `entries` are those that the node shall have, `caches` the caches of its groups by status key; `admits` says of a
    service that names no group whether its own selector chooses this node. A key that is in the
    annotation stays while services that wanted it cannot be seen, because their kind is not served.
    """
    evicted = evicted_copies(node)
    if not evicted:
        return ""
    present = frozenset(node.metadata.annotations.get(WANTED_ANNOTATION, "").split(","))
    staying = {key_of(entry): entry.source_model_uri for entry in entries}
    keys: set[str] = set()
    for entry in node.spec.local_models:
        key = key_of(entry)
        if key not in evicted or staying.get(key) != entry.source_model_uri or key not in caches:
            continue
        storage_key = storage_key_of(entry, report_of(node, entry))
        services, complete = services_on(reader, caches[key], entry.node_group, _choosing(entry.node_group, admits))
        if any(_asks(service, evicted[key]) for service in services) or (not complete and storage_key in present):
            keys.add(storage_key)
    return ",".join(sorted(keys))


def newly_wanted(node: LocalModelNode, value: str) -> list[str]:
    """The status keys of the models that this value of the annotation asks for, and the node's did not, sorted."""
    before = node.metadata.annotations.get(WANTED_ANNOTATION, "").split(",")
    keys = frozenset(value.split(",")).difference(before)
    entries = node.spec.local_models
    return sorted(key_of(entry) for entry in entries if storage_key_of(entry, report_of(node, entry)) in keys)


def _choosing(group: str, admits: Callable[[PartialObjectMetadata], bool]) -> GroupOf:
    return lambda service: group if admits(service) else ""


def _asks(service: Object, model: NodeModel) -> bool:
    since = model.downloaded_time or model.last_used_time
    created = service.metadata.creation_timestamp
    return not service.is_deleting and (since is None or (created is not None and created > since))
