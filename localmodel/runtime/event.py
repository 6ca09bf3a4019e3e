"""What happened to an object, as a source tells it to predicates and handlers.

The objects are typed and shared by the predicates and the handler of one source: read them, do not change them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from .objects import Object

T_co = TypeVar("T_co", bound=Object, covariant=True)


@dataclass(frozen=True, slots=True)
class CreateEvent(Generic[T_co]):
    """An object came into sight."""

    object: T_co
    is_in_initial_list: bool = False
    """It existed before the watch began."""


@dataclass(frozen=True, slots=True)
class UpdateEvent(Generic[T_co]):
    """An object changed, or a resync shows it again (then both are equal)."""

    object_old: T_co
    object_new: T_co


@dataclass(frozen=True, slots=True)
class DeleteEvent(Generic[T_co]):
    """An object is gone."""

    object: T_co
    delete_state_unknown: bool = False
    """The deletion itself was missed: `object` is the last state seen, which may be stale."""


@dataclass(frozen=True, slots=True)
class GenericEvent(Generic[T_co]):
    """Something outside the cluster concerns this object (see `source.Channel`)."""

    object: T_co


Event: TypeAlias = CreateEvent[T_co] | UpdateEvent[T_co] | DeleteEvent[T_co] | GenericEvent[T_co]
