"""`FilteringResourceEventHandler`: a handler that sees only some objects, as if there were no others.

An object that comes to pass the filter is added, one that no longer passes is deleted. The filter is a function of the
object alone, so that what it says of the old state of an object is what it said when that was new.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic

from .listener import ResourceEventHandler
from .objects import T
from .store import Stored


class FilteringResourceEventHandler(Generic[T]):
    """Passes on what concerns the objects for which `passes` is true (cache.FilteringResourceEventHandler)."""

    def __init__(self, passes: Callable[[Stored[T]], bool], handler: ResourceEventHandler[T]) -> None:
        self._passes = passes
        self._handler = handler

    def on_add(self, obj: Stored[T], is_in_initial_list: bool) -> None:
        if self._passes(obj):
            self._handler.on_add(obj, is_in_initial_list)

    def on_update(self, old: Stored[T], new: Stored[T]) -> None:
        """Entering is an add, leaving a delete of the last state that passed."""
        match self._passes(old), self._passes(new):
            case True, True:
                self._handler.on_update(old, new)
            case False, True:
                self._handler.on_add(new, False)
            case True, False:
                self._handler.on_delete(old, False)

    def on_delete(self, obj: Stored[T], final_state_unknown: bool) -> None:
        if self._passes(obj):
            self._handler.on_delete(obj, final_state_unknown)
