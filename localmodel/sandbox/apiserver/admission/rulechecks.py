"""Validation of what webhooks and policies have in common: rules, selectors, match conditions, enumerations.

Texts and fields: k8s.io/kubernetes/pkg/apis/admissionregistration/validation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from localmodel.runtime.selectors import is_qualified_name
from localmodel.runtime.testing import metadata
from localmodel.sandbox.apiserver.cel import CompilationError, Environment
from localmodel.sandbox.apiserver.fielderrors import Cause, duplicate, go_syntax, invalid, not_supported, required

Json = dict[str, Any]

_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_SCOPES = ("*", "Cluster", "Namespaced")
_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")
_CONDITIONS_LIMIT = 64


def go_list(values: Sequence[str], type_: str = "string") -> str:
    """A list as Go shows it with %#v."""
    return f"[]{type_}{{{', '.join(map(go_syntax, values))}}}"


def shown_invalid(field: str, shown: str, detail: str) -> Cause:
    """A cause about a value that is given as Go shows it."""
    return {"reason": "FieldValueInvalid", "message": f"Invalid value: {shown}: {detail}", "field": field}


def choice(obj: Json, key: str, path: str, supported: Sequence[str]) -> Iterator[Cause]:
    value = obj.get(key)
    if value is not None and value not in supported:
        yield not_supported(f"{path}.{key}", value, supported)


def rules(values: Sequence[Json] | None, path: str) -> Iterator[Cause]:
    for index, rule in enumerate(values or ()):
        yield from _rule(rule, f"{path}[{index}]")


def _rule(rule: Json, path: str) -> Iterator[Cause]:
    operations = rule.get("operations") or []
    if not operations:
        yield required(f"{path}.operations")
    if len(operations) > 1 and "*" in operations:
        shown = go_list(operations, "admissionregistration.OperationType")
        yield shown_invalid(f"{path}.operations", shown, "if '*' is present, must not specify other operations")
    for index, operation in enumerate(operations):
        if operation not in _OPERATIONS:
            yield not_supported(f"{path}.operations[{index}]", operation, _OPERATIONS)
    yield from _starred(rule.get("apiGroups"), f"{path}.apiGroups", "API groups", may_be_empty=True)
    yield from _starred(rule.get("apiVersions"), f"{path}.apiVersions", "API versions")
    yield from _resources(rule.get("resources") or [], f"{path}.resources")
    yield from choice(rule, "scope", path, _SCOPES)
    names = rule.get("resourceNames") or []
    for index, name in enumerate(names):
        if name in names[:index]:
            yield duplicate(f"{path}.resourceNames[{index}]", name)


def _starred(values: list[str] | None, path: str, what: str, *, may_be_empty: bool = False) -> Iterator[Cause]:
    if not values:
        yield required(path)
        return
    if len(values) > 1 and "*" in values:
        yield shown_invalid(path, go_list(values), f"if '*' is present, must not specify other {what}")
    for index, value in enumerate(values):
        if not value and not may_be_empty:
            yield required(f"{path}[{index}]")


def _resources(values: list[str], path: str) -> Iterator[Cause]:
    if not values:
        yield required(path)
    whole, starred = set(), set()
    for index, value in enumerate(values):
        field = f"{path}[{index}]"
        resource, _, subresource = value.partition("/")
        if not value:
            yield required(field)
        elif f"{resource}/*" in whole and value != f"{resource}/*":
            yield invalid(field, value, f"if '{resource}/*' is present, must not specify {value}")
        elif f"*/{subresource}" in starred and value != f"*/{subresource}":
            yield invalid(field, value, f"if '*/{subresource}' is present, must not specify {value}")
        if subresource == "*":
            whole.add(value)
        if resource == "*":
            starred.add(value)
    plain = [value for value in values if "/" not in value]
    if len(values) > 1 and "*/*" in values:
        yield shown_invalid(path, go_list(values), "if '*/*' is present, must not specify other resources")
    if len(plain) > 1 and "*" in plain:
        text = "if '*' is present, must not specify other resources without subresources"
        yield shown_invalid(path, go_list(values), text)


def selector(value: Json | None, path: str) -> Iterator[Cause]:
    """A label selector."""
    for key, label in ((value or {}).get("matchLabels") or {}).items():
        yield from (invalid(f"{path}.matchLabels", key, why) for why in metadata.qualified_name(key))
        yield from (invalid(f"{path}.matchLabels", label, why) for why in metadata.label_value(label))
    for index, expression in enumerate((value or {}).get("matchExpressions") or ()):
        yield from _requirement(expression, f"{path}.matchExpressions[{index}]")


def _requirement(expression: Json, path: str) -> Iterator[Cause]:
    operator, values = expression.get("operator", ""), expression.get("values")
    if operator not in _OPERATORS:
        yield invalid(f"{path}.operator", operator, "not a valid selector operator")
    elif operator in ("In", "NotIn") and not values:
        yield required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'")
    elif operator in ("Exists", "DoesNotExist") and values:
        text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
        yield {"reason": "FieldValueForbidden", "message": f"Forbidden: {text}", "field": f"{path}.values"}
    if not is_qualified_name(str(expression.get("key", ""))):
        key = str(expression.get("key", ""))
        yield from (invalid(f"{path}.key", key, why) for why in metadata.qualified_name(key))


def conditions(values: Sequence[Json] | None, path: str, env: Environment) -> Iterator[Cause]:
    """matchConditions."""
    names: set[str] = set()
    if len(values or ()) > _CONDITIONS_LIMIT:
        text = f"Too many: {len(values or ())}: must have at most {_CONDITIONS_LIMIT} items"
        yield {"reason": "FieldValueTooMany", "message": text, "field": path}
    for index, condition in enumerate(values or ()):
        field, name = f"{path}[{index}]", str(condition.get("name") or "")
        yield from expression(condition.get("expression"), f"{field}.expression", env, ("bool",))
        if not name:
            yield required(f"{field}.name")
        elif name in names:
            yield duplicate(f"{field}.name", name)
        else:
            yield from (invalid(f"{field}.name", name, why) for why in metadata.qualified_name(name))
        names.add(name)


def expression(value: Any, field: str, env: Environment, results: Sequence[str], missing: str = "") -> Iterator[Cause]:
    """An expression that must compile, to one of these types."""
    source = str(value or "")
    if not source.strip():
        yield required(field, missing)
        return
    try:
        result = env.compile(source).result
    except CompilationError as error:
        yield invalid(field, source, f"compilation failed: {error}")
        return
    if result not in results:
        wanted = results[0] if len(results) == 1 else f"one of [{' '.join(results)}]"
        yield invalid(field, source, f"must evaluate to {wanted} but got {result}")
