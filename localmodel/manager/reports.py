"""What a LocalModelNode says of the entries in its specification. Pure functions.

Whatever the manager concludes from reports (the status of caches, labels of Nodes, evicted models, slots of waves) is
concluded here, so that all of it agrees on when a report counts: only if it is about the URI of the entry. It may be
that of an earlier cache of the name (D-28, D-45).

`reports_of`, `evictions`, `unfinished_groups`, `disk_of` and `version_of` are indexes of the manager's cache too
(`indexes`): an object of a thousand models is decoded once, and who asks gets small parts of it.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from sys import intern
from typing import Final

import msgspec

from localmodel.api import LocalModelInfo, LocalModelNode, ModelStatus, NodeModel
from localmodel.api.names import WANTED_ANNOTATION, storage_key, storage_keys
from localmodel.api.node import STORAGE_READY
from localmodel.api.quantity import bytes_of

from .entries import key_of

ALL: Final = "*"
"""The key of parts that are read of all objects together; no object has the name."""
EVICTED: Final = "Evicted"
"""The reason of a pending model that was removed to make room."""
_UNDER_WAY: Final = frozenset({"", "Waiting", "Downloading", "Retrying", "Verifying", "Repairing"})
"""Reasons of a pending model that its agent works on. With any other it waits for something that may never come: room
on the disk, other credentials, a workload that wants it."""


_FINISHED: Final = frozenset({ModelStatus.MODEL_DOWNLOADED, ModelStatus.MODEL_DOWNLOAD_ERROR})


UNREADABLE: Final = frozenset({"RootNotMounted", "RootEmpty", "RootMissing", "DiskNotResponding"})
"""Reasons for which its agent finds a disk of no use to pods either: with others, as a disk that is full or read-only,
what lies there can be served."""


class Report(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What a node says of one model: small, as the cache keeps one for each model on each node."""

    uri: str = ""
    """That of the entry; empty where there is none, but the node still has the model."""
    status: str = ""
    """A ModelStatus; empty where the node has said nothing, or spoken of another URI than the entry's."""
    storage_key: str = ""
    reason: str = ""
    message: str = ""
    size_bytes: int | None = None
    bytes_downloaded: int | None = None
    attempts: int = 0
    next_retry_time: datetime | None = None
    lost: str = ""
    """Why a model that was downloaded cannot be read now: its disk is not mounted, or does not answer."""

    @property
    def is_complete(self) -> bool:
        """The node has the whole model."""
        return self.status == ModelStatus.MODEL_DOWNLOADED and not self.lost

    @property
    def is_evicted(self) -> bool:
        """The node had the model and removed it for others."""
        return self.reason == EVICTED

    @property
    def is_unfinished(self) -> bool:
        """The node's agent downloads the model or is about to; a node that waits for a retry does not count."""
        if self.status in ("", ModelStatus.MODEL_DOWNLOADING):
            return True
        if self.status != ModelStatus.MODEL_DOWNLOAD_PENDING:
            return False
        return self.reason in _UNDER_WAY and self.next_retry_time is None


def report_of(node: LocalModelNode, entry: LocalModelInfo) -> Report:
    """What the node says of one of its entries."""
    key, uri = key_of(entry), intern(entry.source_model_uri)
    status = intern(node.status.model_status.get(key, ""))
    detail = node.status.models.get(key)
    lost = _unreadable(node) if status == ModelStatus.MODEL_DOWNLOADED else ""
    if detail is None:
        return Report(uri=uri, status=status, lost=lost)
    if not _is_about(detail, uri, entry.namespace):
        return Report(uri=uri)
    return Report(
        uri=uri,
        status=status,
        storage_key=intern(detail.storage_key),
        reason=intern(detail.reason),
        message=detail.message,
        size_bytes=detail.size_bytes,
        bytes_downloaded=detail.bytes_downloaded,
        attempts=detail.attempts,
        next_retry_time=detail.next_retry_time,
        lost=lost,
    )


def _unreadable(node: LocalModelNode) -> str:
    """What the node's agent says of a disk that cannot be read; empty where it can."""
    for condition in node.status.conditions:
        if condition.type == STORAGE_READY:
            return intern(condition.message) if condition.reason in UNREADABLE else ""
    return ""


def reports_of(node: LocalModelNode) -> dict[str, Report]:
    """By status key, what the node says of its entries and of what it still has without one."""
    reports = {intern(key_of(entry)): report_of(node, entry) for entry in node.spec.local_models}
    return reports | {intern(key): _NO_ENTRY for key in node.status.model_status if key not in reports}


_NO_ENTRY: Final = Report()
_storage_key = lru_cache(4096)(storage_key)
_storage_keys = lru_cache(4096)(storage_keys)


def storage_key_of(entry: LocalModelInfo, report: Report) -> str:
    """The storage key of the entry's model: what the agent says, else that of the URI."""
    return report.storage_key or _storage_key(entry.source_model_uri)


def evicted_copies(node: LocalModelNode) -> dict[str, NodeModel]:
    """By status key, what the node says of the entries whose model it removed to make room."""
    if not any(model.reason == EVICTED for model in node.status.models.values()):
        return {}
    evicted = [key_of(entry) for entry in node.spec.local_models if report_of(node, entry).is_evicted]
    return {key: node.status.models[key] for key in evicted}


def evictions(node: LocalModelNode) -> dict[str, tuple[datetime | None, datetime | None]]:
    """By status key of an evicted copy, all that decides whether somebody wants it: when it came and was used."""
    return {key: (model.downloaded_time, model.last_used_time) for key, model in evicted_copies(node).items()}


def unfinished_groups(node: LocalModelNode) -> dict[str, None]:
    """The groups of the entries that the node's agent has yet to finish."""
    found: dict[str, None] = {}
    status = node.status
    for entry in node.spec.local_models:
        group = entry.node_group
        if not group or group in found:
            continue
        key = key_of(entry)
        if status.model_status.get(key) in _FINISHED:  # most of the time, so no report is made
            detail = status.models.get(key)
            if detail is None or _is_about(detail, entry.source_model_uri, entry.namespace):
                continue
        if report_of(node, entry).is_unfinished:
            found[intern(group)] = None
    return found


def _is_about(detail: NodeModel, uri: str, namespace: str) -> bool:
    """Whichever folder the agent's `storageIsolation` gives the model."""
    return not detail.storage_key or detail.storage_key in _storage_keys(uri, namespace)


class Disk(msgspec.Struct, frozen=True, gc=False):
    """The bytes of the volume that a node's models lie on; 0 for what the agent has not measured."""

    used: int
    available: int
    limit: int

    @property
    def room(self) -> int:
        """What models may still take: no more than the limit, where there is one."""
        return min(self.available, max(self.limit - self.used, 0)) if self.limit else self.available


def disk_of(node: LocalModelNode) -> dict[str, Disk]:
    """Under ALL, what the node says of its disk."""
    disk = node.status.disk
    return {} if disk is None else {ALL: Disk(bytes_of(disk.used), bytes_of(disk.available), bytes_of(disk.limit))}


class Version(msgspec.Struct, frozen=True, gc=False):
    """Which state of what the manager writes of a LocalModelNode this is."""

    uid: str
    generation: int
    wanted: str
    """The value of WANTED_ANNOTATION."""


def version_of(node: LocalModelNode) -> dict[str, Version]:
    """Under the node's name."""
    wanted = node.metadata.annotations.get(WANTED_ANNOTATION, "")
    return {node.name: Version(node.metadata.uid, node.metadata.generation or 0, wanted)}
