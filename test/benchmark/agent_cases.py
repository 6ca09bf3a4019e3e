"""The cases of the agent, each with its targets (issue 6, point 10)."""

from __future__ import annotations

from .case import Case, Line, Size

IDLE = Case(
    name="agent-idle",
    title="An idle agent with 100 models, alone and beside many nodes",
    size=Size(full=5000, quick=500, tiny=3),
    rounds=1,
    sides={"many": "agent:idle", "alone": "agent:idle_alone"},
    lines=(
        Line(what="resident, one node", side="alone", number="resident_mib", unit="MiB", at_most=56),
        Line(what="resident, many nodes", side="many", number="resident_mib", unit="MiB", at_most=56),
        Line(
            what="resident, many nodes beside one",
            side="many",
            against="alone",
            number="resident_mib",
            unit="MiB",
            at_most=1.05,
        ),
    ),
)

START = Case(
    name="agent-start",
    title="Start with 100 models on the disk",
    size=Size(full=100, quick=100, tiny=3),
    sides={"start": "agent:start"},
    lines=(
        Line(
            what="from the start of the process to the first correct status",
            side="start",
            number="seconds",
            unit="s",
            at_most=1.5,
        ),
        Line(what="CPU time until then", side="start", number="cpu_seconds", unit="s"),
    ),
)

PASS = Case(
    name="agent-pass",
    title="A pass over 1,000 models of five files",
    size=Size(full=1000, quick=1000, tiny=3),
    sides={"agent": "agent:passes", "walk": "agent:bare_walk"},
    lines=(
        Line(what="a pass that finds nothing new", side="agent", number="milliseconds", unit="ms", at_most=150),
        Line(
            what="beside a bare walk over the same folders",
            side="agent",
            against="walk",
            number="milliseconds",
            unit="ms",
        ),
    ),
)

PUBLISH = Case(
    name="agent-publish",
    title="From a Job's success to Downloaded, with our image",
    size=Size(full=100, quick=100, tiny=1),
    sides={"large": "agent:large", "small": "agent:small"},
    lines=(
        Line(what="a model of 1 MiB", side="small", number="seconds", unit="s", at_most=1),
        Line(what="a model of 8 GiB", side="large", number="seconds", unit="s", at_most=1),
        Line(what="the slowest of 8 GiB", side="large", number="slowest_seconds", unit="s", at_most=1),
        Line(what="8 GiB beside 1 MiB", side="large", against="small", number="seconds", unit="s", at_most=1.5),
    ),
)

AGENT_CASES = {case.name: case for case in (IDLE, START, PASS, PUBLISH)}
