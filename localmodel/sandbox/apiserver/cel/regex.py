"""Regular expressions in the syntax of RE2, as far as Python's `re` can be brought to it."""

from __future__ import annotations

import re
from functools import lru_cache

from .functions import Function, member
from .values import EvaluationError

_CLASSES = {
    "[:alnum:]": "0-9A-Za-z",
    "[:alpha:]": "A-Za-z",
    "[:ascii:]": "\\x00-\\x7F",
    "[:blank:]": "\\t ",
    "[:digit:]": "0-9",
    "[:lower:]": "a-z",
    "[:punct:]": "!-/:-@\\[-`{-~",
    "[:space:]": "\\t\\n\\v\\f\\r ",
    "[:upper:]": "A-Z",
    "[:word:]": "0-9A-Za-z_",
    "[:xdigit:]": "0-9A-Fa-f",
}
# What Python has and RE2 has not: look-around, back references, conditionals, atomic groups, possessive repeats.
_NOT_RE2 = re.compile(r"\(\?(?:=|!|<=|<!|>|\(|P=|P>)|\\[1-9]|[*+?}]\+")
_ESCAPED = re.compile(r"\\.", re.DOTALL)


@lru_cache(maxsize=1024)
def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Raises EvaluationError for what is no expression of RE2."""
    plain = _ESCAPED.sub(lambda match: match[0] if match[0][1] in "123456789" else "__", pattern)
    if found := _NOT_RE2.search(plain):
        raise EvaluationError(f"error parsing regexp: invalid or unsupported Perl syntax: `{found[0]}`")
    translated = pattern.replace("\\z", "\\Z")
    for name, members in _CLASSES.items():
        translated = translated.replace(name, members)
    try:
        # Go's classes (\d, \w, \s, \b) are ASCII.
        return re.compile(translated, re.ASCII)
    except re.error as error:
        raise EvaluationError(f"error parsing regexp: {_why(error, pattern)}") from None


def _why(error: re.error, pattern: str) -> str:
    """In Go's words, where Go has such a fault."""
    rest = pattern[error.pos or 0 :]
    match error.msg:
        case "unterminated character set":
            return f"missing closing ]: `{rest}`"
        case "missing ), unterminated subpattern":
            return f"missing closing ): `{pattern}`"
        case "unbalanced parenthesis":
            return f"unexpected ): `{pattern}`"
        case "nothing to repeat":
            return f"missing argument to repetition operator: `{rest[:1]}`"
        case "bad escape (end of pattern)":
            return "trailing backslash at end of expression: ``"
    return f"{error.msg}: `{rest}`"


def matches(text: str, pattern: str) -> bool:
    """Whether the pattern is found anywhere in the text."""
    return compile_pattern(pattern).search(text) is not None


def _find(text: str, pattern: str) -> str:
    match = compile_pattern(pattern).search(text)
    return match[0] if match else ""


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    found = [match[0] for match in compile_pattern(pattern).finditer(text)]
    return found if limit < 0 else found[:limit]


REGEX: tuple[Function, ...] = (
    member("string", "find", ["string"], "string", _find),
    member("string", "findAll", ["string"], "list<string>", _find_all),
    member("string", "findAll", ["string", "int"], "list<string>", _find_all),
)
