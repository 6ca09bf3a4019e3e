"""Label and field selectors in kubectl's grammar."""

from __future__ import annotations

import pytest

from localmodel.runtime.selectors import FieldSelector, Selector, SelectorError


@pytest.mark.parametrize(
    ("text", "labels", "matches"),
    [
        ("", {}, True),
        ("a=b", {"a": "b"}, True),
        ("a==b", {"a": "b"}, True),
        ("a=b", {"a": "c"}, False),
        ("a=b", {}, False),
        ("a=", {"a": ""}, True),
        ("a=", {}, False),
        ("a!=b", {"a": "c"}, True),
        ("a!=b", {"a": "b"}, False),
        ("a!=b", {}, True),
        ("a in (x,y)", {"a": "y"}, True),
        ("a in (x,y)", {"a": "z"}, False),
        ("a in (x, y)", {}, False),
        ("a notin (x,y)", {"a": "z"}, True),
        ("a notin (x,y)", {"a": "x"}, False),
        ("a notin (x,y)", {}, True),
        ("a", {"a": ""}, True),
        ("a", {}, False),
        ("!a", {}, True),
        ("!a", {"a": "b"}, False),
        ("a>5", {"a": "6"}, True),
        ("a>5", {"a": "5"}, False),
        ("a<5", {"a": "4"}, True),
        ("a<5", {"a": "many"}, False),
        ("a<5", {}, False),
        ("a=b,c,!d", {"a": "b", "c": "1"}, True),
        ("a=b,c,!d", {"a": "b", "c": "1", "d": "1"}, False),
        ("example.com/pool in (gpu),x=in", {"example.com/pool": "gpu", "x": "in"}, True),
    ],
)
def test_a_label_selector_matches_as_kubectl_says(text: str, labels: dict[str, str], matches: bool) -> None:
    assert Selector.of(text).matches(labels) is matches


@pytest.mark.parametrize(
    "text",
    [
        ",",
        "a=b,",
        "a b",
        "a in x",
        "a in (x",
        "a=b=c",
        "!",
        "-a=b",
        "a=b/c",
        "a>x",
        "a=" + "x" * 64,
        "=b",
        "a in x)",
        "A/b=c",
    ],
)
def test_what_is_no_label_selector_is_refused(text: str) -> None:
    with pytest.raises(SelectorError):
        Selector.of(text)


def test_a_parse_error_says_where_and_what_was_expected() -> None:
    with pytest.raises(SelectorError, match=r"'a b': found 'b', expected one of '='"):
        Selector.of("a b")


@pytest.mark.parametrize("text", ["", "a=b", "a!=b", "a in (x,y)", "a notin (x,y)", "a", "!a", "a>5", "a<5", "a=b,c=d"])
def test_the_text_of_a_selector_parses_to_the_same_selector(text: str) -> None:
    assert str(Selector.of(text)) == text
    assert Selector.of(str(Selector.of(text))) == Selector.of(text)


def test_a_map_is_a_selector_of_equal_pairs() -> None:
    assert str(Selector.of({"b": "2", "a": "1"})) == "a=1,b=2"


def test_an_absent_label_selector_object_matches_nothing_and_an_empty_one_everything() -> None:
    assert not Selector.of_label_selector(None).matches({})
    assert Selector.of_label_selector({}).matches({"a": "b"})


def test_a_label_selector_object_combines_labels_and_expressions() -> None:
    selector = Selector.of_label_selector(
        {
            "matchLabels": {"app": "x"},
            "matchExpressions": [
                {"key": "tier", "operator": "NotIn", "values": ["db"]},
                {"key": "gone", "operator": "DoesNotExist"},
                {"key": "zone", "operator": "Exists"},
            ],
        }
    )
    assert str(selector) == "app=x,!gone,tier!=db,zone"
    assert selector.matches({"app": "x", "zone": "1"})
    assert not selector.matches({"app": "x", "zone": "1", "tier": "db"})


def test_an_unknown_operator_in_a_label_selector_object_is_refused() -> None:
    with pytest.raises(SelectorError, match="Like"):
        Selector.of_label_selector({"matchExpressions": [{"key": "a", "operator": "Like"}]})


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("metadata.name=x", True),
        ("metadata.name==x,spec.nodeName!=n2", True),
        ("metadata.name!=x", False),
        ("spec.nodeName=", False),
        ("status.phase=", True),
        (",metadata.name=x,", True),
        ("spec.text=a\\,b\\=c\\\\", True),
    ],
)
def test_a_field_selector_compares_fields(text: str, matches: bool) -> None:
    fields = {"metadata.name": "x", "spec.nodeName": "n1", "spec.text": "a,b=c\\"}
    assert FieldSelector.of(text).matches(lambda name: fields.get(name, "")) is matches


@pytest.mark.parametrize("text", ["a", "a=b=c", "a=\\x", "=b", "a=b\\"])
def test_what_is_no_field_selector_is_refused(text: str) -> None:
    with pytest.raises(SelectorError, match="invalid field selector"):
        FieldSelector.of(text)


def test_the_text_of_a_field_selector_parses_to_the_same_selector() -> None:
    selector = FieldSelector.of({"a": "x,y=\\", "b": ""})
    assert FieldSelector.of(str(selector)) == selector
