"""Results as a Markdown table, with what one must know to read it."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from .case import Case, Line, Round

PACKAGES = ("kubernetes", "msgspec", "pydantic", "prometheus_client", "structlog", "urllib3")

HEAD = """| | target | measured | min to max | verdict | localmodel | beside it | ratio by CPU time |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""


def machine() -> str:
    """What the numbers were measured on."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"{os.cpu_count()} x {cpu}, {platform.system()}, Python {platform.python_version()}; {packages}"


def table(results: Mapping[str, tuple[Case, Sequence[Round]]]) -> str:
    """The rows of all cases."""
    rows = []
    for case, rounds in results.values():
        rows.append(f"| **{case.title}** | | | | | | | |")
        rows += [row(line, rounds) for line in case.lines]
    return HEAD + "\n".join(rows) + "\n"


def row(line: Line, rounds: Sequence[Round]) -> str:
    values = line.values(rounds)
    unit = "x" if line.against else line.unit
    sides = [_value(line, line.side, rounds), _value(line, line.against, rounds)] if line.against else ["", ""]
    cpu = line.cpu_ratio(rounds)
    cells = [
        line.what,
        target(line),
        f"**{quantity(line.measured(rounds), unit)}**",
        f"{quantity(min(values))} to {quantity(max(values))}",
        ("met" if line.is_met(rounds) else "**missed**") if line.has_target else "",
        *sides,
        "" if cpu is None else quantity(cpu, "x"),
    ]
    return "| " + " | ".join(cells) + " |"


def target(line: Line) -> str:
    unit = "x" if line.against else line.unit
    if line.at_least is not None:
        return f"≥ {quantity(line.at_least, unit)}"
    return "" if line.at_most is None else f"≤ {quantity(line.at_most, unit)}"


def _value(line: Line, side: str, rounds: Sequence[Round]) -> str:
    return quantity(Line(what="", side=side, number=line.number).measured(rounds), line.unit)


def quantity(number: float, unit: str = "") -> str:
    """Three digits that matter."""
    text = f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"
    return text + (unit if unit in ("", "/s", "x") else f" {unit}")
