"""What a defaulter changed is done to the object as it was sent, and nothing else: runtimes.md 2.17 no. 205."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localmodel.runtime.webhook.patch import apply_patch, carry_changes, json_patch

Json = dict[str, Any]

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.floats(allow_nan=False, allow_infinity=False, width=16)
    | st.sampled_from("ab")
)
KEYS = st.sampled_from(["a", "b", "name", "x/y", "~1"])
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=5)
HIDDEN = "unknown to the type"


def hide(value: Any, draw: Any) -> Any:
    """The value with fields that a typed object would drop, at any depth."""
    if isinstance(value, dict):
        shown = {key: hide(item, draw) for key, item in value.items()}
        return {**shown, HIDDEN: draw(SCALARS)} if draw(st.booleans()) else shown
    return [hide(item, draw) for item in value] if isinstance(value, list) else value


def shown(value: Any) -> Any:
    """What a typed object keeps."""
    if isinstance(value, dict):
        return {key: shown(item) for key, item in value.items() if key != HIDDEN}
    return [shown(item) for item in value] if isinstance(value, list) else value


def strict(value: Any) -> Any:
    """Comparable as JSON is: 1, 1.0 and True differ."""
    if isinstance(value, dict):
        return {key: strict(item) for key, item in value.items()}
    return [strict(item) for item in value] if isinstance(value, list) else (type(value).__name__, value)


@given(DOCUMENTS, DOCUMENTS)
def test_a_patch_makes_the_one_of_the_other(original: Json, current: Json) -> None:
    kept = copy.deepcopy(original)
    assert strict(apply_patch(original, json_patch(original, current))) == strict(current)
    assert strict(original) == strict(kept)


@given(DOCUMENTS, DOCUMENTS, st.data())
def test_205_the_typed_view_of_the_result_is_what_the_defaulter_made(before: Json, after: Json, data: Any) -> None:
    original = hide(before, data.draw)
    assert strict(shown(carry_changes(original, before, after))) == strict(after)


@given(DOCUMENTS, st.data())
def test_205_without_a_change_everything_stays(before: Json, data: Any) -> None:
    original = hide(before, data.draw)
    assert strict(carry_changes(original, before, before)) == strict(original)


@given(DOCUMENTS, st.dictionaries(st.sampled_from(["new", "other"]), VALUES, min_size=1), st.data())
def test_205_what_is_added_removes_nothing(before: Json, added: Json, data: Any) -> None:
    original = hide(before, data.draw)
    patch = json_patch(original, carry_changes(original, before, {**before, **added}))
    assert strict(apply_patch(original, patch)) == strict({**original, **added})


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        # An item that is added, removed or moved leaves the others whole.
        (["a", "b"], ["a", "b", "c"], ["a+", "b+", "c"]),
        (["a", "b"], ["b"], ["b+"]),
        (["a", "b"], ["b", "a"], ["b+", "a+"]),
        (["a", "b"], ["b", "c"], ["b+", "c"]),
    ],
)
def test_205_items_of_a_list_keep_their_unknown_fields(
    before: list[str], after: list[str], expected: list[str]
) -> None:
    def items(names: list[str]) -> Json:
        return {"list": [{"name": name[0], **({"extra": name[0]} if "+" in name else {})} for name in names]}

    original = items([name + "+" for name in before])
    assert carry_changes(original, items(before), items(after)) == items(expected)


def test_205_a_named_item_that_is_changed_keeps_its_unknown_fields_wherever_it_goes() -> None:
    original = {"list": [{"name": "a", "x": 1}, {"name": "b", "x": 2}]}
    before = {"list": [{"name": "a"}, {"name": "b"}]}
    after = {"list": [{"name": "new"}, {"name": "b", "image": "i"}]}
    assert carry_changes(original, before, after) == {"list": [{"name": "new"}, {"name": "b", "x": 2, "image": "i"}]}


def test_205_values_that_the_type_leaves_out_stay_unless_they_are_set() -> None:
    original = {"zero": 0, "other": 0}
    assert carry_changes(original, {}, {"zero": 5}) == {"zero": 5, "other": 0}
