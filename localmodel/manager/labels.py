"""The labels that the manager gives to Nodes, for schedulers and for its own DaemonSets. Pure functions.

`localmodel.kserve.io/<storage key>=ready`: the node has a whole copy of the model. `localmodel.kserve.io/node-group`:
the group whose agent runs there. Labels with the prefix but another name are not ours and are left alone.
`NodeReconciler` writes what `label_patch` says and is the only one to do so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from localmodel.api import LocalModelInfo, LocalModelNode, LocalModelNodeGroup
from localmodel.api.names import (
    NODE_GROUP_LABEL,
    READY_LABEL_VALUE,
    group_label_value,
    is_ready_label,
    ready_label,
)
from localmodel.runtime.objects import Node

from .entries import Membership, key_of
from .reports import report_of, storage_key_of


def ready_keys(node: LocalModelNode, entries: Iterable[LocalModelInfo]) -> frozenset[str]:
    """The storage keys of the whole copies that the node has. `entries` are those that it shall have.

    A copy counts if the node has reported on the very entry that it shall have: not on one that goes, or on another
    URI under the same name.
    """
    wanted = {key_of(entry): entry.source_model_uri for entry in entries}
    return frozenset(
        storage_key_of(entry, report)
        for entry in node.spec.local_models
        if wanted.get(key_of(entry)) == entry.source_model_uri and (report := report_of(node, entry)).is_complete
    )


def owning_group(
    node: Node, groups: Membership, by_name: Mapping[str, LocalModelNodeGroup], *, has_default: bool
) -> str:
    """The group whose agent, made by the manager, the node shall run; empty if there is none.

    It is the first by name of the groups that have the node, if that one asks for agents or the node gets one by
    default (`has_default`: the configuration names an image, and no DaemonSet installed by hand covers the node). A
    group whose affinity cannot be read now keeps the node that it had.
    """
    current = node.metadata.labels.get(NODE_GROUP_LABEL)
    kept = {name for name in groups.unknown if group_label_value(name) == current}
    owner = min(groups.groups | kept, default="")
    return owner if owner and (has_default or by_name[owner].spec.agent is not None) else ""


def label_patch(labels: Mapping[str, str], keys: Iterable[str], group: str) -> dict[str, str | None]:
    """What must change in a Node's labels, as a merge patch of them; empty if they are right.

    `keys` are the storage keys of its whole copies, `group` is the name of its owning group or empty.
    """
    wanted = {ready_label(key): READY_LABEL_VALUE for key in keys}
    if group:
        wanted[NODE_GROUP_LABEL] = group_label_value(group)
    ours = {name for name in labels if is_ready_label(name) or name == NODE_GROUP_LABEL}
    return {name: wanted.get(name) for name in sorted(ours | wanted.keys()) if labels.get(name) != wanted.get(name)}
