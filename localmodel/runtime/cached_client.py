"""`CachedClient`: what reconcilers get. Reads come from the cache, writes go to the API server."""

from __future__ import annotations

import builtins
from collections.abc import Collection

from .cache import Cache
from .client import Client
from .delegating_client import DelegatingClient
from .objects import Object, T


class CachedClient(DelegatingClient):
    """The client that reconcilers get: reads from the cache, writes to the API server.

    What was written is seen by reads once the watch has brought it back; a reconciler that must not miss its own write
    reads live.
    """

    def __init__(self, cache: Cache, live: Client, *, disable_for: Collection[type[Object]] = ()) -> None:
        """`disable_for`: kinds that are read live (client.CacheOptions.DisableFor), Secrets for instance."""
        super().__init__(live)
        self.cache = cache
        self.live = live
        self._disabled = frozenset(disable_for)

    def get(self, kind: type[T], name: str, *, namespace: str = "") -> T:
        reader = self.live if kind in self._disabled else self.cache
        return reader.get(kind, name, namespace=namespace)

    def list(
        self,
        kind: type[T],
        *,
        namespace: str = "",
        labels: str | dict[str, str] = "",
        fields: str | dict[str, str] = "",
        limit: int = 0,
    ) -> builtins.list[T]:
        reader = self.live if kind in self._disabled else self.cache
        return reader.list(kind, namespace=namespace, labels=labels, fields=fields, limit=limit)
