"""The cases of the manager, each with its targets."""

from __future__ import annotations

from .case import Case, Line, Size


def _growth(what: str, side: str, against: str) -> Line:
    return Line(what=what, side=side, against=against, number="cpu_seconds", unit="s", at_most=2.3)


ROLLOUT = Case(
    name="manager-rollout",
    title="Roll-out of 100 models to 1,000 nodes in two groups",
    size=Size(full=1000, quick=200, tiny=20),
    rounds=1,
    sides={"all": "manager:rollout", "half": "manager:rollout_to_half", "quarter": "manager:rollout_to_a_quarter"},
    lines=(
        _growth("CPU time, 500 nodes beside 250", "half", "quarter"),
        _growth("CPU time, 1,000 nodes beside 500", "all", "half"),
        Line(what="CPU time of a copy, 250 nodes", side="quarter", number="cpu_us_per_copy", unit="µs"),
        Line(what="CPU time of a copy, 1,000 nodes", side="all", number="cpu_us_per_copy", unit="µs"),
        Line(
            what="from the first cache until all nodes have all entries", side="all", number="placed_seconds", unit="s"
        ),
        Line(what="from the last report until all caches say so", side="all", number="converged_seconds", unit="s"),
        Line(what="resident at the end", side="all", number="resident_mib", unit="MiB", at_most=300),
        Line(
            what="writes that are not coalesced, of nodes + 6 x caches x groups",
            side="all",
            number="unpaced_writes_share",
            unit="x",
            at_most=1,
        ),
        Line(
            what="status writes, of those at the rates", side="all", number="status_writes_share", unit="x", at_most=1
        ),
        Line(what="node labels, of those at the rates", side="all", number="label_writes_share", unit="x", at_most=1),
        Line(what="writes of events", side="all", number="event_writes", unit=""),
        Line(
            what="one model of one node gets on: reconciles of caches",
            side="all",
            number="change_cache_reconciles",
            unit="",
            at_most=1,
        ),
        Line(what="and of everything", side="all", number="change_reconciles", unit=""),
        Line(what="and writes", side="all", number="change_writes", unit="", at_most=1),
        Line(what="start when nothing has changed: writes", side="all", number="restart_writes", unit="", at_most=0),
        Line(what="and until the last reconcile", side="all", number="restart_seconds", unit="s"),
        Line(what="and CPU time", side="all", number="restart_cpu_seconds", unit="s"),
    ),
)

WAVES = Case(
    name="manager-waves",
    title="The same with 500 nodes in waves of ten for each group",
    size=Size(full=500, quick=200, tiny=20),
    rounds=1,
    sides={"all": "manager:in_waves", "half": "manager:in_waves_on_half"},
    lines=(
        _growth("CPU time, 500 nodes beside 250, in waves", "all", "half"),
        Line(what="CPU time of a copy, 500 nodes, in waves", side="all", number="cpu_us_per_copy", unit="µs"),
    ),
)

MANAGER_CASES = {case.name: case for case in (ROLLOUT, WAVES)}
