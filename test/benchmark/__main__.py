"""Measures localmodel.runtime beside the official client and compares the ratios with their targets.

Exit code 1 means that a target was missed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .case import Case, Pace, Round
from .cases import CASES
from .report import machine, table
from .running import SideError, run_case

ROUNDS = {"full": 5, "quick": 3, "tiny": 1}
MARK = "<!-- results: written by make benchmark -->\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmark", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"by default all: {', '.join(CASES)}")
    parser.add_argument("--quick", action="store_true", help="smaller sizes and fewer rounds")
    parser.add_argument("--rounds", type=int, help="how often every side runs (5, or 3 with --quick)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="replace the results in this document")
    options = parser.parse_args(arguments)
    unknown = set(options.cases) - CASES.keys()
    if unknown:
        parser.error(f"there is no case {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    pace: Pace = "quick" if options.quick else "full"
    rounds = options.rounds or ROUNDS[pace]
    results: dict[str, tuple[Case, Sequence[Round]]] = {}
    failed = []
    for name in options.cases or CASES:
        try:
            results[name] = CASES[name], run_case(CASES[name], pace=pace, rounds=rounds)
        except SideError as error:
            failed.append(f"{name}: {error}")
            continue
        sys.stdout.write(table({name: results[name]}) + "\n")
        sys.stdout.flush()
    if failed:
        sys.stderr.write("\n".join(failed) + "\n")
        return 1
    if options.write:
        how = f"{'Quick' if options.quick else 'Full'} sizes, {rounds} rounds"
        write(options.write, f"{how}. {machine()}.\n\n{table(results)}")
    missed = [line.what for case, ran in results.values() for line in case.lines if not line.is_met(ran)]
    sys.stdout.write(f"missed: {'; '.join(missed)}\n" if missed else "all targets are met\n")
    return 1 if missed else 0


def write(document: Path, results: str) -> None:
    """Replaces everything after the mark; raises ValueError if the document has none."""
    head, found, _ = document.read_text().partition(MARK)
    if not found:
        raise ValueError(f"{document} has no line {MARK.strip()!r} below which the results go")
    document.write_text(f"{head}{MARK}\n{results}")


if __name__ == "__main__":
    sys.exit(main())
