"""What happened to an object, as a source tells it to predicates and handlers.

The objects are typed and shared by the predicates and the handler of one source: read them, do not change them. Those
of an informer are decoded when they are first asked for; `parts` gives what an index of the cache has of them already.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from .objects import Object

T_co = TypeVar("T_co", bound=Object, covariant=True)
P = TypeVar("P")

Parts: TypeAlias = Mapping[str, P]
ExtractParts: TypeAlias = Callable[[Any], Mapping[str, P]]
"""See `Cache.index_parts`."""


@dataclass(frozen=True, slots=True)
class CreateEvent(Generic[T_co]):
    """An object came into sight."""

    object: T_co
    is_in_initial_list: bool = False
    """It existed before the watch began."""

    def parts(self, extract: ExtractParts[P]) -> tuple[Parts[P], Parts[P]]:
        """Before and after: none, and those of the object."""
        return {}, extract(self.object)


@dataclass(frozen=True, slots=True)
class UpdateEvent(Generic[T_co]):
    """An object changed, or a resync shows it again (then both are equal)."""

    object_old: T_co
    object_new: T_co

    @property
    def is_resync(self) -> bool:
        """Nothing happened: it is the same version again."""
        return bool(self.object_old.metadata.resource_version == self.object_new.metadata.resource_version)

    def parts(self, extract: ExtractParts[P]) -> tuple[Parts[P], Parts[P]]:
        """Before and after. With an index of the cache, equal parts are the same object: compare them with `is`."""
        return extract(self.object_old), extract(self.object_new)


@dataclass(frozen=True, slots=True)
class DeleteEvent(Generic[T_co]):
    """An object is gone."""

    object: T_co
    delete_state_unknown: bool = False
    """The deletion itself was missed: `object` is the last state seen, which may be stale."""

    def parts(self, extract: ExtractParts[P]) -> tuple[Parts[P], Parts[P]]:
        """Before and after: those of the object, and none."""
        return extract(self.object), {}


@dataclass(frozen=True, slots=True)
class GenericEvent(Generic[T_co]):
    """Something outside the cluster concerns this object (see `source.Channel`)."""

    object: T_co

    def parts(self, extract: ExtractParts[P]) -> tuple[Parts[P], Parts[P]]:
        """Before and after: none, and those of the object."""
        return {}, extract(self.object)


Event: TypeAlias = CreateEvent[T_co] | UpdateEvent[T_co] | DeleteEvent[T_co] | GenericEvent[T_co]
