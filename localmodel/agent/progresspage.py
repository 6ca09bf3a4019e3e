"""`/progress`: how far the downloads of this node are, as JSON, beside the agent's metrics.

Made when somebody asks, from the last status and from what each download writes beside its files, in whichever mode it
runs; so it is live, and costs nothing when nobody looks. The API gets the same numbers, sparsely.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from localmodel.api.node import LocalModelNode, LocalModelNodeStatus, ModelStatus, NodeModel
from localmodel.runtime.clock import Clock, RealClock
from localmodel.runtime.httpserver import HttpRequest, HttpResponse
from localmodel.runtime.objects import parse_quantity

from . import tree
from .decisions import entry_key
from .errors import StoreError
from .ledger import storage_keys
from .store import ModelStore

if TYPE_CHECKING:
    from localmodel.download.progress import Progress

PATH: Final = "/progress"
_STALE_SECONDS: Final = 10.0
"""A download that has written nothing for so long is not as fast as it was."""
Json = dict[str, Any]
Observed = tuple[LocalModelNode, LocalModelNodeStatus]


class ProgressPage:
    """The page of one agent."""

    def __init__(
        self,
        node_name: str,
        store: ModelStore,
        observed: Callable[[], Observed | None],
        *,
        check_disk: Callable[[], object] = lambda: None,
        clock: Clock | None = None,
    ) -> None:
        """`observed` gives the LocalModelNode and its status as the agent knows it; None before there is one.
        `check_disk` raises StoreError where the disk must not be asked, as who asks would wait for ever."""
        self._node_name = node_name
        self._store = store
        self._observed = observed
        self._check_disk = check_disk
        self._clock: Clock = clock or RealClock()

    def serve(self, request: HttpRequest) -> HttpResponse:
        """A `Route`. `?key=NAME` gives one model alone, by its key in the status."""
        if request.path:
            return HttpResponse(b"404 page not found\n", 404)
        page = self.page()
        if wanted := request.query.get("key"):
            page["models"] = [model for model in page["models"] if model["key"] in wanted]
        return HttpResponse(json.dumps(page, indent=1).encode() + b"\n", content_type="application/json")

    def page(self) -> Json:
        """The whole document. Sizes are in bytes, times RFC 3339; what is not known is null."""
        found = self._observed()
        models, disk = [], None
        if found is not None:
            node, status = found
            answers = self._disk_answers()
            uris = {entry_key(entry): entry.source_model_uri for entry in node.spec.local_models}
            for key, model_status in sorted(status.model_status.items()):
                known = status.models.get(key) or NodeModel()
                models.append(self._model(key, model_status, known, uris.get(key, ""), answers))
            disk = _disk(status)
        return {"node": self._node_name, "time": _text(self._clock.now()), "disk": disk, "models": models}

    def _disk_answers(self) -> bool:
        try:
            self._check_disk()
        except StoreError:
            return False  # The agent says so elsewhere.
        return True

    def _model(self, key: str, status: str, known: NodeModel, uri: str, disk_answers: bool) -> Json:
        # Imported here: an idle agent never needs it.
        from localmodel.download.errors import redact_uri

        folder = self._store.staging / known.storage_key
        # Anything may stand in a status that somebody else has written.
        is_under_way = (
            status == ModelStatus.MODEL_DOWNLOADING and bool(storage_keys((known.storage_key,))) and disk_answers
        )
        progress = self._store.progress(known.storage_key) if is_under_way else None
        shown = redact_uri(uri)
        model: Json = {
            "key": key,
            "storageKey": known.storage_key,
            "uri": shown,
            "status": status,
            "state": progress.state if progress else None,
            "reason": known.reason,
            "message": known.message.replace(uri, shown) if uri else known.message,
            "attempts": known.attempts,
            "startedAt": self._started(known.storage_key) if is_under_way else None,
            "nextRetryTime": _text(known.next_retry_time),
            "bytesDone": known.bytes_downloaded,
            "bytesTotal": known.size_bytes,
        }
        if progress is not None:
            return model | self._live(progress, known.size_bytes)
        return model | {"bytesDone": tree.disk_size(folder)} if is_under_way else model

    def _live(self, progress: Progress, size: int | None) -> Json:
        total = progress.bytes_total if progress.bytes_total is not None else size
        rate = progress.bytes_per_second if not self._is_stale(progress) else 0.0
        left = total - progress.bytes_done if total is not None else None
        return {
            "bytesDone": progress.bytes_done,
            "bytesTotal": total,
            "filesDone": progress.files_done,
            "filesTotal": progress.files_total,
            "bytesPerSecond": rate,
            "etaSeconds": round(max(left, 0) / rate) if left is not None and rate > 0 else None,
            "updatedAt": progress.updated_at,
        }

    def _is_stale(self, progress: Progress) -> bool:
        try:
            written = datetime.fromisoformat(progress.updated_at)
        except ValueError:
            return True
        return written.tzinfo is None or (self._clock.now() - written).total_seconds() > _STALE_SECONDS

    def _started(self, key: str) -> str | None:
        try:
            return _text(self._store.record(key).started_time)
        except StoreError:
            return None  # The agent says what is wrong with its disk elsewhere.


def _disk(status: LocalModelNodeStatus) -> Json | None:
    disk = status.disk
    if disk is None:
        return None
    amounts = {"capacity": disk.capacity, "available": disk.available, "used": disk.used, "limit": disk.limit}
    return {name: parse_quantity(amount) if amount else None for name, amount in amounts.items()}


def _text(time: datetime | None) -> str | None:
    return time.isoformat(timespec="seconds").replace("+00:00", "Z") if time is not None else None
