"""What is told when caches and groups become ready, and when they cease to be."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from support.manager import JOBS, Cluster, agent_pod, cache, group, node

from localmodel.api import LocalModelCacheStatus
from localmodel.manager.readiness import cache_events, group_events
from localmodel.manager.status import NodeView, Observation, Problem, cache_status
from localmodel.runtime.objects import Condition, Node, PersistentVolume, PersistentVolumeClaim
from localmodel.runtime.testing import FakeClock

CLOCK = FakeClock()
NOTHING = LocalModelCacheStatus()


def of(states: dict[str, str], **seen: Any) -> LocalModelCacheStatus:
    nodes = [NodeView(node=name, status=f"Node{state}") for name, state in sorted(states.items())]
    return cache_status(Observation(nodes=nodes, **seen), NOTHING, clock=CLOCK)


def many(state: str, count: int = 1000) -> LocalModelCacheStatus:
    return of({f"node-{number:04}": state for number in range(count)})


# caches ---------------------------------------------------------------------------------------------------------------


def test_a_model_that_is_everywhere_is_told_once() -> None:
    some, everywhere = of({"a": "Downloaded", "b": "Downloading"}), of({"a": "Downloaded", "b": "Downloaded"})
    assert cache_events(some, everywhere) == [("Normal", "Available", "2 of 2 nodes have the model")]
    assert cache_events(everywhere, everywhere) == []
    assert cache_events(everywhere, of({"a": "Downloaded"})) == []


def test_what_kserves_crds_pruned_is_no_news() -> None:
    everywhere = of({"a": "Downloaded"})
    pruned = everywhere.model_copy(update={"conditions": []})
    assert cache_events(pruned, everywhere) == []
    assert [event[1] for event in cache_events(pruned, of({"a": "Downloaded", "b": "Downloading"}))] == ["NotAvailable"]


def test_a_cache_that_is_not_everywhere_any_more_says_why() -> None:
    everywhere, more = of({"a": "Downloaded"}), of({"a": "Downloaded", "b": "DownloadPending"})
    assert cache_events(everywhere, more) == [
        ("Normal", "NotAvailable", "1 of 2 nodes have the model"),
    ]
    away = of({"a": "NotReady"})
    assert cache_events(everywhere, away) == [
        ("Normal", "NotAvailable", "0 of 1 nodes have the model; node a is not ready"),
    ]


@pytest.mark.parametrize(("seen", "reason"), [({"without_agent": ["a"]}, "NoAgentOnNode"), ({"nodes": {}}, "NoNodes")])
def test_what_waits_for_a_person_is_a_warning_also_for_a_new_cache(seen: dict[str, Any], reason: str) -> None:
    states = seen.pop("nodes", {"a": "DownloadPending"})
    stuck = of(states, **seen)
    assert [event[:2] for event in cache_events(NOTHING, stuck)] == [("Warning", reason)]
    assert cache_events(stuck, stuck) == []


def test_progress_is_no_event() -> None:
    steps = [NOTHING, of({"a": "DownloadPending"}), of({"a": "Downloading"}), of({"a": "DownloadError"})]
    assert [cache_events(old, new) for old, new in itertools.pairwise(steps)] == [[], [], []]


def test_a_problem_is_told_elsewhere() -> None:
    stuck = of({"a": "DownloadPending"}, problems=[Problem(reason="VolumeConflict", message="m")])
    assert cache_events(NOTHING, stuck) == []


def test_a_copy_that_is_gone_is_told() -> None:
    everywhere = of({"a": "Downloaded", "b": "Downloaded"})
    assert cache_events(everywhere, of({"a": "Downloaded", "b": "DownloadPending"}))[0] == (
        "Normal", "CopyGone", "The model is no longer on node b",
    )  # fmt: skip


def test_a_node_that_is_away_or_left_has_lost_nothing() -> None:
    everywhere = of({"a": "Downloaded", "b": "Downloaded"})
    for states in ({"a": "Downloaded", "b": "NotReady"}, {"a": "Downloaded"}):
        assert "CopyGone" not in [event[1] for event in cache_events(everywhere, of(states))]


def test_a_thousand_nodes_make_few_events() -> None:
    events = cache_events(many("Downloaded"), many("DownloadPending"))
    assert [event[1] for event in events] == ["CopyGone", "NotAvailable"]
    assert all(len(message) < 1024 for _, _, message in events)


def test_a_deletion_that_waits_names_the_nodes_once() -> None:
    before, waits = of({"a": "Downloaded"}), of({"a": "Downloaded"}, waiting_for=["a"])
    assert cache_events(before, waits) == [("Normal", "Deleting", "waiting for node a to remove the model")]
    assert cache_events(waits, of({"a": "Downloaded"}, waiting_for=["b"])) == []


def test_a_whole_life_is_told() -> None:
    cluster = Cluster(node(), group(), cache())
    cluster.start_agent("node-1")
    for state in ("ModelDownloading", "ModelDownloaded", "ModelDownloaded", "ModelDownloadPending", "ModelDownloaded"):
        cluster.reconcile_node()
        cluster.report(iris=state)
        cluster.clock.advance(1.0)
        cluster.reconcile_cache()
    cluster.client.delete(cluster.cache())
    for _ in range(2):
        cluster.clock.advance(1.0)
        cluster.reconcile_cache()
    assert cluster.recorder.reasons == [
        "Downloaded", "Available", "CopyGone", "NotAvailable", "Downloaded", "Available", "Deleting",
    ]  # fmt: skip


# groups ---------------------------------------------------------------------------------------------------------------


def ready(status: str, reason: str) -> list[Condition]:
    return [Condition.from_dict({"type": "Ready", "status": status, "reason": reason, "message": "m"})]


def test_a_group_tells_when_it_loses_and_finds_its_nodes() -> None:
    nodes, none = ready("True", "NodesFound"), ready("False", "NoNodes")
    assert group_events(nodes, none) == [("Warning", "NoNodes", "m")]
    assert group_events(none, nodes) == [("Normal", "NodesFound", "The group has nodes")]
    assert group_events(none, none) == group_events([], none) == group_events([], nodes) == []


@pytest.mark.parametrize("reason", ["InvalidNodeAffinity", "NoNodeAffinity"])
def test_a_group_that_can_have_no_nodes_is_told_at_once(reason: str) -> None:
    assert group_events([], ready("False", reason)) == [("Warning", reason, "m")]


def test_the_group_carries_its_events() -> None:
    cluster = Cluster(node(), agent_pod(), group())
    cluster.reconcile_group()
    cluster.client.delete(cluster.client.get(Node, "node-1"))
    cluster.reconcile_group()
    cluster.recorder.expect("NoNodes", type_="Warning")


# volumes --------------------------------------------------------------------------------------------------------------


def test_a_volume_whose_claim_is_gone_is_told_once() -> None:
    cluster = Cluster(group(), cache())
    cluster.reconcile_cache()
    volume = cluster.client.get(PersistentVolume, "iris-gpu-download")
    assert volume.spec.claim_ref is not None
    volume.spec.claim_ref.uid = "old"
    volume = cluster.client.update(volume)
    cluster.client.status.patch(volume, {"status": {"phase": "Released"}})
    for _ in range(2):
        cluster.reconcile_cache()
    assert cluster.recorder.reasons.count("VolumeReleased") == 1
    cluster.recorder.expect("VolumeReleased", "The claim of PersistentVolume iris-gpu-download is gone")


def test_a_volume_of_another_path_that_is_made_anew_is_told() -> None:
    cluster = Cluster(group(), cache())
    cluster.reconcile_cache()
    cluster.client.update(
        group(path="/mnt/other").model_copy(update={"metadata": cluster.client.get(type(group()), "gpu").metadata})
    )
    for _ in range(3):
        cluster.reconcile_cache()
    assert cluster.recorder.reasons.count("VolumeReplaced") == 1
    assert cluster.client.find(PersistentVolumeClaim, "iris-gpu", namespace=JOBS) is not None
