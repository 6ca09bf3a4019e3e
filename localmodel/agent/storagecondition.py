"""The condition StorageReady of a LocalModelNode, and the events that go with what the disk holds or refuses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog

from localmodel.api.node import STORAGE_READY, LocalModelNode, LocalModelNodeStatus
from localmodel.runtime.clock import Clock
from localmodel.runtime.conditions import ConditionStatus, find_status_condition, set_status_condition
from localmodel.runtime.events import EventRecorder

from .errors import StoreError
from .shown import shown

_MAX_NAMES: Final = 8
_MAX_NAME: Final = 60

log = structlog.get_logger(__name__)


class StorageCondition:
    """Sets the condition; what is told by events is told once, until it changes."""

    def __init__(self, models: Path, *, recorder: EventRecorder, clock: Clock) -> None:
        """`models` is the directory that the condition is about."""
        self._models = models
        self._recorder = recorder
        self._clock = clock
        self._foreign: Sequence[str] = []
        self._leftovers: Sequence[str] = ()

    def set(
        self,
        node: LocalModelNode,
        status: LocalModelNodeStatus,
        error: StoreError | None,
        *,
        foreign: Sequence[str] | None = None,
        leftovers: Sequence[str] = (),
    ) -> None:
        """`error`: why the storage is not ready. `foreign`: names in the directory that are not ours, None where nobody
        could look; `leftovers`: what was discarded and cannot be deleted. Neither makes the storage unready."""
        if foreign is not None:
            self._tell_foreign(node, foreign)
            self._tell_leftovers(node, leftovers)
        value: ConditionStatus = "True" if error is None else "False"
        reason = "Ready" if error is None else error.reason
        message = shown(self._ready_message() if error is None else str(error))
        known = find_status_condition(status.conditions, STORAGE_READY)
        generation = node.metadata.generation if known is None or known.status != value else known.observed_generation
        told = known.reason if known is not None else ""
        set_status_condition(
            status.conditions, STORAGE_READY, value, reason, message, observed_generation=generation, clock=self._clock
        )
        if error is not None and told != reason:
            self._recorder.event(node, "Warning", "StorageNotReady", f"{reason}: {message}")
        elif error is None and told not in ("", "Ready"):
            self._recorder.event(node, "Normal", STORAGE_READY, f"{message}; it is over with {told}")

    def _ready_message(self) -> str:
        parts = [f"{self._models} can be used"]
        if self._leftovers:
            more = f" (and {len(self._leftovers) - 1} more)" if len(self._leftovers) > 1 else ""
            parts.append(f"{self._leftovers[0]}{more}")
        if self._foreign:
            parts.append(f"not ours and left alone: {_some(self._foreign)}")
        return "; ".join(parts)

    def _tell_foreign(self, node: LocalModelNode, names: Sequence[str]) -> None:
        if names == self._foreign:
            return
        new = sorted(set(names) - set(self._foreign))
        self._foreign = names
        log.info("what the models directory holds beside our models is left alone", count=len(names), new=new[:20])
        if new:
            self._recorder.event(
                node,
                "Normal",
                "ForeignFolders",
                f"{self._models} holds what is not ours, and is left alone: {_some(new)}",
            )

    def _tell_leftovers(self, node: LocalModelNode, leftovers: Sequence[str]) -> None:
        new = [told for told in leftovers if told not in self._leftovers]
        self._leftovers = tuple(leftovers)
        if new:
            self._recorder.event(node, "Warning", "CannotDelete", new[0])


def _some(names: Sequence[str]) -> str:
    """The first names, each cut where it is long, and how many there are beyond."""
    some = ", ".join(name if len(name) <= _MAX_NAME else f"{name[:_MAX_NAME]}..." for name in names[:_MAX_NAMES])
    return some if len(names) <= _MAX_NAMES else f"{some} and {len(names) - _MAX_NAMES} more"
