"""The status of a cache, out of what nodes report."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localmodel.api import LocalModelCacheStatus, LocalModelNode, NamespacedName
from localmodel.manager.reports import Report, reports_of
from localmodel.manager.status import (
    MAX_FAILURES,
    NodeView,
    Observation,
    Problem,
    cache_status,
    missing_groups,
    observe,
    shorten,
    transitions,
)
from localmodel.runtime.conditions import find_status_condition
from localmodel.runtime.objects import Condition
from localmodel.runtime.testing.fake_clock import FakeClock

CLOCK = FakeClock()
STATUSES = ["ModelDownloaded", "ModelDownloadError", "ModelDownloading", "ModelDownloadPending"]
STATES = ["NodeNotReady", "NodeDownloadPending", "NodeDownloading", "NodeDownloaded", "NodeDownloadError"]


def views(**states: str) -> list[NodeView]:
    return [NodeView(node=name.replace("_", "-"), status=f"Node{state}") for name, state in states.items()]


def status(nodes: list[NodeView], old: LocalModelCacheStatus | None = None, **seen: Any) -> LocalModelCacheStatus:
    return cache_status(Observation(nodes=nodes, **seen), old or LocalModelCacheStatus(), clock=CLOCK)


def condition(of: LocalModelCacheStatus, type_: str) -> tuple[str, str, str]:
    found = find_status_condition(of.conditions, type_)
    assert found is not None
    return found.status, found.reason, found.message


def local_model_node(name: str, *entries: str, **model_status: str) -> LocalModelNode:
    return LocalModelNode.from_dict(
        {
            "metadata": {"name": name},
            "spec": {"localModels": [{"modelName": entry, "sourceModelUri": "x"} for entry in entries]},
            "status": {"modelStatus": model_status},
        }
    )


def reports(*nodes: LocalModelNode) -> dict[str, Report]:
    """What they say of iris."""
    return {node.name: found["iris"] for node in nodes if "iris" in (found := reports_of(node))}


def test_what_a_node_reports_is_mapped_as_kserve_does() -> None:
    nodes = [
        local_model_node("a", "iris", iris="ModelDownloaded"),
        local_model_node("b", "iris", iris="ModelDownloadError"),
        local_model_node("c", "iris", iris="ModelDownloading"),
        local_model_node("d", "iris", iris="ModelDownloadPending"),
        local_model_node("e", "iris"),
        local_model_node("f", "iris", iris=""),
        local_model_node("g", iris="ModelDownloaded"),
    ]
    assert {view.node: str(view.status) for view in observe("x", [], reports(*nodes))} == {
        "a": "NodeDownloaded",
        "b": "NodeDownloadError",
        "c": "NodeDownloading",
        "d": "NodeDownloadPending",
        "e": "NodeDownloadPending",
        "f": "NodeDownloadPending",
    }


def test_members_count_before_they_have_an_entry_d62() -> None:
    nodes = reports(local_model_node("a", "iris", iris="ModelDownloaded"))
    seen = observe("x", [("b", True), ("c", False)], nodes)
    assert [(view.node, str(view.status)) for view in seen] == [
        ("a", "NodeDownloaded"),
        ("b", "NodeDownloadPending"),
        ("c", "NodeNotReady"),
    ]
    made = status(seen)
    assert made.copies is not None
    assert made.copies.to_dict() == {"available": 1, "total": 3, "failed": 0}
    assert condition(made, "Ready")[0] == "False"


def test_a_node_that_stops_being_ready_no_longer_counts_as_available_d30() -> None:
    seen = observe("x", [("a", False)], reports(local_model_node("a", "iris", iris="ModelDownloaded")))
    assert [str(view.status) for view in seen] == ["NodeNotReady"]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("RootNotMounted", "NodeNotReady"),
        ("DiskNotResponding", "NodeNotReady"),
        ("ReadOnlyFileSystem", "NodeDownloaded"),
        ("DiskFull", "NodeDownloaded"),
        ("Ready", "NodeDownloaded"),
    ],
)
def test_a_node_whose_disk_cannot_be_read_does_not_count_as_available(reason: str, expected: str) -> None:
    node = local_model_node("a", "iris", iris="ModelDownloaded")
    told = Condition(type="StorageReady", status="True" if reason == "Ready" else "False", reason=reason, message="Lo!")
    node.status.conditions = [told]
    seen = observe("x", [("a", True), ("b", False)], reports(node))
    assert str(seen[0].status) == expected
    made = status(seen)
    if expected == "NodeNotReady":
        assert condition(made, "Ready")[2] == "0 of 2 nodes have the model; node b is not ready; a: Lo!"


def test_a_node_that_is_ready_again_is_no_news() -> None:
    old, new = (LocalModelCacheStatus(node_status={"a": status}) for status in ("NodeNotReady", "NodeDownloaded"))
    assert transitions(old, new, ()) == []


def test_nodes_that_are_gone_leave_the_status_d29() -> None:
    before = status(views(a="Downloaded", b="Downloaded"))
    after = status(views(a="Downloaded"), before)
    assert after.node_status == {"a": "NodeDownloaded"}
    assert after.copies is not None
    assert after.copies.total == 1


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        (views(), ("False", "NoNodes")),
        (views(a="Downloaded", b="Downloaded"), ("True", "AllCopiesAvailable")),
        (views(a="Downloaded", b="Downloading"), ("False", "Downloading")),
        (views(a="Downloaded", b="DownloadPending"), ("False", "DownloadPending")),
        (views(a="Downloaded", b="NotReady"), ("False", "NodeNotReady")),
        (views(a="Downloading", b="DownloadError"), ("False", "DownloadFailed")),
    ],
)
def test_ready_says_why_not(nodes: list[NodeView], expected: tuple[str, str]) -> None:
    assert condition(status(nodes, node_groups=["gpu"]), "Ready")[:2] == expected


def test_a_missing_group_is_named_and_the_others_go_on() -> None:
    made = status(views(a="Downloaded"), problems=[missing_groups(["gpu2"])])
    assert condition(made, "Ready") == ("False", "NodeGroupNotFound", "LocalModelNodeGroup gpu2 not found")
    assert condition(made, "Degraded")[:2] == ("True", "NodeGroupNotFound")
    assert made.copies is not None
    assert made.copies.available == 1


def test_a_failure_names_the_node_and_the_cause() -> None:
    report = Report(reason="DownloadFailed", message="401 Client Error:\nwrong token", attempts=2)
    made = status([NodeView(node="node-1", status="NodeDownloadError", report=report), *views(node_2="Downloaded")])
    assert condition(made, "Degraded") == ("True", "DownloadFailed", "node-1: 401 Client Error: wrong token")
    assert [f.to_dict() for f in made.failures] == [
        {
            "node": "node-1",
            "reason": "DownloadFailed",
            "message": "401 Client Error: wrong token",
            "attempts": 2,
        }
    ]


def test_a_model_that_waits_for_room_is_a_failure_too() -> None:
    report = Report(reason="InsufficientStorage", message="needs 10Gi, 2Gi are free")
    made = status([NodeView(node="node-1", status="NodeDownloadPending", report=report)])
    assert condition(made, "Ready")[1] == "InsufficientStorage"
    assert "2Gi are free" in condition(made, "Degraded")[2]


def test_an_evicted_or_waiting_model_or_one_whose_credentials_are_checked_is_not() -> None:
    for reason in ("Waiting", "Evicted", "CheckingCredentials"):
        made = status([NodeView(node="a", status="NodeDownloadPending", report=Report(reason=reason, message="x"))])
        assert condition(made, "Degraded")[0] == "False"


def test_a_model_that_had_to_go_makes_no_progress_until_it_is_wanted() -> None:
    gone = NodeView(node="a", status="NodeDownloadPending", report=Report(reason="Evicted", message="idle for 15 s"))
    made = status([gone, *views(b="Downloaded")])
    assert condition(made, "Ready") == ("False", "Evicted", "1 of 2 nodes have the model; a: idle for 15 s")
    assert condition(made, "Progressing") == ("False", "Evicted", "a: idle for 15 s")
    for other in ("DownloadPending", "Downloading"):
        assert condition(status([gone, *views(b=other)]), "Progressing")[:2] == ("True", other)


def test_messages_and_failures_are_bounded() -> None:
    report = Report(message="x" * 5000)
    made = status([NodeView(node=f"node-{i:03}", status="NodeDownloadError", report=report) for i in range(200)])
    assert len(made.failures) == MAX_FAILURES
    assert len(made.node_status) == 200
    assert all(len(c.message) <= 1000 for c in made.conditions)
    assert condition(made, "Degraded")[2].startswith(
        "node-000, node-001, node-002, node-003, node-004 and 195 more: xxx"
    )


def test_each_cause_is_told_once_with_its_nodes() -> None:
    causes = {"a": "404", "b": "401", "c": "404", "d": "full", "e": "slow", "f": "gone"}
    made = status(
        [
            NodeView(node=node, status="NodeDownloadError", report=Report(message=cause))
            for node, cause in causes.items()
        ]
    )
    assert condition(made, "Degraded")[2] == "a, c: 404; b: 401; d: full; and 2 nodes more"


@pytest.mark.parametrize(
    ("state", "reason", "expected"),
    [
        ("NodeDownloadPending", "Waiting", '2 nodes yet to start; a, b: secret "hf" not found'),
        ("NodeDownloading", "Retrying", 'downloading to 2 nodes; a, b: secret "hf" not found'),
    ],
)
def test_what_a_download_waits_for_is_told_without_calling_it_a_failure(state: str, reason: str, expected: str) -> None:
    report = Report(reason=reason, message='secret "hf" not found')
    made = status([NodeView(node=node, status=state, report=report) for node in "ab"])
    assert condition(made, "Progressing")[2] == expected
    assert condition(made, "Ready")[2] == '0 of 2 nodes have the model; a, b: secret "hf" not found'
    assert condition(made, "Degraded")[0] == "False"
    assert made.failures == []


def test_progress_sums_what_is_known() -> None:
    nodes = [
        NodeView(node="a", status="NodeDownloaded", report=Report(size_bytes=100, bytes_downloaded=100)),
        NodeView(node="b", status="NodeDownloading", report=Report(size_bytes=100, bytes_downloaded=30)),
        NodeView(node="c", status="NodeDownloadPending"),
        NodeView(node="d", status="NodeDownloaded"),
    ]
    made = status(nodes, model_size="1Ki")
    assert made.progress is not None
    assert made.progress.to_dict() == {"bytesDone": 100 + 30 + 1024, "bytesTotal": 200 + 2 * 1024}


def test_deleting_says_whom_it_waits_for() -> None:
    made = status(views(a="Downloaded"), waiting_for=["a"])
    assert condition(made, "Ready") == ("False", "Deleting", "waiting for node a to remove the model")


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from(STATES)), st.randoms())
def test_equal_facts_give_an_equal_status_d63_d64(states: dict[str, str], random: Any) -> None:
    services = [NamespacedName(namespace="x", name=name) for name in "ab"]
    names = sorted(states)
    seen = Observation(
        nodes=[NodeView(node=name, status=states[name]) for name in names], inference_services=services, generation=1
    )
    first = cache_status(seen, LocalModelCacheStatus(), clock=CLOCK)
    assert cache_status(seen, first, clock=CLOCK) == first
    assert list(first.node_status) == names


def test_unknown_fields_of_a_newer_version_stay() -> None:
    old = LocalModelCacheStatus.from_dict({"added": {"by": "v2"}})
    assert status(views(a="Downloaded"), old).to_dict()["added"] == {"by": "v2"}


def test_events_tell_the_difference_once() -> None:
    problem = Problem(reason="VolumeConflict", message="taken")
    report = Report(reason="DownloadFailed", message="404", attempts=1)
    failing = NodeView(node="b", status="NodeDownloadError", report=report)
    old = status(views(a="Downloading"))
    new = status([*views(a="Downloaded"), failing], old, problems=[problem])
    assert transitions(old, new, [problem]) == [
        ("Normal", "Downloaded", "The model is on node a"),
        ("Warning", "VolumeConflict", "taken"),
        ("Warning", "DownloadFailed", "Node b: 404"),
    ]
    assert transitions(new, new, [problem]) == []


def test_room_that_shrinks_is_no_new_event_but_another_cause_is() -> None:
    def waiting(reason: str, message: str) -> LocalModelCacheStatus:
        report = Report(reason=reason, message=message)
        return status([NodeView(node="a", status="NodeDownloadPending", report=report)])

    old = waiting("InsufficientStorage", "needs 4.5 TiB; models take 87.4 MiB, 196.0 MiB are reserved")
    less = waiting("InsufficientStorage", "needs 4.5 TiB; models take 1.2 GiB, 0 B are reserved")
    assert old.failures != less.failures
    assert transitions(old, less, []) == []
    assert transitions(less, waiting("CredentialsInvalid", "Secret x does not exist"), []) == [
        ("Warning", "CredentialsInvalid", "Node a: Secret x does not exist")
    ]


def test_many_arrivals_at_once_are_one_event() -> None:
    many = views(**{f"n{i}": "Downloaded" for i in range(8)})
    assert transitions(LocalModelCacheStatus(), status(many), []) == [
        ("Normal", "Downloaded", "The model is on nodes n0, n1, n2, n3, n4 and 3 more")
    ]


def test_shorten_gives_one_bounded_line() -> None:
    assert shorten("a\n  b\tc") == "a b c"
    assert len(shorten("x" * 1000)) == 300


def test_the_status_of_ten_thousand_nodes_fits_an_object() -> None:
    """A stock API server takes objects of 1.5 MiB, managed fields included: these are as long again."""
    names = [f"ip-10-{index >> 8}-{index & 255}-77.eu-central-1.compute.internal" for index in range(10_000)]
    said = {
        name: Report(uri="x", status=STATUSES[index % 4], reason="DownloadFailed", message="m" * 1000, attempts=index)
        for index, name in enumerate(names)
    }
    made = status(observe("x", [(name, True) for name in names], said), without_agent=names)
    assert len(made.node_status) == 10_000
    assert len(json.dumps(made.to_dict())) < 700 * 1024
    assert status(observe("x", [(name, True) for name in reversed(names)], said), made, without_agent=names) == made
