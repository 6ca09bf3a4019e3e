"""`Delays`: items with the time at which each is due, the earliest first.

A heap by due time, beside a map from each item to its valid entry. An item that becomes due earlier, or is raised, gets
a new entry, and the old one stays in the heap, no longer valid, until it comes to the top or until a fifth of the heap
is such entries: then it is built anew. So memory stays within 5/4 of what is delayed. Not thread-safe.
"""

from __future__ import annotations

import heapq
import itertools
from typing import Generic, TypeAlias

from .interface import K

_Entry: TypeAlias = tuple[float, int, int, K]
"""(due, sequence, priority, item). The sequence keeps equal times in order and items from being compared."""

_SMALL = 64
"""A heap below this size is never built anew."""


class Delays(Generic[K]):
    """Items, each with one due time in monotonic seconds and one priority."""

    def __init__(self) -> None:
        self.entries: dict[K, _Entry[K]] = {}
        """The valid entry of every item; to be read only."""
        self._heap: list[_Entry[K]] = []
        """Every valid entry, and some that are not."""
        self._sequence = itertools.count()

    def put(self, item: K, due: float, priority: int) -> bool:
        """Keeps the item; of two times the earlier and of two priorities the higher stands. Whether it is due first."""
        known = self.entries.get(item)
        if known is not None:
            if known[0] <= due and known[2] >= priority:
                return False
            due, priority = min(due, known[0]), max(priority, known[2])
        entry = (due, next(self._sequence), priority, item)
        self.entries[item] = entry
        heapq.heappush(self._heap, entry)
        self._prune()
        return self._heap[0] is entry

    def discard(self, item: K) -> int | None:
        """Drops the item; its priority, or None if it was not here."""
        known = self.entries.pop(item, None)
        if known is None:
            return None
        self._prune()
        return known[2]

    def next_due(self) -> float | None:
        """When the first item is due; None if there is none."""
        while self._heap and self.entries.get(self._heap[0][3]) is not self._heap[0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop(self) -> tuple[K, int]:
        """Removes the first item; it and its priority. Only after `next_due` has said that there is one."""
        _, _, priority, item = heapq.heappop(self._heap)
        del self.entries[item]
        return item, priority

    def clear(self) -> None:
        self.entries.clear()
        self._heap.clear()

    def _prune(self) -> None:
        if len(self._heap) > _SMALL and 4 * len(self._heap) > 5 * len(self.entries):
            self._heap = list(self.entries.values())
            heapq.heapify(self._heap)
