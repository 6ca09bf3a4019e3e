"""Evaluates syntax trees: `build` makes a function of the variables out of a tree.

Why not the compiler's own evaluator: it takes no values of types that are not CEL's (quantities, addresses, the
authorizer), has no variables that are computed when they are used, and words its failures otherwise than cel-go,
whose words kube-apiserver passes on to clients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .functions import Function
from .standard import STANDARD
from .syntax import Tree
from .values import CelType, EvaluationError, NoSuchOverloadError, Optional, UInt

Evaluate = Callable[["Activation"], Any]

_TYPES = {
    name: CelType(name)
    for name in (
        "bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type", "type",
        "google.protobuf.Timestamp", "google.protobuf.Duration",
    )
}  # fmt: skip


class Activation(dict[str, Any]):
    """The variables' values. One of `lazy` is computed when it first used; a failure is kept, and raised each time."""

    def __init__(self, values: Mapping[str, Any], lazy: Mapping[str, Callable[[], Any]] | None = None) -> None:
        super().__init__(values)
        self._lazy = dict(lazy or {})

    def __missing__(self, name: str) -> Any:
        compute = self._lazy.get(name)
        if compute is None:
            if name in _TYPES:
                return _TYPES[name]
            raise EvaluationError(f"no such attribute(s): {name}")
        self[name] = _tried(compute)
        return self[name]

    def inner(self) -> Activation:
        """A scope for the variables of a comprehension."""
        scope = Activation(self)
        scope._lazy = {name: lambda name=name: self.read(name) for name in self._lazy}  # type: ignore[misc]
        return scope

    def read(self, name: str) -> Any:
        value = self[name]
        if isinstance(value, EvaluationError):
            raise value
        return value


def _tried(compute: Callable[[], Any]) -> Any:
    try:
        return compute()
    except EvaluationError as error:
        return error


class Builder:
    """Translates one tree. `library` has the functions beside the standard ones by overload."""

    def __init__(self, tree: Tree, library: Mapping[str, Function]) -> None:
        self._tree = tree
        self._library = library

    def build(self, expr: Any) -> Evaluate:
        match expr.WhichOneof("which"):
            case "constant":
                return _constant(expr.constant)
            case "ident":
                name = expr.ident.name.removeprefix(".")
                return lambda activation: activation.read(name)
            case "select":
                return self._select(expr.select)
            case "call":
                return self._call(expr)
            case "list":
                return self._list(expr.list)
            case "struct":
                return self._map(expr.struct)
            case "comprehension":
                return self._comprehension(expr.comprehension)
        raise ValueError(f"the expression has a node of unknown kind: {expr}")

    def _select(self, select: Any) -> Evaluate:
        operand, field, test_only = self.build(select.operand), select.field, select.test_only

        def evaluate(activation: Activation) -> Any:
            value = operand(activation)
            if isinstance(value, Optional):
                return _select_optional(value, field, test_only)
            if not isinstance(value, dict):
                raise NoSuchOverloadError
            if test_only:
                return field in value
            if field not in value:
                raise EvaluationError(f"no such key: {field}")
            return value[field]

        return evaluate

    def _call(self, expr: Any) -> Evaluate:
        call = expr.call
        operands = [call.target, *call.args] if call.HasField("target") else list(call.args)
        args = [self.build(operand) for operand in operands]
        name = call.function
        match name:
            case "_&&_":
                return _junction(args, decisive=False)
            case "_||_":
                return _junction(args, decisive=True)
            case "_?_:_":
                return _conditional(*args)
            case "@not_strictly_false":
                return _not_strictly_false(args[0])
        standard = STANDARD.get(name)
        if standard is not None:
            return _standard(standard, args)
        overloads = [self._library[overload] for overload in self._tree.overloads[expr.id]]
        return _library_call(overloads, args)

    def _list(self, created: Any) -> Evaluate:
        elements = [self.build(element) for element in created.elements]
        optional = frozenset(created.optional_indices)

        def evaluate(activation: Activation) -> list[Any]:
            values = []
            for position, element in enumerate(elements):
                value = element(activation)
                if position not in optional:
                    values.append(value)
                elif value.present:
                    values.append(value.value)
            return values

        return evaluate

    def _map(self, created: Any) -> Evaluate:
        entries = [(self.build(e.map_key), self.build(e.value), e.optional) for e in created.entries]

        def evaluate(activation: Activation) -> dict[Any, Any]:
            made: dict[Any, Any] = {}
            for key, value, is_optional in entries:
                found, item = key(activation), value(activation)
                if not isinstance(found, str | bool | int):
                    raise EvaluationError(f"unsupported key type: {type(found).__name__}")
                if is_optional:
                    if not item.present:
                        continue
                    item = item.value
                made[found] = item
            return made

        return evaluate

    def _comprehension(self, loop: Any) -> Evaluate:
        items, start = self.build(loop.iter_range), self.build(loop.accu_init)
        condition, step, result = map(self.build, (loop.loop_condition, loop.loop_step, loop.result))
        item_name, total_name = loop.iter_var, loop.accu_var

        def evaluate(activation: Activation) -> Any:
            values = items(activation)
            if not isinstance(values, list | dict):
                raise NoSuchOverloadError
            scope = activation.inner()
            # A failed step is a value until something looks at it: `exists` may still find what it seeks.
            scope[total_name] = _tried(lambda: start(activation))
            for value in values:
                scope[item_name] = value
                if not condition(scope):
                    break
                scope[total_name] = _tried(lambda: step(scope))
            return result(scope)

        return evaluate


def _constant(constant: Any) -> Evaluate:
    which = constant.WhichOneof("which")
    value: Any = None if which == "null" else getattr(constant, which)
    if which == "uint":
        value = UInt(value)
    return lambda _: value


def _select_optional(optional: Optional, field: str, test_only: bool) -> Any:
    """has(optional.field) is a bool; optional.field an optional."""
    if optional.present and not isinstance(optional.value, dict):
        raise NoSuchOverloadError
    has = optional.present and field in optional.value
    if test_only:
        return has
    return Optional.of(optional.value[field]) if has else Optional()


def _junction(args: Sequence[Evaluate], *, decisive: bool) -> Evaluate:
    """`&&` and `||`: a side that decides makes up for a failure of the other, in whatever order."""

    def evaluate(activation: Activation) -> bool:
        failure: EvaluationError | None = None
        for arg in args:
            try:
                value = arg(activation)
                if not isinstance(value, bool):
                    raise NoSuchOverloadError
            except EvaluationError as error:
                failure = failure or error
                continue
            if value is decisive:
                return decisive
        if failure is not None:
            raise failure
        return not decisive

    return evaluate


def _conditional(condition: Evaluate, then: Evaluate, otherwise: Evaluate) -> Evaluate:
    def evaluate(activation: Activation) -> Any:
        decided = condition(activation)
        if not isinstance(decided, bool):
            raise NoSuchOverloadError
        return then(activation) if decided else otherwise(activation)

    return evaluate


def _not_strictly_false(arg: Evaluate) -> Evaluate:
    def evaluate(activation: Activation) -> bool:
        try:
            return arg(activation) is not False
        except EvaluationError:
            return True

    return evaluate


def _standard(function: Callable[..., Any], args: Sequence[Evaluate]) -> Evaluate:
    if len(args) == 2:
        left, right = args
        return lambda activation: function(left(activation), right(activation))
    return lambda activation: function(*[arg(activation) for arg in args])


def _library_call(overloads: Sequence[Function], args: Sequence[Evaluate]) -> Evaluate:
    def evaluate(activation: Activation) -> Any:
        values = [arg(activation) for arg in args]
        for overload in overloads:
            if overload.takes(values):
                return overload.call(*values)
        raise NoSuchOverloadError

    return evaluate
