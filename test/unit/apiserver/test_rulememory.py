"""Rules are asked once about what does not change, and always about what does."""

from __future__ import annotations

from typing import Any

import pytest

from localmodel.sandbox.apiserver.cel import RuleSet
from localmodel.sandbox.apiserver.rulememory import RememberedRules
from localmodel.sandbox.apiserver.schema import compile_schema

Json = dict[str, Any]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Json]:
    calls: list[Json] = []
    ask = RuleSet.validate

    def counted(rules: RuleSet, new: Json, old: Json | None) -> Any:
        calls.append(new)
        return ask(rules, new, old)

    monkeypatch.setattr(RuleSet, "validate", counted)
    return calls


def schema(rule: str, *, at_root: bool = False, in_status: str = "") -> Json:
    spec: Json = {"type": "object", "properties": {"n": {"type": "integer"}}}
    status: Json = {"type": "object", "properties": {"a": {"type": "integer"}}}
    root: Json = {"type": "object", "properties": {"spec": spec, "status": status}}
    (root if at_root else spec)["x-kubernetes-validations"] = [{"rule": rule}]
    if in_status:
        status["x-kubernetes-validations"] = [{"rule": in_status}]
    return root


def obj(n: int, *, uid: str = "u", **status: int) -> Json:
    metadata = {"name": "a", "uid": uid, "generation": n + 1}
    return {"apiVersion": "v", "kind": "K", "metadata": metadata, "spec": {"n": n}, "status": status}


def test_a_value_in_order_is_not_asked_about_again(asked: list[Json]) -> None:
    rules = RememberedRules(compile_schema(schema("self.n >= oldSelf.n")))
    for round_ in range(3):
        assert rules.validate(obj(1, a=round_ + 1), obj(1, a=round_)) == []
    assert len(asked) == 1


def test_a_change_is_asked_about(asked: list[Json]) -> None:
    rules = RememberedRules(compile_schema(schema("self.n >= oldSelf.n")))
    assert rules.validate(obj(1), obj(1)) == []
    assert rules.validate(obj(1), obj(2)) != []
    assert rules.validate(obj(1), obj(0)) == []
    assert len(asked) == 3


def test_another_object_is_asked_about(asked: list[Json]) -> None:
    rules = RememberedRules(compile_schema(schema("self.n >= oldSelf.n")))
    for uid in ("u", "v", "u"):
        assert rules.validate(obj(1, uid=uid, a=1), obj(1, uid=uid)) == []
    assert len(asked) == 2


def test_a_status_has_no_generation_and_is_asked_about_each_time(asked: list[Json]) -> None:
    rules = RememberedRules(compile_schema(schema("self.n >= oldSelf.n", in_status="oldSelf.a < 2")))
    assert rules.validate(obj(1, a=1), obj(1, a=1)) == []
    assert rules.validate(obj(1, a=2), obj(1, a=1)) == []
    assert rules.validate(obj(1, a=2), obj(1, a=2)) != []


def test_a_fault_is_found_each_time(asked: list[Json]) -> None:
    rules = RememberedRules(compile_schema(schema("self.n > oldSelf.n")))
    assert rules.validate(obj(1), obj(1)) != []
    assert rules.validate(obj(1), obj(1)) != []
    assert len(asked) == 2


def test_rules_of_the_root_see_every_change(asked: list[Json]) -> None:
    rules = RememberedRules(compile_schema(schema("self.spec.n >= oldSelf.spec.n", at_root=True)))
    assert rules.validate(obj(1, a=1), obj(1, a=0)) == []
    assert rules.validate(obj(1, a=2), obj(1, a=1)) == []
    assert len(asked) == 2
