"""`Policy`: one compiled ValidatingAdmissionPolicy, and what it has against a write.

Apart from `policies`, since CEL takes long to import: only a server that has policies needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from localmodel.sandbox.apiserver.cel import CompilationError, EvaluationError, Program

from .expressions import Conditions, Values, environment

Json = dict[str, Any]

MESSAGE_LIMIT = 5 * 1024


@dataclass(frozen=True, slots=True)
class Denial:
    """A failed validation, or a failure to evaluate one."""

    message: str
    reason: str = ""
    about: str = ""
    """Of a configuration that cannot be evaluated: "policy" or "binding"."""


@dataclass(frozen=True, slots=True)
class Validation:
    """One compiled validation."""

    raw: Json
    program: Program
    message: Program | None

    def check(self, values: Json, lazy: dict[str, Callable[[], Any]]) -> Denial | None:
        """Raises EvaluationError, with the expression in its message."""
        source = str(self.raw["expression"])
        if _evaluated(self.program, source, values, lazy) is True:
            return None
        return Denial(self._message(values, lazy), self.raw.get("reason") or "Invalid")

    def _message(self, values: Json, lazy: dict[str, Callable[[], Any]]) -> str:
        if self.message is not None:
            try:
                text = self.message.evaluate(values, lazy)
            except EvaluationError:
                text = ""
            if isinstance(text, str) and text.strip() and "\n" not in text and len(text) <= MESSAGE_LIMIT:
                return text.strip()
        fixed = str(self.raw.get("message") or "").strip()
        return fixed or f"failed expression: {str(self.raw['expression']).strip()}"


def _evaluated(program: Program, source: str, values: Json, lazy: dict[str, Callable[[], Any]]) -> Any:
    try:
        return program.evaluate(values, lazy)
    except EvaluationError as error:
        raise EvaluationError(f"expression '{source}' resulted in error: {error}") from None


class Policy:
    """One compiled policy. The constructor raises CompilationError."""

    def __init__(self, raw: Json) -> None:
        self.name: str = raw["metadata"]["name"]
        spec: Json = raw["spec"]
        self.spec = spec
        env = environment(has_params=bool(spec.get("paramKind")))
        # Conditions decide whether a policy is evaluated at all: they see no variables.
        self.conditions = Conditions.compile(spec.get("matchConditions"), env)
        env = env.composed() if spec.get("variables") else env
        self.variables: list[tuple[str, Program]] = []
        for variable in spec.get("variables") or ():
            program, type_ = env.compile_typed(str(variable["expression"]))
            self.variables.append((variable["name"], program))
            env = env.extended({f"variables.{variable['name']}": type_})
        self.validations = [
            Validation(
                validation,
                env.compile(str(validation["expression"])),
                env.compile(str(validation["messageExpression"])) if validation.get("messageExpression") else None,
            )
            for validation in spec.get("validations") or ()
        ]
        self.annotations = [
            (str(annotation["valueExpression"]), env.compile(str(annotation["valueExpression"])))
            for annotation in spec.get("auditAnnotations") or ()
        ]

    @property
    def fails_closed(self) -> bool:
        return bool(self.spec.get("failurePolicy", "Fail") == "Fail")

    def denials(self, values: Json) -> Iterator[Denial]:
        """What the policy has against a write, with one parameter object."""
        try:
            if not self.conditions.hold(values):
                return
        except EvaluationError as error:
            yield from self._failed(error)
            return
        lazy = self._lazy(values)
        for validation in self.validations:
            try:
                denial = validation.check(values, lazy)
            except EvaluationError as error:
                yield from self._failed(error)
            else:
                if denial is not None:
                    yield denial
        for source, program in self.annotations:
            try:
                _evaluated(program, source, values, lazy)
            except EvaluationError as error:
                yield from self._failed(error)

    def _failed(self, error: EvaluationError) -> Iterator[Denial]:
        if self.fails_closed:
            yield Denial(str(error))

    def _lazy(self, values: Json) -> dict[str, Callable[[], Any]]:
        """Each variable is computed when an expression first uses it, once for all of them."""
        lazy: dict[str, Callable[[], Any]] = {}
        for name, program in self.variables:
            lazy[f"variables.{name}"] = _once(partial(_variable, name, program, values, dict(lazy)))
        return lazy


def _variable(name: str, program: Program, values: Json, lazy: dict[str, Callable[[], Any]]) -> Any:
    try:
        return program.evaluate(values, lazy)
    except EvaluationError as error:
        raise EvaluationError(f'composited variable "{name}" fails to evaluate: {error}') from None


def _once(compute: Callable[[], Any]) -> Callable[[], Any]:
    results: list[Any] = []

    def value() -> Any:
        if not results:
            try:
                results.append(compute())
            except EvaluationError as error:
                results.append(error)
        if isinstance(results[0], EvaluationError):
            raise results[0]
        return results[0]

    return value


__all__ = ["CompilationError", "Denial", "Policy", "Validation", "Values"]
