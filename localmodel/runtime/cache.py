"""A reader that answers from memory: one informer for each kind, started when the kind is first asked for.

Every object that is read is decoded anew and belongs to the caller. A list is served by an index or not at all: field
selectors need `index_field`, so that nothing scans a whole kind by accident. What is not known is an error, never an
empty answer: a cache that was not started, a namespace that is not watched, a kind that the server does not serve.

Neighbours: `informer` below, `cached_client` above. Behaviour as controller-runtime's pkg/cache and pkg/client
(reference/runtimes.md 2.12).
"""

from __future__ import annotations

import builtins
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from . import collector
from .client import P, Reader
from .clock import Clock, RealClock
from .errors import (
    CacheNotStartedError,
    CacheSyncTimeoutError,
    NotFoundError,
    RuntimeLibraryError,
    UnindexedFieldError,
)
from .informer import JOIN_TIMEOUT, SharedInformer
from .informer_options import InformerOptions, NamespaceOptions, Namespaces, check_namespaces
from .listwatch import ListerWatcher
from .objects import Object, ObjectKey, T, Unstructured
from .reflector import ReflectorOptions
from .selectors import FieldSelector, Selector
from .store import Stored, Transform

if TYPE_CHECKING:
    from .metrics import Metrics

ALL_NAMESPACES = ""
MAX_READABLE = 1000
"""A program may make a type for each read (`Unstructured.of`)."""


class NamespaceNotWatchedError(RuntimeLibraryError):
    """The cache does not watch the namespace that was read: the answer would not be the truth."""


class KindNotServedError(CacheSyncTimeoutError):
    """The server does not serve an optional kind: its objects are unknown, which is not the same as none."""


class KindForbiddenError(CacheSyncTimeoutError):
    """This user may not read the kind, which `may_be_forbidden` allows for: its objects are unknown, too."""


class KindNotCachedError(RuntimeLibraryError):
    """The kind has no informer and `reader_fail_on_missing_informer` forbids to start one on a read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KindOptions:
    """What the cache holds of one kind (cache.ByObject)."""

    namespaces: Namespaces = ()
    """Only these; none: the cache's `default_namespaces`; ALL_NAMESPACES among them: all. What a mapping says of one of
    them comes before what is below, and that before the cache's defaults."""
    labels: str = ""
    fields: str = ""
    transform: Transform | None = None
    """Called once per object before it is stored, to leave out what is never read."""
    optional: bool = False
    """An absent kind does not hold up the start. It is watched within seconds of its CRD's installation; until then
    reading it raises KindNotServedError. If the CRD goes later, what was not seen to be deleted stays readable."""
    may_be_forbidden: bool = False
    """A right that is missing does not hold up the start. The kind is watched soon after the right is granted; until
    then reading it raises KindForbiddenError. If the right goes later, what was known stays readable."""

    def __post_init__(self) -> None:
        check_namespaces(self.namespaces)

    def allows_absence_of(self, informer: SharedInformer[Any]) -> bool:
        """Whether the program goes on without the kind, for the reason that there is now."""
        return (self.optional and informer.kind_missing) or (self.may_be_forbidden and informer.forbidden)

    def wait_for(self, informer: SharedInformer[Any], timeout: float) -> bool:
        """Waits for its first list, or for a reason to go on without; as `SharedInformer.wait_for_sync`."""
        return informer.wait_for_sync(timeout, or_missing=self.optional, or_forbidden=self.may_be_forbidden)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheOptions:
    """What a cache holds, and how (cache.Options)."""

    by_kind: Mapping[type[Any], KindOptions] = field(default_factory=dict)
    default_namespaces: Namespaces = ()
    """Of namespaced kinds whose own options name none; none: all. What a mapping says of a namespace is a default, too,
    for kinds that name that namespace themselves, and comes before `defaults`."""
    defaults: NamespaceOptions = field(default_factory=NamespaceOptions)
    """Selectors and transform of every kind where nothing else is said of it."""
    sync_timeout: float = 120.0
    """Seconds that a read waits for an informer it has started."""
    resync_period: float = 36_000.0
    """Seconds, +-10 %; see InformerOptions."""
    reader_fail_on_missing_informer: bool = False
    """A read of a kind without informer raises KindNotCachedError instead of starting one."""
    reflector: ReflectorOptions = field(default_factory=ReflectorOptions)
    """Paging, timeouts and backoff of every informer."""
    tune_collector: bool = True
    """Raise the garbage collector's thresholds until `wait_for_sync`, and freeze after it; see `collector`."""

    def __post_init__(self) -> None:
        check_namespaces(self.default_namespaces)


class Cache(Reader):
    """Informers by kind, and reads from them. Thread-safe."""

    def __init__(
        self,
        lister_watcher: ListerWatcher,
        options: CacheOptions | None = None,
        *,
        metrics: Metrics | None = None,
        clock: Clock | None = None,
    ) -> None:
        """With `metrics` (those of the manager), which must not be another cache's, they tell of the informers."""
        self.options = options or CacheOptions()
        self._lister_watcher = lister_watcher
        self._clock = clock or RealClock()
        self._by_kind = {_informer_key(kind): entry for kind, entry in self.options.by_kind.items()}
        self._lock = threading.Lock()
        """Guards what follows."""
        self._informers: dict[object, SharedInformer[Any]] = {}
        self._readable: dict[type[Object], SharedInformer[Any]] = {}
        """Synced informers by the types that were read lately: what makes a read cheap. Not guarded."""
        self._started = self._stopped = False
        self._filling = False
        """The collector's thresholds are raised on our behalf."""
        if metrics is not None:
            metrics.informers.observe(self.informers)

    def informers(self) -> tuple[SharedInformer[Any], ...]:
        """All there are at the moment."""
        with self._lock:
            return tuple(self._informers.values())

    def get_informer(self, kind: type[T]) -> SharedInformer[T]:
        """The informer of the kind, made if need be; started at once if the cache is, else with it.

        Typed, unstructured and metadata-only reads of one resource have an informer each.
        """
        key = _informer_key(kind)
        with self._lock:
            informer = self._informers.get(key)
            if informer is None:
                informer = self._informers[key] = SharedInformer(
                    kind, self._lister_watcher, self._informer_options(kind), clock=self._clock
                )
                if self._stopped:
                    informer.stop_soon()
                elif self._started:
                    informer.start()
            return cast("SharedInformer[T]", informer)

    def informer_of(self, kind: type[T]) -> SharedInformer[T] | None:
        """The informer that reads of the kind are served from, if there is one by now."""
        return self._informers.get(_informer_key(kind))

    def informers_of(self, kind: type[Object]) -> builtins.list[SharedInformer[Any]]:
        """All informers of the kind's resource: typed, unstructured, metadata-only, and of other versions."""
        resource = kind.mapping.group_resource
        with self._lock:
            return [known for known in self._informers.values() if known.kind.mapping.group_resource == resource]

    def index_field(self, kind: type[T], name: str, extract: Callable[[T], Iterable[str]]) -> None:
        """Files each object of the kind under the values that `extract` gives, for `list(fields={name: value})`.

        `extract` gets a decoded object that it must not change. Raises ValueError for a name in use.
        """
        self.get_informer(kind).add_indexer(name, extract)

    def index_parts(self, kind: type[T], extract: Callable[[T], Mapping[str, Any]]) -> None:
        """Files each object of the kind under the keys of what `extract` gives, with the values as parts of the object,
        for `parts` and for `Event.parts`.

        Parts must never change, and compare with `==`; those that many objects have in common should be small or
        shared. The function is the name of the index: again does nothing.
        """
        self.get_informer(kind).add_parts_indexer(extract)

    def start(self) -> None:
        """Starts all informers and returns; see `wait_for_sync`. A second start does nothing."""
        with self._lock:
            if self._started or self._stopped:
                return
            self._started = True
            if self.options.tune_collector:
                collector.begin_filling()
                self._filling = True
            for informer in self._informers.values():
                informer.start()

    def stop(self) -> None:
        """Ends all informers at the same time, within about a second. Idempotent; a stopped cache can still be read."""
        with self._lock:
            self._stopped = True
            informers = tuple(self._informers.values())
        self._end_filling(freeze=False)
        for informer in informers:
            informer.stop_soon()
        deadline = RealClock().monotonic() + JOIN_TIMEOUT
        for informer in informers:
            informer.join(max(0.0, deadline - RealClock().monotonic()))

    def has_synced(self, kind: type[Object]) -> bool:
        """The first list of the kind is in the cache. False for a kind without informer."""
        with self._lock:
            informer = self._informers.get(_informer_key(kind))
        return informer is not None and informer.has_synced

    def wait_for_sync(self, timeout: float | None = None) -> None:
        """Waits until every kind known by now has its first list, but those whose options say to go on without.

        Raises CacheNotStartedError, and CacheSyncTimeoutError naming each missing kind and why it is missing, after
        `timeout` seconds (default: `sync_timeout`) or when the cache is stopped meanwhile.
        """
        self._check_started()
        deadline = self._clock.monotonic() + (self.options.sync_timeout if timeout is None else timeout)
        missing = [
            informer
            for informer in self.informers()
            if not self.options_of(informer.kind).wait_for(informer, max(0.0, deadline - self._clock.monotonic()))
        ]
        self._end_filling(freeze=not missing)
        if missing:
            raise CacheSyncTimeoutError("; ".join(map(self._why_missing, missing)))

    def waiting_for(self) -> str:
        """The kinds that are not in the cache and the reason of each; empty when all are."""
        return "; ".join(
            self._why_missing(informer)
            for informer in self.informers()
            if not informer.has_synced and not self.options_of(informer.kind).allows_absence_of(informer)
        )

    def get(self, kind: type[T], name: str, *, namespace: str = "") -> T:
        """Raises NotFoundError, and what `list` raises but UnindexedFieldError."""
        informer = self._informer_to_read(kind, namespace)
        stored = informer.store.get(ObjectKey(namespace if informer.namespaced else "", name))
        if stored is None:
            resource = kind.mapping.group_resource
            details = {"name": name, "group": kind.mapping.gvk.group, "kind": kind.mapping.plural}
            raise NotFoundError.of(f'{resource} "{name}" not found', details=details)
        return stored.object(kind)

    def list(
        self,
        kind: type[T],
        *,
        namespace: str = "",
        labels: str | dict[str, str] = "",
        fields: str | dict[str, str] = "",
        limit: int = 0,
    ) -> builtins.list[T]:
        """Private copies of all matching objects, or of the first `limit` of them, sorted by key.

        `fields` are equalities on names given to `index_field`; metadata.name and metadata.namespace are always
        served. Raises CacheNotStartedError, CacheSyncTimeoutError (the kind cannot be listed in time; it names the
        reason), KindNotServedError, KindForbiddenError, NamespaceNotWatchedError, UnindexedFieldError, SelectorError,
        and ObjectDecodeError if an object does not fit the type.
        """
        informer = self._informer_to_read(kind, namespace)
        selector = Selector.of(labels)
        found = _select(informer, namespace if kind.mapping.namespaced else "", FieldSelector.of(fields))
        if not selector.is_empty:
            found = [stored for stored in found if selector.matches(stored.labels)]
        found = sorted(found, key=lambda stored: stored.key)
        return [stored.object(kind) for stored in (found[:limit] if limit else found)]

    def parts(self, kind: type[T], extract: Callable[[T], Mapping[str, P]], value: str) -> dict[ObjectKey, P]:
        """Raises UnindexedFieldError without an `index_parts` of the function, and what `list` raises of the kind."""
        informer = self._informer_to_read(kind, "")
        try:
            return informer.store.parts(extract, value)
        except KeyError:
            name = getattr(extract, "__qualname__", repr(extract))
            raise UnindexedFieldError(f"no index {name} for {kind.__name__}: call index_parts first") from None

    def _informer_to_read(self, kind: type[T], namespace: str) -> SharedInformer[T]:
        """A synced informer that watches the namespace."""
        informer: SharedInformer[T] = self._readable.get(kind) or self._make_readable(kind)
        if namespace and not informer.watches(namespace):
            raise NamespaceNotWatchedError(
                f"cannot read {kind.mapping.group_resource} in namespace {namespace!r}: the cache watches only "
                f"{', '.join(informer.namespaces)}"
            )
        return informer

    def _make_readable(self, kind: type[T]) -> SharedInformer[T]:
        """The informer of the kind, once it has synced."""
        self._check_started()
        if self.options.reader_fail_on_missing_informer and _informer_key(kind) not in self._informers:
            raise KindNotCachedError(
                f"{kind.__name__} is not cached: watch it, or ask for its informer, before reading"
            )
        informer = self.get_informer(kind)
        if not informer.has_synced:
            self._wait_to_read(informer)
        if len(self._readable) == MAX_READABLE:
            self._readable.clear()
        self._readable[kind] = informer
        return informer

    def _wait_to_read(self, informer: SharedInformer[Any]) -> None:
        if not self.options_of(informer.kind).wait_for(informer, self.options.sync_timeout):
            raise CacheSyncTimeoutError(self._why_missing(informer))
        if not informer.has_synced:
            error = KindForbiddenError if informer.forbidden else KindNotServedError
            raise error(self._why_missing(informer))

    def _why_missing(self, informer: SharedInformer[Any]) -> str:
        reason = informer.last_error or ("the cache was stopped" if self._stopped else "its first list has not ended")
        return f"{informer.kind.__name__} is not in the cache: {reason}"

    def _check_started(self) -> None:
        if not self._started:
            raise CacheNotStartedError("the cache is not started: start it, or the manager, before reading from it")

    def _end_filling(self, *, freeze: bool) -> None:
        with self._lock:
            was_filling, self._filling = self._filling, False
        if was_filling:
            collector.end_filling(freeze=freeze)

    def options_of(self, kind: type[Object]) -> KindOptions:
        """The kind's own options; types made by `Unstructured.of` for one resource share them."""
        return self._by_kind.get(_informer_key(kind)) or KindOptions()

    def _informer_options(self, kind: type[Object]) -> InformerOptions:
        own, defaults = self.options_of(kind), self.options.default_namespaces
        of_kind = NamespaceOptions(labels=own.labels, fields=own.fields, transform=own.transform)
        common = of_kind.or_else(self.options.defaults)
        scopes = {
            namespace: NamespaceOptions.of(own.namespaces, namespace)
            .or_else(of_kind)
            .or_else(NamespaceOptions.of(defaults, namespace))
            .or_else(common)
            for namespace in own.namespaces or defaults
        }
        return InformerOptions(
            namespaces=scopes,
            labels=common.labels,
            fields=common.fields,
            transform=common.transform,
            resync_period=self.options.resync_period,
            reflector=self.options.reflector,
        )


def _informer_key(kind: type[Object]) -> object:
    """Two types made by `Unstructured.of` for one resource share an informer, as do two of PartialObjectMetadata."""
    if kind.metadata_only:
        return ("metadata", kind.mapping)
    return ("unstructured", kind.mapping) if issubclass(kind, Unstructured) else kind


def _select(informer: SharedInformer[T], namespace: str, fields: FieldSelector) -> Sequence[Stored[T]]:
    """The objects that the indexes give for the fields."""
    index: dict[str, str] = {}
    name: str | None = None
    for term in fields.requirements:
        if term.negated:
            raise UnindexedFieldError(f"a cached list cannot serve {str(fields)!r}: it serves equality only")
        if term.field == "metadata.name":
            name = term.value
        elif term.field == "metadata.namespace":
            if namespace not in ("", term.value):
                return ()
            namespace = term.value
        else:
            index[term.field] = term.value
    unknown = index.keys() - informer.store.index_names()
    if unknown:
        raise UnindexedFieldError(
            f"no index {', '.join(sorted(unknown))} for {informer.kind.__name__}: call index_field first"
        )
    found = informer.store.by_index(index, namespace)
    return found if name is None else [stored for stored in found if stored.key.name == name]
