"""The server answers requests as kube-apiserver 1.32 did when it was asked: status, headers and bodies.

The scenarios are in `support.requests`, what the real server answered in `recorded`; `hack/record-requests` made that.
`support.requests.known` names the answers that differ.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from support.recorded import Scenario, differences, essence, play
from support.requests import TABLES
from support.requests.known import KNOWN, NOTHING
from support.requestsenders import InProcessSender

RECORDED = Path(__file__).parent / "recorded"


@lru_cache
def recorded(table: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((RECORDED / f"{table}.json").read_text())
    return content


@pytest.mark.parametrize(
    ("table", "scenario"),
    [pytest.param(table, scenario, id=scenario.name) for table in TABLES for scenario in TABLES[table]],
)
def test_answers_are_those_of_a_real_server(table: str, scenario: Scenario) -> None:
    wanted = recorded(table)[scenario.name]
    got = json.loads(json.dumps(play(scenario, InProcessSender())))
    known = KNOWN.get(scenario.name, NOTHING)
    found = []
    for index, (one, other) in enumerate(zip(wanted, got, strict=True)):
        if index in known and not differences(one, other):
            found.append(f"{one['step']}\n  is as recorded: take it off support.requests.known")
        if index in known.others:
            continue
        pair = (essence(one), essence(other)) if index in known.texts else (one, other)
        if lines := differences(*pair):
            found.append(f"{one['step']}\n  " + "\n  ".join(lines))
    assert not found, f"{len(found)} of {len(wanted)} answers differ:\n" + "\n".join(found)
