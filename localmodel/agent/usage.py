"""How full the models' disk is. Read in every pass, so it walks only what is not known otherwise."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from . import tree


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskUsage:
    """Bytes. `used` counts published, unfinished and discarded models and foreign folders alike.

    `staged` is the part of it that unfinished downloads have written, by storage key.
    """

    capacity: int
    available: int
    used: int
    staged: Mapping[str, int] = field(default_factory=dict)


def room_for_models(usage: DiskUsage, limit: int | None) -> int:
    """The bytes that models may take: what the node groups say (`limit`), and no more than there is."""
    return usage.capacity if limit is None else min(limit, usage.capacity)


def measure(
    models: Path,
    *,
    room: tuple[int, int],
    staged: Mapping[str, int],
    discarded: int,
    size_of: Callable[[str], int | None],
) -> DiskUsage:
    """The use of the models directory. `room`: see `FileSystem.room`; `size_of` tells a folder's size if it is known.

    Raises OSError.
    """
    used = sum(staged.values()) + discarded
    with os.scandir(models) as entries:
        for entry in entries:
            if entry.name.startswith(".") or not entry.is_dir(follow_symlinks=False):
                continue
            known = size_of(entry.name)
            used += known if known is not None else tree.disk_size(Path(entry.path))
    return DiskUsage(
        capacity=room[0],
        available=room[1],
        used=used,
        staged=staged,
    )
