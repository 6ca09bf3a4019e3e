"""`CachedClient`: what reconcilers get. Reads come from the cache, writes go to the API server."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Collection, Mapping

from .cache import Cache
from .client import SEEN_TIMEOUT, A, Client, Deletion, P, Write
from .clock import Clock, RealClock
from .consistency import OwnWrites, unseen_deletion, unseen_write
from .delegating_client import DelegatingClient
from .objects import Object, ObjectKey, T


class CachedClient(DelegatingClient):
    """The client that reconcilers get: reads from the cache, writes to the API server.

    What was written is seen by reads once the watch has brought it back. With `read_your_writes` a read waits for
    that; without, a reconciler that must not miss its own write waits itself (`wait_until_seen`) or reads live.
    """

    def __init__(
        self,
        cache: Cache,
        live: Client,
        *,
        disable_for: Collection[type[Object]] = (),
        read_your_writes: bool = False,
        seen_timeout: float = SEEN_TIMEOUT,
        clock: Clock | None = None,
    ) -> None:
        """`disable_for`: kinds that are read live (client.CacheOptions.DisableFor), Secrets for instance.

        `read_your_writes`: a `get` waits until the cache shows what this client last wrote to that object, a `list`
        until it shows all that was written of that kind; after `seen_timeout` seconds they raise StaleCacheError, which
        the controller's backoff answers. See `consistency` for what cannot be waited for.
        """
        super().__init__(live)
        self.cache = cache
        self.live = live
        self._disabled = frozenset(disable_for)
        self._clock = clock or RealClock()
        self._own_writes = OwnWrites(cache, timeout=seen_timeout, clock=clock) if read_your_writes else None

    def get(self, kind: type[T], name: str, *, namespace: str = "") -> T:
        if kind in self._disabled:
            return self.live.get(kind, name, namespace=namespace)
        if self._own_writes is not None:
            self._own_writes.wait_to_get(kind, ObjectKey(namespace if kind.mapping.namespaced else "", name))
        return self.cache.get(kind, name, namespace=namespace)

    def list(
        self,
        kind: type[T],
        *,
        namespace: str = "",
        labels: str | dict[str, str] = "",
        fields: str | dict[str, str] = "",
        limit: int = 0,
    ) -> builtins.list[T]:
        if kind in self._disabled:
            return self.live.list(kind, namespace=namespace, labels=labels, fields=fields, limit=limit)
        if self._own_writes is not None:
            self._own_writes.wait_to_list(kind, namespace if kind.mapping.namespaced else "")
        return self.cache.list(kind, namespace=namespace, labels=labels, fields=fields, limit=limit)

    def parts(self, kind: type[T], extract: Callable[[T], Mapping[str, P]], value: str) -> dict[ObjectKey, P]:
        if kind in self._disabled:
            return self.live.parts(kind, extract, value)
        if self._own_writes is not None:
            self._own_writes.wait_to_list(kind, "")
        return self.cache.parts(kind, extract, value)

    def write(self, write: Write[A]) -> A:
        written = self.live.write(write)
        if self._own_writes is not None and not write.options.dry_run:
            key = write.key if write.key.name else written.key
            self._own_writes.wrote(write.kind, key, written)
        return written

    def remove(self, deletion: Deletion) -> None:
        self.live.remove(deletion)
        target = deletion.target
        if self._own_writes is not None and isinstance(target, ObjectKey) and not deletion.options.dry_run:
            self._own_writes.deleted(deletion.kind, target, deletion.uid)

    def wait_until_seen(self, written: Object, timeout: float = SEEN_TIMEOUT) -> None:
        """Until reads of its kind show the version that a write returned, or a newer one.

        Raises StaleCacheError after `timeout` seconds. Returns at once for a kind that is not cached, and for an object
        that the cache's selectors and namespaces leave out.
        """
        informer = None if type(written) in self._disabled else self.cache.informer_of(type(written))
        if informer is not None and (unseen := unseen_write(informer, written.key, written)):
            unseen.wait(informer, timeout, self._clock)

    def wait_until_gone(self, deleted: Object, timeout: float = SEEN_TIMEOUT) -> None:
        """Until reads of its kind show that an object of this uid was deleted: it is gone or has a deletion timestamp.

        Raises StaleCacheError after `timeout` seconds.
        """
        informer = None if type(deleted) in self._disabled else self.cache.informer_of(type(deleted))
        if informer is not None and (unseen := unseen_deletion(informer, deleted.key, deleted.metadata.uid)):
            unseen.wait(informer, timeout, self._clock)
