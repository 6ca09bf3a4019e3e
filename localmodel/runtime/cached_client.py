"""`CachedClient`: what reconcilers get. Reads come from the cache, writes go to the API server."""

from __future__ import annotations

import builtins
from collections.abc import Collection
from typing import Any

from .cache import Cache
from .client import (
    DEFAULT_WRITE,
    MERGE_PATCH,
    Client,
    PatchType,
    Preconditions,
    Propagation,
    StatusWriter,
    WriteOptions,
)
from .objects import Object, T


class CachedClient(Client):
    """The client that reconcilers get: reads from the cache, writes to the API server.

    What was written is seen by reads once the watch has brought it back; a reconciler that must not miss its own write
    reads live.
    """

    def __init__(self, cache: Cache, live: Client, *, disable_for: Collection[type[Object]] = ()) -> None:
        """`disable_for`: kinds that are read live (client.CacheOptions.DisableFor), Secrets for instance."""
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

    @property
    def status(self) -> StatusWriter:
        return self.live.status

    def create(self, obj: T, *, options: WriteOptions = DEFAULT_WRITE) -> T:
        return self.live.create(obj, options=options)

    def update(self, obj: T, *, options: WriteOptions = DEFAULT_WRITE) -> T:
        return self.live.update(obj, options=options)

    def patch(
        self, obj: T, patch: Any, *, patch_type: PatchType = MERGE_PATCH, options: WriteOptions = DEFAULT_WRITE
    ) -> T:
        return self.live.patch(obj, patch, patch_type=patch_type, options=options)

    def apply(self, obj: T, *, field_owner: str, force: bool = False, options: WriteOptions = DEFAULT_WRITE) -> T:
        return self.live.apply(obj, field_owner=field_owner, force=force, options=options)

    def delete(
        self,
        obj: Object,
        *,
        propagation: Propagation = "Background",
        preconditions: Preconditions | None = None,
        grace_period_seconds: int | None = None,
        options: WriteOptions = DEFAULT_WRITE,
    ) -> None:
        self.live.delete(
            obj,
            propagation=propagation,
            preconditions=preconditions,
            grace_period_seconds=grace_period_seconds,
            options=options,
        )
