"""Every case of the benchmark runs, in a tiny size; how fast is not looked at."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from benchmark.__main__ import GROUPS, MARK, write
from benchmark.case import Case, Line, Round
from benchmark.report import quantity, row, table
from benchmark.running import SideError, run_case

DOCS = Path(__file__).parents[2] / "docs"
DOCUMENTS = {
    "runtime": DOCS / "runtime" / "benchmarks.md",
    "apiserver": DOCS / "sandbox-benchmarks.md",
    "manager": DOCS / "manager-benchmarks.md",
    "agent": DOCS / "agent-benchmarks.md",
}
ALL_CASES = {name: case for cases in GROUPS.values() for name, case in cases.items()}
NEEDS_WRK = {"apiserver-requests", "apiserver-watches"}

Running = Mapping[str, Future[list[Round]]]


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    """The cases, side by side: most of their time is the start of processes."""
    with ThreadPoolExecutor(3) as pool:
        run = partial(run_case, pace="tiny", rounds=1)
        yield {name: pool.submit(run, case) for name, case in ALL_CASES.items()}


@pytest.mark.parametrize("case", ALL_CASES.values(), ids=ALL_CASES)
def test_a_case_gives_the_numbers_of_its_lines(case: Case, running: Running) -> None:
    if case.name in NEEDS_WRK and shutil.which("wrk") is None:
        with pytest.raises(SideError, match="wrk is missing: install it"):
            running[case.name].result(120)
        pytest.skip("wrk is missing: install it (Debian: apt-get install wrk)")
    rounds = running[case.name].result(120)

    for line in case.lines:
        assert line.measured(rounds) >= 0
        assert row(line, rounds) in table({case.name: (case, rounds)})


def rounds_of(*pairs: tuple[float, float]) -> list[Round]:
    return [
        {"ours": {"per_second": ours, "per_cpu_second": ours}, "theirs": {"per_second": theirs, "per_cpu_second": 1.0}}
        for ours, theirs in pairs
    ]


def test_a_line_is_the_median_of_the_ratios_within_each_round() -> None:
    line = Line(what="speed", side="ours", against="theirs", at_least=3)
    rounds = rounds_of((30, 10), (50, 10), (20, 10))

    assert line.measured(rounds) == 3
    assert line.is_met(rounds)
    assert not line.is_met(rounds[2:])
    assert row(line, rounds) == "| speed | ≥ 3x | **3x** | 2 to 5 | met | 30/s | 10/s | 30x |"


def test_a_line_without_a_target_is_always_met() -> None:
    line = Line(what="speed", side="ours")

    assert line.is_met(rounds_of((1, 1)))
    assert row(line, rounds_of((1, 1))) == "| speed |  | **1/s** | 1 to 1 |  |  |  |  |"


@pytest.mark.parametrize(
    ("number", "unit", "text"), [(0.0123456, "%", "0.0123 %"), (99.96, "x", "100x"), (12345.6, "/s", "12,346/s")]
)
def test_quantities_have_three_digits(number: float, unit: str, text: str) -> None:
    assert quantity(number, unit) == text


def test_results_replace_the_former_ones(tmp_path: Path) -> None:
    document = tmp_path / "benchmarks.md"
    document.write_text(f"# Benchmarks\n\n{MARK}\nold\n")

    write(document, "new\n")

    assert document.read_text() == f"# Benchmarks\n\n{MARK}\nnew\n"


def test_results_need_their_place_in_the_document(tmp_path: Path) -> None:
    document = tmp_path / "benchmarks.md"
    document.write_text("# Benchmarks\n")

    with pytest.raises(ValueError, match=r"benchmarks\.md has no line"):
        write(document, "new\n")


@pytest.mark.parametrize("group", GROUPS)
def test_the_committed_results_have_every_line(group: str) -> None:
    text = DOCUMENTS[group].read_text()

    for case in GROUPS[group].values():
        assert case.title in text
        for line in case.lines:
            assert f"| {line.what} |" in text
