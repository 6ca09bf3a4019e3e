"""What an informer holds: each object as trimmed JSON bytes beside its key, and named indexes.

`Stored` is one object; the typed object is decoded anew for each reader, so nobody can change the cache or another
reader's object. `Trimmer` makes it of what the server sent. `ThreadSafeStore` keeps them by key. The
informer is its only writer, any thread reads; every write, a whole `replace` included, is one step for readers, with
all indexes in agreement.

An index files an object under values; an index of parts also keeps, under each value, a part of the object. So what a
thousand objects say of one thing is read without decoding one of them.

Numbers in tests refer to reference/runtimes.md sections 2.4 and 2.5.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar, overload

import msgspec
import pydantic
import structlog

from .errors import ObjectDecodeError
from .objects import Object, ObjectKey, ObjectMeta, T
from .projection import KeptMeta, head_and_fields

log = structlog.get_logger(__name__)

U = TypeVar("U", bound=Object)
P = TypeVar("P")

Transform = Callable[[dict[str, Any]], dict[str, Any]]
"""Gets the metadata and what the kind's type declares of each object as a JSON object, once, and returns what the cache
keeps; it may change what it gets. It must keep metadata's name, namespace, uid and resourceVersion."""

Extract = Callable[[T], Iterable[str]]
"""The values under which an index files an object; none leaves it out of the index."""

ExtractParts = Callable[[T], Mapping[str, Any]]
"""The same, with a part of the object for each value, which everybody shares: something that never changes."""

Decode = Callable[["Stored[Any]"], Any]
"""Reads a stored object for an index."""


_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_kept = msgspec.json.Decoder(KeptMeta).decode
_decode_metadata = msgspec.json.Decoder(ObjectMeta).decode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode
_decode_text = msgspec.json.Decoder(str | None).decode
_encode = msgspec.json.Encoder().encode
_NULL = msgspec.Raw(b"null")
_NO_PARTS: Mapping[str, Any] = {}


class Stored(msgspec.Struct, Generic[T], eq=False, gc=False):
    """One object as the store keeps it. Never changed; shared between readers and handlers."""

    kind: type[T]
    key: ObjectKey
    uid: str
    resource_version: str
    metadata: bytes
    """The JSON of the metadata, without managedFields."""
    body: bytes
    """The JSON of the object without metadata, and without apiVersion and kind, which are the type's."""
    _labels: dict[str, str] | None = None
    filed: Mapping[Hashable, Mapping[str, Any]] = {}
    """By index: the values under which the store files the object, each with its part (None in an index without)."""

    @property
    def labels(self) -> Mapping[str, str]:
        """Decoded when first asked for, and kept: most kinds are never selected by labels."""
        if self._labels is None:
            self._labels = _decode_metadata(self.metadata).labels
        return self._labels

    def parts(self, extract: Callable[[T], Mapping[str, P]]) -> Mapping[str, P]:
        """What the function gives for the object: as filed, where the store has an index of it, else computed now."""
        found = self.filed.get(extract)
        return extract(self.object()) if found is None else found

    @overload
    def object(self) -> T: ...

    @overload
    def object(self, kind: type[U]) -> U: ...

    def object(self, kind: Any = None) -> Any:
        """A fresh, private object of the informer's type or of `kind`; raises ObjectDecodeError."""
        wanted = kind or self.kind
        try:
            return wanted.from_parts(self.metadata, self.body)
        except (pydantic.ValidationError, msgspec.MsgspecError, RecursionError) as error:
            raise ObjectDecodeError(
                f"{wanted.mapping.gvk.kind} {self.key} (resource version {self.resource_version}) does not decode into "
                f"{wanted.__module__}.{wanted.__qualname__}: {error}"
            ) from error

    def __repr__(self) -> str:
        return f"Stored({self.kind.mapping.gvk.kind} {self.key} @{self.resource_version})"


class Trimmer(Generic[T]):
    """Makes a `Stored` of the raw JSON of one object of a kind, of just what the kind's type will ask for."""

    def __init__(self, kind: type[T], transform: Transform | None = None) -> None:
        self.kind = kind
        self._transform = transform
        self._gvk = kind.mapping.gvk
        self._take_apart: Callable[[bytes | msgspec.Raw], Any] = msgspec.json.Decoder(head_and_fields(kind)).decode

    def trim(self, raw: bytes | msgspec.Raw) -> Stored[T]:
        """Raises ObjectDecodeError for what is not an object of this kind."""
        try:
            try:
                metadata, body = self._parts(self._take_apart(raw))
            except msgspec.ValidationError:  # other fields, or what does not fit: kept, for its readers to complain
                metadata, body = self._whole(raw)
        except (KeyError, msgspec.MsgspecError, RecursionError) as error:  # an API server stores any depth
            raise ObjectDecodeError(f"not a {self.kind.mapping.gvk.kind}: {error!r} in {bytes(raw)[:200]!r}") from error
        if not metadata.name:
            raise ObjectDecodeError(f"a {self.kind.mapping.gvk.kind} without a name: {bytes(raw)[:200]!r}")
        if self._transform is not None:
            metadata, body = self._transformed(self._transform, metadata, body)
        key = ObjectKey(metadata.namespace, metadata.name)
        return Stored(self.kind, key, metadata.uid, metadata.resource_version, _encode(metadata), body)

    def _parts(self, fields: Any) -> tuple[KeptMeta, bytes]:
        """The metadata, and the JSON of what is left of the object; `fields` is of `head_and_fields`."""
        if fields.kind != self._gvk.kind or fields.api_version != self._gvk.api_version:
            self._check_kind(fields.api_version, fields.kind)
        metadata: KeptMeta = fields.metadata or KeptMeta()
        fields.api_version = fields.kind = fields.metadata = msgspec.UNSET
        return metadata, _encode(fields)

    def _whole(self, raw: bytes | msgspec.Raw) -> tuple[KeptMeta, bytes]:
        """The same with every field there is."""
        fields = _decode_fields(raw)
        self._check_kind(*(_decode_text(fields.pop(name, _NULL)) for name in ("apiVersion", "kind")))
        return _decode_kept(fields.pop("metadata")), _encode(fields)

    def _check_kind(self, api_version: str | msgspec.UnsetType | None, kind: str | msgspec.UnsetType | None) -> None:
        """List items may lack apiVersion and kind; if they have them, they must be ours."""
        gvk = self._gvk
        if not kind or (self.kind.metadata_only and kind == "PartialObjectMetadata"):
            return
        if (kind, api_version or gvk.api_version) != (gvk.kind, gvk.api_version):
            raise ObjectDecodeError(f"expected an object of {gvk}, got {api_version or ''}, Kind={kind}")

    def _transformed(self, transform: Transform, metadata: KeptMeta, body: bytes) -> tuple[KeptMeta, bytes]:
        """A transform that fails loses nothing: the object is kept as it came."""
        try:
            kept = transform({"metadata": _decode_object(_encode(metadata)), **_decode_object(body)})
            return _decode_kept(_encode(ObjectMeta.from_dict(kept.pop("metadata")))), _encode(kept)
        except Exception:  # foreign code: the cache must hold the object whatever it does
            log.exception("The transform of a cached kind failed", kind=self.kind.__name__, name=metadata.name)
            return metadata, body


class Change(msgspec.Struct, Generic[T], frozen=True):
    """One effect of a `replace`. `old` is None for a new object, `new` for a removed one."""

    old: Stored[T] | None
    new: Stored[T] | None


class ThreadSafeStore(Generic[T]):
    """Objects by key, with named indexes (cache.ThreadSafeStore)."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._objects: dict[ObjectKey, Stored[T]] = {}
        self._namespaces: dict[str, set[ObjectKey]] = {}
        """The keys of each namespace; never an empty set."""
        self._extractors: dict[Hashable, tuple[Decode, ExtractParts[T]]] = {}
        """By index: a name, or the very function that gives the parts. Replaced, never changed: what was computed with
        this very dict is complete."""
        self._indexes: dict[Hashable, dict[str, dict[ObjectKey, Any]]] = {}
        """The keys of each value of each index, with the parts; never an empty dict at the end."""

    def add_indexer(self, name: str, extract: Extract[T]) -> None:
        """Objects already here are indexed too. Raises ValueError if the name is taken."""
        self._add(name, Stored.object, lambda obj: dict.fromkeys(extract(obj)))

    def add_parts_indexer(self, extract: ExtractParts[T], decode: Decode | None = None) -> None:
        """An index that is known by the function; again does nothing. Objects already here are indexed too.

        With `decode` the function gets what that makes of the stored object, in place of an object of the kind.
        """
        with self._lock:
            if extract not in self._extractors:
                self._add(extract, decode or Stored.object, extract)

    def _add(self, name: Hashable, decode: Decode, extract: ExtractParts[T]) -> None:
        with self._lock:
            if name in self._extractors:
                raise ValueError(f"there is already an index {name!r}: give each index of a kind its own name")
            self._extractors = {**self._extractors, name: (decode, extract)}
            self._indexes[name] = {}
            for stored in self._objects.values():
                self._file(stored, stored.filed, _filed(stored, self._extractors))

    def put(self, stored: Stored[T]) -> Stored[T] | None:
        """Gives what it replaced."""
        extractors = self._extractors
        filed = _filed(stored, extractors)
        with self._lock:
            if extractors is not self._extractors:
                filed = _filed(stored, self._extractors)
            return self._put(stored, filed)

    def delete(self, key: ObjectKey) -> Stored[T] | None:
        """Gives what was stored under the key."""
        with self._lock:
            old = self._objects.get(key)
            if old is not None:
                self._delete(key)
            return old

    def replace(self, items: Sequence[Stored[T]], *, namespace: str = "") -> Sequence[Change[T]]:
        """Makes `items` the whole content, or the whole content of one namespace, in one step.

        Gives what changed: first what vanished, then the items in their order, each with what it replaced.
        """
        wanted = {stored.key: stored for stored in items}
        extractors = self._extractors
        filed = {key: _filed(stored, extractors) for key, stored in wanted.items()}
        with self._lock:
            if extractors is not self._extractors:
                filed = {key: _filed(stored, self._extractors) for key, stored in wanted.items()}
            present = self._namespaces.get(namespace, ()) if namespace else self._objects
            changes = [Change(self._objects[key], None) for key in present if key not in wanted]
            for change in changes:
                assert change.old is not None
                self._delete(change.old.key)
            for key, stored in wanted.items():
                changes.append(Change(self._put(stored, filed[key]), stored))
            return changes

    def get(self, key: ObjectKey) -> Stored[T] | None:
        return self._objects.get(key)

    def list(self, namespace: str = "") -> Sequence[Stored[T]]:
        """All objects, or those of one namespace, in no order."""
        with self._lock:
            if not namespace:
                return tuple(self._objects.values())
            return tuple(self._objects[key] for key in self._namespaces.get(namespace, ()))

    def by_index(self, index: Mapping[str, str], namespace: str = "") -> Sequence[Stored[T]]:
        """The objects filed under every one of these values, by index name. Raises KeyError for an unknown index."""
        with self._lock:
            found: list[Collection[ObjectKey]] = [self._indexes[name].get(value, ()) for name, value in index.items()]
            if namespace:
                found.append(self._namespaces.get(namespace, ()))
            if not found:
                return tuple(self._objects.values())
            first, *others = sorted(found, key=len)
            return tuple(self._objects[key] for key in first if all(key in other for other in others))

    def parts(self, extract: ExtractParts[T], value: str) -> dict[ObjectKey, Any]:
        """What the index files under the value: the part of each object. Raises KeyError for an unknown index."""
        with self._lock:
            return self._indexes[extract].get(value, {}).copy()

    def index_names(self) -> frozenset[Hashable]:
        with self._lock:
            return frozenset(self._extractors)

    def index_values(self, name: str) -> frozenset[str]:
        """Every value under which the index holds an object. Raises KeyError for an unknown index."""
        with self._lock:
            return frozenset(self._indexes[name])

    def __len__(self) -> int:
        return len(self._objects)

    def _put(self, stored: Stored[T], filed: Mapping[Hashable, Mapping[str, Any]]) -> Stored[T] | None:
        key = stored.key
        old = self._objects.get(key)
        self._objects[key] = stored
        if old is None:
            self._namespaces.setdefault(key.namespace, set()).add(key)
        self._file(stored, old.filed if old is not None else {}, filed)
        return old

    def _delete(self, key: ObjectKey) -> None:
        old = self._objects.pop(key)
        namespace = self._namespaces[key.namespace]
        namespace.discard(key)
        if not namespace:
            del self._namespaces[key.namespace]
        self._unfile(key, old.filed, {})

    def _file(
        self,
        stored: Stored[T],
        former: Mapping[Hashable, Mapping[str, Any]],
        filed: Mapping[Hashable, Mapping[str, Any]],
    ) -> None:
        """Touches only the values that the object gained or lost, and the parts that changed."""
        self._unfile(stored.key, former, filed)
        stored.filed = {name: self._file_in(name, stored.key, former.get(name, {}), filed[name]) for name in filed}

    def _file_in(
        self, name: Hashable, key: ObjectKey, former: Mapping[str, Any], parts: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """The parts that are kept: an equal one stays the very object that it was, so what changed is told by `is`."""
        index, kept = self._indexes[name], dict(parts)
        for value, part in parts.items():
            if value in former and former[value] == part:
                kept[value] = former[value]
            else:
                index.setdefault(value, {})[key] = part
        return kept

    def _unfile(
        self,
        key: ObjectKey,
        former: Mapping[Hashable, Mapping[str, Any]],
        filed: Mapping[Hashable, Mapping[str, Any]],
    ) -> None:
        for name, parts in former.items():
            index = self._indexes[name]
            for value in parts.keys() - filed.get(name, {}).keys():
                keys = index[value]
                del keys[key]
                if not keys:
                    del index[value]


def _filed(
    stored: Stored[T], extractors: Mapping[Hashable, tuple[Decode, ExtractParts[T]]]
) -> Mapping[Hashable, Mapping[str, Any]]:
    """Decodes the object once for all indexes that read it alike.

    A failing function leaves it out of its index: without parts, so that events tell of those that it had before.
    """
    filed: dict[Hashable, Mapping[str, Any]] = dict.fromkeys(extractors, _NO_PARTS)
    decoded: dict[Decode, Any] = {}
    for decode in {decode for decode, _ in extractors.values()}:
        try:
            decoded[decode] = decode(stored)
        except ObjectDecodeError as error:
            log.error("An object is missing in the indexes of its kind", error=str(error))
        except Exception:  # foreign code: one object must not stop the cache
            log.exception("Reading an object for its indexes failed", object=repr(stored))
    for name, (decode, extract) in extractors.items():
        if decode not in decoded:
            continue
        try:
            filed[name] = extract(decoded[decode])
        except Exception:  # foreign code
            index = getattr(name, "__qualname__", name)
            log.exception("An index function failed", index=index, kind=stored.kind.__name__, key=str(stored.key))
    return filed
