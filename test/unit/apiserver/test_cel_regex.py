"""Regular expressions of CEL are RE2's; the expectations are what Go's regexp package gives."""

from __future__ import annotations

import pytest

from localmodel.sandbox.apiserver.cel.regex import _find_all as find_all
from localmodel.sandbox.apiserver.cel.regex import check_pattern, matches
from localmodel.sandbox.apiserver.cel.values import EvaluationError


@pytest.mark.parametrize(
    ("text", "pattern", "found"),
    [
        ("baaac", "a*", ["", "aaa", ""]),
        ("éaéa", "a", ["a", "a"]),
        ("abc", "^.", ["a"]),
        ("abc", "", ["", "", "", ""]),
        ("a b", r"\b", ["", "", "", ""]),
        ("éa", r"\w+", ["a"]),
        ("ab\ncd", "(?m)^.", ["a", "c"]),
        ("x1y", r"\p{L}", ["x", "y"]),
    ],
)
def test_all_matches_are_those_of_go(text: str, pattern: str, found: list[str]) -> None:
    assert find_all(text, pattern) == found
    assert matches(text, pattern) == bool(found)


def test_a_limit_ends_the_search() -> None:
    assert find_all("aXbX", "X?", 2) == ["", "X"]


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("[", "missing closing ]: `[`"),
        ("*a", "missing argument to repetition operator: `*`"),
        ("a{2000}", "invalid repeat count: `{2000}`"),
        (r"\1", r"invalid escape sequence: `\1`"),
    ],
)
def test_what_is_not_re2_is_refused_in_the_words_of_go(pattern: str, why: str) -> None:
    with pytest.raises(EvaluationError) as refused:
        check_pattern(pattern)
    assert str(refused.value) == f"error parsing regexp: {why}"
