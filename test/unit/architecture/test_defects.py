"""docs/defects.md has a line for every numbered defect of KServe's cache, and the tests that it names exist."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass

import pytest
from support.scripts import ROOT, script

PAGE = ROOT / "docs" / "defects.md"
DEFECTS = 88
UNTESTED = ("charts to come", "not ours")
"""What may stand in place of a test."""
NUMBER = re.compile(r"_d(\d\d)(?=_|$)")


@dataclass(frozen=True)
class Line:
    number: int
    tested: str

    @property
    def tests(self) -> list[str]:
        return re.findall(r"`(test_\w+)`", self.tested)


def lines() -> list[Line]:
    rows = [row.strip("|").split(" | ") for row in PAGE.read_text().splitlines() if row.startswith("| D-")]
    assert all(len(row) == 4 for row in rows), [row[0] for row in rows if len(row) != 4]
    return [Line(int(number.strip().removeprefix("D-")), tested) for number, _, _, tested in rows]


@pytest.fixture(scope="module")
def names() -> set[str]:
    return {name for name, _ in script("update-promises").named_tests("test")}


def test_every_defect_has_one_line_in_order() -> None:
    assert [line.number for line in lines()] == list(range(1, DEFECTS + 1))


def test_every_test_that_the_page_names_exists(names: set[str]) -> None:
    assert [test for line in lines() for test in line.tests if test not in names] == []


def test_a_line_without_a_test_says_why() -> None:
    bare = [line for line in lines() if not line.tests]
    assert [line.number for line in bare if not line.tested.strip().startswith(UNTESTED)] == []


def test_a_line_names_tests_of_its_number() -> None:
    assert [
        (line.number, line.tests)
        for line in lines()
        if line.tests and not any(line.number in map(int, NUMBER.findall(test)) for test in line.tests)
    ] == []


def test_a_defect_whose_number_a_test_carries_is_not_said_to_be_untested(names: set[str]) -> None:
    carried: dict[int, list[str]] = defaultdict(list)
    for name in sorted(names):
        for number in map(int, NUMBER.findall(name)):
            carried[number].append(name)
    assert carried.keys() <= set(range(1, DEFECTS + 1))
    assert [(line.number, carried[line.number]) for line in lines() if carried[line.number] and not line.tests] == []
