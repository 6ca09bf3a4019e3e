"""What a LocalModelNode's status says of the entries in its specification. Pure functions.

Whatever the manager concludes from reports (the status of caches, labels of Nodes, evicted models, slots of waves) is
concluded here, so that all of it agrees on when a report counts: only if it is about the URI of the entry. It may be
that of an earlier cache of the name (D-28, D-45).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from localmodel.api import LocalModelInfo, LocalModelNode, ModelStatus, NodeModel
from localmodel.api.names import storage_key

from .entries import key_of

EVICTED: Final = "Evicted"
"""The reason of a pending model that was removed to make room."""
_UNDER_WAY: Final = frozenset({"", "Waiting", "Downloading", "Retrying", "Verifying", "Repairing"})
"""Reasons of a pending model that its agent works on. With any other it waits for something that may never come: room
on the disk, other credentials, a workload that wants it."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a node says of one entry; nothing where it has said nothing, or spoken of another URI."""

    status: str = ""
    """A ModelStatus."""
    detail: NodeModel | None = None

    @property
    def is_complete(self) -> bool:
        """The node has the whole model."""
        return self.status == ModelStatus.MODEL_DOWNLOADED

    @property
    def is_evicted(self) -> bool:
        """The node had the model and removed it for others."""
        return self.detail is not None and self.detail.reason == EVICTED

    @property
    def is_unfinished(self) -> bool:
        """The node's agent downloads the model or is about to; a node that waits for a retry does not count."""
        if self.status in ("", ModelStatus.MODEL_DOWNLOADING):
            return True
        if self.status != ModelStatus.MODEL_DOWNLOAD_PENDING:
            return False
        return self.detail is None or (self.detail.reason in _UNDER_WAY and self.detail.next_retry_time is None)


def report_of(node: LocalModelNode, entry: LocalModelInfo) -> Report:
    """What the node says of one of its entries."""
    key = key_of(entry)
    detail = node.status.models.get(key)
    told_of = detail.storage_key if detail is not None else ""
    if told_of not in ("", storage_key(entry.source_model_uri)):
        return Report()
    return Report(node.status.model_status.get(key, ""), detail)


def storage_key_of(entry: LocalModelInfo, report: Report) -> str:
    """The storage key of the entry's model: what the agent says, else that of the URI."""
    told_of = report.detail.storage_key if report.detail is not None else ""
    return told_of or storage_key(entry.source_model_uri)


def complete_copies(node: LocalModelNode) -> dict[str, str]:
    """The status keys of the whole models that the node reports, each with the storage key that it names.

    Whether they are about entries is not asked: a cheap way to tell that two states of a node differ.
    """
    models = node.status.models
    return {
        key: models[key].storage_key if key in models else ""
        for key, status in node.status.model_status.items()
        if status == ModelStatus.MODEL_DOWNLOADED
    }


def evicted_copies(node: LocalModelNode) -> dict[str, NodeModel]:
    """By status key, what the node says of the entries whose model it removed to make room."""
    if not any(model.reason == EVICTED for model in node.status.models.values()):
        return {}
    reports = {key_of(entry): report_of(node, entry) for entry in node.spec.local_models}
    return {key: report.detail for key, report in reports.items() if report.is_evicted and report.detail is not None}


def evictions(node: LocalModelNode) -> dict[str, tuple[object, object]]:
    """By status key of an evicted copy, all that decides whether somebody wants it: when it came and was used."""
    return {key: (model.downloaded_time, model.last_used_time) for key, model in evicted_copies(node).items()}


def unfinished_groups(node: LocalModelNode) -> frozenset[str]:
    """The groups of the entries that the node's agent has yet to finish."""
    found: set[str] = set()
    for entry in node.spec.local_models:
        group = entry.node_group
        if group and group not in found and report_of(node, entry).is_unfinished:
            found.add(group)
    return frozenset(found)
