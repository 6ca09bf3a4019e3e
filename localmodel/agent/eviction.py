"""Which things to take off a disk that is too full, or to let a download in: plain data in, a list out.

Two gauges are watched, the models' bytes against the node groups' storageLimit and the volume's bytes, whoever took
them, against its size; what is removed frees both. `relieve` answers pressure, `admit` a download, `fits_low` an
evicted model that would come back. What keeps the three from working against each other (design.md section 7):

- `relieve` begins above the high watermark and goes on to the low one; nothing comes back unasked that does not fit
  below the low one. Nobody is removed whom the others' removal has made needless, so nobody can come back at once.
- `admit` lets nothing in that `relieve` would remove again, or for which it would remove what the download may not
  displace: only lower priority, or equal priority last used before the download was asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

UNLIMITED: Final = 1 << 62
"""Bytes of a gauge without a limit."""


class Kind(IntEnum):
    """What an item is, in the order of removal."""

    LEFTOVER = 0
    """What a failed download left, or a broken folder: no use to anybody."""
    UNREFERENCED = 1
    """A model that no entry asks for, kept for a while in case one does again."""
    MODEL = 2
    """A model that an entry asks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """Something of ours on the disk that can be removed. `size` in bytes.

    `idle` are the seconds since its last use, or since its publication where it was never used. `kept` says in words
    why it may not be removed now, empty where it may; `kept_briefly` that nothing but time must go by.
    """

    key: str
    kind: Kind
    size: int
    priority: int = 0
    idle: float = 0.0
    kept: str = ""
    kept_briefly: bool = False

    @property
    def rank(self) -> tuple[int, int, float, str]:
        """What has the lowest rank goes first."""
        return self.kind, self.priority if self.kind is Kind.MODEL else 0, -self.idle, self.key


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge:
    """Bytes used, the most there may be, and the watermarks. `group`: the node group that sets the limit, if any."""

    used: int
    limit: int = UNLIMITED
    high: int = UNLIMITED
    low: int = UNLIMITED
    group: str = ""

    @property
    def is_high(self) -> bool:
        return self.used > self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A node's disk: what models take of the groups' limit, what is taken of the volume, and the things of ours."""

    models: Gauge
    volume: Gauge
    items: tuple[Item, ...] = ()
    coming: tuple[Item, ...] = ()
    """Models that are being downloaded for entries, and could be removed once they are here."""

    @property
    def gauges(self) -> tuple[Gauge, Gauge]:
        return self.models, self.volume

    @property
    def is_under_pressure(self) -> bool:
        return self.models.is_high or self.volume.is_high

    def changed(self, size: int, items: Iterable[Item]) -> Disk:
        """The disk with so many bytes more, and these items."""
        models, volume = (replace(gauge, used=gauge.used + size) for gauge in self.gauges)
        return Disk(models=models, volume=volume, items=tuple(items), coming=self.coming)

    def is_too_large(self, item: Item) -> bool:
        """It could never come back under the low watermark, even alone, and would only be downloaded again."""
        return item.kind is Kind.MODEL and item.size > min(gauge.low for gauge in self.gauges)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A download that wants to start, with its whole size in bytes.

    `age` are the seconds since it was first asked for; 0 while a pod of this node waits for it, as that asks all the
    time. `stays`: once it is here it will not be removed for a watermark's sake, being pinned or in use.
    """

    key: str
    size: int
    priority: int = 0
    age: float = 0.0
    stays: bool = False

    def displaceable(self, items: Iterable[Item]) -> list[Item]:
        """Those that may go for it. Written out: it is asked of each item for each download that waits."""
        key, priority, age, model = self.key, self.priority, self.age, Kind.MODEL
        return [
            item
            for item in items
            if not item.kept
            and item.size > 0
            and (
                item.kind is not model
                or ((item.priority < priority or (item.priority == priority and item.idle > age)) and item.key != key)
            )
        ]


def relieve(disk: Disk) -> list[Item]:
    """What to remove because a gauge is above its high watermark, in order; all that can be if that is not enough."""
    need = max((gauge.used - gauge.low for gauge in disk.gauges if gauge.is_high), default=0)
    return _choose([item for item in disk.items if not item.kept and not disk.is_too_large(item)], need) if need else []


def admit(disk: Disk, request: Request) -> list[Item] | None:
    """What to remove before the download starts; None where it must wait.

    The disk's gauges count the whole of what was promised to other downloads, and nothing of this one.
    """
    after = disk.changed(request.size, disk.items)
    need = max(gauge.used - gauge.high for gauge in after.gauges)
    displaced = request.displaceable(disk.items)
    chosen = _choose(displaced, need)
    if _freed(chosen) >= need:
        return chosen
    # Above the high watermark only what stays there can stay: no removal that follows may be on its account.
    if _freed(displaced) < max(gauge.used - gauge.limit for gauge in after.gauges):
        return None
    arrived = Item(
        key=request.key,
        kind=Kind.MODEL,
        size=request.size,
        priority=request.priority,
        kept="it stays" if request.stays else "",
    )
    # What has a lower priority could be displaced if it were here, and is not waited for.
    coming = (item for item in disk.coming if item.priority >= request.priority)
    if _would_relieve(after.changed(-_freed(displaced), (*disk.items, *coming, arrived)), without=displaced):
        return None
    return sorted(displaced, key=lambda item: item.rank)


def _would_relieve(disk: Disk, *, without: list[Item]) -> bool:
    """Whether `relieve` would remove anything once time has gone by; `without` are gone. Sorts nothing: it is asked for
    each download that waits."""
    if not disk.is_under_pressure:
        return False
    low = min(gauge.low for gauge in disk.gauges)
    gone = {(item.kind, item.key) for item in without}
    return any(
        item.size > 0
        and (item.kept_briefly or not item.kept)
        and not (item.kind is Kind.MODEL and item.size > low)
        and (item.kind, item.key) not in gone
        for item in disk.items
    )


def fits_low(disk: Disk, size: int) -> bool:
    """Whether so many bytes more leave everything at or below the low watermarks."""
    return all(gauge.used + size <= gauge.low for gauge in disk.gauges)


def _choose(candidates: list[Item], need: int) -> list[Item]:
    """The lowest in rank that free so many bytes together, without those that the rest makes needless."""
    chosen: list[Item] = []
    freed = 0
    for item in sorted(candidates, key=lambda item: item.rank):
        if freed >= need:
            break
        if item.size > 0:
            chosen.append(item)
            freed += item.size
    for item in list(reversed(chosen)):
        if freed - item.size >= need:
            chosen.remove(item)
            freed -= item.size
    return chosen


def _freed(items: Iterable[Item]) -> int:
    return sum(item.size for item in items)
