"""x-kubernetes-validations: CEL rules of a structural schema, evaluated with the `cel` module of the package
common-expression-language (a binding of the Rust implementation).

The module is imported with the first rule, and without the command line that the package brings along. Rules see
`self` and, if they are transition rules (they name `oldSelf`), `oldSelf`; those run only where both exist. Messages are
kube-apiserver's as of Kubernetes 1.32. Not there: cost limits, and of the Kubernetes library only what is in
`_FUNCTIONS`; an expression that needs more does not compile here and is refused with the definition.
"""

from __future__ import annotations

import ipaddress
import re
import sys
from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache
from itertools import pairwise
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from localmodel.runtime.objects import parse_quantity

from .ages import parse_time
from .fielderrors import Cause, duplicate, forbidden, invalid, required
from .schema import Json, Schema
from .validation import MISSING, _correlate

_RESERVED = (
    "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import",
    "let", "loop", "package", "namespace", "return", "var", "void", "while",
)  # fmt: skip
_CORE_FUNCTIONS = (
    "size", "contains", "startsWith", "endsWith", "matches", "int", "uint", "double", "string", "bytes", "bool", "dyn",
    "type", "timestamp", "duration", "has", "all", "exists", "exists_one", "map", "filter", "max", "min",
    "getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfYear", "getDayOfWeek", "getHours", "getMinutes",
    "getSeconds", "getMilliseconds",
)  # fmt: skip
_IDENTIFIER_PATH = re.compile(r"^[A-Za-z][A-Za-z0-9_.]*$")
_IDENTIFIER = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")


class CelError(ValueError):
    """An expression that does not compile; the message says where."""


class Rule:
    """One compiled rule."""

    def __init__(self, raw: Json) -> None:
        """Raises CelError."""
        self.raw = raw
        self.source = str(raw.get("rule", "")).strip()
        self._program = _compile(self.source)
        expression = raw.get("messageExpression")
        self._message_program = _compile(expression) if expression else None
        references = set(self._program.variables())
        self.is_transition = "oldSelf" in references
        self.optional_old_self = bool(raw.get("optionalOldSelf"))

    def check(self, value: Any, old: Any) -> str | None:
        """None if the rule holds, else the message."""
        variables = {"self": value}
        if self.is_transition:
            if old is MISSING:
                return None
            variables["oldSelf"] = old
        try:
            result = self._program.execute(_context(variables))
        except (RuntimeError, TypeError, ValueError, KeyError) as error:
            return f"rule evaluation error: {error}: evaluating rule: {self.source}"
        return None if result is True else self._message(variables)

    def _message(self, variables: Json) -> str:
        if self._message_program is not None:
            try:
                text = self._message_program.execute(_context(variables))
            except (RuntimeError, TypeError, ValueError, KeyError):
                text = None
            # A message that is empty or broken gives way to the fixed one, as on a real server.
            if isinstance(text, str) and text.strip() and "\n" not in text:
                return text.strip()
        return str(self.raw.get("message") or f"failed rule: {self.source}")

    def fault(self, schema: Schema, path: str, message: str) -> Cause:
        """The cause of a failed rule: its reason and, below the value's path, its fieldPath."""
        field = path + str(self.raw.get("fieldPath", ""))
        field = field.removeprefix(".") or "<nil>"
        match self.raw.get("reason"):
            case "FieldValueForbidden":
                return forbidden(field, message)
            case "FieldValueRequired":
                return required(field, message)
            case "FieldValueDuplicate":
                return duplicate(field, schema.type)
            case _:
                return invalid(field, schema.type, message)


@lru_cache(maxsize=1024)
def _compile(source: str) -> Any:
    # The package's __init__ imports its command line, with prompt_toolkit and rich: a fifth of a second.
    sys.modules.setdefault("cel.cli", ModuleType("cel.cli"))
    from cel import compile as compile_expression

    try:
        program = compile_expression(source)
    except ValueError as error:
        raise CelError(str(error)) from None
    if unknown := {name for name in program.functions() if _IDENTIFIER_PATH.match(name)} - _known_functions():
        raise CelError(f"undeclared reference to {', '.join(sorted(unknown))}: this server does not have the function")
    return program


@lru_cache(maxsize=1)
def _known_functions() -> frozenset[str]:
    return frozenset({*_CORE_FUNCTIONS, *_context({}).functions})


def rule_faults(schema: Schema, path: str) -> list[Cause]:
    """The faults of the rules of a schema itself: expressions that do not compile, rules without text."""
    causes: list[Cause] = []
    for index, raw in enumerate(schema.rules):
        field = f"{path}.x-kubernetes-validations[{index}]"
        if not str(raw.get("rule", "")).strip():
            causes.append(required(f"{field}.rule", "rule is not specified"))
            continue
        try:
            Rule(raw)
        except CelError as error:
            causes.append(invalid(f"{field}.rule", raw["rule"], f"compilation failed: {error}"))
    for name, child in schema.properties.items():
        causes += rule_faults(child, f"{path}.properties[{name}]") if child.has_rules_below else []
    for key, nested in (("additionalProperties", schema.additional), ("items", schema.items)):
        if nested is not None and nested.has_rules_below:
            causes += rule_faults(nested, f"{path}.{key}")
    return causes


class RuleSet:
    """All rules of one schema, compiled when they are first needed."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._compiled: dict[int, list[Rule]] = {}

    def validate(self, new: Json, old: Json | None) -> list[Cause]:
        """The faults of a whole object."""
        causes: list[Cause] = []
        if self._schema.has_rules_below:
            self._visit(self._schema, new, MISSING if old is None else old, "", causes)
        return causes

    def _rules(self, schema: Schema) -> list[Rule]:
        key = id(schema)
        if key not in self._compiled:
            self._compiled[key] = [Rule(raw) for raw in schema.rules]
        return self._compiled[key]

    def _visit(self, schema: Schema, value: Any, old: Any, path: str, causes: list[Cause]) -> None:
        if not schema.has_rules_below or value is None:
            return
        # Ratcheting: a rule over an unchanged value is not asked again; transition rules compare, so they are.
        unchanged = old is not MISSING and old == value
        for rule in self._rules(schema):
            if unchanged and not rule.is_transition:
                continue
            before = MISSING if old is MISSING else to_cel(schema, old)
            message = rule.check(to_cel(schema, value), before)
            if message is not None:
                causes.append(rule.fault(schema, path, message))
        if isinstance(value, dict):
            self._visit_object(schema, value, old, path, causes)
        elif isinstance(value, list) and schema.items is not None:
            counterpart = _correlate(schema, old)
            for index, item in enumerate(value):
                self._visit(schema.items, item, counterpart(item), f"{path}[{index}]", causes)

    def _visit_object(self, schema: Schema, value: Json, old: Any, path: str, causes: list[Cause]) -> None:
        before = old if isinstance(old, dict) else {}
        prefix = f"{path}." if path else ""
        for key, item in value.items():
            child = schema.properties.get(key) or schema.additional
            if child is not None and child.has_rules_below:
                self._visit(child, item, before.get(key, MISSING), prefix + key, causes)


def escape(name: str) -> str | None:
    """A field's name in CEL; None if rules cannot name it.

    https://kubernetes.io/docs/reference/using-api/cel/#escaping
    """
    if name in _RESERVED:
        return f"__{name}__"
    escaped = (
        name.replace("__", "__underscores__").replace(".", "__dot__").replace("-", "__dash__").replace("/", "__slash__")
    )
    return escaped if _IDENTIFIER.match(escaped) else None


def to_cel(schema: Schema, value: Any) -> Any:
    """A value as rules see it: fields by their CEL names, numbers, times and durations in the type of the schema."""
    if value is None:
        return None
    if isinstance(value, dict):
        if schema.properties:
            # Fields outside the schema cannot be named; null fields are as if they were not there.
            known = ((escape(key), schema.properties.get(key), item) for key, item in value.items())
            return {name: to_cel(child, item) for name, child, item in known if name and child and item is not None}
        return {key: to_cel(schema.additional, item) if schema.additional else item for key, item in value.items()}
    if isinstance(value, list):
        return [to_cel(schema.items, item) if schema.items else item for item in value]
    return _scalar(schema, value)


def _scalar(schema: Schema, value: Any) -> Any:
    if schema.type == "number" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        if schema.raw.get("format") == "date-time":
            return parse_time(value) or value
        if schema.raw.get("format") == "duration":
            return _duration(value)
    return value


_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION_PART = re.compile(r"([\d.]+)(ns|us|µs|ms|s|m|h)")


def _duration(text: str) -> timedelta:
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _DURATION_PART.findall(text))
    return timedelta(seconds=-seconds if text.startswith("-") else seconds)


def _is_quantity(text: str) -> bool:
    try:
        parse_quantity(text)
    except ValueError:
        return False
    return True


def _is_url(text: str) -> bool:
    parts = urlsplit(text)
    return bool(parts.scheme and (parts.netloc or parts.path.startswith("/")))


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "isQuantity": _is_quantity,
    "isURL": _is_url,
    "isIP": _is_ip,
    "isSorted": lambda items: all(a <= b for a, b in pairwise(items)),
    "find": lambda text, pattern: match[0] if (match := re.search(pattern, text)) else "",
    "findAll": lambda text, pattern: [match[0] for match in re.finditer(pattern, text)],
}


def _context(variables: Json) -> Any:
    from cel import Context
    from cel.stdlib import add_stdlib_to_context

    context = Context(variables=variables, functions=_FUNCTIONS)
    add_stdlib_to_context(context)
    return context
