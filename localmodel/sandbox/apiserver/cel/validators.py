"""What kube-apiserver refuses of expressions that are well typed: constants that no function can take, and lists and
maps whose literals mix types.

The checks of cel-go's validators and of its planner, which converts constants before an expression is ever evaluated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from .conversions import CONVERSIONS
from .regex import check_pattern
from .strings import format_text
from .syntax import Tree
from .values import EvaluationError, NoSuchOverloadError, UInt, kind_of

_LITERALS = {"duration": "invalid duration argument", "timestamp": "invalid timestamp argument"}
_PLANNED = ("int", "uint", "double", "bool", "string", "bytes")


class ConstantError(ValueError):
    """A conversion of a constant that fails."""


def faults(tree: Tree) -> list[tuple[int, str]]:
    """The position (code points from the beginning) and the message of each fault; raises ConstantError."""
    found: list[tuple[int, str]] = []
    formatted: set[int] = set()
    for expr in _walk(tree.root):
        match expr.WhichOneof("which"):
            case "call":
                found += _call_faults(tree, expr)
                if expr.call.function == "format":
                    # What is formatted may well be mixed.
                    formatted.update(part.id for argument in expr.call.args for part in _walk(argument))
            case "list" | "struct" if expr.id in formatted:
                continue
            case "list":
                found += _mixed(tree, expr.list.elements)
            case "struct":
                if expr.struct.message_name:
                    found.append((tree.positions.get(expr.id, 0), "this server does not make messages"))
                    continue
                found += _mixed(tree, [entry.map_key for entry in expr.struct.entries])
                found += _mixed(tree, [entry.value for entry in expr.struct.entries])
    return found


def constant(expr: Any) -> Any:
    """The value of a literal; raises LookupError for any other expression."""
    if expr.WhichOneof("which") != "constant":
        raise LookupError
    which = expr.constant.WhichOneof("which")
    value = getattr(expr.constant, which)
    return None if which == "null" else UInt(value) if which == "uint" else value


def _walk(expr: Any) -> Iterator[Any]:
    yield expr
    for child in _children(expr):
        yield from _walk(child)


def _children(expr: Any) -> Iterator[Any]:
    match expr.WhichOneof("which"):
        case "select":
            yield expr.select.operand
        case "call":
            if expr.call.HasField("target"):
                yield expr.call.target
            yield from expr.call.args
        case "list":
            yield from expr.list.elements
        case "struct":
            for entry in expr.struct.entries:
                if entry.WhichOneof("which") == "map_key":
                    yield entry.map_key
                yield entry.value
        case "comprehension":
            loop = expr.comprehension
            yield from (loop.iter_range, loop.accu_init, loop.loop_condition, loop.loop_step, loop.result)


def _call_faults(tree: Tree, expr: Any) -> Iterator[tuple[int, str]]:
    call = expr.call
    if call.function == "format" and call.HasField("target") and len(call.args) == 1:
        yield from _format_faults(tree, expr)
        return
    if not call.args:
        return
    argument = call.args[-1]
    try:
        value = constant(argument)
    except LookupError:
        return
    position = tree.positions.get(argument.id, 0)
    if call.function == "matches" and isinstance(value, str):
        try:
            check_pattern(value)
        except EvaluationError:
            yield position, "invalid matches argument"
    elif call.function in _LITERALS and isinstance(value, str):
        try:
            CONVERSIONS[call.function](value)
        except EvaluationError:
            yield position, _LITERALS[call.function]
    elif call.function in _PLANNED and len(call.args) == 1:
        try:
            CONVERSIONS[call.function](value)
        except NoSuchOverloadError:
            raise ConstantError(f"no such overload: {call.function}({kind_of(value)})") from None
        except EvaluationError as error:
            raise ConstantError(str(error)) from None


def _format_faults(tree: Tree, expr: Any) -> Iterator[tuple[int, str]]:
    """Clauses against arguments, as far as both are literals."""
    arguments = expr.call.args[0]
    if arguments.WhichOneof("which") != "list":
        return
    try:
        template = constant(expr.call.target)
    except LookupError:
        return
    given = list(arguments.list.elements)
    taken = 0
    for clause in _clauses(template):
        element = given[taken] if taken < len(given) else None
        try:
            value = constant(element) if element is not None else None
        except LookupError:
            taken += 1
            continue
        try:
            format_text(clause, [] if element is None else [value])
        except EvaluationError as error:
            if element is None:
                yield tree.positions.get(expr.id, 0), f"index {taken} out of range"
            else:
                blamed = element if str(error).startswith("error during formatting") else expr
                yield tree.positions.get(blamed.id, 0), str(error)
            return
        taken += 1
    if len(given) > taken:
        text = f"too many arguments supplied to string.format (expected {taken}, got {len(given)})"
        yield tree.positions.get(expr.id, 0), text


def _clauses(template: str) -> Iterator[str]:
    """The clauses of a template that take an argument."""
    position = 0
    while (position := template.find("%", position)) >= 0:
        end = position + 1
        while end < len(template) and (template[end] == "." or template[end].isdigit()):
            end += 1
        if template[position + 1 : position + 2] != "%":
            yield template[position : end + 1]
        position = end + 1


def _mixed(tree: Tree, elements: Sequence[Any]) -> Iterator[tuple[int, str]]:
    types = [tree.types.get(element.id, "dyn") for element in elements]
    if not types or "dyn" in types or "optional_type" in types:
        return
    for element, type_ in zip(elements, types, strict=True):
        if type_ != types[0]:
            yield tree.positions.get(element.id, 0), f"expected type '{types[0]}' but found '{type_}'"
