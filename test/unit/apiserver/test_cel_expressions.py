"""Expressions against what kube-apiserver 1.32.4 made of them.

`cel_expectations.json` was recorded from a stock kube-apiserver: each expression stood in a rule on a field of the
schema there. A `value` is its text by `'%s'.format`, or null where that has no text for it; `error` is the failure of
the evaluation, `compile` that of the definition.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from localmodel.sandbox.apiserver.cel import CompilationError, Environment, EvaluationError
from localmodel.sandbox.apiserver.cel.strings import format_text
from localmodel.sandbox.apiserver.cel.types import Messages, to_cel
from localmodel.sandbox.apiserver.schema import compile_schema

RECORDED: dict[str, Any] = msgspec.json.decode(Path(__file__).with_name("cel_expectations.json").read_bytes())
EXPRESSIONS: dict[str, dict[str, Any]] = RECORDED["expressions"]
# Refused as on a real server, in cel-cpp's words or at another place in the line.
WORDED_OTHERWISE = {
    "quantity('-5').sign()",
    "quantity('0').sign()",
    "Foo{a: 1}",
    "[1, 2].exists(x, x)",
    "[1].all(x, 1)",
    "true && 1",
}
NOT_SERVED = {"google.protobuf.Int32Value{value: 1}"}


@pytest.fixture(scope="module")
def environment() -> Environment:
    messages = Messages()
    type_ = messages.type_of(compile_schema(RECORDED["schema"]))
    return Environment({"self": type_}, messages=messages.file)


def outcome(environment: Environment, expression: str) -> dict[str, Any]:
    value = to_cel(compile_schema(RECORDED["schema"]), RECORDED["value"])
    try:
        program = environment.compile(expression)
    except CompilationError as error:
        return {"compile": str(error)}
    try:
        result = program.evaluate({"self": value})
    except EvaluationError as error:
        return {"error": str(error)}
    if EXPRESSIONS[expression].get("value") is None:
        return {"value": None}
    return {"value": format_text("%s", [result])}


@pytest.mark.parametrize("expression", [e for e in EXPRESSIONS if e not in WORDED_OTHERWISE | NOT_SERVED])
def test_an_expression_has_the_outcome_of_a_real_server(environment: Environment, expression: str) -> None:
    assert outcome(environment, expression) == EXPRESSIONS[expression]


@pytest.mark.parametrize("expression", sorted(WORDED_OTHERWISE))
def test_what_a_real_server_refuses_is_refused(environment: Environment, expression: str) -> None:
    assert outcome(environment, expression).keys() == EXPRESSIONS[expression].keys() == {"compile"}


def test_what_is_not_served_is_refused_when_it_is_compiled(environment: Environment) -> None:
    for expression in NOT_SERVED:
        assert "this server does not make messages" in outcome(environment, expression)["compile"]
