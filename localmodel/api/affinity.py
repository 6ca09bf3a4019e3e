"""Which nodes belong to a group: the node affinity of its volumes (kserve-behaviour.md 6).

The rules are those of k8s.io/component-helpers, which the scheduler applies to volumes too: terms are ORed, the
requirements of a term ANDed, a term without requirements matches nothing, and an error belongs to its term.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec
from pydantic import ValidationError

from localmodel.runtime.objects import Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm

_INTEGER = re.compile(r"[+-]?\d+\Z", re.ASCII)
_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?\Z")


class SelectorError(ValueError):
    """A node selector cannot be read; the message says which requirement and why."""


def node_matches(affinity: Mapping[str, Any] | None, node: Node) -> bool:
    """Whether a volume's node affinity (`{"required": {"nodeSelectorTerms": [...]}}`) admits the node.

    No affinity, or none required, admits no node. Raises SelectorError if no term matches and one cannot be read.
    """
    required = (affinity or {}).get("required")
    if not required:
        return False
    try:
        selector = _selector(msgspec.json.encode(required))
    except ValidationError as error:
        raise SelectorError(f"nodeAffinity.required is not a node selector: {error}") from error

    problems: list[str] = []
    for term in selector.node_selector_terms:
        try:
            if _term_matches(term, node):
                return True
        except SelectorError as error:
            problems.append(str(error))
    if problems:
        raise SelectorError("; ".join(problems))
    return False


@lru_cache(256)
def _selector(required: bytes) -> NodeSelector:
    """Decoded once for all nodes that it is asked about; only to be read."""
    return NodeSelector.from_dict(msgspec.json.decode(required))


def _term_matches(term: NodeSelectorTerm, node: Node) -> bool:
    if not term.match_expressions and not term.match_fields:
        return False
    # Every requirement is read before one may decide, so that an error does not depend on the node at hand.
    results = [_expression_matches(r, node.metadata.labels) for r in term.match_expressions]
    results += [_field_matches(r, node.name) for r in term.match_fields]
    return all(results)


def _expression_matches(requirement: NodeSelectorRequirement, labels: Mapping[str, str]) -> bool:
    key, values, operator = requirement.key, requirement.values, requirement.operator
    present = key in labels
    match operator:
        case "In" | "NotIn":
            if not values:
                raise SelectorError(f"{key} {operator}: needs at least one value")
            for value in values:
                if not _VALUE.match(value):
                    raise SelectorError(f"{key} {operator}: {value!r} cannot be a label's value")
            among = present and labels[key] in values
            return among if operator == "In" else not among
        case "Exists" | "DoesNotExist":
            if values:
                raise SelectorError(f"{key} {operator}: takes no values")
            return present == (operator == "Exists")
        case "Gt" | "Lt":
            return _compares(requirement, labels.get(key))
    raise SelectorError(f"{key}: {operator!r} is not an operator of node selectors")


def _compares(requirement: NodeSelectorRequirement, actual: str | None) -> bool:
    values = requirement.values
    if len(values) != 1 or not _INTEGER.match(values[0]):
        raise SelectorError(f"{requirement.key} {requirement.operator}: needs exactly one whole number")
    if actual is None or not _INTEGER.match(actual):
        return False
    return int(actual) > int(values[0]) if requirement.operator == "Gt" else int(actual) < int(values[0])


def _field_matches(requirement: NodeSelectorRequirement, name: str) -> bool:
    if requirement.key != "metadata.name":
        raise SelectorError(f"matchFields: {requirement.key!r} is not metadata.name, the only field that counts")
    if requirement.operator not in ("In", "NotIn"):
        raise SelectorError(f"matchFields: {requirement.operator!r} is not In or NotIn")
    if len(requirement.values) != 1:
        raise SelectorError("matchFields: needs exactly one value")
    return (requirement.values[0] == name) == (requirement.operator == "In")
