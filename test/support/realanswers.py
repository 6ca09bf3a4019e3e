"""Answers of a real kube-apiserver, recorded by `hack/record-apiserver-answers`, and the requests that led to them.

A `Case` is a few requests in a row. `answers` makes them and brings the answers into a form that two servers share:
what a server makes up (uids, versions, times) is gone, and sorted are causes, since a real server goes through maps in
no order, and conditions, which several controllers write. Tables of cases are the modules of `support.recordings`;
beside each lies the file of its answers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

Json = dict[str, Any]
Call = Callable[[str, str, Any, dict[str, str]], tuple[int, Json, list[str]]]
"""(method, target, body, headers) -> status code, answer, texts of the Warning headers."""

FOLDER = Path(__file__).resolve().parent / "recordings"
_MADE_UP = ("uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "selfLink")
_LEFT_OUT = ("managedFields", "storageVersionHash")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_STRUCT = re.compile(
    r"(Invalid|Unsupported|Duplicate) value: ((?:\[\]|\*|map\[[\w.]+\])*[a-z]\w*\.[A-Z]\w*)\{.*?\}(: (?![^:]*\}: )|$)",
    re.DOTALL,
)
_DIFFERENCE = re.compile(r"\n[\u00a0 ]{2}")
"""go-cmp writes one or the other, as it likes."""
_UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Step:
    """One request; `headers` are added to those of a JSON body."""

    method: str
    target: str
    body: Any = None
    headers: tuple[tuple[str, str], ...] = ()
    is_told: bool = True
    """False for a step that only tidies up."""


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    steps: tuple[Step, ...]


def answers(case: Case, call: Call) -> list[Json]:
    """What the server says to the requests of a case."""
    told = []
    for step in case.steps:
        code, body, warnings = call(step.method, step.target, json.loads(json.dumps(step.body)), dict(step.headers))
        if step.is_told:
            told.append({"code": code, **({"warnings": sorted(warnings)} if warnings else {}), "body": shared(body)})
    return told


@cache
def recorded(table: str) -> dict[str, list[Json]]:
    """The answers of a real server by the names of the cases."""
    found: dict[str, list[Json]] = json.loads((FOLDER / f"{table}.json").read_text())
    return found


def shared(body: Any) -> Any:
    """An answer without what differs from server to server."""
    if isinstance(body, dict) and body.get("kind") == "Table":
        return {
            "columns": [_column(c) for c in body["columnDefinitions"]],
            "rows": [_cells(body, r) for r in body["rows"]],
        }
    if isinstance(body, dict) and body.get("kind") == "Status" and body.get("status") == "Failure":
        return _status(body)
    return _object(body)


def _column(column: Json) -> Json:
    """Without the description, which kubectl does not show."""
    return {key: value for key, value in column.items() if key != "description"}


_AGES = ("Age", "Duration", "Last Seen", "First Seen", "Created At", "Last Schedule")


def _cells(table: Json, row: Json) -> list[Any]:
    """Cells that tell an age are as many as they are; a job that has ended has a duration of its own."""
    names = [column["name"] for column in table["columnDefinitions"]]
    return ["AGE" if name in _AGES and cell else _object(cell) for name, cell in zip(names, row["cells"], strict=True)]


def _status(body: Json) -> Json:
    details = body.get("details") or {}
    if any(cause.get("field") == "patch" for cause in details.get("causes") or ()):
        # The object as a decoder saw it, and that decoder's own words.
        return {"reason": body.get("reason", ""), "field": "patch"}
    causes = [{**cause, "message": _text(cause.get("message", ""))} for cause in details.get("causes") or ()]
    causes = [cause for index, cause in enumerate(causes) if cause not in causes[:index]]
    causes.sort(key=lambda cause: (cause.get("field", ""), cause["message"]))
    told: Json = {"reason": body.get("reason", ""), "details": {k: v for k, v in details.items() if k != "causes"}}
    if causes:
        told["causes"] = causes
    if len(causes) < 2:
        told["message"] = _text(body.get("message", ""))
    return told


def _text(text: str) -> str:
    # What follows is a difference of two Go structs.
    text = _DIFFERENCE.split(text, maxsplit=1)[0]
    return _UID.sub("UID", _TIME.sub("TIME", _STRUCT.sub(r"\1 value: \2{...}\3", text)))


def _object(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: ("SET" if item else item) if key in _MADE_UP else _object(item)
            for key, item in value.items()
            if not (key == "description" and value.get("name") in ("Name", "Age"))
            if key not in _LEFT_OUT and (key, item) != ("continue", "")
        }
    if isinstance(value, list):
        items = [_object(item) for item in value]
        is_conditions = all(isinstance(item, dict) and {"type", "status"} <= item.keys() for item in items)
        return sorted(items, key=lambda item: str(item["type"])) if is_conditions else items
    return _text(value) if isinstance(value, str) else value
