"""Merge patches (RFC 7386), JSON patches (RFC 6902) and strategic merge patches."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.widgets import NS, PODS, widget

from localmodel.runtime.client import JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH, PatchType
from localmodel.runtime.errors import BadRequestError, InvalidError, NotFoundError
from localmodel.runtime.testing import Registry
from localmodel.runtime.testing.patch import json_patch, merge_patch
from localmodel.runtime.testing.schema import BUILTIN
from localmodel.runtime.testing.strategic import strategic_merge_patch

Json = dict[str, Any]

scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=2)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.sampled_from("abc"), values, max_size=3)


def rfc7386(target: Any, patch: Any) -> Any:
    """The pseudo-code of RFC 7386, section 2."""
    if not isinstance(patch, dict):
        return patch
    result = copy.deepcopy(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            if name in result:
                del result[name]
        else:
            result[name] = rfc7386(result.get(name), value)
    return result


def without_nulls(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: without_nulls(item) for key, item in value.items() if item is not None}


@given(target=objects, patch=objects)
def test_a_merge_patch_does_what_the_rfc_says_and_leaves_its_arguments_alone(target: Json, patch: Json) -> None:
    before = copy.deepcopy((target, patch))
    assert merge_patch(target, patch) == rfc7386(target, patch)
    assert (target, patch) == before


@given(target=objects, patch=objects)
def test_a_merge_patch_applied_twice_is_applied_once(target: Json, patch: Json) -> None:
    once = merge_patch(target, patch)
    assert merge_patch(once, patch) == once


@given(target=objects)
def test_an_object_merged_into_nothing_is_itself_without_nulls(target: Json) -> None:
    assert merge_patch({}, target) == without_nulls(target)


def test_a_json_patch_leaves_its_target_alone() -> None:
    target = {"a": [1, 2]}
    assert json_patch(target, [{"op": "remove", "path": "/a/0"}, {"op": "add", "path": "/b", "value": 1}]) == {
        "a": [2],
        "b": 1,
    }
    assert target == {"a": [1, 2]}


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/a", "value": 2},
        {"op": "remove", "path": "/missing"},
        {"op": "replace", "path": "", "value": 5},
    ],
)
def test_a_json_patch_that_does_not_fit_is_invalid(operation: Json) -> None:
    with pytest.raises(InvalidError, match="the server rejected our request due to an error in our request"):
        json_patch({"a": 1}, [operation])


def test_a_json_patch_that_is_none_is_a_bad_request() -> None:
    with pytest.raises(BadRequestError):
        json_patch({}, {"op": "add"})


@pytest.mark.parametrize(
    ("operation", "patched"),
    [
        ({"op": "add", "path": "/b"}, {"a": [1, 2], "b": None}),
        ({"op": "add", "path": "b", "value": 3}, None),
        ({"op": "add", "path": "x/b", "value": 3}, {"a": [1, 2], "b": 3}),
        ({"op": "add", "path": "/a/-1", "value": 3}, {"a": [1, 2, 3]}),
        ({"op": "remove", "path": "/a/-1"}, {"a": [1]}),
        ({"op": "replace", "path": "/b", "value": 3}, {"a": [1, 2], "b": 3}),
        ({"op": "test", "path": "/b", "value": None}, {"a": [1, 2]}),
        ({"op": "test", "path": "/a/0", "value": True}, None),
        ({"op": "copy", "path": "/b", "from": "/a"}, {"a": [1, 2], "b": [1, 2]}),
        ({"op": "move", "path": "/b", "from": "/nope"}, None),
        ({"op": "add", "path": "/a/9", "value": 3}, None),
        ({"op": "jump", "path": "/a"}, None),
    ],
)
def test_json_patches_are_read_as_by_the_servers_library(operation: Json, patched: Json | None) -> None:
    if patched is None:
        with pytest.raises(InvalidError):
            json_patch({"a": [1, 2]}, [operation])
    else:
        assert json_patch({"a": [1, 2]}, [operation]) == patched


def containers(*items: Json) -> Json:
    return {"spec": {"containers": list(items)}}


@pytest.mark.parametrize(
    ("target", "patch", "expected"),
    [
        pytest.param(
            containers({"name": "a", "image": "1"}, {"name": "b"}),
            containers({"name": "a", "image": "2"}, {"name": "c"}),
            containers({"name": "a", "image": "2"}, {"name": "b"}, {"name": "c"}),
            id="a list merges by its key",
        ),
        pytest.param(
            containers({"name": "a"}, {"name": "b"}),
            containers({"name": "a", "$patch": "delete"}),
            containers({"name": "b"}),
            id="$patch delete removes an item",
        ),
        pytest.param(
            containers({"name": "a"}, {"name": "b"}),
            containers({"$patch": "replace"}, {"name": "c"}),
            containers({"name": "c"}),
            id="$patch replace replaces a list",
        ),
        pytest.param(
            {"data": {"a": "1"}},
            {"data": {"$patch": "replace", "b": "2"}},
            {"data": {"b": "2"}},
            id="$patch replace replaces a map",
        ),
        pytest.param({"data": {"a": "1"}}, {"data": {"$patch": "delete"}}, {"data": {}}, id="$patch delete empties"),
        pytest.param({"data": {"a": "1", "b": "2"}}, {"data": {"a": None}}, {"data": {"b": "2"}}, id="null removes"),
        pytest.param(
            {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"x": 1}}}},
            {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}},
            {"spec": {"strategy": {"type": "Recreate"}}},
            id="$retainKeys drops the others",
        ),
        pytest.param(
            {"metadata": {"finalizers": ["a", "b"]}},
            {"metadata": {"finalizers": ["c", "a"]}},
            {"metadata": {"finalizers": ["a", "b", "c"]}},
            id="a set grows",
        ),
        pytest.param(
            {"metadata": {"finalizers": ["a", "b"]}},
            {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}},
            {"metadata": {"finalizers": ["b"]}},
            id="$deleteFromPrimitiveList shrinks it",
        ),
        pytest.param(
            containers({"name": "a"}, {"name": "x"}, {"name": "b"}),
            {"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}},
            containers({"name": "x"}, {"name": "b"}, {"name": "a"}),
            id="$setElementOrder orders",
        ),
        pytest.param({"spec": {"args": ["a"]}}, {"spec": {"args": ["b"]}}, {"spec": {"args": ["b"]}}, id="atomic list"),
        pytest.param(
            {"spec": {"taints": [{"key": "a", "effect": "x"}]}},
            {"spec": {"taints": [{"key": "b"}]}},
            {"spec": {"taints": [{"key": "b"}]}},
            id="taints, which kubectl taint removes by leaving them out",
        ),
    ],
)
def test_a_strategic_merge_patch(target: Json, patch: Json, expected: Json) -> None:
    before = copy.deepcopy(target)
    assert strategic_merge_patch(target, patch, BUILTIN) == expected
    assert target == before


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        (containers({"image": "1"}), "does not contain declared merge key: name"),
        (containers({"name": {"a": "b"}}), "merge key name at spec.containers must be a scalar"),
        (containers({"name": ["a"]}), "merge key name at spec.containers must be a scalar"),
        ({"spec": {"containers": ["a"]}}, "does not contain declared merge key: name"),
        ({"spec": {"$patch": "turn"}}, "unknown patch directive 'turn' at spec"),
        ({"spec": {"$retainKeys": 1}}, r"\$retainKeys at spec must be a list"),
        ({"spec": {"$setElementOrder/args": 1}}, r"\$setElementOrder/args at spec must be a list"),
        ({"spec": {"$deleteFromPrimitiveList/args": 1}}, r"\$deleteFromPrimitiveList/args at spec must be a list"),
        ({"spec": {"args": ["a"], "$setElementOrder/args": [{}]}}, "an item of an ordered list at spec.args must be"),
    ],
)
def test_a_strategic_merge_patch_that_makes_no_sense_is_refused(patch: Json, message: str) -> None:
    with pytest.raises(BadRequestError, match=message):
        strategic_merge_patch({"spec": {}}, patch, BUILTIN)


def test_the_registry_takes_strategic_merge_patches_of_built_in_kinds() -> None:
    registry = Registry()
    registry.create(PODS, NS, widget("a", containers=[{"name": "a", "image": "1"}, {"name": "b"}]))
    written = registry.patch(PODS, NS, "a", containers({"name": "a", "image": "2"}), STRATEGIC_MERGE_PATCH)
    assert written.object["spec"]["containers"] == [{"name": "a", "image": "2"}, {"name": "b"}]


@pytest.mark.parametrize("patch_type", [JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH])
def test_a_missing_object_is_missed_before_a_patch_that_is_none_is_refused(patch_type: PatchType) -> None:
    with pytest.raises(NotFoundError):
        Registry().patch(PODS, NS, "a", "no patch", patch_type)
