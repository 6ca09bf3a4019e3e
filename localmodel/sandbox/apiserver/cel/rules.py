"""x-kubernetes-validations: the CEL rules of a structural schema.

Rules see `self` and, if they are transition rules (they name `oldSelf`), `oldSelf`; those run only where both exist.
`rule_faults` checks the rules of a definition, `RuleSet` asks them about objects. Messages are kube-apiserver's as of
Kubernetes 1.32.
"""

from __future__ import annotations

import re
from typing import Any

from localmodel.sandbox.apiserver.fielderrors import (
    Cause,
    duplicate,
    forbidden,
    go_syntax,
    invalid,
    not_supported,
    required,
)
from localmodel.sandbox.apiserver.schema import Json, Schema
from localmodel.sandbox.apiserver.validation import MISSING, _correlate

from .environment import CompilationError, Environment
from .types import Convert, Messages, converter, fields_of
from .values import EvaluationError, Optional

_REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
_MESSAGE_LIMIT = 5 * 1024
_SEGMENT = re.compile(r"""\.([A-Za-z_][\w-]*)|\[(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")\]""")


class RuleError(ValueError):
    """A rule that is refused; `part` is the field that is at fault."""

    def __init__(self, part: str, message: str) -> None:
        super().__init__(message)
        self.part = part


def _environment(schema: Schema, *, is_root: bool) -> Environment:
    messages = Messages()
    type_ = messages.type_of(schema, is_resource=is_root)
    return Environment({"self": type_, "oldSelf": type_}, messages=messages.file)


class Rule:
    """One compiled rule."""

    def __init__(self, raw: Json, environment: Environment) -> None:
        """Raises RuleError."""
        self.raw = raw
        self.source = str(raw.get("rule", "")).strip()
        self.optional_old_self = bool(raw.get("optionalOldSelf"))
        if self.optional_old_self:
            environment = environment.with_optional("oldSelf")
        try:
            self._program = environment.compile(self.source)
        except CompilationError as error:
            raise RuleError("rule", str(error) if error.is_planning else f"compilation failed: {error}") from None
        if self._program.result != "bool":
            raise RuleError("rule", "cel expression must evaluate to a bool")
        self._message_program = None
        if expression := str(raw.get("messageExpression") or "").strip():
            try:
                self._message_program = environment.compile(expression)
            except CompilationError as error:
                raise RuleError("messageExpression", f"messageExpression compilation failed: {error}") from None
            if self._message_program.result != "string":
                raise RuleError("messageExpression", "messageExpression must evaluate to a string")
        self.is_transition = self._program.uses("oldSelf")

    def check(self, value: Any, old: Any) -> str | None:
        """None if the rule holds, else the message."""
        if self.is_transition and self.optional_old_self:
            old = Optional() if old is MISSING else Optional.of(old)
        elif self.is_transition and old is MISSING:
            return None
        variables = {"self": value, **({} if old is MISSING else {"oldSelf": old})}
        try:
            result = self._program.evaluate(variables)
        except EvaluationError as error:
            return self._failure(str(error))
        return None if result is True else self._message(variables)

    def _failure(self, error: str) -> str:
        if error.startswith("no such overload"):
            why = "call arguments did not match a supported operator, function or macro signature for rule"
            return f"'{error}': {why}: {self.source}"
        return f"{error} evaluating rule: {self.raw.get('message') or self.source}"

    def _message(self, variables: Json) -> str:
        if self._message_program is not None:
            try:
                text = self._message_program.evaluate(variables)
            except EvaluationError:
                text = None
            # A message that is empty or broken gives way to the fixed one, as on a real server.
            if isinstance(text, str) and text.strip() and "\n" not in text and len(text) <= _MESSAGE_LIMIT:
                return text.strip()
        return str(self.raw.get("message") or f"failed rule: {self.source}").strip()

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


def rule_faults(schema: Schema, path: str, *, is_root: bool = True, uncorrelatable: str = "") -> list[Cause]:
    """The faults of the rules of a schema itself, and of those below it.

    `uncorrelatable` is the path of the list whose items have no old state, empty outside of such lists.
    """
    causes: list[Cause] = []
    if schema.rules:
        environment = _environment(schema, is_root=is_root)
        for index, raw in enumerate(schema.rules):
            field = f"{path}.x-kubernetes-validations[{index}]"
            causes += _text_faults(raw, field, schema, is_root=is_root) or _compile_faults(
                raw, field, environment, uncorrelatable
            )
    for name, child in schema.properties.items():
        if child.has_rules_below:
            below = f"{path}.properties[{name}]"
            causes += rule_faults(child, below, is_root=False, uncorrelatable=uncorrelatable)
    if schema.additional is not None and schema.additional.has_rules_below:
        below = f"{path}.additionalProperties"
        causes += rule_faults(schema.additional, below, is_root=False, uncorrelatable=uncorrelatable)
    if schema.items is not None and schema.items.has_rules_below:
        lost = uncorrelatable or ("" if schema.list_type == "map" else path)
        causes += rule_faults(schema.items, f"{path}.items", is_root=False, uncorrelatable=lost)
    return causes


def _text_faults(raw: Json, field: str, schema: Schema, *, is_root: bool) -> list[Cause]:
    """What is wrong with a rule apart from its expressions."""
    rule, message, expression = raw.get("rule", ""), raw.get("message"), raw.get("messageExpression")
    if not str(rule).strip():
        return [required(f"{field}.rule", "rule is not specified")]
    causes: list[Cause] = []
    if message:
        if not message.strip():
            causes.append(invalid(f"{field}.message", message, "message must be non-empty if specified"))
        elif "\n" in message:
            causes.append(invalid(f"{field}.message", message, "message must not contain line breaks"))
        elif len(message) > 2048:
            causes.append(
                invalid(f"{field}.message", f"{message[:10]}...", "must have a maximum length of 2048 characters")
            )
    elif "\n" in str(rule).strip():
        causes.append(required(f"{field}.message", "message must be specified if rule contains line breaks"))
    if expression and not expression.strip():
        causes.append(required(f"{field}.messageExpression", "messageExpression must be non-empty if specified"))
    reason, path = raw.get("reason"), raw.get("fieldPath")
    if reason is not None and reason not in _REASONS:
        causes.append(not_supported(f"{field}.reason", reason, _REASONS))
    if path and not _is_path(str(path), schema, is_root=is_root):
        causes.append(invalid(f"{field}.fieldPath", path, "fieldPath must be a valid path"))
    return causes


def _is_path(path: str, schema: Schema, *, is_root: bool) -> bool:
    """Whether a fieldPath leads to a field that the schema has."""
    position = 0
    node: Schema | None = schema
    while position < len(path):
        match = _SEGMENT.match(path, position)
        if match is None or node is None:
            return False
        name = next(group for group in match.groups() if group is not None)
        node = fields_of(node, is_resource=is_root and position == 0).get(name) or node.additional
        position = match.end()
    return node is not None


def _compile_faults(raw: Json, field: str, environment: Environment, uncorrelatable: str) -> list[Cause]:
    try:
        rule = Rule(raw, environment)
    except RuleError as error:
        message = f"Invalid value: {_shown(raw)}: {error}"
        return [{"reason": "FieldValueInvalid", "message": message, "field": f"{field}.{error.part}"}]
    causes = []
    if rule.is_transition and uncorrelatable:
        why = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {uncorrelatable}"
        causes.append(invalid(f"{field}.rule", raw["rule"], why))
    if "optionalOldSelf" in raw and raw["optionalOldSelf"] is not None and not rule.is_transition:
        why = "may not be set if oldSelf is not used in rule"
        causes.append(invalid(f"{field}.optionalOldSelf", raw["optionalOldSelf"], why))
    return causes


def _shown(raw: Json) -> str:
    """A rule as Go shows it; where a pointer is set, Go shows an address."""
    reason = "(nil)" if raw.get("reason") is None else "(0xc000000000)"
    optional = "(nil)" if raw.get("optionalOldSelf") is None else "(0xc000000000)"
    texts = (
        f"{name}:{go_syntax(str(raw.get(key) or ''))}"
        for name, key in (("Rule", "rule"), ("Message", "message"), ("MessageExpression", "messageExpression"))
    )
    return (
        f"apiextensions.ValidationRule{{{', '.join(texts)}, Reason:(*apiextensions.FieldValueErrorReason){reason}, "
        f"FieldPath:{go_syntax(str(raw.get('fieldPath') or ''))}, OptionalOldSelf:(*bool){optional}}}"
    )


class RuleSet:
    """All rules of one schema, compiled when they are first needed."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._compiled: dict[int, tuple[list[Rule], Convert]] = {}

    def validate(self, new: Json, old: Json | None) -> list[Cause]:
        """The faults of a whole object."""
        causes: list[Cause] = []
        if self._schema.has_rules_below:
            self._visit(self._schema, new, MISSING if old is None else old, "", causes)
        return causes

    def _rules(self, schema: Schema) -> tuple[list[Rule], Convert]:
        """The rules of one node, and what makes its values those that rules see."""
        key = id(schema)
        if key not in self._compiled:
            is_root = schema is self._schema
            environment = _environment(schema, is_root=is_root)
            rules = [Rule(raw, environment) for raw in schema.rules]
            self._compiled[key] = rules, converter(schema, is_resource=is_root)
        return self._compiled[key]

    def _visit(self, schema: Schema, value: Any, old: Any, path: str, causes: list[Cause]) -> None:
        if not schema.has_rules_below or value is None:
            return
        if schema.rules:
            self._ask(schema, value, old, path, causes)
        if isinstance(value, dict):
            self._visit_object(schema, value, old, path, causes)
        elif isinstance(value, list) and schema.items is not None:
            counterpart = _correlate(schema, old)
            for index, item in enumerate(value):
                self._visit(schema.items, item, counterpart(item), f"{path}[{index}]", causes)

    def _ask(self, schema: Schema, value: Any, old: Any, path: str, causes: list[Cause]) -> None:
        # Ratcheting: a rule over an unchanged value is not asked again; transition rules compare, so they are.
        unchanged = old is not MISSING and old == value
        rules, convert = self._rules(schema)
        rules = [rule for rule in rules if rule.is_transition or not unchanged]
        if not rules:
            return
        seen = convert(value)
        before = MISSING if old is MISSING or old is None else convert(old)
        for rule in rules:
            message = rule.check(seen, before)
            if message is not None:
                causes.append(rule.fault(schema, path, message))

    def _visit_object(self, schema: Schema, value: Json, old: Any, path: str, causes: list[Cause]) -> None:
        before = old if isinstance(old, dict) else {}
        prefix = f"{path}." if path else ""
        for key, item in value.items():
            child = schema.properties.get(key) or schema.additional
            if child is not None and child.has_rules_below:
                self._visit(child, item, before.get(key, MISSING), prefix + key, causes)
