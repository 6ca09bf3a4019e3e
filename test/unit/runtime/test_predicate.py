"""Predicates: runtimes.md 2.10 nos. 135, 136 and the list of section 1.9."""

from __future__ import annotations

from typing import Any

import pytest

from localmodel.runtime.event import CreateEvent, DeleteEvent, Event, GenericEvent, UpdateEvent
from localmodel.runtime.objects import ConfigMap, ObjectMeta
from localmodel.runtime.predicate import (
    And,
    AnnotationChanged,
    Funcs,
    GenerationChanged,
    LabelChanged,
    LabelSelectorPredicate,
    Not,
    Or,
    Predicate,
    ResourceVersionChanged,
    new_predicate_funcs,
)


def config_map(**metadata: Any) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name="a", namespace="ns", **metadata))


OBJECT = config_map()
CREATE, DELETE, GENERIC = CreateEvent(OBJECT), DeleteEvent(OBJECT), GenericEvent(OBJECT)
SAME = UpdateEvent(OBJECT, OBJECT)
ALL: list[Event[Any]] = [CREATE, SAME, DELETE, GENERIC]


class Constant(Predicate):
    """Answers one thing, and notes that it was asked."""

    def __init__(self, answer: bool) -> None:
        self.answer = answer
        self.asked = 0

    def _answer(self, event: Event[Any]) -> bool:
        self.asked += 1
        return self.answer

    create = update = delete = generic = _answer


CHANGES = [
    (ResourceVersionChanged(), {"resource_version": "2"}),
    (GenerationChanged(), {"generation": 2}),
    (LabelChanged(), {"labels": {"a": "b"}}),
    (AnnotationChanged(), {"annotations": {"a": "b"}}),
]


@pytest.mark.parametrize(("predicate", "change"), CHANGES)
def test_135_a_changed_predicate_passes_updates_of_its_part_only(predicate: Predicate, change: Any) -> None:
    assert predicate.matches(UpdateEvent(config_map(), config_map(**change)))
    assert not predicate.matches(UpdateEvent(config_map(**change), config_map(**change)))


@pytest.mark.parametrize("predicate", [predicate for predicate, _ in CHANGES])
def test_135_a_changed_predicate_passes_all_but_updates(predicate: Predicate) -> None:
    assert [predicate.matches(event) for event in ALL] == [True, False, True, True]


def test_135_generation_changed_drops_a_new_finalizer() -> None:
    event = UpdateEvent(config_map(generation=1), config_map(generation=1, finalizers=["x"]))

    assert not GenerationChanged().matches(event)


@pytest.mark.parametrize(("first", "second", "both", "any_"), [(0, 0, 0, 0), (0, 1, 0, 1), (1, 0, 0, 1), (1, 1, 1, 1)])
@pytest.mark.parametrize("event", ALL)
def test_136_and_or_not(event: Event[Any], first: int, second: int, both: int, any_: int) -> None:
    one, two = Constant(bool(first)), Constant(bool(second))

    assert And(one, two).matches(event) == (one & two).matches(event) == bool(both)
    assert Or(one, two).matches(event) == (one | two).matches(event) == bool(any_)
    assert Not(one).matches(event) == (~one).matches(event) == (not first)


@pytest.mark.parametrize("event", ALL)
def test_136_and_and_or_stop_at_the_first_decisive_predicate(event: Event[Any]) -> None:
    last = Constant(True)

    assert not And(Constant(False), last).matches(event)
    assert Or(Constant(True), last).matches(event)
    assert last.asked == 0


def test_absent_functions_let_pass() -> None:
    predicate = Funcs(on_update=lambda event: False)

    assert [predicate.matches(event) for event in ALL] == [True, False, True, True]


def test_each_function_is_asked_about_its_own_event() -> None:
    predicate = Funcs(
        on_create=lambda event: not event.is_in_initial_list,
        on_delete=lambda event: event.delete_state_unknown,
        on_generic=lambda event: event.object.name == "b",
    )

    assert [predicate.matches(event) for event in ALL] == [True, True, False, False]


def test_one_function_for_all_is_asked_about_the_new_object_of_an_update() -> None:
    predicate = new_predicate_funcs(lambda obj: "new" in obj.metadata.labels)
    new = config_map(labels={"new": ""})

    assert predicate.matches(UpdateEvent(OBJECT, new))
    assert not predicate.matches(UpdateEvent(new, OBJECT))
    assert not any(predicate.matches(event) for event in (CREATE, DELETE, GENERIC))


@pytest.mark.parametrize("selector", ["app=x", {"app": "x"}])
def test_a_label_selector_is_asked_about_the_new_object_of_an_update(selector: Any) -> None:
    predicate = LabelSelectorPredicate(selector)
    labelled = config_map(labels={"app": "x"})

    assert predicate.matches(UpdateEvent(OBJECT, labelled))
    assert not predicate.matches(UpdateEvent(labelled, OBJECT))
    assert [predicate.matches(e) for e in (CreateEvent(labelled), DeleteEvent(labelled), GenericEvent(labelled))] == [
        True
    ] * 3
    assert [predicate.matches(e) for e in (CREATE, DELETE, GENERIC)] == [False] * 3
