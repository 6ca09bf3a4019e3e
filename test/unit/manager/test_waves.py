"""maxConcurrentDownloads: entries are admitted in waves."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from support.manager import Behind, Cluster, agent_pod, cache, group, node

from localmodel.api import LocalModelCache, LocalModelNode, LocalModelNodeGroup
from localmodel.manager.waves import TURN_CHECK_SECONDS
from localmodel.runtime.conditions import find_status_condition
from localmodel.runtime.delegating_client import DelegatingClient
from localmodel.runtime.errors import ForbiddenError, TransportError
from localmodel.runtime.objects import Node, Pod

NODES = ("a", "b", "c")


def cluster_of(*nodes: str, limit: int = 1, agents: bool = True) -> Cluster:
    pods = [agent_pod(name) for name in nodes] if agents else []
    return Cluster(group(maxConcurrentDownloads=limit), cache(), *(node(name) for name in nodes), *pods)


def reconcile(cluster: Cluster, *nodes: str) -> list[str]:
    """The nodes that have the entry then."""
    for name in nodes:
        cluster.reconcile_node(name)
    return [name for name in nodes if cluster.entries(name)]


def set_limit(cluster: Cluster, limit: int) -> None:
    changed = cluster.client.get(LocalModelNodeGroup, "gpu")
    changed.spec.max_concurrent_downloads = limit
    cluster.client.update(changed)


def test_without_a_limit_every_node_is_admitted() -> None:
    assert reconcile(cluster_of(*NODES, limit=0, agents=False), *NODES) == ["a", "b", "c"]


def test_no_more_nodes_than_the_limit_are_admitted() -> None:
    assert reconcile(cluster_of(*NODES, limit=2), *NODES) == ["a", "b"]


def test_a_node_that_waits_looks_again_by_itself() -> None:
    cluster = cluster_of(*NODES)
    reconcile(cluster, "a")
    result = cluster.reconcile_node("b")
    assert result is not None
    assert result.requeue_after == TURN_CHECK_SECONDS


@pytest.mark.parametrize(
    ("status", "fields", "admits"),
    [
        ("ModelDownloadPending", {"reason": "Waiting"}, False),
        ("ModelDownloading", {"reason": "Downloading"}, False),
        ("ModelDownloaded", {}, True),
        ("ModelDownloadError", {}, True),
        ("ModelDownloadPending", {"reason": "InsufficientStorage"}, True),
        ("ModelDownloadPending", {"reason": "Evicted"}, True),
    ],
)
def test_a_slot_is_free_when_its_node_is_not_at_work(status: str, fields: dict[str, Any], admits: bool) -> None:
    cluster = cluster_of(*NODES)
    reconcile(cluster, "a")
    cluster.say("iris", status, node="a", **fields)
    assert reconcile(cluster, *NODES) == (["a", "b"] if admits else ["a"])


def test_a_node_that_is_lost_gives_its_slot_back() -> None:
    cluster = cluster_of(*NODES)
    reconcile(cluster, "a")
    cluster.client.status.patch(node("a"), {"status": node(ready=False).status.to_dict()})
    assert reconcile(cluster, *NODES) == ["a", "b"]


def test_a_node_that_is_deleted_gives_its_slot_back() -> None:
    cluster = cluster_of(*NODES)
    reconcile(cluster, "a")
    cluster.client.delete(cluster.client.get(Node, "a"))
    assert reconcile(cluster, *NODES) == ["b"]


def test_a_node_whose_agent_is_lost_gives_its_slot_back_and_keeps_its_entry() -> None:
    cluster = cluster_of(*NODES)
    reconcile(cluster, "a")
    cluster.client.delete(cluster.client.get(Pod, "agent-a", namespace="kserve"))
    assert reconcile(cluster, *NODES) == ["a", "b"]


def test_a_node_without_an_agent_is_not_admitted_before_it_has_one() -> None:
    cluster = cluster_of("a", agents=False)
    assert reconcile(cluster, "a") == []
    cluster.start_agent("a")
    assert reconcile(cluster, "a") == ["a"]


def test_a_node_with_a_slot_gets_all_entries_of_the_group() -> None:
    cluster = cluster_of(*NODES)
    reconcile(cluster, *NODES)
    cluster.client.create(cache("more"))
    reconcile(cluster, *NODES)
    assert [cluster.entries(name) for name in NODES] == [["iris", "more"], [], []]


def test_a_node_that_is_done_waits_again_for_a_new_entry_and_keeps_the_old_ones() -> None:
    cluster = cluster_of("a", "b")
    reconcile(cluster, "a")
    cluster.say("iris", "ModelDownloaded", node="a")
    reconcile(cluster, "b")
    cluster.client.create(cache("more"))
    reconcile(cluster, "a", "b")
    assert [cluster.entries(name) for name in ("a", "b")] == [["iris"], ["iris", "more"]]


def test_groups_have_slots_of_their_own() -> None:
    cluster = Cluster(
        group("gpu", maxConcurrentDownloads=1),
        group("cpu", maxConcurrentDownloads=1),
        cache("iris", "gpu", "cpu"),
        *(node(name, pool=pool) for name, pool in (("a", "gpu"), ("b", "gpu"), ("c", "cpu"), ("d", "cpu"))),
        *(agent_pod(name) for name in "abcd"),
    )
    assert reconcile(cluster, *"abcd") == ["a", "c"]


def test_a_group_without_limit_does_not_wait_for_one_with() -> None:
    everything = group("all", operator="NotIn")
    cluster = cluster_of("a", "b")
    for obj in (everything, cache("x", "all")):
        cluster.client.create(obj)
    reconcile(cluster, "a", "b")
    assert [cluster.entries(name) for name in ("a", "b")] == [["iris", "x"], ["x"]]


def test_a_lowered_limit_stops_new_admissions_only() -> None:
    cluster = cluster_of(*NODES, limit=2)
    reconcile(cluster, "a", "b")
    set_limit(cluster, 1)
    assert reconcile(cluster, *NODES) == ["a", "b"]
    cluster.say("iris", "ModelDownloaded", node="a")
    assert reconcile(cluster, *NODES) == ["a", "b"]


def test_a_raised_limit_admits_at_once() -> None:
    cluster = cluster_of(*NODES)
    reconcile(cluster, *NODES)
    set_limit(cluster, 2)
    assert reconcile(cluster, *NODES) == ["a", "b"]


def test_a_cache_made_anew_with_another_uri_waits_for_its_turn() -> None:
    cluster = cluster_of("a", "b", limit=2)
    reconcile(cluster, "a", "b")
    cluster.say("iris", "ModelDownloaded", node="a")
    set_limit(cluster, 1)
    cluster.client.delete(cluster.client.get(LocalModelCache, "iris"))
    cluster.client.create(cache("iris", sourceModelUri="hf://o/new"))
    assert reconcile(cluster, "a") == []


def test_a_lost_local_model_node_comes_back_with_what_the_node_has_d02() -> None:
    cluster = cluster_of("a", "b")
    reconcile(cluster, "a")
    cluster.say("iris", "ModelDownloaded", node="a")
    reconcile(cluster, "a", "b")
    cluster.client.delete(cluster.local_model_node("a"))
    assert reconcile(cluster, "a") == ["a"]


def test_the_cache_tells_who_waits_for_a_turn() -> None:
    cluster = cluster_of(*NODES)
    reconcile(cluster, *NODES)
    cluster.say("iris", "ModelDownloading", node="a")
    cluster.reconcile_cache()
    for type_ in ("Ready", "Progressing"):
        condition = find_status_condition(cluster.cache().status.conditions, type_)
        assert condition is not None
        assert "b, c: waiting for its turn (maxConcurrentDownloads 1 of group gpu)" in condition.message


# behind its own writes ---------------------------------------------------------------------------------------------


def test_an_admission_counts_before_the_cache_shows_it() -> None:
    cluster = cluster_of(*NODES)
    cluster.nodes.client = Behind(cluster.client)
    assert reconcile(cluster, *NODES) == ["a"]


def test_an_admission_counts_though_its_write_failed_after_it_was_done() -> None:
    cluster = cluster_of(*NODES)
    cluster.nodes.client = Behind(_Losing(cluster.client))
    with pytest.raises(TransportError):
        cluster.reconcile_node("a")
    assert cluster.entries("a") == ["iris"]
    cluster.nodes.client = Behind(cluster.client)
    assert reconcile(cluster, "b") == []


class _Losing(DelegatingClient):
    """Writes that are done, and say that they failed."""

    def write(self, write: Any) -> Any:
        self.inner.write(write)
        raise TransportError("lost")


def test_a_slot_whose_write_was_refused_is_free() -> None:
    cluster = cluster_of(*NODES)
    cluster.client.faults.fail(ForbiddenError.of("no"), verb="create", kind=LocalModelNode)
    with pytest.raises(ForbiddenError):
        cluster.reconcile_node("a")
    assert reconcile(cluster, "b") == ["b"]


def test_an_admission_that_is_never_seen_is_forgotten_in_the_end() -> None:
    cluster = cluster_of(*NODES)
    cluster.nodes.client = Behind(cluster.client)
    reconcile(cluster, "a")
    cluster.clock.advance(301)
    assert reconcile(cluster, "b") == ["b"]


def test_workers_at_the_same_time_keep_the_limit() -> None:
    names = [f"node-{number}" for number in range(12)]
    cluster = cluster_of(*names, limit=3)
    cluster.nodes.client = Behind(cluster.client)
    start = threading.Barrier(len(names))

    def work(name: str) -> None:
        start.wait(10)
        cluster.reconcile_node(name)

    threads = [threading.Thread(target=work, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len([name for name in names if cluster.entries(name)]) == 3


def test_a_full_group_is_counted_once_for_all_that_it_refuses() -> None:
    names = [f"node-{number:02}" for number in range(20)]
    cluster = cluster_of(*names)
    reconcile(cluster, *names[:2])
    cluster.client.actions.clear()
    reconcile(cluster, *names[2:])
    assert not [a for a in cluster.client.actions if a.verb == "list" and a.kind is LocalModelNode]
