"""Node affinity of a group's volumes."""

from __future__ import annotations

from typing import Any

import pytest

from localmodel.api import SelectorError, node_matches
from localmodel.runtime.objects import Node, ObjectMeta

NODE = Node(metadata=ObjectMeta(name="node-1", labels={"pool": "gpu", "cores": "8", "odd": "x"}))


def required(*terms: dict[str, Any]) -> dict[str, Any]:
    return {"required": {"nodeSelectorTerms": list(terms)}}


def expression(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


@pytest.mark.parametrize("affinity", [None, {}, {"required": None}, required(), required({})])
def test_a_group_that_requires_nothing_has_no_nodes(affinity: dict[str, Any] | None) -> None:
    assert not node_matches(affinity, NODE)


@pytest.mark.parametrize(
    ("operator", "key", "values", "expected"),
    [
        ("In", "pool", ["cpu", "gpu"], True),
        ("In", "pool", ["cpu"], False),
        ("In", "zone", ["a"], False),
        ("NotIn", "pool", ["gpu"], False),
        ("NotIn", "zone", ["a"], True),
        ("Exists", "pool", [], True),
        ("Exists", "zone", [], False),
        ("DoesNotExist", "zone", [], True),
        ("DoesNotExist", "pool", [], False),
        ("Gt", "cores", ["7"], True),
        ("Gt", "cores", ["8"], False),
        ("Lt", "cores", ["9"], True),
        ("Gt", "odd", ["1"], False),
        ("Gt", "zone", ["1"], False),
    ],
)
def test_operators(operator: str, key: str, values: list[str], expected: bool) -> None:
    assert node_matches(required(expression(key, operator, *values)), NODE) is expected


def test_terms_are_alternatives_and_requirements_of_a_term_are_not() -> None:
    both = {
        "matchExpressions": [
            *expression("pool", "Exists")["matchExpressions"],
            *expression("zone", "Exists")["matchExpressions"],
        ]
    }
    assert not node_matches(required(both), NODE)
    assert node_matches(required(both, expression("pool", "Exists")), NODE)


def test_the_name_is_the_only_field() -> None:
    def field(key: str, operator: str, *values: str) -> dict[str, Any]:
        return required({"matchFields": [{"key": key, "operator": operator, "values": list(values)}]})

    assert node_matches(field("metadata.name", "In", "node-1"), NODE)
    assert not node_matches(field("metadata.name", "NotIn", "node-1"), NODE)
    for bad in (field("spec.x", "In", "a"), field("metadata.name", "Exists"), field("metadata.name", "In", "a", "b")):
        with pytest.raises(SelectorError):
            node_matches(bad, NODE)


@pytest.mark.parametrize(
    "bad",
    [
        expression("pool", "In"),
        expression("pool", "Like", "x"),
        expression("pool", "Exists", "x"),
        expression("cores", "Gt", "a"),
        expression("cores", "Gt", "1", "2"),
        expression("pool", "In", "a b"),
    ],
)
def test_an_error_belongs_to_its_term(bad: dict[str, Any]) -> None:
    assert node_matches(required(bad, expression("pool", "Exists")), NODE)
    with pytest.raises(SelectorError):
        node_matches(required(bad, expression("zone", "Exists")), NODE)


def test_a_selector_of_the_wrong_shape_is_an_error() -> None:
    with pytest.raises(SelectorError, match="not a node selector"):
        node_matches({"required": {"nodeSelectorTerms": "gpu"}}, NODE)
