"""What KServe's own CRDs prune from a node's entries, read from their caches and remembered.

Caches are not watched and say nothing to the agent when they change. So what was read is remembered by entry: for ten
minutes, and a pass renews only a few. Who is about to download or to evict reads again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import structlog

from localmodel.api.node import LocalModelInfo
from localmodel.runtime.client import Reader
from localmodel.runtime.clock import Clock
from localmodel.runtime.errors import ForbiddenError, RuntimeLibraryError

from .caches import find_cache
from .limits import MEMORY_SECONDS

MAX_READS_PER_PASS: Final = 20

log = structlog.get_logger(__name__)

Fields = dict[str, Any]


class CacheFields:
    """See the module."""

    def __init__(self, live: Reader, clock: Clock) -> None:
        self._live = live
        self._clock = clock
        self._known: dict[tuple[str, str, str], tuple[float, Fields]] = {}
        """Namespace, name and URI -> when it was read by the monotonic clock, and the fields; none of a cache that is
        gone or names another URI."""

    def read(self, entry: LocalModelInfo) -> LocalModelInfo:
        """The whole entry, from the cache as it is now. Raises ApiError and TransportError."""
        if not is_pruned(entry):
            return entry
        fields: Fields = {}
        try:
            cache = find_cache(self._live, name=entry.model_name, namespace=entry.namespace)
        except ForbiddenError as error:
            log.debug("a cache may not be read", model=entry.model_name, error=str(error))
            cache = None  # As under KServe's role, which knows none of the fields either.
        if cache is not None and cache.spec.source_model_uri == entry.source_model_uri:
            spec = cache.spec
            fields = {
                "model_size": spec.model_size,
                "cache_uid": cache.metadata.uid,
                "priority": spec.priority,
                "eviction_policy": spec.eviction_policy,
                "revision": spec.revision,
                "include": spec.include,
                "exclude": spec.exclude,
                "digest": spec.digest,
                "ttl_seconds_after_last_use": spec.ttl_seconds_after_last_use,
            }
        self._known[_identity(entry)] = self._clock.monotonic(), fields
        return entry.model_copy(update=fields)

    def recall(self, entry: LocalModelInfo) -> LocalModelInfo:
        """The entry with what is remembered of its cache."""
        if not is_pruned(entry):
            return entry
        known = self._known.get(_identity(entry))
        return entry.model_copy(update=known[1]) if known is not None else entry

    def is_fresh(self, entry: LocalModelInfo) -> bool:
        """Nothing was pruned, or what was is known well enough."""
        if not is_pruned(entry):
            return True
        known = self._known.get(_identity(entry))
        return known is not None and self._clock.monotonic() - known[0] < MEMORY_SECONDS

    def refresh(self, entries: Iterable[LocalModelInfo]) -> None:
        """Reads the caches of a few entries of which too little is known, and forgets those of no entry."""
        pruned = [entry for entry in entries if is_pruned(entry)]
        if len(self._known) > len(pruned):
            present = {_identity(entry) for entry in pruned}
            self._known = {key: known for key, known in self._known.items() if key in present}
        for entry in [entry for entry in pruned if not self.is_fresh(entry)][:MAX_READS_PER_PASS]:
            try:
                self.read(entry)
            except RuntimeLibraryError as error:
                log.warning("the cache of an entry cannot be read", model=entry.model_name, error=str(error))
                return


def is_pruned(entry: LocalModelInfo) -> bool:
    """A cache has a size, so an entry without one came through a CRD that does not know the field."""
    return not entry.model_size


def _identity(entry: LocalModelInfo) -> tuple[str, str, str]:
    return entry.namespace, entry.model_name, entry.source_model_uri
