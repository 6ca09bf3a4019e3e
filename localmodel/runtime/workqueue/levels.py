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
from collections.abc import Callable
from typing import Generic

from .interface import K

_STARVED_TURN = 4
"""One in so many items handed out may be a starved one."""


class Levels(Generic[K]):
    """Distinct items that wait, each with a priority and the time since when."""

    def __init__(self, starvation_seconds: float, monotonic: Callable[[], float]) -> None:
        self._starvation_seconds = starvation_seconds
        self._monotonic = monotonic
        self._levels: dict[int, OrderedDict[K, float]] = {}
        """For each priority that something waits at, its items and since when each waits, in monotonic seconds."""
        self._count = 0
        self._turn = 0
        """How many items were handed out since the last starved one, while several levels had items."""

    def __len__(self) -> int:
        return self._count

    def push(self, item: K, priority: int, since: float) -> None:
        """Lets an item that does not wait wait, behind those of its priority."""
        level = self._levels.get(priority)
        if level is None:
            level = self._levels[priority] = OrderedDict()
        level[item] = since
        self._count += 1

    def move(self, item: K, priority: int, new_priority: int) -> None:
        """Puts an item that waits at `priority` behind those of `new_priority`."""
        level = self._levels[priority]
        since = level.pop(item)
        self._drop_if_empty(priority, level)
        self._count -= 1
        self.push(item, new_priority, since)

    def pop(self) -> tuple[K, int]:
        """Removes the next item; it and its priority. Only while there is one."""
        priority = self._next_priority()
        level = self._levels[priority]
        item, _ = level.popitem(last=False)
        self._drop_if_empty(priority, level)
        self._count -= 1
        return item, priority

    def depths(self) -> list[tuple[int, int]]:
        """The priorities that anything waits at, and how many items wait at each."""
        return [(priority, len(level)) for priority, level in self._levels.items()]

    def _next_priority(self) -> int:
        if len(self._levels) == 1:
            return next(iter(self._levels))
        self._turn += 1
        if self._turn >= _STARVED_TURN:
            since, starved = min((next(iter(level.values())), priority) for priority, level in self._levels.items())
            if self._monotonic() - since >= self._starvation_seconds:
                self._turn = 0
                return starved
        return max(self._levels)

    def _drop_if_empty(self, priority: int, level: OrderedDict[K, float]) -> None:
        if not level:
            del self._levels[priority]
