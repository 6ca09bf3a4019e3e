"""What controllers, sources and handlers ask of a work queue, whichever kind it is.

`WorkQueue` is met by `RateLimitingQueue`, which ignores priorities, and by `PriorityQueue`, which obeys them; so a
handler names a priority without knowing which of the two it fills. The names are those of client-go's
`TypedRateLimitingInterface` and controller-runtime's `priorityqueue`.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol, TypeVar

K = TypeVar("K", bound=Hashable)

LOW_PRIORITY = -100
"""The priority of what is not news: the objects of an initial list, and resyncs (controller-runtime's LowPriority)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddOptions:
    """How `add_with_options` adds its items (controller-runtime's AddOpts).

    `after` is in seconds; `rate_limited` asks the rate limiter for each item on its own, and with both the shorter of
    the two delays stands. Without a `priority` a new item gets 0, and a waiting one is raised to 0 if it was below: a
    live event takes its object out of the backlog of an initial list. An item's priority never falls while it waits.
    """

    after: float = 0.0
    rate_limited: bool = False
    priority: int | None = None


class WorkQueue(Protocol[K]):
    """A queue of distinct items: no item is held by two workers, and none that was added is lost."""

    def add(self, item: K) -> None:
        """Marks the item as needing processing; ignored after shutdown."""

    def add_after(self, item: K, delay: float) -> None:
        """Adds the item once `delay` seconds have passed; at once if `delay` <= 0."""

    def add_rate_limited(self, item: K) -> None:
        """Adds the item when the rate limiter allows it. The worker that holds it still calls `done`."""

    def add_with_options(self, options: AddOptions, *items: K) -> None:
        """Adds every item as `options` say."""

    def get(self) -> tuple[K | None, bool]:
        """Blocks until an item can be handed out. `(item, False)`, or `(None, True)` when the worker should end."""

    def get_with_priority(self) -> tuple[K | None, int, bool]:
        """As `get`, with the item's priority: `(item, priority, False)`, or `(None, 0, True)`."""

    def done(self, item: K) -> None:
        """Gives the item back. If it was added meanwhile it waits again; for an item not held, nothing happens."""

    def forget(self, item: K) -> None:
        """Ends the item's history of failures; it stays in the queue if it is there."""

    def num_requeues(self, item: K) -> int:
        """How often the item was added rate limited since it was last forgotten."""

    def __len__(self) -> int:
        """How many items wait to be handed out; those held or delayed are not counted."""

    @property
    def shutting_down(self) -> bool:
        """The queue accepts nothing more."""

    def shut_down(self) -> None:
        """Ends the queue without waiting; also ends a drain under way."""

    def shut_down_with_drain(self) -> None:
        """Ends the queue and blocks until everything queued and held is done, or until `shut_down` is called."""
