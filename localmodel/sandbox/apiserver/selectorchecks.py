"""Validation of label selectors, node selectors and labels inside specs.

Source: apimachinery's pkg/apis/meta/v1/validation and kubernetes' pkg/apis/core/validation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from localmodel.runtime.selectors import Selector
from localmodel.runtime.testing.metadata import label_value, qualified_name

from .fielderrors import Cause, GoValue, forbidden, go_struct, go_syntax, invalid, required

Json = dict[str, Any]

_ONE_FIELD = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
_NEEDED = "must be specified when `operator` is 'In' or 'NotIn'"
_UNWANTED = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"


def labels_faults(labels: Json | None, path: str) -> Iterator[Cause]:
    for key, value in (labels or {}).items():
        for why in qualified_name(key):
            yield invalid(path, key, why)
        for why in label_value(value):
            yield invalid(path, value, why)


def go_labels(labels: Json | None) -> GoValue:
    """Labels as Go shows them."""
    if not labels:
        return GoValue("map[string]string(nil)")
    return GoValue(
        f"map[string]string{{{', '.join(f'{go_syntax(k)}:{go_syntax(v)}' for k, v in sorted(labels.items()))}}}"
    )


def go_label_selector(selector: Json) -> GoValue:
    """A metav1.LabelSelector as Go shows it."""
    requirement = "v1.LabelSelectorRequirement"
    shown = "(nil)"
    if expressions := selector.get("matchExpressions"):
        shown = f"{{{', '.join(f'{requirement}{{{_go_expression(each)}}}' for each in expressions)}}}"
    labels = go_labels(selector.get("matchLabels"))
    return GoValue(f"v1.LabelSelector{{MatchLabels:{labels}, MatchExpressions:[]{requirement}{shown}}}")


def _go_expression(expression: Json) -> str:
    values = expression.get("values")
    shown = f"{{{', '.join(map(go_syntax, values))}}}" if values else "(nil)"
    key, operator = (go_syntax(expression.get(name) or "") for name in ("key", "operator"))
    return f"Key:{key}, Operator:{operator}, Values:[]string{shown}"


def selector_faults(selector: Json, path: str) -> Iterator[Cause]:
    """A metav1.LabelSelector."""
    yield from labels_faults(selector.get("matchLabels"), f"{path}.matchLabels")
    for index, expression in enumerate(selector.get("matchExpressions") or ()):
        field = f"{path}.matchExpressions[{index}]"
        yield from _expression_faults(expression, field, ("In", "NotIn", "Exists", "DoesNotExist"))
        for why in qualified_name(expression.get("key") or ""):
            yield invalid(f"{field}.key", expression.get("key") or "", why)


def _expression_faults(expression: Json, path: str, operators: tuple[str, ...]) -> Iterator[Cause]:
    operator, values = expression.get("operator") or "", expression.get("values") or []
    if operator not in operators:
        yield invalid(f"{path}.operator", operator, "not a valid selector operator")
    elif operator in ("In", "NotIn") and not values:
        yield required(f"{path}.values", _NEEDED)
    elif operator in ("Exists", "DoesNotExist") and values:
        yield forbidden(f"{path}.values", _UNWANTED)
    elif operator in ("Gt", "Lt") and len(values) != 1:
        text = "must be specified single value when `operator` is 'Lt' or 'Gt'"
        yield required(f"{path}.values", text)


def node_selector_faults(selector: Json, path: str) -> Iterator[Cause]:
    """A core NodeSelector."""
    terms = selector.get("nodeSelectorTerms") or []
    if not terms:
        yield required(f"{path}.nodeSelectorTerms", "must have at least one node selector term")
    for index, term in enumerate(terms):
        yield from node_term_faults(term, f"{path}.nodeSelectorTerms[{index}]")


def node_term_faults(term: Json, path: str) -> Iterator[Cause]:
    for index, expression in enumerate(term.get("matchExpressions") or ()):
        field = f"{path}.matchExpressions[{index}]"
        yield from _expression_faults(expression, field, ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"))
        for why in qualified_name(expression.get("key") or ""):
            yield invalid(f"{field}.key", expression.get("key") or "", why)
    for index, expression in enumerate(term.get("matchFields") or ()):
        field, values = f"{path}.matchFields[{index}]", expression.get("values") or []
        if expression.get("operator") not in ("In", "NotIn"):
            yield invalid(f"{field}.operator", expression.get("operator") or "", "not a valid selector operator")
        elif len(values) != 1:
            yield required(f"{field}.values", _ONE_FIELD)
        if expression.get("key") != "metadata.name":
            yield invalid(f"{field}.key", expression.get("key") or "", "not a valid field selector key")


def template_selector_faults(spec: Json, path: str, *, kind: str) -> Iterator[Cause]:
    """A workload's selector, which must select its own template's pods. `kind` is as the refusal has it."""
    selector, field = spec.get("selector"), f"{path}.selector"
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    wrong: list[Cause] = []
    if selector is None:
        if kind != "daemonset":
            yield required(field)
    else:
        wrong = list(selector_faults(selector, field))
        yield from wrong
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            yield invalid(field, go_struct("v1.LabelSelector"), f"empty selector is invalid for {kind}")
            return
    if wrong:
        yield invalid(field, go_struct("v1.LabelSelector"), "invalid label selector")
    elif selector is None or not Selector.of_label_selector(selector).matches(labels or {}):
        text = "`selector` does not match template `labels`"
        yield invalid(f"{path}.template.metadata.labels", go_labels(labels), text)
