"""Which events wake which nodes."""

from __future__ import annotations

from typing import Any

import pytest
from support.manager import Behind, Cluster, Queue, agent_pod, cache, detailed, group, node, service

from localmodel.api import LocalModelNode
from localmodel.api.names import WANTED_ANNOTATION
from localmodel.manager.turns import EnqueueNextInLine, EnqueueNodeReported
from localmodel.manager.watching import BURST_SECONDS, NODE_CHANGED
from localmodel.runtime.event import CreateEvent, DeleteEvent, Event, UpdateEvent
from localmodel.runtime.objects import ObjectMeta, Pod


class Line(Cluster):
    """Nodes a to d, of which two may download: a and b do, c and d wait."""

    def __init__(self) -> None:
        names = "abcd"
        super().__init__(
            group(maxConcurrentDownloads=2), cache(), *map(node, names), *(agent_pod(name) for name in names)
        )
        for name in names:
            self.reconcile_node(name)
        self.handler = EnqueueNextInLine(self.nodes._waves, self.nodes)

    def woken(self, event: Event[Any]) -> list[str]:
        queue = Queue()
        self.handler.handle(event, queue)  # type: ignore[arg-type]
        return list(queue.added)

    def finish(self, *names: str) -> list[list[str]]:
        """Who is woken by each of their reports."""
        woken = []
        for name in names:
            old = self.local_model_node(name)
            self.say("iris", "ModelDownloaded", node=name)
            woken.append(self.woken(UpdateEvent(old, self.local_model_node(name))))
        return woken


def test_a_free_slot_wakes_the_first_by_name() -> None:
    assert Line().finish("a") == [["c"]]


def test_each_free_slot_wakes_one() -> None:
    assert Line().finish("a", "b") == [["c"], ["c", "d"]]


def test_progress_wakes_nobody() -> None:
    line = Line()
    old = line.local_model_node("a")
    line.say("iris", "ModelDownloading", node="a", bytesDownloaded=1)
    assert line.woken(UpdateEvent(old, line.local_model_node("a"))) == []


def test_an_entry_that_is_taken_away_frees_its_slot() -> None:
    line = Line()
    old = line.local_model_node("a")
    new = old.deepcopy()
    new.spec.local_models = []
    line.client.update(new)
    assert line.woken(UpdateEvent(old, line.local_model_node("a"))) == ["c"]


def test_a_local_model_node_that_goes_frees_its_slot() -> None:
    line = Line()
    old = line.local_model_node("a")
    line.client.delete(old)
    assert line.woken(DeleteEvent(old)) == ["c"]


def test_a_node_that_stops_being_ready_frees_its_slot() -> None:
    line = Line()
    line.client.status.patch(node("a"), {"status": node(ready=False).status.to_dict()})
    assert line.woken(UpdateEvent(node("a"), node("a", ready=False))) == ["c"]


def test_a_node_that_goes_frees_its_slot() -> None:
    line = Line()
    line.client.delete(node("a"))
    assert line.woken(DeleteEvent(node("a"))) == ["c"]


def test_an_agent_that_goes_queues_its_node_and_frees_its_slot() -> None:
    line = Line()
    pod = line.client.get(Pod, "agent-a", namespace="kserve")
    line.client.delete(pod)
    assert line.woken(DeleteEvent(pod)) == ["a", "c"]


def test_an_agent_that_gets_ready_queues_its_node() -> None:
    assert Line().woken(UpdateEvent(agent_pod("z", ready=False), agent_pod("z"))) == ["z"]


@pytest.mark.parametrize("ready", [True, False])
def test_an_agent_that_stays_as_it_is_queues_nobody(ready: bool) -> None:
    assert Line().woken(UpdateEvent(agent_pod("a", ready=ready), agent_pod("a", ready=ready))) == []


def test_a_node_that_does_not_wait_any_more_is_not_woken() -> None:
    line = Line()
    line.client.patch(node("c"), {"metadata": {"labels": {"pool": "none"}}})
    line.reconcile_node("c")
    assert line.finish("a") == [["d"]]


def unseen() -> tuple[Cluster, EnqueueNextInLine]:
    """Node a was admitted, which the cache does not show, and b waits."""
    cluster = Cluster(group(maxConcurrentDownloads=1), cache(), *map(node, "ab"), *map(agent_pod, "ab"))
    cluster.nodes.client = Behind(cluster.client)
    for name in "ab":
        cluster.reconcile_node(name)
    return cluster, EnqueueNextInLine(cluster.nodes._waves, cluster.nodes)


def test_an_admission_whose_node_is_done_when_first_seen_frees_its_slot() -> None:
    cluster, handler = unseen()
    cluster.nodes.client = cluster.client
    cluster.say("iris", "ModelDownloaded", node="a")
    queue = Queue()
    handler.handle(CreateEvent(cluster.local_model_node("a")), queue)  # type: ignore[arg-type]
    assert list(queue.added) == ["b"]


def test_an_admission_whose_node_is_deleted_when_first_seen_frees_its_slot() -> None:
    cluster, handler = unseen()
    queue = Queue()
    handler.handle(DeleteEvent(cluster.local_model_node("a")), queue)  # type: ignore[arg-type]
    assert list(queue.added) == ["b"]


def test_nobody_is_woken_while_more_hold_a_slot_than_may() -> None:
    line = Line()
    changed = line.client.get(type(group()), "gpu")
    changed.spec.max_concurrent_downloads = 1
    line.client.update(changed)
    assert line.finish("a") == [[]]


# what a node reports -----------------------------------------------------------------------------------------------


def reported(old: LocalModelNode, new: LocalModelNode, until_labelled: float = 0.0) -> dict[str, float]:
    queue = Queue()
    line = EnqueueNextInLine(Cluster().nodes._waves, Cluster().nodes)
    EnqueueNodeReported(line, lambda _: until_labelled).handle(UpdateEvent(old, new), queue)  # type: ignore[arg-type]
    return queue.added


def report(status: str, **fields: Any) -> LocalModelNode:
    made = LocalModelNode(metadata=ObjectMeta(name="node-1", generation=1))
    made.spec = type(made.spec).from_dict({"localModels": [{"modelName": "iris", "sourceModelUri": "hf://o/m"}]})
    detailed(made, "iris", status, **fields)
    return made


def test_progress_is_nothing_to_a_node() -> None:
    old, new = (report("ModelDownloading", reason="Downloading", bytesDownloaded=done) for done in (1, 2))
    assert reported(old, new) == {}


def test_a_new_copy_queues_its_node_a_moment_later() -> None:
    assert reported(report("ModelDownloading"), report("ModelDownloaded")) == {"node-1": BURST_SECONDS}


def test_a_new_copy_waits_for_the_time_of_the_next_patch() -> None:
    assert reported(report("ModelDownloading"), report("ModelDownloaded"), 7.0) == {"node-1": 7.0}


def test_a_lost_copy_queues_its_node() -> None:
    assert reported(report("ModelDownloaded"), report("ModelDownloadPending")) == {"node-1": BURST_SECONDS}


def test_an_eviction_queues_its_node_whenever_labels_may_be_written() -> None:
    old, new = report("ModelDownloaded"), report("ModelDownloadPending", reason="Evicted")
    assert reported(old, new, 7.0) == {"node-1": BURST_SECONDS}


def test_a_changed_annotation_or_generation_queues_its_node_at_once() -> None:
    old, forged, changed = report("ModelDownloading"), report("ModelDownloading"), report("ModelDownloading")
    forged.metadata.annotations[WANTED_ANNOTATION] = "x"
    changed.metadata.generation = 2
    assert reported(old, forged) == reported(old, changed) == {"node-1": 0.0}


@pytest.mark.parametrize("event", [CreateEvent, DeleteEvent])
def test_a_local_model_node_that_comes_or_goes_queues_its_node(event: Any) -> None:
    queue = Queue()
    line = EnqueueNextInLine(Cluster().nodes._waves, Cluster().nodes)
    EnqueueNodeReported(line, lambda _: 9.0).handle(event(report("")), queue)  # type: ignore[arg-type]
    assert queue.added == {"node-1": 0.0}


def test_our_own_labels_are_no_change_of_a_node_to_caches_and_groups() -> None:
    labelled = node()
    labelled.metadata.labels["localmodel.kserve.io/0123456789abcdef"] = "ready"
    assert not NODE_CHANGED.matches(UpdateEvent(node(), labelled))
    labelled.metadata.labels["localmodel.kserve.io/node-group"] = "gpu"
    assert NODE_CHANGED.matches(UpdateEvent(node(), labelled))


def test_a_service_queues_the_nodes_that_evicted_its_model() -> None:
    cluster = Cluster(node("a"), node("b"), node("c"), group(), cache(), cache("other"))
    for name in "abc":
        cluster.reconcile_node(name)
    cluster.say("iris", "ModelDownloadPending", node="a", reason="Evicted")
    cluster.say("other", "ModelDownloadPending", node="b", reason="Evicted")
    assert [request.name for request in cluster.nodes._nodes_without_model_of(service("s", "team-a"))] == ["a"]
