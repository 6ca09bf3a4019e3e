"""Equality of JSON values: true in the place of 1 is a fault where an integer belongs, and a change elsewhere."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.apicore import WIDGETS, InProcess, widget, widget_crd
from support.recordings.crds import CRDS

from localmodel.runtime.testing.jsonvalues import is_same

Json = dict[str, Any]
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-2, 2), st.text("ab", max_size=1))
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
)


@given(VALUES, VALUES)
def test_it_is_equality_of_the_json_text(one: Any, other: Any) -> None:
    assert is_same(one, other) == (json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True))


@pytest.mark.parametrize(("one", "other"), [(1, 1.0), ({"b": [0], "a": 1}, {"a": 1.0, "b": [0]})])
def test_a_number_is_the_same_with_and_without_a_fraction(one: Any, other: Any) -> None:
    assert is_same(one, other)


def test_true_is_no_integer_although_it_was_1() -> None:
    assert written({"size": 1}, {"size": True})[0] == 422


def test_true_in_the_place_of_1_is_a_change_of_the_spec() -> None:
    code, obj = written({"any": {"x": [1, 0]}}, {"any": {"x": [True, False]}})
    assert code == 200
    assert obj["spec"]["any"] == {"x": [True, False]}
    assert obj["metadata"]["generation"] == 2
    assert obj["metadata"]["managedFields"][0]["manager"] == "second"


def written(before: Json, spec: Json) -> tuple[int, Json]:
    """What a PUT of a widget that had this spec answers."""
    api = InProcess()
    api.create(CRDS, widget_crd(size={"type": "integer"}, any={"x-kubernetes-preserve-unknown-fields": True}))
    obj = api.create(WIDGETS, widget("a", **before))
    return api.call("PUT", f"{WIDGETS}/a?fieldManager=second", {**obj, "spec": spec})[:2]
