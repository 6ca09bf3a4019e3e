"""The cases of the embedded API server, each with its targets. Beside them stand the prototype's numbers."""

from __future__ import annotations

from .case import Case, Line, Size

_PROTOTYPE = "apiserver:prototype"


def _lines(what: str, number: str, plain: float, tls: float, *, p99: bool = True) -> tuple[Line, ...]:
    """The lines of one speed: plain, over TLS, by CPU time of the server, and the prototype's."""
    lines = [
        Line(what=f"{what}", side="plain", number=number, at_least=plain),
        Line(what=f"{what}, TLS", side="TLS", number=number, at_least=tls),
        Line(what=f"{what}, for each second of the server's CPU time", side="plain", number=f"{number}_cpu"),
        Line(what=f"{what}, TLS, for each second of the server's CPU time", side="TLS", number=f"{number}_cpu"),
        Line(what=f"{what}, prototype", side="prototype", number=number),
    ]
    if p99:
        lines.insert(2, Line(what=f"{what}, p99", side="plain", number=f"{number}_p99_ms", unit="ms"))
        lines.insert(3, Line(what=f"{what}, TLS, p99", side="TLS", number=f"{number}_p99_ms", unit="ms"))
    return tuple(lines)


START = Case(
    name="apiserver-start",
    title="Start of the API server, from the start of its process to ready",
    size=Size(full=5, quick=3, tiny=1),
    sides={"plain": "apiserver:start", "TLS": "apiserver:start_with_tls", "prototype": _PROTOTYPE},
    lines=(
        Line(what="to ready", side="plain", number="ready_seconds", unit="s", at_most=0.5),
        Line(what="to ready, TLS", side="TLS", number="ready_seconds", unit="s", at_most=0.5),
        Line(what="to ready, TLS, CPU time", side="TLS", number="ready_cpu_seconds", unit="s"),
        Line(what="to ready, prototype", side="prototype", number="ready_seconds", unit="s"),
        Line(what="resident when ready, TLS", side="TLS", number="resident_mib", unit="MiB"),
        Line(what="resident when ready, prototype", side="prototype", number="resident_mib", unit="MiB"),
    ),
)

REQUESTS = Case(
    name="apiserver-requests",
    title="Requests on custom resources of 2 KB, wrk on 8 connections",
    size=Size(full=5, quick=2, tiny=1),
    sides={"plain": "apiserver:requests", "TLS": "apiserver:requests_with_tls", "prototype": _PROTOTYPE},
    lines=(
        *_lines("GET", "get", 5000, 5000),
        *_lines("PATCH of the status", "patch", 3000, 3000),
        *_lines("POST, validated by schema and CEL", "create", 2000, 2000),
    ),
)

WATCHES = Case(
    name="apiserver-watches",
    title="Events of 2 KB to 500 watchers, as fast as they go",
    size=Size(full=5, quick=3, tiny=1),
    sides={"plain": "apiserver:watches", "TLS": "apiserver:watches_with_tls", "prototype": _PROTOTYPE},
    lines=(
        *_lines("events in all", "events", 20_000, 10_000, p99=False),
        Line(what="resident with 500 watchers", side="plain", number="resident_mib", unit="MiB"),
        Line(what="resident with 500 watchers, TLS", side="TLS", number="resident_mib", unit="MiB"),
    ),
)

MEMORY = Case(
    name="apiserver-memory",
    title="5,000 custom resources of 2 KB",
    size=Size(full=5000, quick=5000, tiny=30),
    sides={"TLS": "apiserver:memory"},
    lines=(
        Line(what="resident, the whole process", side="TLS", number="resident_mib", unit="MiB", at_most=120),
        Line(what="for each object, with its part of the history", side="TLS", number="kept_bytes", unit="B"),
        Line(what="JSON of one object", side="TLS", number="object_bytes", unit="B"),
    ),
)

APISERVER_CASES = {case.name: case for case in (START, REQUESTS, WATCHES, MEMORY)}
