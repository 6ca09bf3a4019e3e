"""Sets of fields: their path elements."""

from __future__ import annotations

import json

from hypothesis import example, given
from hypothesis import strategies as st

from localmodel.runtime.testing.fieldset import items_by_key
from localmodel.runtime.testing.schema import map_list


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
@example('a"b', "name")
@example("a\\b", 'odd"key')
@example("a\x7f\n", "name")
def test_an_item_is_named_by_its_key_in_json(value: str, key: str) -> None:
    (element,) = items_by_key([{key: value}], map_list(key), ("items",)) or {}
    assert element.startswith("k:")
    assert json.loads(element.removeprefix("k:")) == {key: value}
    same = map_list(key, "also")
    (both,) = items_by_key([{key: value, "also": "x"}], same, ("items",)) or {}
    assert both.startswith(element[:-1]) or key > "also"


def test_a_key_that_is_no_text_is_written_as_json_has_it() -> None:
    items = items_by_key([{"port": 80}, {"port": True}], map_list("port"), ("ports",)) or {}
    assert list(items) == ['k:{"port":80}', 'k:{"port":true}']


def test_a_default_stands_for_a_key_that_is_left_out() -> None:
    items = items_by_key([{}], map_list("protocol", protocol="TCP"), ("ports",)) or {}
    assert list(items) == ['k:{"protocol":"TCP"}']
