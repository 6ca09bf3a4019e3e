"""`Sink`: where a reflector puts what it sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from localmodel.runtime.listwatch import WatchEvent
from localmodel.runtime.objects import T
from localmodel.runtime.store import Stored


class Sink(Protocol[T]):
    """Called from the reflector's thread only."""

    def replace(self, items: Sequence[Stored[T]], resource_version: str) -> None:
        """The collection is exactly this."""

    def apply(self, event: WatchEvent, stored: Stored[T]) -> None:
        """One ADDED, MODIFIED or DELETED event."""

    def bookmark(self, resource_version: str) -> None:
        """Everything up to this version has been delivered."""

    def phase_changed(self) -> None:
        """The reflector's `phase` or `last_error` may be another one."""
