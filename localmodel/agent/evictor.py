"""Takes things off the disk that the planner has chosen, when it is certain that they may go.

Before anything that a pod could use is removed, the pods of this node are read live, and where KServe's CRDs prune our
fields, the caches of what would be evicted: a cache that lags costs nobody a model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec
import structlog

from localmodel.api.names import WANTED_ANNOTATION
from localmodel.runtime.errors import RuntimeLibraryError
from localmodel.runtime.events import EventRecorder
from localmodel.runtime.objects import format_time

from .context import Pass
from .decisions import entry_key
from .eviction import Item, Kind
from .inventory import Inventory, Round
from .manifest import Cause, Eviction, FolderState
from .metrics import AgentMetrics
from .podlook import PodLook
from .requirements import Requirements
from .store import ModelStore

log = structlog.get_logger(__name__)


class Evictor:
    """Works for one pass at a time, that of `around`. Raises StoreError where the disk fails."""

    def __init__(
        self,
        *,
        store: ModelStore,
        requirements: Requirements,
        inventory: Inventory,
        recorder: EventRecorder,
        metrics: AgentMetrics,
        look: PodLook,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._requirements = requirements
        self._inventory = inventory
        self._recorder = recorder
        self._look = look
        self._round: Round | None = None
        self._displaced: set[str] = set()
        """Keys of models that were evicted since somebody asked."""

    @property
    def around(self) -> Round:
        """The pass."""
        if self._round is None:
            raise RuntimeError("no pass has begun")
        return self._round

    def begin(self, around: Round) -> None:
        """A new pass."""
        self._round = around

    def take_displaced(self) -> set[str]:
        """Keys of the models that were evicted since this was asked last: what was said of them is out of date."""
        taken, self._displaced = self._displaced, set()
        return taken

    def settled(self, plan: Callable[[], list[Item] | None]) -> list[Item] | None:
        """The plan once all that it would remove is certain: it is made again with each thing that is found out."""
        around = self.around
        while chosen := plan():
            doubtful = [item.key for item in chosen if item.kind is Kind.MODEL and item.key not in around.confirmed]
            if around.current.has_looked and not doubtful:
                return chosen
            self._look.look(around.current)
            for key in doubtful:
                self._confirm(key)
        return chosen

    def _confirm(self, key: str) -> None:
        self.around.confirmed.add(key)
        try:
            for entry in self.around.groups[key].sharing:
                self._requirements.complete(entry)
        except RuntimeLibraryError as error:
            self.around.unreadable.add(key)
            log.warning("a model is not evicted, as its cache cannot be read", storage_key=key, error=str(error))

    def remove(self, items: Sequence[Item], cause: Cause, why: str, requester: str = "") -> None:
        if not items:
            return
        around, current = self.around, self.around.current
        for item in items:
            if item.kind is Kind.LEFTOVER:
                self._discard(item.key, requester)
            elif item.kind is Kind.UNREFERENCED:
                log.info("removing a model that no entry asks for", storage_key=item.key, bytes=item.size, why=why)
                self._store.remove(item.key)
            else:
                self._evict(item, cause, why)
            around.gone.add((item.kind, item.key))
        self._store.empty_trash(self._look.holders(current))
        current.usage = self._store.usage()

    def _discard(self, key: str, requester: str) -> None:
        around = self.around
        staged = key != requester and self._inventory.may_discard_staged(around, key)
        folder = key in around.situations and self._inventory.broken_size(around, key) > 0
        log.info("removing what a download left behind", storage_key=key, staged=staged, folder=folder)
        self._store.discard_leftovers(key, staged=staged, folder=folder)

    def _evict(self, item: Item, cause: Cause, why: str) -> None:
        around, current, wanted = self.around, self.around.current, self.around.groups[item.key]
        manifest = around.situations[item.key][1].manifest
        assert manifest is not None, "a folder is complete by its manifest"
        back = "when a workload wants it" if cause == "ttl" else "when it fits below the low watermark, or is wanted"
        message = f"evicted at {format_time(current.now)}: {why}; it comes back {back}"
        record = msgspec.structs.replace(
            self._store.record(item.key),
            outcome="evicted",
            failures=0,
            reason="",
            message="",
            next_retry_time=None,
            promised=0,
            size=manifest.total_size,
            wanted_time=None,
            want_answered=item.key in annotated(current),
            evicted=Eviction(
                time=current.now,
                cause=cause,
                message=message,
                size=manifest.total_size,
                digest=manifest.digest,
                revision=manifest.revision,
                downloaded_time=manifest.published_time,
            ),
        )
        self._store.evict(item.key, record, self._look.holders(current))
        situation = replace(around.situations[item.key][0], folder="absent", folder_detail="", record=record)
        around.situations[item.key] = situation, FolderState("absent")
        self._displaced.add(item.key)
        self._metrics.evicted(cause)
        log.info("model evicted", uri=wanted.uri, storage_key=item.key, bytes=item.size, idle=item.idle, why=why)
        self._recorder.event(current.node, "Normal", "Evicted", f"{entry_key(wanted.leader)}: {message}")


def annotated(current: Pass) -> frozenset[str]:
    """Storage keys that the manager says workloads want."""
    return frozenset(current.node.metadata.annotations.get(WANTED_ANNOTATION, "").split(","))
