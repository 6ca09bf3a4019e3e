"""Items cut out of a list that is still arriving: whatever the list looks like and however it is cut."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from localmodel.runtime.list_splitter import ListSplitter

TEXT = st.text(max_size=8) | st.sampled_from(['"items":[', "},{", '},{"metadata":{', "\\", '"', "]}", "items"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.builds(
    lambda name, inside: {"metadata": {"name": name}, "templates": [{"metadata": {"x": i}} for i in inside]},
    TEXT,
    st.lists(VALUES, max_size=3),
)
ITEMS = st.lists(OBJECTS, max_size=12) | st.lists(VALUES, max_size=6) | st.none()
METADATA = st.fixed_dictionaries({"resourceVersion": st.just("7"), "continue": st.sampled_from(["", "more"])})
FORMATS: list[dict[str, Any]] = [{"separators": (",", ":")}, {}, {"indent": 2}, {"indent": 1, "separators": (",", ":")}]


def split(body: bytes, sizes: list[int], cut_size: int) -> tuple[list[Any], ListSplitter]:
    """Feeds pieces of these sizes, in turn."""
    splitter = ListSplitter(cut_size)
    items: list[Any] = []
    at = turn = 0
    while at < len(body):
        size = sizes[turn % len(sizes)]
        items += map(msgspec.json.decode, splitter.feed(body[at : at + size]))
        at, turn = at + size, turn + 1
    return items + [msgspec.json.decode(item) for item in splitter.finish()], splitter


@given(
    items=ITEMS,
    metadata=METADATA,
    before=st.dictionaries(TEXT, VALUES, max_size=2),
    behind=st.dictionaries(TEXT, VALUES, max_size=2),
    metadata_first=st.booleans(),
    written=st.sampled_from(FORMATS),
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=5),
    cut_size=st.integers(1, 80),
)
def test_a_list_in_pieces_is_the_list_as_a_whole(
    items: list[Any] | None,
    metadata: dict[str, Any],
    before: dict[str, Any],
    behind: dict[str, Any],
    metadata_first: bool,
    written: dict[str, Any],
    sizes: list[int],
    cut_size: int,
) -> None:
    own = [("metadata", metadata), ("items", items)]
    document = before | dict(own if metadata_first else own[::-1])
    document |= {key: value for key, value in behind.items() if key not in document}
    given_items, splitter = split(json.dumps(document, **written).encode(), sizes, cut_size)
    assert given_items == (items or [])
    assert (splitter.metadata.resource_version, splitter.metadata.continue_) == ("7", metadata["continue"])


@given(
    items=st.lists(OBJECTS, min_size=1, max_size=12),
    cut=st.integers(1, 10_000),
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=5),
)
def test_a_list_that_breaks_off_is_no_list(items: list[Any], cut: int, sizes: list[int]) -> None:
    body = json.dumps({"metadata": {"resourceVersion": "7"}, "items": items}, separators=(",", ":")).encode()
    with pytest.raises(msgspec.MsgspecError):
        split(body[: -1 - cut % (len(body) - 1)], sizes, 40)


@pytest.mark.parametrize("written", FORMATS)
def test_no_more_than_some_items_are_held(written: dict[str, Any]) -> None:
    """Of a Go server's list, and of one by Python: templates inside look like the beginning of an item."""
    item = {"metadata": {"name": "x" * 50}, "spec": {"templates": [{"metadata": {"name": "a"}}] * 3}, "status": {}}
    body = json.dumps(
        {"kind": "List", "metadata": {"resourceVersion": "7"}, "items": [item] * 5000}, **written
    ).encode()
    splitter, count = ListSplitter(4096), 0
    for at in range(0, len(body), 1000):
        count += len(splitter.feed(body[at : at + 1000]))
        assert at - count * len(body) / 5000 < 16_000
    assert count + len(splitter.finish()) == 5000
