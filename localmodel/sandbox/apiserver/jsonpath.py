"""JSONPath as client-go has it (`k8s.io/client-go/util/jsonpath`), for printer columns and selectable fields.

`compile_path` takes all that client-go parses: fields with escapes, `[...]` with indices, slices, quoted keys, unions
and filters, `..`, `*`, quoted texts, numbers; `range` and `end` are parsed, and find nothing. The finder gives what a
column is made of: the values of the first `{...}` of the expression, none where it cannot be evaluated (an index out
of bounds, a comparison of an integer with a fraction). Missing fields are no fault, as with `AllowMissingKeys`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

Finder = Callable[[Any], list[Any]]
_Step = Callable[[list[Any]], list[Any]]
"""Values so far -> values after it. Raises _EvaluationError."""

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TERMINATORS = frozenset(" \t\r\n.,[]$@{}")
_SIMPLE = re.compile(r"(?:\.[A-Za-z_][\w-]*)+", re.ASCII)
_KEY = re.compile(r"'([^']*)'")
_SLICE = re.compile(r"(-?[0-9]*)(:-?[0-9]*)?(:-?[0-9]*)?")
_INTEGER = re.compile(r"[+-]?[0-9]+")
_FLOAT = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)")
_COMPARISON = re.compile(r"([^!<>=]+)([!<>=]+)(.+)")
_ESCAPE = re.compile(
    r"\\(?:([abfnrtv\\'\"])|x([0-9a-fA-F]{2})|([0-7]{3})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))|([^\\])", re.DOTALL
)
_ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_MAX_INT = 2**63 - 1


class JsonPathError(ValueError):
    """client-go does not parse the expression; the message says why."""


class _EvaluationError(Exception):
    """The expression has no value for this object."""


class Byte(int):
    """One byte of a text, which a wildcard finds: as a number it is of a type of its own."""


class Constant(int):
    """An integer of the expression itself: it compares as one of the object does, but fits no column of numbers."""


def compile_path(expression: str) -> Finder:
    """A function that gives all values at the path (without braces); raises JsonPathError."""
    if _SIMPLE.fullmatch(expression):
        return _fields_finder(expression[1:].split("."))
    first, *others = _Parser(f"{{{expression}}}").parse()

    def find(value: Any) -> list[Any]:
        try:
            found = _walk(first, [value])
            for steps in others:
                _walk(steps, [value])
        except _EvaluationError:
            return []
        return found

    return find


def _fields_finder(names: Sequence[str]) -> Finder:
    """What most expressions are: fields of fields."""

    def find(value: Any) -> list[Any]:
        for name in names:
            if not isinstance(value, dict) or name not in value:
                return []
            value = value[name]
        return [value]

    return find


def _walk(steps: Sequence[_Step], values: list[Any]) -> list[Any]:
    for step in steps:
        values = step(values)
    return values


# Parsing ------------------------------------------------------------------------------------------------------------


class _Parser:
    """Parses one text; an action is what stands in braces."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def parse(self) -> list[list[_Step]]:
        """The steps of each action; what stands between actions is no concern of a column."""
        actions = []
        while (start := self._text.find("{", self._at)) >= 0:
            self._at = start + 1
            actions.append(self._action())
        return actions

    def _peek(self) -> str:
        """The next character; empty at the end."""
        return self._text[self._at : self._at + 1]

    def _action(self) -> list[_Step]:
        """Up to and with the closing brace."""
        steps: list[_Step] = []
        while True:
            if self._text.startswith("[?(", self._at):
                steps.append(self._filter())
                continue
            if self._text.startswith("..", self._at):
                self._descent(steps)
                continue
            character = self._peek()
            if character in ("", "\r", "\n"):
                raise JsonPathError("unclosed action")
            if character == "}":
                self._at += 1
                return steps
            if character in " @$":
                self._at += 1
            elif character == "[":
                steps += self._array()
            elif character in "\"'":
                steps.append(_constant(self._quoted(character)))
            elif character == ".":
                self._at += 1
                steps.append(self._field())
            elif character in "+-" or character.isdecimal():
                steps.append(_constant(self._number()))
            elif _is_alphanumeric(character):
                steps.append(_identifier(self._until_terminator()))
            else:
                raise JsonPathError(f"unrecognized character in action: {character!r}")

    def _descent(self, steps: list[_Step]) -> None:
        if steps and steps[-1] is _descend:
            raise JsonPathError("invalid multiple recursive descent")
        self._at += 2
        steps.append(_descend)
        if _is_alphanumeric(self._peek()):
            steps.append(self._field())

    def _until_terminator(self, *, escapes: bool = False) -> str:
        start = self._at
        while (character := self._peek()) and character not in _TERMINATORS:
            self._at += 2 if escapes and character == "\\" else 1
        self._at = min(self._at, len(self._text))
        return self._text[start : self._at]

    def _field(self) -> _Step:
        name = self._until_terminator(escapes=True)
        return _children if name == "*" else _child(name.replace("\\", ""))

    def _number(self) -> float:
        start = self._at
        if self._peek() in "+-":
            self._at += 1
        while (character := self._peek()) == "." or character.isdecimal():
            self._at += 1
        text = self._text[start : self._at]
        if _INTEGER.fullmatch(text) and len(text) < 21 and -_MAX_INT - 1 <= int(text) <= _MAX_INT:
            return Constant(text)
        if _FLOAT.fullmatch(text) and abs(value := float(text)) != float("inf"):
            return value
        raise JsonPathError(f"cannot parse number {text}")

    def _quoted(self, quote: str) -> str:
        start = self._at
        self._at += 1
        while True:
            character = self._peek()
            if character in ("", "\n"):
                raise JsonPathError("unterminated quoted string")
            self._at += 1
            if character == quote and self._text[self._at - 2] != "\\":
                return _unquoted(self._text[start : self._at], quote)

    def _array(self) -> list[_Step]:
        end, line_end = self._text.find("]", self._at), self._text.find("\n", self._at)
        if end < 0 or 0 <= line_end < end:
            raise JsonPathError("unterminated array")
        inner = self._text[self._at + 1 : end]
        self._at = end + 1
        if "," in inner:
            return [_union([_part(f"[{part.strip(' ')}]") for part in inner.split(",")])]
        if key := _KEY.fullmatch(inner):
            return _part(f".{key[1]}")
        return [_slice(":" if inner == "*" else inner)]

    def _filter(self) -> _Step:
        self._at += len("[?(")
        start, quote, is_closed = self._at, "", False
        while True:
            character = self._peek()
            if character in ("", "\n"):
                raise JsonPathError("unterminated filter")
            self._at += 1
            if character in "\"'":
                if not quote:
                    quote = character
                elif character == quote and self._text[self._at - 2] != "\\":
                    is_closed = True
            elif character == ")" and bool(quote) == is_closed:
                break
        text = self._text[start : self._at - 1]
        if self._peek() != "]":
            raise JsonPathError("unclosed array expect ]")
        self._at += 1
        comparison = _COMPARISON.fullmatch(text)
        if comparison is None:
            return _existing(_part(text))
        return _compared(_part(comparison[1]), comparison[2], _part(comparison[3]))


def _part(text: str) -> list[_Step]:
    """The steps of a part of an expression."""
    return _Parser(f"{{{text}}}").parse()[0]


def _is_alphanumeric(character: str) -> bool:
    return character == "_" or character.isalpha() or character.isdecimal()


def _unquoted(text: str, quote: str) -> str:
    """What a quoted text says (strconv.Unquote, with single quotes too)."""
    if len(text) < 2:
        raise JsonPathError(f"unquote string {text} error invalid syntax")
    inner = text[1:-1]
    if "\\" not in inner and quote not in inner:
        return inner
    said, position = bytearray(), 0
    while position < len(inner):
        match = _ESCAPE.match(inner, position)
        if match is None or match[6] == quote or (match[1] in ("'", '"') and match[1] != quote):
            raise JsonPathError(f"unquote string {text} error invalid syntax")
        position = match.end()
        plain, in_hex, in_octal, short, long, other = match.groups()
        if in_hex or in_octal:
            number = int(in_hex, 16) if in_hex else int(in_octal, 8)
            if number > 255:
                raise JsonPathError(f"unquote string {text} error invalid syntax")
            said.append(number)
        elif code := short or long:
            number = int(code, 16)
            if number > 0x10FFFF or 0xD800 <= number < 0xE000:
                raise JsonPathError(f"unquote string {text} error invalid syntax")
            said += chr(number).encode()
        else:
            said += (other or _ESCAPED.get(plain, plain)).encode(errors="replace")
    return said.decode(errors="replace")


# Evaluation ---------------------------------------------------------------------------------------------------------


def _constant(value: Any) -> _Step:
    """A number is found once for each value so far, a text once."""
    return (lambda _: [value]) if isinstance(value, str) else (lambda values: [value] * len(values))


def _identifier(name: str) -> _Step:
    if name in ("true", "false"):
        return _constant(name == "true")

    def fail(_: list[Any]) -> list[Any]:
        raise _EvaluationError(f"unrecognized identifier {name}")

    return fail


def _child(name: str) -> _Step:
    return lambda values: [value[name] for value in values if isinstance(value, dict) and name in value]


def _elements(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, str):
        return [Byte(byte) for byte in value.encode()]
    return value if isinstance(value, list) else []


def _children(values: list[Any]) -> list[Any]:
    return [element for value in values for element in _elements(value)]


def _descend(values: list[Any]) -> list[Any]:
    """All that has elements, a value before what is in it."""
    found, pending = [], list(reversed(values))
    while pending:
        value = pending.pop()
        if elements := _elements(value):
            found.append(value)
            pending.extend(reversed(elements))
    return found


def _union(branches: list[list[_Step]]) -> _Step:
    return lambda values: [found for branch in branches for found in _walk(branch, values)]


def _slice(text: str) -> _Step:
    """`[start:end:step]`; an index is a slice of one."""
    match = _SLICE.fullmatch(text)
    if match is None:
        raise JsonPathError(f"invalid array index {text}")
    first, *rest = match.groups()
    start = _index(first) if first else None
    is_index = rest[0] is None
    end = (start or 0) + 1 if is_index else _index(rest[0][1:])
    step = _index(rest[1][1:]) if rest[1] else None

    def of_one(value: list[Any]) -> Iterator[Any]:
        size = len(value)
        begin = start or 0
        begin += size if begin < 0 else 0
        stop = size if end is None else end
        stop += size if stop < 0 or (stop == 0 and is_index) else 0
        if begin == stop:
            return iter(())
        if not (0 <= begin < size and 0 <= stop <= size and begin <= stop):
            raise _EvaluationError("array index out of bounds")
        if step is not None and step <= 0:
            raise _EvaluationError("step must be > 0")
        return islice(value, begin, stop, min(step or 1, size))

    def evaluate(values: list[Any]) -> list[Any]:
        if any(not isinstance(value, list) for value in values if value is not None):
            raise _EvaluationError("not an array")
        return [found for value in values if value is not None for found in of_one(value)]

    return evaluate


def _index(text: str) -> int | None:
    """None if it is left out."""
    if not text:
        return None
    if text == "-" or len(text) > 20 or not -_MAX_INT - 1 <= int(text) <= _MAX_INT:
        raise JsonPathError(f"array index {text} is not a number")
    return int(text)


def _items(values: list[Any]) -> Iterator[Any]:
    for value in values:
        if not isinstance(value, list):
            raise _EvaluationError("not an array, and cannot be filtered")
        yield from value


def _existing(steps: list[_Step]) -> _Step:
    def exists(item: Any) -> bool:
        try:
            return bool(_walk(steps, [item]))
        except _EvaluationError:
            return False

    return lambda values: [item for item in _items(values) if exists(item)]


def _compared(left: list[_Step], name: str, right: list[_Step]) -> _Step:
    def holds(item: Any) -> bool:
        sides = []
        for steps in (left, right):
            found = _walk(steps, [item])
            if not found:
                return False
            if len(found) > 1:
                raise _EvaluationError("can only compare one element at a time")
            sides.append(number_as_stored(found[0]))
        if name not in _OPERATORS:
            raise _EvaluationError(f"unrecognized filter operator {name}")
        one, other = sides
        if type(one) is not type(other) or one is None or isinstance(one, dict | list):
            raise _EvaluationError("incompatible types for comparison")
        if isinstance(one, bool) and name not in ("==", "!="):
            raise _EvaluationError("invalid type for comparison")
        if isinstance(one, str):
            one, other = one.encode(), other.encode()
        return _OPERATORS[name](one, other)

    return lambda values: [item for item in _items(values) if holds(item)]


def number_as_stored(value: Any) -> Any:
    """A whole number is an integer once it has been stored, however it was written."""
    is_whole = isinstance(value, Constant) or (isinstance(value, float) and value.is_integer() and abs(value) < 1e18)
    return int(value) if is_whole else value
