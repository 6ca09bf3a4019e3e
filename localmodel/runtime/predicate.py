"""Predicates: which events reach a handler.

A predicate answers True for the events it lets pass. Those named `...Changed` look at updates only and let every
create, delete and generic event pass. Combine them with `And`, `Or`, `Not` or the operators `&`, `|`, `~`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .event import CreateEvent, DeleteEvent, Event, ExtractParts, GenericEvent, UpdateEvent
from .objects import Object
from .selectors import Selector


class Predicate:
    """Lets everything pass; a subclass overrides what it restricts."""

    def create(self, event: CreateEvent[Any]) -> bool:  # noqa: ARG002
        return True

    def update(self, event: UpdateEvent[Any]) -> bool:  # noqa: ARG002
        return True

    def delete(self, event: DeleteEvent[Any]) -> bool:  # noqa: ARG002
        return True

    def generic(self, event: GenericEvent[Any]) -> bool:  # noqa: ARG002
        return True

    def matches(self, event: Event[Any]) -> bool:
        """The answer of the method for this event's type."""
        match event:
            case CreateEvent():
                return self.create(event)
            case UpdateEvent():
                return self.update(event)
            case DeleteEvent():
                return self.delete(event)
            case GenericEvent():
                return self.generic(event)

    def __and__(self, other: Predicate) -> Predicate:
        return And(self, other)

    def __or__(self, other: Predicate) -> Predicate:
        return Or(self, other)

    def __invert__(self) -> Predicate:
        return Not(self)


@dataclass(frozen=True, kw_only=True)
class Funcs(Predicate):
    """A predicate of up to four functions; an absent one lets pass."""

    on_create: Callable[[CreateEvent[Any]], bool] | None = None
    on_update: Callable[[UpdateEvent[Any]], bool] | None = None
    on_delete: Callable[[DeleteEvent[Any]], bool] | None = None
    on_generic: Callable[[GenericEvent[Any]], bool] | None = None

    def create(self, event: CreateEvent[Any]) -> bool:
        return self.on_create is None or self.on_create(event)

    def update(self, event: UpdateEvent[Any]) -> bool:
        return self.on_update is None or self.on_update(event)

    def delete(self, event: DeleteEvent[Any]) -> bool:
        return self.on_delete is None or self.on_delete(event)

    def generic(self, event: GenericEvent[Any]) -> bool:
        return self.on_generic is None or self.on_generic(event)


def new_predicate_funcs(accepts: Callable[[Any], bool]) -> Predicate:
    """A predicate that asks one function about the object, for an update about the new one."""
    return Funcs(
        on_create=lambda event: accepts(event.object),
        on_update=lambda event: accepts(event.object_new),
        on_delete=lambda event: accepts(event.object),
        on_generic=lambda event: accepts(event.object),
    )


class _Changed(Predicate, ABC):
    """Lets an update pass only if a part of the object differs."""

    @abstractmethod
    def part(self, obj: Object) -> object:
        """The part that is compared."""

    def update(self, event: UpdateEvent[Any]) -> bool:
        return self.part(event.object_old) != self.part(event.object_new)


class PartsChanged(Predicate):
    """Drops updates that leave what a function gives for the object alone.

    With `Cache.index_parts` of the function nothing is decoded for it.
    """

    def __init__(self, extract: ExtractParts[Any]) -> None:
        self._extract = extract

    def update(self, event: UpdateEvent[Any]) -> bool:
        before, after = event.parts(self._extract)
        return before != after


class ResourceVersionChanged(_Changed):
    """Drops resyncs, which show an unchanged object again."""

    def part(self, obj: Object) -> object:
        return obj.metadata.resource_version


class GenerationChanged(_Changed):
    """Drops updates that leave the generation alone: those of the status and of labels, annotations, finalizers.

    A server raises the generation when the spec changes and when a deletion timestamp is set. Not every built-in kind
    has one (ConfigMaps, Nodes): for those this predicate drops every update.
    """

    def part(self, obj: Object) -> object:
        return obj.metadata.generation


class LabelChanged(_Changed):
    """Drops updates that leave the labels alone."""

    def part(self, obj: Object) -> object:
        return obj.metadata.labels


class AnnotationChanged(_Changed):
    """Drops updates that leave the annotations alone."""

    def part(self, obj: Object) -> object:
        return obj.metadata.annotations


class And(Predicate):
    """Lets pass what every predicate lets pass; asks no further after the first refusal."""

    def __init__(self, *predicates: Predicate) -> None:
        self._predicates = predicates

    def create(self, event: CreateEvent[Any]) -> bool:
        return all(p.create(event) for p in self._predicates)

    def update(self, event: UpdateEvent[Any]) -> bool:
        return all(p.update(event) for p in self._predicates)

    def delete(self, event: DeleteEvent[Any]) -> bool:
        return all(p.delete(event) for p in self._predicates)

    def generic(self, event: GenericEvent[Any]) -> bool:
        return all(p.generic(event) for p in self._predicates)


class Or(Predicate):
    """Lets pass what some predicate lets pass; asks no further after the first that does."""

    def __init__(self, *predicates: Predicate) -> None:
        self._predicates = predicates

    def create(self, event: CreateEvent[Any]) -> bool:
        return any(p.create(event) for p in self._predicates)

    def update(self, event: UpdateEvent[Any]) -> bool:
        return any(p.update(event) for p in self._predicates)

    def delete(self, event: DeleteEvent[Any]) -> bool:
        return any(p.delete(event) for p in self._predicates)

    def generic(self, event: GenericEvent[Any]) -> bool:
        return any(p.generic(event) for p in self._predicates)


class Not(Predicate):
    """Lets pass what another predicate does not."""

    def __init__(self, predicate: Predicate) -> None:
        self._predicate = predicate

    def create(self, event: CreateEvent[Any]) -> bool:
        return not self._predicate.create(event)

    def update(self, event: UpdateEvent[Any]) -> bool:
        return not self._predicate.update(event)

    def delete(self, event: DeleteEvent[Any]) -> bool:
        return not self._predicate.delete(event)

    def generic(self, event: GenericEvent[Any]) -> bool:
        return not self._predicate.generic(event)


class LabelSelectorPredicate(Predicate):
    """Lets pass objects (for an update: new objects) whose labels match a selector in kubectl's grammar or a map."""

    def __init__(self, selector: str | Mapping[str, str]) -> None:
        self._selector = Selector.of(selector)

    def create(self, event: CreateEvent[Any]) -> bool:
        return self._selector.matches(event.object.metadata.labels)

    def update(self, event: UpdateEvent[Any]) -> bool:
        return self._selector.matches(event.object_new.metadata.labels)

    def delete(self, event: DeleteEvent[Any]) -> bool:
        return self._selector.matches(event.object.metadata.labels)

    def generic(self, event: GenericEvent[Any]) -> bool:
        return self._selector.matches(event.object.metadata.labels)
