"""Measures localmodel.runtime beside the official client, the embedded API server, the manager or the agent; compares
with the targets.

Exit code 1 means that a target was missed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .agent_cases import AGENT_CASES
from .apiserver_cases import APISERVER_CASES
from .case import Case, Pace, Round
from .cases import CASES
from .manager_cases import MANAGER_CASES
from .report import machine, table
from .running import SideError, run_case

GROUPS = {"runtime": CASES, "apiserver": APISERVER_CASES, "manager": MANAGER_CASES, "agent": AGENT_CASES}
ROUNDS = {"full": 5, "quick": 3, "tiny": 1}
MARK = "<!-- results: written by make benchmark -->\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmark", description=__doc__)
    names = "; ".join(f"{group}: {', '.join(cases)}" for group, cases in GROUPS.items())
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"by default all of the group ({names})")
    parser.add_argument("--group", choices=GROUPS, default="runtime", help="what is measured (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="smaller sizes and fewer rounds")
    parser.add_argument("--rounds", type=int, help="how often every side runs (5, or 3 with --quick)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="replace the results in this document")
    options = parser.parse_args(arguments)
    cases = GROUPS[options.group]
    unknown = set(options.cases) - cases.keys()
    if unknown:
        parser.error(f"there is no case {', '.join(sorted(unknown))} in {options.group}; there are {', '.join(cases)}")
    pace: Pace = "quick" if options.quick else "full"
    rounds = options.rounds or ROUNDS[pace]
    results: dict[str, tuple[Case, Sequence[Round]]] = {}
    failed = []
    for name in options.cases or cases:
        try:
            results[name] = cases[name], run_case(cases[name], pace=pace, rounds=rounds)
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
