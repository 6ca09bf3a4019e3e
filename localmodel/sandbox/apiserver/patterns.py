"""Regular expressions of schemas: RE2's syntax and meaning, as Go's regexp package has them.

A pattern that Python's `re` would take but RE2 does not (lookaround, back references) is refused like on a real server,
one that both take means the same here, and none takes exponential time. Uses google-re2.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import re2

_GO_ERRORS = (
    ("missing ]", "missing closing ]"),
    ("missing )", "missing closing )"),
    ("unexpected )", "unexpected )"),
    ("no argument for repetition operator", "missing argument to repetition operator"),
    ("invalid repetition size", "invalid repeat count"),
    ("bad repetition operator", "invalid nested repetition operator"),
    ("invalid perl operator", "invalid or unsupported Perl syntax"),
    ("invalid named capture group", "invalid named capture"),
    ("trailing \\", "trailing backslash at end of expression"),
)
"""How RE2's texts begin, and Go's for the same faults where they differ."""


class PatternError(ValueError):
    """The pattern is not RE2; the message is Go's."""


@lru_cache(maxsize=4096)
def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """Whether a text has a match of the pattern; raises PatternError."""
    options = re2.Options()
    options.log_errors = False
    try:
        single = re2.compile(pattern, options)
    except re2.error as error:
        raise PatternError(f"error parsing regexp: {_go_text(error)}") from None
    # A set answers five times faster than a single expression, which goes through a Python wrapper.
    matcher = re2.Set.SearchSet(options)
    matcher.Add(pattern)
    try:
        matcher.Compile()
    except re2.error:  # larger than a set may be
        return lambda text: single.search(text) is not None
    return lambda text: bool(matcher.Match(text))


def _go_text(error: Exception) -> str:
    said = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error.args[0])
    text, _, part = said.partition(": ")
    for begins, go in _GO_ERRORS:
        if text.startswith(begins):
            text = go
    return f"{text}: `{part}`"
