"""Lists a whole collection for a reflector: page by page where that is cheap and consistent, else in one piece.

A list at version "0" or at a known version is served from the API server's watch cache, which ignores or is bypassed
by a limit; only lists of the newest state ("") are cut into pages. Items are trimmed as they arrive, so that the raw
answer is never held whole. Behaviour as client-go's tools/pager and reflector (reference/runtimes.md 2.1).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Generic

import structlog

from .errors import ExpiredError, ObjectDecodeError
from .listwatch import ListerWatcher, ListOptions, ListPage
from .objects import T
from .store import Stored, Trimmer

log = structlog.get_logger(__name__)

PAGE_SIZE = 500
"""Objects per page, as client-go."""


@dataclass(slots=True, kw_only=True)
class Pager(Generic[T]):
    """Lists the part of a collection that the options name; used by one thread."""

    lister_watcher: ListerWatcher
    trimmer: Trimmer[T]
    scope: ListOptions
    """Namespace and selectors of every request."""
    page_size: int = 0
    """Objects per page of every list; 0 leaves it to the rule above, with pages of 500."""
    dropped: int = 0
    """Items so far that were no objects of the kind."""
    _paginated: bool = field(default=False, init=False)
    """The server cut a list at version "0" into pages: its watch cache is off, so every list may be paged."""

    def list(self, resource_version: str, stop: threading.Event) -> tuple[list[Stored[T]], str]:
        """All items, and the version of the list. Ends early, with part of them, once `stop` is set.

        An expired first page is raised as ExpiredError. An expired later page is made up for by one list in one piece.
        """
        first = replace(self.scope, resource_version=resource_version, limit=self._limit(resource_version))
        page = self._request(first)
        items = [*self._trimmed(page)]
        if page.continue_ and resource_version == "0":
            self._paginated = True
        while page.continue_ and not stop.is_set():
            try:
                page = self._request(replace(first, resource_version="", continue_=page.continue_))
            except ExpiredError as error:
                log.info("A page of a list expired, listing in one piece", error=str(error))
                page = self._request(replace(first, limit=0))
                items = []
            items.extend(self._trimmed(page))
        return items, page.resource_version

    def _limit(self, resource_version: str) -> int:
        if self.page_size:
            return self.page_size
        return PAGE_SIZE if resource_version in ("", "0") or self._paginated else 0

    def _request(self, options: ListOptions) -> ListPage:
        return self.lister_watcher.list_page(self.trimmer.kind, options)

    def _trimmed(self, page: ListPage) -> Iterator[Stored[T]]:
        for raw in page.items:
            try:
                yield self.trimmer.trim(raw)
            except ObjectDecodeError as error:
                self.dropped += 1
                log.error("Skipped an unreadable item of a list", error=str(error))
