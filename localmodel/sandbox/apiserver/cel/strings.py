"""Functions of strings (cel-go's ext.Strings, version 2, which Kubernetes has). Positions count code points."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any

from .conversions import double_text, duration_text, timestamp_text
from .functions import Function, function, member
from .values import CelType, EvaluationError, UInt, kind_of

_UPPER = str.maketrans("abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
_SUPERSCRIPT = str.maketrans("0123456789-", "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207b")
_QUOTED = {
    "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", "\\": "\\\\", '"': '\\"',
}  # fmt: skip


def _char_at(text: str, index: int) -> str:
    if not 0 <= index <= len(text):
        raise EvaluationError(f"index out of range: {index}")
    return text[index : index + 1]


def _index_of(text: str, part: str, offset: int = 0) -> int:
    if part and offset < 0:
        raise EvaluationError(f"index out of range: {offset}")
    return text.find(part, offset) if part else offset


def _last_index_of(text: str, part: str, offset: int | None = None) -> int:
    if not part:
        return len(text) if offset is None else offset
    if offset is None:
        return text.rfind(part)
    if offset < 0:
        raise EvaluationError(f"index out of range: {offset}")
    return text.rfind(part, 0, offset + len(part)) if offset < len(text) else -1


def _join(parts: list[Any], separator: str = "") -> str:
    if not all(isinstance(part, str) for part in parts):
        raise EvaluationError("no such overload")
    return separator.join(parts)


def _replace(text: str, old: str, new: str, count: int = -1) -> str:
    return text.replace(old, new, count)


def _split(text: str, separator: str, limit: int = -1) -> list[str]:
    if limit == 0:
        return []
    if not separator:
        return list(text) if limit < 0 or limit >= len(text) else [*text[: limit - 1], text[limit - 1 :]]
    return text.split(separator, limit - 1 if limit > 0 else -1)


def _substring(text: str, start: int, end: int | None = None) -> str:
    if not 0 <= start <= len(text):
        raise EvaluationError(f"index out of range: {start}")
    if end is None:
        return text[start:]
    if not 0 <= end <= len(text):
        raise EvaluationError(f"index out of range: {end}")
    if start > end:
        raise EvaluationError(f"invalid substring range. start: {start}, end: {end}")
    return text[start:end]


def _quote(text: str) -> str:
    return '"' + "".join(_QUOTED.get(character, character) for character in text) + '"'


def format_text(template: str, args: list[Any]) -> str:
    """string.format; raises EvaluationError."""
    parts: list[str] = []
    position, used = 0, 0
    while position < len(template):
        character = template[position]
        position += 1
        if character != "%":
            parts.append(character)
            continue
        if template[position : position + 1] == "%":
            parts.append("%")
            position += 1
            continue
        precision, position = _precision(template, position)
        if position >= len(template):
            raise EvaluationError("unexpected end of string")
        clause = template[position]
        position += 1
        if used >= len(args):
            raise EvaluationError(f"index {used} out of range")
        if clause not in _CLAUSES:
            raise EvaluationError(f'could not parse formatting clause: unrecognized formatting clause "{clause}"')
        parts.append(_clause(clause, args[used], precision))
        used += 1
    return "".join(parts)


def _precision(template: str, position: int) -> tuple[int | None, int]:
    if template[position : position + 1] != ".":
        return None, position
    end = position + 1
    while end < len(template) and template[end].isdigit():
        end += 1
    return int(template[position + 1 : end] or 0), end


def _clause(clause: str, value: Any, precision: int | None) -> str:
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    match clause:
        case "s":
            return _shown(value)
        case "d" if is_integer:
            return str(int(value))
        case "d" if isinstance(value, float) and not math.isfinite(value):
            return double_text(value)
        case "f" | "e" if isinstance(value, float) and not math.isfinite(value):
            return double_text(value)
        case "f" if isinstance(value, float):
            return f"{value:.{6 if precision is None else precision}f}"
        case "e" if isinstance(value, float):
            mantissa, _, exponent = f"{value:.6e}".partition("e")
            return f"{mantissa}\u202f\u00d7\u202f10{exponent.removeprefix('+').translate(_SUPERSCRIPT)}"
        case "b" if is_integer or isinstance(value, bool):
            return f"{int(value):b}"
        case "o" if is_integer:
            return f"{int(value):o}"
        case "x" | "X" if is_integer:
            return f"{int(value):{clause}}"
        case "x" | "X" if isinstance(value, str | bytes):
            text = (value.encode() if isinstance(value, str) else value).hex()
            return text.upper() if clause == "X" else text
    raise EvaluationError(f"error during formatting: {_EXPECTED[clause]}, was given {kind_of(value)}")


_CLAUSES = frozenset("sdfebxXo")
_EXPECTED = {
    "d": "decimal clause can only be used on integers",
    "f": "fixed-point clause can only be used on doubles",
    "e": "scientific clause can only be used on doubles",
    "b": "only integers and bools can be formatted as binary",
    "o": "octal clause can only be used on integers",
    "x": "only integers, byte buffers, and strings can be formatted as hex",
    "X": "only integers, byte buffers, and strings can be formatted as hex",
}


def _shown(value: Any) -> str:
    match value:
        case str():
            return value
        case bool():
            return str(value).lower()
        case None:
            return "null"
        case UInt() | int():
            return str(int(value))
        case float():
            return double_text(value)
        case bytes():
            return value.decode("utf-8", "replace")
        case datetime():
            return timestamp_text(value)
        case timedelta():
            return duration_text(value)
        case CelType():
            return value.name
        case list():
            return "[" + ", ".join(map(_nested, value)) + "]"
        case dict():
            items = sorted((_nested(key), _nested(item)) for key, item in value.items())
            return "{" + ", ".join(f"{key}:{item}" for key, item in items) + "}"
        case _:
            raise EvaluationError(
                "error during formatting: string clause can only be used on strings, bools, bytes, ints, doubles, "
                f"maps, lists, types, durations, and timestamps, was given {kind_of(value)}"
            )


def _nested(value: Any) -> str:
    match value:
        case str():
            return _quote(value)
        case float():
            return f"{value:.6f}"
        case datetime():
            return f'timestamp("{timestamp_text(value)}")'
        case timedelta():
            return f'duration("{duration_text(value)}")'
        case _:
            return _shown(value)


STRINGS: tuple[Function, ...] = (
    member("string", "charAt", ["int"], "string", _char_at),
    member("string", "indexOf", ["string"], "int", _index_of),
    member("string", "indexOf", ["string", "int"], "int", _index_of),
    member("string", "lastIndexOf", ["string"], "int", _last_index_of),
    member("string", "lastIndexOf", ["string", "int"], "int", _last_index_of),
    member("list<string>", "join", [], "string", _join),
    member("list<string>", "join", ["string"], "string", _join),
    member("string", "lowerAscii", [], "string", lambda text: text.translate(_LOWER)),
    member("string", "upperAscii", [], "string", lambda text: text.translate(_UPPER)),
    member("string", "replace", ["string", "string"], "string", _replace),
    member("string", "replace", ["string", "string", "int"], "string", _replace),
    member("string", "split", ["string"], "list<string>", _split),
    member("string", "split", ["string", "int"], "list<string>", _split),
    member("string", "substring", ["int"], "string", _substring),
    member("string", "substring", ["int", "int"], "string", _substring),
    member("string", "trim", [], "string", str.strip),
    member("string", "format", ["list<dyn>"], "string", format_text),
    function("strings.quote", ["string"], "string", _quote),
)
