"""`Levels`: items in the order of their priorities, and within one priority first in, first out.

Each priority that anything waits at has a level, an ordered map of its items. Raising an item takes it out of one level
and puts it behind those of another at once, so nothing invalid is ever left behind. Priorities are few in practice,
so the highest is found by looking at all of them.

Strict order lets a steady stream of high priorities starve the others for ever (controller-runtime#3496). Here, while
the longest-waiting first item of any level has waited for `starvation_seconds`, every fourth item handed out is that
one. Merely counting it as a higher priority would turn the order around: an initial list of twenty thousand objects
would, a minute after the start, stand before every live event.

Not thread-safe.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Generic

from .interface import K
from .queue import Entry

_STARVED_TURN = 4
"""One in so many items handed out may be a starved one."""


class Levels(Generic[K]):
    """Distinct items that wait; an `Order` of a `Queue`."""

    def __init__(self, starvation_seconds: float, monotonic: Callable[[], float]) -> None:
        self._starvation_seconds = starvation_seconds
        self._monotonic = monotonic
        self._levels: dict[int, OrderedDict[K, Entry[K]]] = {}
        """For each priority that something waits at, its items; the one emptied last stays until another is needed."""
        self._count = 0
        self._turn = 0
        """How many items were handed out since the last starved one, while several levels had items."""

    def __len__(self) -> int:
        return self._count

    def push(self, entry: Entry[K]) -> None:
        item, priority, _ = entry
        level = self._levels.get(priority)
        if level is None:
            if not self._count:
                self._levels.clear()
            level = self._levels[priority] = OrderedDict()
        level[item] = entry
        self._count += 1

    def remove(self, entry: Entry[K]) -> None:
        """Takes out an item that waits."""
        item, priority, _ = entry
        level = self._levels[priority]
        del level[item]
        self._count -= 1
        if not level and self._count:
            del self._levels[priority]

    def pop(self) -> Entry[K]:
        priority = next(iter(self._levels)) if len(self._levels) == 1 else self._next_priority()
        level = self._levels[priority]
        _, entry = level.popitem(False)
        self._count -= 1
        if not level and self._count:
            del self._levels[priority]
        return entry

    def depths(self) -> Iterable[tuple[int | None, int]]:
        """The priorities that anything waits at, and 0, and how many items wait at each."""
        return [(0, 0), *((priority, len(level)) for priority, level in self._levels.items())]

    def _next_priority(self) -> int:
        self._turn += 1
        if self._turn >= _STARVED_TURN:
            since, starved = min((next(iter(level.values()))[2], priority) for priority, level in self._levels.items())
            if self._monotonic() - since >= self._starvation_seconds:
                self._turn = 0
                return starved
        return max(self._levels)
