"""How long the deletion of a cache waits, and for which nodes (design.md section 4, "Deletion always ends")."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from localmodel.api import Cache, LocalModelNode
from localmodel.runtime.cache import KindNotServedError
from localmodel.runtime.client import Reader
from localmodel.runtime.clock import Clock
from localmodel.runtime.reconcile import Request

from .known import nodes_with_agent, reports_about
from .served import ServedKinds

CLEAN_UP_LIMIT: Final = timedelta(minutes=10)
"""How long a deleted cache waits for agents to remove the model."""
CLEAN_UP_CHECK_SECONDS: Final = 15.0
"""How often it looks whether an agent that it waits for is still there."""


class Deletions:
    """Those that the caches of one reconciler are in. One worker at a time deals with a cache."""

    def __init__(self, namespace: str) -> None:
        """`namespace`: that of the agents' Pods."""
        self._namespace = namespace
        self._served = ServedKinds()
        self._since: dict[Request, tuple[str, float]] = {}
        """By cache: its uid and when, by the monotonic clock, its deletion was first seen."""

    def __contains__(self, cache: Request) -> bool:
        return cache in self._since

    def forget(self, cache: Request) -> None:
        """The cache is gone."""
        self._since.pop(cache, None)

    def waiting_for(self, cache: Cache, *, reader: Reader, live: Reader, clock: Clock) -> list[str]:
        """The nodes that have the model's entry or state, and an agent that is ready to remove it, sorted."""
        agents = nodes_with_agent(reader, self._namespace) or frozenset()
        try:
            waiting = sorted(agents & reports_about(reader, cache).keys())
        except KindNotServedError:
            return []
        # Asked live: of a kind that went in the meantime, the cache keeps what it did not see the end of.
        return waiting if waiting and self._served.has(LocalModelNode, live, clock) else []

    def time_left(self, cache: Cache, clock: Clock) -> float:
        """Seconds. The server's clock and ours may differ, so it is never longer than since we know of the deletion."""
        assert cache.metadata.deletion_timestamp is not None
        uid, since = self._since.get(cache.key, ("", 0.0))
        if uid != cache.metadata.uid:
            since = clock.monotonic()
            self._since[cache.key] = cache.metadata.uid, since
        by_date = (cache.metadata.deletion_timestamp + CLEAN_UP_LIMIT - clock.now()).total_seconds()
        return min(by_date, since + CLEAN_UP_LIMIT.total_seconds() - clock.monotonic())
