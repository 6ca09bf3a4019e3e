"""How full a node's disk is with all that was promised, and what to say of it: between `usage` and `eviction`.

A download's bytes are reserved before it starts, so that two downloads cannot overfill a disk. What it has written so
far is part of what it was promised.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from .eviction import UNLIMITED, Disk, Gauge, Item, Kind
from .limits import Bounds
from .usage import DiskUsage

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_MAX_NAMES: Final = 3
_STEPS: Final = 100


def measured(usage: DiskUsage, bounds: Bounds, items: Iterable[Item] = ()) -> Disk:
    """The disk as it is now."""
    return Disk(
        models=Gauge(
            used=usage.used,
            limit=_or_unlimited(bounds.limit),
            high=_or_unlimited(bounds.high),
            low=_or_unlimited(bounds.low),
            group=bounds.group,
        ),
        volume=Gauge(
            used=usage.capacity - usage.available,
            limit=usage.capacity,
            high=usage.capacity * bounds.high_percent // 100,
            low=usage.capacity * bounds.low_percent // 100,
        ),
        items=tuple(items),
    )


def promised(
    key: str,
    *,
    usage: DiskUsage,
    reserved: Mapping[str, int],
    bounds: Bounds,
    items: Iterable[Item] = (),
    coming: Iterable[Item] = (),
) -> Disk:
    """The disk as a download of `key` finds it: with the whole of what was promised to others, without what it wrote.

    `reserved` are the sizes of the models whose download is under way, by storage key, in bytes; see `Disk.coming`.
    """
    to_come = sum(max(size - usage.staged.get(other, 0), 0) for other, size in reserved.items() if other != key)
    disk = replace(measured(usage, bounds), coming=tuple(coming))
    return disk.changed(to_come - usage.staged.get(key, 0), items)


def _or_unlimited(amount: int | None) -> int:
    return UNLIMITED if amount is None else amount


def shortage(size: int, disk: Disk, reserved: int) -> str:
    """Why a download of `size` bytes must wait: `disk` as `promised` tells it, `reserved` of it for other downloads.

    The numbers stand still while other downloads go on, and of what others do to the volume only the larger moves show.
    """
    models, volume = disk.models, disk.volume
    if size > min(models.limit, volume.limit):
        told = f"the model needs {human(size)} and can never fit: "
        if models.limit <= volume.limit:
            limit = f"the limit of LocalModelNodeGroup {models.group} is {human(models.limit)}"
            return f"{told}{limit}; raise its storageLimit, or correct modelSize"
        return f"{told}the disk is {human(volume.limit)}; give this node a larger disk, or correct modelSize"
    tail = f", and {human(reserved)} are reserved for downloads under way"
    stays = "; what is there may not be removed for it" if any(i.kind is Kind.MODEL for i in disk.items) else ""
    over_models = models.used + size - models.high
    over_volume = volume.used + size - volume.high
    if over_models > 0 and (over_models >= over_volume or models.used + size > models.limit):
        return (
            f"the model needs {human(size)}; models take {human(models.used - reserved)} of the limit of "
            f"{human(models.limit)} of LocalModelNodeGroup {models.group}, of which eviction leaves "
            f"{human(models.high)}{tail}{stays}; raise its storageLimit or remove models from this node"
        )
    step = max(volume.limit // _STEPS, 1)
    left = max(volume.limit - volume.used + reserved, 0) // step * step
    return (
        f"the model needs {human(size)}; the disk has about {human(left)} left of {human(volume.limit)}, of which "
        f"{human(volume.limit - volume.high)} stay free{tail}{stays}; free space on this node"
    )


def pressure(disk: Disk, names: Mapping[str, str]) -> tuple[str, str]:
    """Reason and message of a disk that is above a high watermark; `names` has what to call a storage key."""
    kept = _kept(disk, names)
    if disk.models.is_high:
        models = disk.models
        step = max(models.limit // _STEPS, 1)
        return "ModelsAboveHighWatermark", (
            f"models take about {human(models.used // step * step)}, more than the {human(models.high)} that eviction "
            f"leaves of the limit of {human(models.limit)} of LocalModelNodeGroup {models.group}; {kept}; raise its "
            "storageLimit or remove models from this node"
        )
    volume = disk.volume
    step = max(volume.limit // _STEPS, 1)
    return "VolumeAboveHighWatermark", (
        f"about {human(volume.used // step * step)} of the volume's {human(volume.limit)} are used, by whomever, more "
        f"than {human(volume.high)}; {kept}; free space on this node or remove models from it"
    )


def _kept(disk: Disk, names: Mapping[str, str]) -> str:
    why: dict[str, list[str]] = {}
    for item in sorted(disk.items, key=lambda item: item.rank):
        reason = item.kept or ("larger than the low watermark" if disk.is_too_large(item) else "")
        if reason:
            why.setdefault(reason, []).append(names.get(item.key, item.key))
    if not why:
        return "there is nothing of ours that could be removed"
    return "not removed: " + "; ".join(f"{reason}: {listed(keys)}" for reason, keys in sorted(why.items()))


def listed(names: Iterable[str]) -> str:
    """A few of the names, and how many more there are."""
    ordered = sorted(names)
    more = len(ordered) - _MAX_NAMES
    return ", ".join(ordered[:_MAX_NAMES]) + (f" and {more} more" if more > 0 else "")


def human(amount: int) -> str:
    """A number of bytes for people: 1.5 GiB."""
    value, unit = float(amount), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{amount} B" if unit == 0 else f"{value:.1f} {_UNITS[unit]}"
