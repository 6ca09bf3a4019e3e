"""The LocalModelNode's status: made from reports, written only where it says something new.

State changes are written at once. Mere progress (bytes downloaded, room on the disk) is written at most once in an
interval and only if it moved, since every write goes to every watcher. KServe's own CRD drops the fields that it does
not know: then what was written last, not what comes back, is what a new status is compared with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any

from localmodel.api.names import storage_key
from localmodel.api.node import LocalModelNode, LocalModelNodeStatus, ModelStatus, NodeDisk, NodeModel
from localmodel.api.quantity import format_bytes
from localmodel.runtime.client import Client, Reader
from localmodel.runtime.clock import Clock
from localmodel.runtime.errors import ConflictError, NotFoundError
from localmodel.runtime.objects import parse_quantity

from .decisions import entry_key
from .shown import brief
from .usage import DiskUsage, room_for_models

_DISK_STEP = 0.01
_MAX_TRIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReport:
    """What the status says about one model. Sizes in bytes; None is unknown."""

    status: ModelStatus
    reason: str = ""
    message: str = ""
    storage_key: str = ""
    size: int | None = None
    downloaded: int | None = None
    digest: str = ""
    revision: str = ""
    attempts: int = 0
    next_retry_time: datetime | None = None
    downloaded_time: datetime | None = None
    in_use: bool = False
    last_used_time: datetime | None = None


def downloaded(node: LocalModelNode) -> dict[str, str]:
    """Storage key -> URI of what the status calls downloaded. The URI is empty for an entry that has vanished."""
    uris = {entry_key(entry): entry.source_model_uri for entry in node.spec.local_models}
    found = {}
    for key, status in node.status.model_status.items():
        if status != ModelStatus.MODEL_DOWNLOADED:
            continue
        known = node.status.models[key].storage_key if key in node.status.models else ""
        if key in uris:
            found[known or storage_key(uris[key])] = uris[key]
        elif known:
            found.setdefault(known, "")
    return found


class NodeModels:
    """What the status says of each model, for every pass: while a report is the same object, so is what it says."""

    def __init__(self) -> None:
        self._made: dict[str, tuple[ModelReport, NodeModel]] = {}

    def of(self, reports: Iterable[tuple[str, ModelReport]], previous: Mapping[str, NodeModel]) -> dict[str, NodeModel]:
        """By status key, in the order of the reports. `previous` is what was said before."""
        known, self._made = self._made, {}
        models = {}
        for key, report in reports:
            before, made = previous.get(key), known.get(key)
            if made is None or made[0] is not report or made[1] is not before:
                model = _model(report, before)
                made = report, before if before is not None and model == before else model
            self._made[key] = made
            models[key] = made[1]
        return models


def build_status(
    previous: LocalModelNodeStatus,
    reports: Mapping[str, ModelReport],
    *,
    usage: DiskUsage | None,
    limit: int | None,
    models: NodeModels | None = None,
) -> LocalModelNodeStatus:
    """The status of these models, by status key. Conditions stay as they are; so does the disk without `usage`."""
    ordered = sorted(reports.items(), key=itemgetter(0))
    status = previous.model_copy(
        update={
            "model_status": {key: report.status.value for key, report in ordered},
            "models": (models or NodeModels()).of(ordered, previous.models),
            "conditions": [condition.model_copy() for condition in previous.conditions],
        }
    )
    if usage is not None:
        status.disk = NodeDisk(
            capacity=format_bytes(usage.capacity),
            available=format_bytes(usage.available),
            used=format_bytes(usage.used),
            limit=format_bytes(room_for_models(usage, limit)),
        )
    return status


def _model(report: ModelReport, previous: NodeModel | None) -> NodeModel:
    """`last_used_time` stays where the report does not say."""
    last_used = report.last_used_time or (previous.last_used_time if previous is not None else None)
    return NodeModel(
        storage_key=report.storage_key,
        size_bytes=report.size,
        bytes_downloaded=report.downloaded,
        digest=report.digest,
        revision=report.revision,
        attempts=report.attempts,
        next_retry_time=report.next_retry_time,
        reason=report.reason,
        message=brief(report.message),
        downloaded_time=report.downloaded_time,
        last_used_time=last_used,
        in_use=report.in_use,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressPolicy:
    """How often mere progress is written: seconds apart, and by which share of a model it must have moved."""

    interval: float = 15.0
    step: float = 0.05

    @classmethod
    def every(cls, seconds: float) -> ProgressPolicy:
        """Where someone watches it live, as in the sandbox, each movement counts."""
        return cls(interval=seconds) if seconds >= cls().interval else cls(interval=seconds, step=0.0)


class NodeStatusWriter:
    """Writes one LocalModelNode's status. Not for use by several threads at once."""

    def __init__(self, client: Client, live: Reader, *, policy: ProgressPolicy, clock: Clock) -> None:
        self._client = client
        self._live = live
        self._policy = policy
        self._clock = clock
        self._last: tuple[str, LocalModelNodeStatus, dict[str, Any]] | None = None
        """The object's uid and the status that stands there as far as is known, also as JSON."""
        self.models = NodeModels()
        self._progress_written = float("-inf")

    def latest(self, node: LocalModelNode) -> LocalModelNodeStatus:
        """The status as it was last written, else as it was read: what is read may be older, or pruned."""
        if self._last is not None and self._last[0] == node.metadata.uid:
            return self._last[1]
        return node.status

    def write(self, node: LocalModelNode, status: LocalModelNodeStatus) -> bool:
        """Writes the status if that is due; whether it was. Raises ApiError or TransportError."""
        last = self._last if self._last is not None and self._last[0] == node.metadata.uid else None
        if last is not None and status == last[1] and status.model_status == node.status.model_status:
            return False
        wanted, base = status.to_dict(), last[2] if last is not None else node.status.to_dict()
        if last is None and wanted == base:
            self._last = node.metadata.uid, status, wanted  # As good as written.
            return False
        if not self._is_due(node, wanted, base):
            return False
        self._put(node, status)
        self._last = node.metadata.uid, status, wanted
        self._progress_written = self._clock.monotonic()
        return True

    def _is_due(self, node: LocalModelNode, wanted: dict[str, Any], base: dict[str, Any]) -> bool:
        """`base` is the status that stands there, as JSON."""
        if wanted.get("modelStatus", {}) != node.status.model_status:
            return True
        if wanted == base:
            return False
        if _without_progress(wanted) != _without_progress(base):
            return True
        elapsed = self._clock.monotonic() - self._progress_written
        return elapsed >= self._policy.interval and self._has_moved(base, wanted)

    def _has_moved(self, before: dict[str, Any], after: dict[str, Any]) -> bool:
        models = before.get("models", {})
        for key, model in after.get("models", {}).items():
            size = model.get("sizeBytes") or 1
            moved = abs(model.get("bytesDownloaded", 0) - models.get(key, {}).get("bytesDownloaded", 0))
            if moved and moved >= self._policy.step * size:
                return True
        disk, then = after.get("disk", {}), before.get("disk", {})
        step = _DISK_STEP * max(1, parse_quantity(disk.get("capacity") or 0))
        return any(
            abs(parse_quantity(disk.get(field) or 0) - parse_quantity(then.get(field) or 0)) >= step
            for field in ("available", "used")
        )

    def _put(self, node: LocalModelNode, status: LocalModelNodeStatus) -> None:
        """With the cached version first; a conflict means that the cache is behind, mostly behind ourselves."""
        target = node.deepcopy()
        for tries_left in reversed(range(_MAX_TRIES)):
            target.status = status
            try:
                self._client.status.update(target)
            except NotFoundError:
                return
            except ConflictError:
                if not tries_left:
                    raise
                live = self._live.find(LocalModelNode, node.name)
                if live is None or live.metadata.uid != node.metadata.uid:
                    return
                if live.status.to_dict() == status.to_dict():
                    return
                target = live
            else:
                return


def _without_progress(status: dict[str, Any]) -> dict[str, Any]:
    models = {
        key: {name: value for name, value in model.items() if name not in _moving(model)}
        for key, model in status.get("models", {}).items()
    }
    disk = {name: value for name, value in status.get("disk", {}).items() if name not in ("available", "used")}
    return {**status, "models": models, "disk": disk}


def _moving(model: dict[str, Any]) -> tuple[str, ...]:
    """What changes all the time and is no news by itself; while a model is in use, when it was last used is none."""
    progress = ("bytesDownloaded", "sizeBytes")
    return (*progress, "lastUsedTime") if model.get("inUse") else progress
