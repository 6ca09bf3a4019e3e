"""The part of kubectl's JSONPath that printer columns and selectable fields use, compiled to a function.

Grammar: `.name`, `['name']`, `[0]`, `[-1]`, `[*]`, `.*`, `[?(@.path OP literal)]` with ==, !=, <, <=, >, >=; a dot
inside a name is written `\\.`. Missing fields give no result, as with `AllowMissingKeys`.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Finder = Callable[[Any], list[Any]]
_Step = Callable[[Any], Iterable[Any]]

_TOKEN = re.compile(
    r"""
    \.(?P<field>(?:\\.|[^.\[\]\\'"])+)          # .name, with escaped characters
  | \.?\[\s*(?P<quote>['"])(?P<key>.*?)(?P=quote)\s*\]
  | \.?\[\s*(?P<index>-?\d+)\s*\]
  | \.?\[\s*\*\s*\]
  | \.?\[\s*\?\((?P<filter>.*?)\)\s*\]
    """,
    re.VERBOSE,
)
_FILTER = re.compile(r"^\s*@(?P<path>[^=!<>]*?)\s*(?:(?P<op>==|!=|<=|>=|<|>)\s*(?P<literal>.+?))?\s*$")
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class JsonPathError(ValueError):
    """The expression is outside the grammar; the message quotes the part."""


def compile_path(expression: str) -> Finder:
    """A function that gives all values at the path; raises JsonPathError."""
    text = expression.strip().removeprefix("{").removesuffix("}").removeprefix("$")
    if text and text[0] not in ".[":
        text = "." + text
    steps: list[_Step] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise JsonPathError(f"unrecognized part {text[position:]!r} of the JSON path {expression!r}")
        steps.append(_step(match))
        position = match.end()

    def find(value: Any) -> list[Any]:
        found = [value]
        for step in steps:
            found = [result for item in found for result in step(item)]
        return found

    return find


def _step(match: re.Match[str]) -> _Step:
    if match["field"] == "*":
        return _children
    if match["field"] is not None:
        return _child(re.sub(r"\\(.)", r"\1", match["field"]))
    if match["key"] is not None:
        return _child(match["key"])
    if match["index"] is not None:
        return _item(int(match["index"]))
    return _filtered(match["filter"]) if match["filter"] is not None else _children


def _child(name: str) -> _Step:
    return lambda value: (value[name],) if isinstance(value, dict) and name in value else ()


def _item(index: int) -> _Step:
    def step(value: Any) -> Iterable[Any]:
        return (value[index],) if isinstance(value, list) and -len(value) <= index < len(value) else ()

    return step


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _filtered(text: str) -> _Step:
    match = _FILTER.match(text)
    if match is None:
        raise JsonPathError(f"unrecognized filter {text!r}")
    find = compile_path(match["path"])
    if match["op"] is None:
        return lambda value: (item for item in _children(value) if find(item))
    compare, literal = _OPERATORS[match["op"]], _literal(match["literal"])

    def step(value: Any) -> Iterator[Any]:
        for item in _children(value):
            for found in find(item):
                try:
                    holds = compare(found, literal)
                except TypeError:
                    holds = False
                if holds:
                    yield item

    return step


def _literal(text: str) -> Any:
    if text[:1] == "'" and text[-1:] == "'" and len(text) >= 2:
        return text[1:-1]
    try:
        return json.loads(text)
    except ValueError:
        raise JsonPathError(f"{text!r} is not a literal") from None
