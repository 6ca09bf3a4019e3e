"""x-kubernetes-validations."""

from __future__ import annotations

from typing import Any

import pytest

from localmodel.sandbox.apiserver.cel import RuleSet, rule_faults
from localmodel.sandbox.apiserver.cel.types import escape
from localmodel.sandbox.apiserver.fielderrors import join
from localmodel.sandbox.apiserver.schema import compile_schema

Json = dict[str, Any]


def rules_on(schema: Json, *rules: Json) -> RuleSet:
    """Rules on spec.x."""
    node = {**schema, "x-kubernetes-validations": list(rules)}
    spec = {"type": "object", "properties": {"x": node}}
    return RuleSet(compile_schema({"type": "object", "properties": {"spec": spec}}))


def check(rules: RuleSet, new: Any, *old: Any) -> list[str]:
    before = {"spec": {"x": old[0]}} if old else None
    return [join(cause) for cause in rules.validate({"spec": {"x": new}}, before)]


STRING = {"type": "string"}


def test_a_failed_rule_gives_its_message() -> None:
    rules = rules_on(STRING, {"rule": "self != 'bad'", "message": "must be good"})
    assert check(rules, "bad") == ['spec.x: Invalid value: "string": must be good']
    assert check(rules, "fine") == []


def test_without_a_message_the_rule_is_named() -> None:
    assert check(rules_on(STRING, {"rule": "self == 'a'"}), "b") == [
        "spec.x: Invalid value: \"string\": failed rule: self == 'a'"
    ]


def test_transition_rules_need_both_values() -> None:
    rules = rules_on(STRING, {"rule": "self == oldSelf", "message": "immutable"})
    assert check(rules, "a") == []
    assert check(rules, "a", "a") == []
    assert check(rules, "b", "a") == ['spec.x: Invalid value: "string": immutable']
    assert rules.validate({"spec": {"x": "b"}}, {"spec": {}}) == []


def test_message_expressions_see_the_value_and_fall_back_when_broken() -> None:
    good = {"rule": "false", "message": "no", "messageExpression": "'got ' + self"}
    broken = {"rule": "false", "message": "no", "messageExpression": "string(1 / (size(self) - 1))"}
    assert check(rules_on(STRING, good), "a") == ['spec.x: Invalid value: "string": got a']
    assert check(rules_on(STRING, broken), "a") == ['spec.x: Invalid value: "string": no']


def test_reason_and_field_path() -> None:
    schema = {"type": "object", "properties": {"y": STRING}}
    rules = rules_on(
        schema, {"rule": "has(self.y)", "message": "y is needed", "reason": "FieldValueRequired", "fieldPath": ".y"}
    )
    (cause,) = rules.validate({"spec": {"x": {}}}, None)
    assert cause == {"reason": "FieldValueRequired", "message": "Required value: y is needed", "field": "spec.x.y"}


@pytest.mark.parametrize(
    ("schema", "rule", "value"),
    [
        ({"type": "number"}, "self < 1.5", 1),
        ({"type": "array", "items": STRING}, "self.all(i, i.startsWith('a'))", ["ab", "ac"]),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, "self['a'] == 1", {"a": 1}),
        ({"type": "object", "properties": {"a-b": STRING}}, "self.a__dash__b == 'x'", {"a-b": "x"}),
        ({"type": "object", "properties": {"namespace": STRING}}, "self.__namespace__ == 'x'", {"namespace": "x"}),
        ({"type": "object", "properties": {"a": {**STRING, "nullable": True}}}, "!has(self.a)", {"a": None}),
        ({"type": "string", "format": "duration"}, "self < duration('2h')", "90m"),
        ({"type": "string", "format": "date-time"}, "self > timestamp('2020-01-01T00:00:00Z')", "2021-01-01T00:00:00Z"),
        ({"x-kubernetes-int-or-string": True}, "type(self) == string ? self == '1' : self == 1", 1),
        (STRING, "self.split('/').size() == 2", "a/b"),
        (STRING, "isQuantity(self)", "10Gi"),
    ],
)
def test_values_have_the_types_of_the_schema(schema: Json, rule: str, value: Any) -> None:
    assert check(rules_on(schema, {"rule": rule}), value) == []


def test_rules_over_an_unchanged_value_are_not_asked_again() -> None:
    rules = rules_on(STRING, {"rule": "self != 'bad'"})
    assert check(rules, "bad", "bad") == []
    assert len(check(rules, "bad", "good")) == 1


def test_items_of_map_lists_are_compared_by_key() -> None:
    item = {
        "type": "object",
        "properties": {
            "name": STRING,
            "v": {"type": "integer", "x-kubernetes-validations": [{"rule": "self >= oldSelf"}]},
        },
    }
    keyed = {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": item}
    rules = rules_on(keyed)
    old = [{"name": "a", "v": 1}, {"name": "b", "v": 5}]
    assert check(rules, [{"name": "b", "v": 5}, {"name": "a", "v": 2}], old) == []
    assert len(check(rules, [{"name": "b", "v": 4}], old)) == 1


@pytest.mark.parametrize("rule", ["self ==", "noSuchFunction(self)", ""])
def test_broken_rules_are_faults_of_the_definition(rule: str) -> None:
    schema = compile_schema(
        {"type": "object", "properties": {"x": {**STRING, "x-kubernetes-validations": [{"rule": rule}]}}}
    )
    (cause,) = rule_faults(schema, "s")
    assert cause["field"] == "s.properties[x].x-kubernetes-validations[0].rule"


def test_names_that_cel_cannot_write_are_escaped() -> None:
    assert escape("a.b/c-d__e") == "a__dot__b__slash__c__dash__d__underscores__e"
    assert escape("if") == "__if__"
    assert escape("a b") is None


def faults_of(schema: Json, rule: Json) -> list[tuple[str, str]]:
    """Part and text of what is wrong with a rule on a field of this schema."""
    node = {**schema, "x-kubernetes-validations": [rule]}
    tree = compile_schema({"type": "object", "properties": {"x": node}})
    path = "s.properties[x].x-kubernetes-validations[0]."
    return [
        (cause["field"].removeprefix(path), cause["message"].rpartition("(nil)}: ")[2])
        for cause in rule_faults(tree, "s")
    ]


OBJECT: Json = {"type": "object", "properties": {"a": STRING, "n": {"type": "integer"}}}


REFUSED: list[tuple[Json, str, str]] = [
    (
        {"rule": "self.foo == 1"},
        "rule",
        "compilation failed: ERROR: <input>:1:5: undefined field 'foo'\n | self.foo == 1\n | ....^",
    ),
    (
        {"rule": "bar == 1"},
        "rule",
        "compilation failed: ERROR: <input>:1:1: undeclared reference to 'bar' (in container '')\n | bar == 1\n | ^",
    ),
    ({"rule": "self.a"}, "rule", "cel expression must evaluate to a bool"),
    (
        {"rule": "int('x') == 1"},
        "rule",
        "program instantiation failed: type conversion error from 'string' to 'int'",
    ),
    ({"rule": "true", "messageExpression": "1"}, "messageExpression", "messageExpression must evaluate to a string"),
    (
        {"rule": "true", "reason": "Nope"},
        "reason",
        'Unsupported value: "Nope": supported values: "FieldValueDuplicate", "FieldValueForbidden", '
        '"FieldValueInvalid", "FieldValueRequired"',
    ),
    ({"rule": "true", "fieldPath": ".zz"}, "fieldPath", 'Invalid value: ".zz": fieldPath must be a valid path'),
    (
        {"rule": "true", "message": "a\nb"},
        "message",
        'Invalid value: "a\\nb": message must not contain line breaks',
    ),
    (
        {"rule": "true\n|| false"},
        "message",
        "Required value: message must be specified if rule contains line breaks",
    ),
    (
        {"rule": "self.n == 1", "optionalOldSelf": True},
        "optionalOldSelf",
        "Invalid value: true: may not be set if oldSelf is not used in rule",
    ),
]


@pytest.mark.parametrize(("rule", "part", "text"), REFUSED)
def test_rules_that_cannot_be_asked_are_refused_with_the_definition(rule: Json, part: str, text: str) -> None:
    assert faults_of(OBJECT, rule) == [(part, text)]


def test_rules_on_items_without_an_old_state_may_not_name_it() -> None:
    item = {**OBJECT, "x-kubernetes-validations": [{"rule": "self.n >= oldSelf.n"}]}
    tree = compile_schema({"type": "object", "properties": {"x": {"type": "array", "items": item}}})
    (cause,) = rule_faults(tree, "s")
    assert cause["message"].endswith(
        "oldSelf cannot be used on the uncorrelatable portion of the schema within s.properties[x]"
    )


def test_metadata_of_the_root_has_only_its_names() -> None:
    rules = [{"rule": "self.metadata.name == 'a'"}, {"rule": "self.metadata.labels.x == 'a'"}]
    tree = compile_schema({"type": "object", "properties": {"spec": OBJECT}, "x-kubernetes-validations": rules})
    (cause,) = rule_faults(tree, "s")
    assert "undefined field 'labels'" in cause["message"]


def test_an_optional_old_self_is_there_on_create_too() -> None:
    rule = {"rule": "oldSelf.hasValue() || self == 'first'", "optionalOldSelf": True}
    rules = rules_on(STRING, rule)
    assert check(rules, "first") == []
    assert len(check(rules, "second")) == 1
    assert check(rules, "second", "first") == []


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("self.n / 0 == 1", "division by zero evaluating rule: self.n / 0 == 1"),
        ("self.a == 'x'", "no such key: a evaluating rule: self.a == 'x'"),
        (
            "dyn(self.n) + dyn('a') == 'b'",
            "'no such overload': call arguments did not match a supported operator, function or macro signature "
            "for rule: dyn(self.n) + dyn('a') == 'b'",
        ),
    ],
)
def test_a_rule_without_a_value_says_why(rule: str, text: str) -> None:
    assert check(rules_on(OBJECT, {"rule": rule}), {"n": 1}) == [f'spec.x: Invalid value: "object": {text}']
