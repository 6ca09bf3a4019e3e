"""The embedded server answers as a real kube-apiserver did when the cases of `support.recordings` were recorded."""

from __future__ import annotations

import importlib
from functools import cache

import pytest
from support.apicore import InProcess
from support.realanswers import FOLDER, Case, answers, recorded

TABLES = sorted(path.stem for path in FOLDER.glob("[a-z]*.py"))


@cache
def cases_of(table: str) -> tuple[Case, ...]:
    return tuple(importlib.import_module(f"support.recordings.{table}").CASES)


@pytest.fixture(scope="module")
def servers() -> dict[str, InProcess]:
    """One server per table: a case may use what one before it has made."""
    return {table: InProcess() for table in TABLES}


@pytest.mark.parametrize(
    ("table", "case"),
    [pytest.param(table, case, id=f"{table}: {case.name}") for table in TABLES for case in cases_of(table)],
)
def test_answers_as_a_real_server(servers: dict[str, InProcess], table: str, case: Case) -> None:
    assert answers(case, servers[table].told) == recorded(table)[case.name]
