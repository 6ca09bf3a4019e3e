"""The condition DiskPressure of a LocalModelNode: its disk is above a high watermark, and why that is not mended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from localmodel.api.node import LocalModelNode, LocalModelNodeStatus
from localmodel.runtime.clock import Clock
from localmodel.runtime.conditions import ConditionStatus, find_status_condition, set_status_condition
from localmodel.runtime.events import EventRecorder

from .eviction import UNLIMITED, Disk
from .space import human, pressure

DISK_PRESSURE: Final = "DiskPressure"


def tell_pressure(
    node: LocalModelNode,
    status: LocalModelNodeStatus,
    disk: Disk,
    names: Mapping[str, str],
    *,
    recorder: EventRecorder,
    clock: Clock,
) -> None:
    """Sets the condition in the status, and records an event where it changes. `names`: what to call a storage key."""
    value: ConditionStatus = "True" if disk.is_under_pressure else "False"
    reason, message = pressure(disk, names) if disk.is_under_pressure else ("BelowHighWatermark", _calm(disk))
    known = find_status_condition(status.conditions, DISK_PRESSURE)
    before = known.status if known is not None else "False"
    generation = node.metadata.generation if known is None or known.status != value else known.observed_generation
    set_status_condition(
        status.conditions, DISK_PRESSURE, value, reason, message, observed_generation=generation, clock=clock
    )
    if value != before:
        if value == "True":
            recorder.event(node, "Warning", DISK_PRESSURE, message)
        else:
            recorder.event(node, "Normal", "DiskPressureRelieved", message)


def _calm(disk: Disk) -> str:
    volume = f"eviction begins above {human(disk.volume.high)} of the volume's {human(disk.volume.limit)}"
    if disk.models.limit == UNLIMITED:
        return volume
    return f"{volume}, and above {human(disk.models.high)} of the {human(disk.models.limit)} that models may take"
