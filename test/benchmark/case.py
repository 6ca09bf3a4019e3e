"""What a benchmark case is made of: sides that measure, and lines that say what is wanted of their numbers.

A side is a function of a `Context` that gives named numbers; it runs in a process of its own, which imports only the
function's module. A `Case` runs its sides in turns, so that all meet the same noise, and repeats that. A `Line` makes
one result of the rounds: the median of a number, or of the ratio of two sides' numbers within each round, and compares
it with a target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

PER_SECOND = "per_second"
PER_CPU_SECOND = "per_cpu_second"

Pace = Literal["full", "quick", "tiny"]
Round = Mapping[str, Mapping[str, float]]
"""The numbers of every side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a side is told."""

    server: str = ""
    """Base URL of the stand-in server; empty for a case without one."""
    size: int
    """How many of what the case counts: objects, events, requests, items, milliseconds."""
    started: float = 0.0
    """CLOCK_MONOTONIC seconds before this process was started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much a case does: in full, with --quick, and in the test that only runs it."""

    full: int
    quick: int
    tiny: int

    def of(self, pace: Pace) -> int:
        return {"full": self.full, "quick": self.quick, "tiny": self.tiny}[pace]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the results: a side's number or, with `against`, how many times that of another side it is."""

    what: str
    side: str
    number: str = PER_SECOND
    against: str = ""
    unit: str = "/s"
    """Of the number; a ratio has none."""
    at_least: float | None = None
    at_most: float | None = None
    """With neither, the line is for information."""

    def values(self, rounds: Sequence[Round], number: str = "") -> list[float]:
        """One for each round."""
        number = number or self.number
        ours = [one[self.side][number] for one in rounds]
        if not self.against:
            return ours
        return [mine / one[self.against][number] for mine, one in zip(ours, rounds, strict=True)]

    def measured(self, rounds: Sequence[Round]) -> float:
        return median(self.values(rounds))

    def cpu_ratio(self, rounds: Sequence[Round]) -> float | None:
        """The ratio of a speed by CPU time in place of wall time."""
        is_speed = bool(self.against) and self.number == PER_SECOND
        return median(self.values(rounds, PER_CPU_SECOND)) if is_speed else None

    @property
    def has_target(self) -> bool:
        return self.at_least is not None or self.at_most is not None

    def is_met(self, rounds: Sequence[Round]) -> bool:
        value = self.measured(rounds)
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Something to measure."""

    name: str
    title: str
    size: Size
    sides: Mapping[str, str]
    """`module:function` in this package, by the name that lines have for it."""
    lines: tuple[Line, ...]
    rounds: int | None = None
    """The most rounds; None: as many as are asked for."""
    server: Mapping[str, int | None] = field(default_factory=dict)
    """What the stand-in server holds, by its options; None stands for the size. Empty: there is no server."""
