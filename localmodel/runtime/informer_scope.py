"""One namespace of an informer, or all of them: its reflector, and how far it has come.

An informer of several namespaces has one scope for each; the store and the lock are the informer's. A scope is the
sink of its reflector and passes on what that sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Generic

from .clock import Clock
from .listwatch import ListerWatcher, WatchEvent
from .objects import T
from .reflector import Reflector, ReflectorOptions
from .store import Stored, Trimmer

if TYPE_CHECKING:
    from .informer import SharedInformer


class Scope(Generic[T]):
    """The fields belong to the informer, which guards them by its lock; the methods are called by the reflector."""

    def __init__(
        self,
        informer: SharedInformer[T],
        lister_watcher: ListerWatcher,
        trimmer: Trimmer[T],
        options: ReflectorOptions,
        *,
        clock: Clock,
    ) -> None:
        self.namespace = options.namespace
        self.synced = False
        """The first list of this scope is in the store."""
        self.resource_version = ""
        """The store has everything of this scope up to this version; empty before the first list."""
        self._informer = informer
        self.reflector = Reflector(lister_watcher, trimmer, self, options=options, clock=clock)

    def replace(self, items: Sequence[Stored[T]], resource_version: str) -> None:
        self._informer.replaced(self, items, resource_version)

    def apply(self, event: WatchEvent, stored: Stored[T]) -> None:
        self._informer.applied(self, stored, deleted=event.type == "DELETED")

    def bookmark(self, resource_version: str) -> None:
        self._informer.reached(self, resource_version)

    def phase_changed(self) -> None:
        self._informer.wake()


def version_number(resource_version: str) -> int:
    """For comparison; -1 for the empty version, which comes before all. Raises ValueError for what is no number."""
    if not resource_version:
        return -1
    if not resource_version.isdecimal():
        raise ValueError(f"{resource_version!r} is not a number: such a resource version cannot be compared (KEP-5504)")
    return int(resource_version)
