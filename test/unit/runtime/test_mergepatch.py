"""Merge patches made from two objects."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localmodel.runtime.errors import ConflictError
from localmodel.runtime.mergepatch import merge_from, merge_patch_between
from localmodel.runtime.objects import ConfigMap, ObjectMeta
from localmodel.runtime.testing import FakeClient
from localmodel.runtime.testing.patch import merge_patch

# None is not a value in a merge patch: it says that a key goes.
VALUES = st.recursive(
    st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=10,
)
OBJECTS = st.dictionaries(st.text(max_size=2), VALUES, max_size=4)


def config_map(**data: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name="a", namespace="ns"), data=data)


@given(OBJECTS, OBJECTS)
def test_a_patch_between_two_objects_makes_one_into_the_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert merge_patch(before, merge_patch_between(before, after)) == after


@given(OBJECTS)
def test_a_patch_between_equal_objects_is_empty(obj: dict[str, Any]) -> None:
    assert merge_patch_between(obj, obj) == {}


def test_a_patch_names_only_what_changed() -> None:
    before = config_map(kept="1", changed="1", removed="1")
    after = config_map(kept="1", changed="2", added="2")
    assert merge_from(before, after) == {"data": {"changed": "2", "added": "2", "removed": None}}


def test_what_another_wrote_meanwhile_stays() -> None:
    client = FakeClient(config_map(ours="1", theirs="1"))
    before = client.get(ConfigMap, "a", namespace="ns")
    client.patch(before, {"data": {"theirs": "2"}})
    after = before.deepcopy()
    after.data["ours"] = "2"
    assert client.patch(after, merge_from(before, after)).data == {"ours": "2", "theirs": "2"}


def test_with_an_optimistic_lock_a_changed_object_is_a_conflict() -> None:
    client = FakeClient(config_map(ours="1"))
    before = client.get(ConfigMap, "a", namespace="ns")
    after = before.deepcopy()
    after.data["ours"] = "2"
    patch = merge_from(before, after, optimistic_lock=True)
    assert patch == {"data": {"ours": "2"}, "metadata": {"resourceVersion": before.metadata.resource_version}}
    client.patch(before, {"data": {"theirs": "2"}})
    with pytest.raises(ConflictError):
        client.patch(after, patch)


def test_an_object_that_was_never_read_cannot_be_locked() -> None:
    with pytest.raises(ValueError, match="has no resource version"):
        merge_from(config_map(), config_map(a="1"), optimistic_lock=True)


@pytest.mark.parametrize(("before", "after"), [(1, True), (0, False), ([0], [False]), ([{"a": 1}], [{"a": True}])])
def test_a_change_between_values_that_python_holds_for_equal_is_one(before: Any, after: Any) -> None:
    assert merge_patch_between({"k": before}, {"k": after}) == {"k": after}
    assert merge_patch_between({"k": before}, {"k": before}) == {}
