"""Reading one's own writes from a cache that lags behind the server.

Every write has a resource version; the cache has seen the write once its store has everything up to that version
(versions of one resource are ordered numbers, KEP-5504). Two ways to use that:

- `OwnWrites`, behind `CachedClient(read_your_writes=True)`: reads wait, bounded, for the writes that were answered
  before they began. It needs no care in the reconciler. Behaviour as controller-runtime's client of 2026
  (reference/runtimes.md 1.10), but a `get` waits for writes of that very object only.
- `ConsistencyStore`, as kube-controller-manager's: the reconciler notes what it wrote on behalf of an object and skips
  a run for which the cache is not there yet. Nothing waits, so no worker is held up.

What cannot be waited for is not: a dry run, a write that failed or whose answer was lost, an eviction (its version is
unknown), a kind without informer, a namespace that is not watched, an object that the informer's selectors leave out.
A collection's deletion is not either, as its answer does not tell what went.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from .client import SEEN_TIMEOUT
from .clock import Clock, RealClock
from .errors import StaleCacheError
from .informer import SharedInformer
from .objects import Object, ObjectKey
from .selectors import FieldSelector, Selector, field_value

_PRUNE_AT = 1024


class Informers(Protocol):
    """What is needed of a `Cache`."""

    def informer_of(self, kind: type[Object]) -> SharedInformer[Any] | None:
        """The informer that reads of the kind are served from; None if there is none."""

    def informers_of(self, kind: type[Object]) -> Iterable[SharedInformer[Any]]:
        """Those of the kind's resource: typed, unstructured, metadata-only, and of other versions."""


@dataclass(frozen=True, slots=True)
class Unseen:
    """A write that the cache may not show yet."""

    key: ObjectKey
    resource_version: int = 0
    """Seen when the cache has everything up to this version,"""
    uid: str = ""
    """and, after a deletion, whose version is unknown, when the object of that uid is gone, or being deleted,"""
    has_gone: bool = False
    """if it does not have to be gone, as after a write that took the last finalizer from an object being deleted."""
    written: str = ""
    """The uid of the object that was written, for whoever deletes it by its name before the cache shows it."""

    def is_seen(self, informer: SharedInformer[Any]) -> bool:
        if version_of(informer.last_synced_resource_version(self.key.namespace)) < self.resource_version:
            return False
        stored = informer.store.get(self.key) if self.uid else None
        if stored is None or stored.uid != self.uid:
            return True
        return not self.has_gone and stored.object().is_deleting

    def wait(self, informer: SharedInformer[Any], timeout: float, clock: Clock) -> None:
        """Raises StaleCacheError after `timeout` seconds, or when the informer stops; and as its waits do."""
        until = clock.monotonic() + timeout
        while True:
            # Looked at before the store: whatever changes after this look has a later version, which wakes the wait.
            version = version_of(informer.last_synced_resource_version(self.key.namespace))
            if self.is_seen(informer):
                return
            wanted = max(self.resource_version, version + 1)
            left = until - clock.monotonic()
            if left <= 0 or not informer.wait_for_resource_version(str(wanted), left, namespace=self.key.namespace):
                raise StaleCacheError(
                    f"the cache has not seen {self._what} of {informer.kind.mapping.group_resource} {self.key} within "
                    f"{timeout:g} s, it is at version {version}: try again later"
                )

    @property
    def _what(self) -> str:
        return "the deletion" if self.uid else f"version {self.resource_version}"


def version_of(resource_version: str) -> int:
    """The number; 0 for what is none, which is older than all."""
    return int(resource_version) if resource_version.isascii() and resource_version.isdigit() else 0


def unseen_write(informer: SharedInformer[Any], key: ObjectKey, written: Object) -> Unseen | None:
    """What to wait for after a write that was answered with `written`, an object or its subresource."""
    version = version_of(written.metadata.resource_version)
    if not version or not informer.watches(key.namespace):
        return None
    # An object that leaves the selection is deleted from the cache, one that was never in it brings no event.
    is_itself = written.mapping == informer.kind.mapping
    if is_itself and not _selects(informer, written) and informer.store.get(key) is None:
        return None
    if is_itself and went_with(written):
        # The answer has the version before the deletion's.
        return Unseen(key, version, written.metadata.uid, has_gone=True)
    return Unseen(key, version, written=written.metadata.uid)


def went_with(written: Object) -> bool:
    """Whether an object, as a write left it, was removed with that write (ShouldDeleteDuringUpdate of
    k8s.io/apiserver's store.go). A namespace has finalizers elsewhere, too: of it nothing is said."""
    metadata = written.metadata
    is_held = metadata.finalizers or metadata.deletion_grace_period_seconds
    return written.is_deleting and not is_held and written.mapping.group_resource != "namespaces"


def unseen_deletion(
    informer: SharedInformer[Any], key: ObjectKey, uid: str, earlier: Unseen | None = None
) -> Unseen | None:
    """What to wait for after the deletion of an object; if its uid is not known, that of the last write or of the
    object in the cache.

    `earlier` is what is waited for already, about a write of the object, which may be the one that made it: its version
    is waited for all the same.
    """
    if not informer.watches(key.namespace):
        return None
    stored = informer.store.get(key)
    version = earlier.resource_version if earlier is not None else 0
    if not uid and earlier is not None:
        uid = earlier.written or earlier.uid
    if not uid and stored is not None:
        uid = stored.uid
    if not uid or (not version and (stored is None or stored.uid != uid)):
        return None
    return Unseen(key, version, uid, written=uid)


def _selects(informer: SharedInformer[Any], obj: Object) -> bool:
    options = informer.options
    if options.labels and not Selector.of(options.labels).matches(obj.metadata.labels):
        return False
    if not options.fields:
        return True
    data = obj.to_dict()
    return FieldSelector.of(options.fields).matches(lambda path: field_value(data, path.split(".")))


class OwnWrites:
    """The writes of one client that its cache may not show yet. Thread-safe.

    Writes never wait. A read waits for the writes that were answered before it began, not for one under way at the
    same time: of the two either may come first.
    """

    def __init__(self, informers: Informers, *, timeout: float = SEEN_TIMEOUT, clock: Clock | None = None) -> None:
        """`timeout`: the seconds after which a read gives up with StaleCacheError."""
        self._informers = informers
        self._timeout = timeout
        self._clock = clock or RealClock()
        self._lock = threading.Lock()
        """Guards what follows."""
        self._unseen: dict[SharedInformer[Any], dict[ObjectKey, Unseen]] = {}
        """None of the inner ones is empty."""

    def wrote(self, kind: type[Object], key: ObjectKey, written: Object) -> None:
        """A write of the object, or of its subresource, was answered with `written`."""
        for informer in self._informers.informers_of(kind):
            self._note(informer, unseen_write(informer, key, written))

    def deleted(self, kind: type[Object], key: ObjectKey, uid: str) -> None:
        """A deletion of the object was answered."""
        for informer in self._informers.informers_of(kind):
            earlier = self._unseen.get(informer, {}).get(key)
            self._note(informer, unseen_deletion(informer, key, uid, earlier))

    def wait_to_get(self, kind: type[Object], key: ObjectKey) -> None:
        """Until the cache shows the last write of this object. Raises StaleCacheError."""
        if not self._unseen:
            return
        informer = self._informers.informer_of(kind)
        if informer is not None and (known := self._unseen.get(informer)) and (unseen := known.get(key)):
            self._wait(informer, [unseen])

    def wait_to_list(self, kind: type[Object], namespace: str) -> None:
        """Until the cache shows all writes of objects of the kind, in the namespace if one is given."""
        informer = self._informers.informer_of(kind) if self._unseen else None
        if informer is None:
            return
        with self._lock:
            every = list(self._unseen.get(informer, {}).values())
        self._wait(informer, [unseen for unseen in every if namespace in ("", unseen.key.namespace)])

    def _wait(self, informer: SharedInformer[Any], awaited: Iterable[Unseen]) -> None:
        until = self._clock.monotonic() + self._timeout
        for unseen in awaited:
            unseen.wait(informer, max(0.0, until - self._clock.monotonic()), self._clock)
            with self._lock:
                known = self._unseen.get(informer, {})
                if known.get(unseen.key) is unseen:  # else written again meanwhile
                    del known[unseen.key]
                    if not known:
                        del self._unseen[informer]

    def _note(self, informer: SharedInformer[Any], unseen: Unseen | None) -> None:
        if unseen is None:
            return
        with self._lock:
            known = self._unseen.setdefault(informer, {})
            earlier = known.get(unseen.key)
            # Answers of two threads may be noted in either order.
            if earlier is None or unseen.uid or unseen.resource_version >= earlier.resource_version:
                known[unseen.key] = unseen
            if len(known) >= _PRUNE_AT and not len(known) % _PRUNE_AT:
                self._unseen[informer] = {
                    key: kept for key, kept in known.items() if kept is unseen or not kept.is_seen(informer)
                }


@dataclass(slots=True)
class _Record:
    uid: str
    unseen: dict[tuple[type[Object], str], Unseen] = field(default_factory=dict)
    """The newest write by kind and namespace."""


class ConsistencyStore:
    """What was written on behalf of which object (kube-controller-manager's ConsistencyStore). Thread-safe.

    >>> def reconcile(self, request):
    ...     self.consistency.ensure_ready(request.key)
    ...     ...
    ...     pod = self.client.create(pod_for(owner))
    ...     self.consistency.wrote_at(owner.key, owner.metadata.uid, pod)
    """

    def __init__(self, informers: Informers) -> None:
        """`informers`: the `Cache` that the reconciler reads from."""
        self._informers = informers
        self._lock = threading.Lock()
        """Guards what follows."""
        self._records: dict[ObjectKey, _Record] = {}

    def wrote_at(self, key: ObjectKey, uid: str, written: Object) -> None:
        """A write of a reconcile of the object `key` was answered with `written`, of whatever kind."""
        informer = self._informers.informer_of(type(written))
        unseen = None if informer is None else unseen_write(informer, written.key, written)
        if unseen is None:
            return
        part = (type(written), written.namespace)
        with self._lock:
            record = self._records.get(key)
            if record is None or record.uid != uid:
                record = self._records[key] = _Record(uid)
            earlier = record.unseen.get(part)
            if earlier is None or earlier.resource_version < unseen.resource_version:
                record.unseen[part] = unseen

    def ensure_ready(self, key: ObjectKey) -> None:
        """Raises StaleCacheError if the cache lacks a write of an earlier reconcile of the object: run it later."""
        with self._lock:
            record = self._records.get(key)
            parts = list(record.unseen.items()) if record else []
        for part, unseen in parts:
            informer = self._informers.informer_of(part[0])
            if informer is not None:
                unseen.wait(informer, 0.0, RealClock())
        with self._lock:
            if record is not None and self._records.get(key) is record:
                for part, unseen in parts:
                    if record.unseen.get(part) is unseen:
                        del record.unseen[part]
                if not record.unseen:
                    del self._records[key]

    def clear(self, key: ObjectKey, uid: str) -> None:
        """Forgets the object of that uid, when it is gone; one that was made anew under the same key is kept."""
        with self._lock:
            record = self._records.get(key)
            if record is not None and record.uid == uid:
                del self._records[key]
