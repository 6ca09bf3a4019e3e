"""Tables: cells of custom and built-in kinds, ages, JSON paths."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from localmodel.runtime.objects import RESTMapping
from localmodel.sandbox.apiserver.ages import age, human_duration
from localmodel.sandbox.apiserver.jsonpath import JsonPathError, compile_path
from localmodel.sandbox.apiserver.podprinter import pod_status
from localmodel.sandbox.apiserver.printers import builtin_printer, format_selector
from localmodel.sandbox.apiserver.table import custom_printer

NOW = datetime(2026, 1, 2, tzinfo=UTC)
Json = dict[str, Any]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"), (0, "0s"), (119, "119s"), (120, "2m"), (125, "2m5s"), (600, "10m"), (3600 * 3 - 1, "179m"),
        (3600 * 3, "3h"), (3600 * 3 + 1200, "3h20m"), (3600 * 8, "8h"), (3600 * 47, "47h"), (86400 * 2, "2d"),
        (86400 * 2 + 3600 * 4, "2d4h"), (86400 * 8, "8d"), (86400 * 800, "2y70d"), (86400 * 365 * 9, "9y"),
    ],
)  # fmt: skip
def test_durations_read_as_in_kubectl(seconds: int, text: str) -> None:
    assert human_duration(timedelta(seconds=seconds)) == text


def test_an_unknown_time_has_no_age() -> None:
    assert age(None, NOW) == "<unknown>"
    assert age("2026-01-01T23:59:00Z", NOW) == "60s"


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".a.b", [1]),
        (".c[0].n", ["x"]),
        (".c[-1].n", ["y"]),
        (".c[*].n", ["x", "y"]),
        ('.c[?(@.n=="y")].v', [2]),
        (".c[?(@.v>1)].n", ["y"]),
        (".d\\.e", ["dotted"]),
        (".c..v", [1, 2]),
        (".a['b','x']", [1]),
        (".missing.x", []),
    ],
)
def test_json_paths(path: str, found: list[Any]) -> None:
    obj = {"a": {"b": 1}, "c": [{"n": "x", "v": 1}, {"n": "y", "v": 2}], "d.e": "dotted"}
    assert compile_path(path)(obj) == found


def test_a_json_path_outside_the_grammar_is_refused() -> None:
    with pytest.raises(JsonPathError, match="unterminated array"):
        compile_path(".a[")


def test_custom_columns_have_the_types_they_declare() -> None:
    printer = custom_printer(
        [
            {"name": "Size", "type": "string", "jsonPath": ".spec.size"},
            {"name": "N", "type": "integer", "jsonPath": ".spec.n"},
            {"name": "On", "type": "boolean", "jsonPath": ".spec.on"},
            {"name": "Wide", "type": "string", "jsonPath": ".spec.list", "priority": 1},
            {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        ]
    )
    obj = {
        "metadata": {"name": "w", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"size": "M", "n": "no number", "on": True, "list": [1, 2]},
    }
    assert printer.cells(obj, NOW) == ["w", "M", None, True, "[1,2]", "24h"]
    assert [d["priority"] for d in printer.definitions] == [0, 0, 0, 0, 1, 0]


def test_a_kind_without_columns_shows_its_age() -> None:
    assert [d["name"] for d in custom_printer([]).definitions] == ["Name", "Age"]


def pod(**status: Any) -> Json:
    return {"metadata": {"name": "p"}, "spec": {"containers": [{}], "initContainers": [{}]}, "status": status}


@pytest.mark.parametrize(
    ("obj", "text"),
    [
        (pod(phase="Pending"), "Pending"),
        (pod(phase="Running", containerStatuses=[{"ready": True, "state": {"running": {}}}]), "Running"),
        (pod(phase="Succeeded", containerStatuses=[{"state": {"terminated": {"reason": "Completed"}}}]), "Completed"),
        (pod(phase="Failed", containerStatuses=[{"state": {"terminated": {"exitCode": 3}}}]), "ExitCode:3"),
        (pod(phase="Pending", containerStatuses=[{"state": {"waiting": {"reason": "ErrImagePull"}}}]), "ErrImagePull"),
        (pod(phase="Pending", initContainerStatuses=[{"state": {"running": {}}}]), "Init:0/1"),
        (pod(phase="Pending", initContainerStatuses=[{"state": {"terminated": {"exitCode": 1}}}]), "Init:ExitCode:1"),
        ({**pod(phase="Running"), "metadata": {"deletionTimestamp": "x"}}, "Terminating"),
    ],
)
def test_the_status_of_a_pod_is_that_of_kubectl(obj: Json, text: str) -> None:
    assert pod_status(obj) == text


def cells(kind: RESTMapping, obj: Json) -> dict[str, Any]:
    printer = builtin_printer(kind)
    named = {"metadata": {"name": "x", "creationTimestamp": "2026-01-01T00:00:00Z"}, **obj}
    return dict(zip([d["name"] for d in printer.definitions], printer.cells(named, NOW), strict=True))


def test_columns_of_volumes_jobs_and_nodes() -> None:
    volume = cells(
        RESTMapping.of("", "v1", "PersistentVolume", namespaced=False),
        {
            "spec": {
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce", "ReadOnlyMany"],
                "claimRef": {"namespace": "a", "name": "b"},
            },
            "status": {"phase": "Bound"},
        },
    )
    assert (volume["Capacity"], volume["Access Modes"], volume["Claim"], volume["Status"]) == (
        "1Gi", "RWO,ROX", "a/b", "Bound",
    )  # fmt: skip
    job = cells(
        RESTMapping.of("batch", "v1", "Job"),
        {
            "spec": {"completions": 1},
            "status": {
                "succeeded": 1,
                "startTime": "2026-01-01T00:00:00Z",
                "completionTime": "2026-01-01T00:00:30Z",
                "conditions": [{"type": "Complete", "status": "True"}],
            },
        },
    )
    assert (job["Status"], job["Completions"], job["Duration"]) == ("Complete", "1/1", "30s")
    node = cells(
        RESTMapping.of("", "v1", "Node", namespaced=False),
        {"spec": {"unschedulable": True}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}},
    )
    assert (node["Status"], node["Roles"]) == ("Ready,SchedulingDisabled", "<none>")


@pytest.mark.parametrize("kind", sorted(__import__("localmodel.sandbox.apiserver.printers", fromlist=["x"]).COLUMNS))
def test_every_printer_stands_an_empty_object(kind: str) -> None:
    plural, _, group = kind.partition(".")
    assert cells(RESTMapping.of(group, "v1", "Kind", plural), {})["Name"] == "x"


def test_selectors_read_as_in_kubectl() -> None:
    selector = {
        "matchLabels": {"a": "b"},
        "matchExpressions": [
            {"key": "c", "operator": "In", "values": ["d", "e"]},
            {"key": "f", "operator": "DoesNotExist"},
        ],
    }
    assert format_selector(selector) == "a=b,c in (d,e),!f"
