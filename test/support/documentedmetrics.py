"""The tables of docs/metrics.md, and what a registry has in their form."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from prometheus_client import CollectorRegistry

Metrics = dict[str, tuple[str, tuple[str, ...]]]
"""Name -> its type and labels."""
_PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def documented(opening: str) -> Metrics:
    """The first table below the line that begins so."""
    lines = iter(_PAGE.read_text().splitlines())
    below = itertools.dropwhile(lambda line: not line.startswith(opening), lines)
    table = itertools.dropwhile(lambda line: not line.startswith("|---"), below)
    next(table)
    rows = [line.split("|") for line in itertools.takewhile(lambda line: line.startswith("|"), table)]
    return {row[1].strip(" `"): (row[2].strip(), tuple(re.findall(r"`(\w+)`", row[3].split("(")[0]))) for row in rows}


def registered(registry: CollectorRegistry) -> Metrics:
    """A metric without labels that were used has no samples, so its own description is looked at."""
    found = {}
    for it in set(registry._collector_to_names):
        name, kind, labels = it._name, it._type, it._labelnames  # type: ignore[attr-defined]
        found[f"{name}_total" if kind == "counter" else name] = kind, labels
    return found
