"""Regular expressions of CEL: RE2's, as Go's regexp package has them (see `patterns`)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import re2

from localmodel.sandbox.apiserver import patterns

from .functions import Function, member
from .values import EvaluationError


def check_pattern(pattern: str) -> None:
    """Raises EvaluationError for what is no expression of RE2."""
    try:
        patterns.compile_pattern(pattern)
    except patterns.PatternError as error:
        raise EvaluationError(str(error)) from None


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> Any:
    check_pattern(pattern)
    return re2.compile(pattern)


def matches(text: str, pattern: str) -> bool:
    """Whether the pattern is found anywhere in the text."""
    try:
        return patterns.compile_pattern(pattern)(text)
    except patterns.PatternError as error:
        raise EvaluationError(str(error)) from None


def _find(text: str, pattern: str) -> str:
    match = _compiled(pattern).search(text)
    return match[0] if match else ""


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    """As Go finds them: no empty match right after another."""
    found: list[str] = []
    compiled, position, last_end = _compiled(pattern), 0, -1
    while position <= len(text) and (limit < 0 or len(found) < limit):
        match = compiled.search(text, position)
        if match is None:
            break
        start, end = match.span()
        if end > start or start != last_end:
            found.append(match[0])
        last_end = end
        position = end if end > position else position + 1
    return found


REGEX: tuple[Function, ...] = (
    member("string", "find", ["string"], "string", _find),
    member("string", "findAll", ["string"], "list<string>", _find_all),
    member("string", "findAll", ["string", "int"], "list<string>", _find_all),
)
