"""A deletion always ends, whatever of the cluster is missing, and what it waits for is shown."""

from __future__ import annotations

from typing import Any

import pytest
from support.manager import (
    JOBS,
    Cluster,
    Queue,
    agent_pod,
    cache,
    config_map,
    group,
    namespace_cache,
    node,
    service,
)
from support.rigid import Rigid

from localmodel.api import LocalModelCache, LocalModelNamespaceCache, LocalModelNode, LocalModelNodeGroup
from localmodel.api.names import CACHE_FINALIZER
from localmodel.manager.indexes import InferenceService, LLMInferenceService
from localmodel.manager.served import ServedKinds
from localmodel.manager.turns import EnqueueNextInLine
from localmodel.manager.watching import EnqueueChangedModels
from localmodel.runtime.cache import KindNotServedError
from localmodel.runtime.conditions import find_status_condition
from localmodel.runtime.errors import ForbiddenError, NotFoundError
from localmodel.runtime.event import CreateEvent
from localmodel.runtime.objects import Node, Object, PersistentVolume, PersistentVolumeClaim, Pod
from localmodel.runtime.reconcile import Request
from localmodel.runtime.testing import FakeClient

NODES = ("node-1", "node-2")


def stop_serving(cluster: Cluster, kind: type[Object], *, seen: bool = True) -> None:
    """Its definition is gone. With `seen` the cache never knew objects of it; else it keeps those it has."""
    cluster.caches.live = cluster.namespace_caches.live = live = FakeClient(registry=cluster.client.registry)
    live.withdraw(kind)
    if seen:
        cluster.client.faults.fail(KindNotServedError("not served"), kind=kind, times=None)


def deleted(made: LocalModelCache | LocalModelNamespaceCache | None = None) -> Cluster:
    """A cache that is being deleted while both nodes say that they have the model, and have an agent to remove it."""
    made = made or cache()
    cluster = Cluster(*map(node, NODES), *map(agent_pod, NODES), group(), made)
    cluster.reconcile_cache(made.name, made.namespace)
    for name in NODES:
        cluster.reconcile_node(name)
        cluster.report(name, **{"team_a__iris" if made.namespace else "iris": "ModelDownloaded"})
    cluster.client.delete(made)
    for name in NODES:
        cluster.reconcile_node(name)
    cluster.clock.advance(1.0)
    return cluster


def reported(cluster: Cluster) -> dict[str, float]:
    """Which caches a report of the first node queues, and how much later."""
    queue = Queue()
    handler = EnqueueChangedModels(namespaced=False, until_due=cluster.caches._until_due)
    handler.handle(CreateEvent(cluster.local_model_node()), queue)  # type: ignore[arg-type]
    return queue.added


def test_reports_of_many_nodes_on_a_deletion_cost_one_run_and_do_not_wait_for_the_status() -> None:
    cluster = deleted()
    cluster.reconcile_cache()
    assert cluster.caches._pacer.delay(Request("", "iris"), cluster.clock) > 0.5
    assert reported(cluster) == {"iris": 0.2}


def test_reports_that_come_while_a_deletion_is_first_looked_at_do_not_wait_for_the_status() -> None:
    cluster = deleted()
    queued = []

    def look(*args: Any, **options: Any) -> list[str]:
        queued.append(reported(cluster))
        return list(NODES)

    cluster.caches._deletions.waiting_for = look  # type: ignore[method-assign]
    cluster.caches._pacer.wrote(Request("", "iris"), 1.0, cluster.clock)
    cluster.reconcile_cache()
    assert queued == [{"iris": 0.2}]


def test_a_cache_made_anew_before_anybody_saw_the_end_of_the_old_one_is_no_deletion() -> None:
    cluster = deleted()
    cluster.reconcile_cache()
    found = cluster.cache()
    found.metadata.finalizers = []
    cluster.client.update(found)
    cluster.client.create(cache())
    cluster.reconcile_cache()
    assert reported(cluster) == {"iris": 1.0}


def waits(cluster: Cluster) -> str:
    """What the cache says that it waits for; it has to come back by itself."""
    cluster.clock.advance(1.0)
    result = cluster.reconcile_cache()
    assert result is not None
    assert 0 < result.requeue_after <= 15
    made = cluster.cache()
    assert made.metadata.finalizers == [CACHE_FINALIZER]
    conditions = [find_status_condition(made.status.conditions, name) for name in ("Ready", "Progressing")]
    assert [found and found.reason for found in conditions] == ["Deleting", "Deleting"]
    return conditions[0].message if conditions[0] else ""


def ends(cluster: Cluster, kind: type[Object] = LocalModelCache, namespace: str = "") -> bool:
    cluster.reconcile_cache(namespace=namespace)
    return cluster.client.find(kind, "iris", namespace=namespace) is None


# what it waits for ------------------------------------------------------------------------------------------------


def test_the_nodes_that_it_waits_for_are_named() -> None:
    cluster = deleted()
    assert waits(cluster) == "waiting for nodes node-1, node-2 to remove the model"
    cluster.report("node-1")
    assert waits(cluster) == "waiting for node node-2 to remove the model"
    cluster.report("node-2")
    assert ends(cluster)


def test_a_group_that_goes_before_the_cache_changes_nothing_about_the_wait_d23() -> None:
    cluster = deleted()
    cluster.client.delete(cluster.client.get(LocalModelNodeGroup, "gpu"))
    for name in NODES:
        cluster.reconcile_node(name)
    assert waits(cluster) == "waiting for nodes node-1, node-2 to remove the model"
    for name in NODES:
        cluster.report(name)
    assert ends(cluster)


def test_a_node_that_goes_is_waited_for_no_longer() -> None:
    cluster = deleted()
    waits(cluster)
    cluster.client.delete(cluster.client.get(Node, "node-1"))
    cluster.reconcile_node("node-1")
    assert waits(cluster) == "waiting for node node-2 to remove the model"


@pytest.mark.parametrize("how", ["not ready", "gone", "terminating"])
def test_an_agent_that_dies_is_waited_for_no_longer(how: str) -> None:
    cluster = deleted()
    waits(cluster)
    for name in NODES:
        pod = cluster.client.get(Pod, f"agent-{name}", namespace="kserve")
        if how == "not ready":
            cluster.client.status.patch(pod, {"status": agent_pod(name, ready=False).status.to_dict()})
            continue
        if how == "terminating":
            pod.metadata.finalizers = ["test/keep"]
            pod = cluster.client.update(pod)
        cluster.client.delete(pod)
    assert ends(cluster)
    assert "CleanUpTimedOut" not in cluster.recorder.reasons


def test_an_agent_that_dies_wakes_the_caches_that_wait_for_it() -> None:
    cluster = deleted()
    assert list(cluster.caches._of_agent(agent_pod())) == [Request("", "iris")]
    cluster.report("node-1")
    assert list(cluster.caches._of_agent(agent_pod())) == []


def test_an_agent_that_comes_back_is_waited_for_again_within_the_same_ten_minutes() -> None:
    cluster = deleted()
    waits(cluster)
    cluster.clock.advance(500)
    waits(cluster)
    for is_ready in (False, True):
        for name in NODES:
            pod = cluster.client.get(Pod, f"agent-{name}", namespace="kserve")
            cluster.client.status.patch(pod, {"status": agent_pod(name, ready=is_ready).status.to_dict()})
    waits(cluster)
    cluster.clock.advance(97)
    assert ends(cluster)


def test_a_status_that_never_changes_ends_the_wait_after_ten_minutes_with_an_event() -> None:
    cluster = deleted()
    waits(cluster)
    cluster.clock.advance(595)
    result = cluster.reconcile_cache()
    assert result is not None
    assert 0 < result.requeue_after <= 5  # not later than the limit
    cluster.clock.advance(result.requeue_after)
    assert ends(cluster)
    assert [line for line in cluster.recorder.lines if "CleanUpTimedOut" in line] == [
        "Warning CleanUpTimedOut Gave up waiting for nodes node-1, node-2 to remove the model: "
        "the agents clean up later"
    ]


def test_a_manager_that_starts_anew_waits_no_longer_than_the_deletion_is_old() -> None:
    cluster = deleted()
    cluster.clock.advance(598)
    fresh = Cluster()
    cluster.caches = cluster.wired(fresh.caches)
    assert not ends(cluster)
    cluster.clock.advance(1)
    assert ends(cluster)


def test_a_cache_that_may_not_write_its_status_ends_all_the_same() -> None:
    cluster = deleted()
    cluster.client.faults.fail(
        ForbiddenError.of("no"), kind=LocalModelCache, subresource="status", verb="update", times=None
    )
    with pytest.raises(ForbiddenError):
        cluster.reconcile_cache()
    cluster.clock.advance(600)
    assert ends(cluster)


# definitions that are gone ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [LocalModelNode, LocalModelNodeGroup, InferenceService, LLMInferenceService])
def test_a_kind_that_was_never_served_holds_no_deletion_up(kind: type[Object]) -> None:
    cluster = deleted()
    stop_serving(cluster, kind)
    if kind is not LocalModelNode:
        assert waits(cluster)
        cluster.clock.advance(600)
    assert ends(cluster)


def test_what_the_cache_kept_of_a_kind_that_is_gone_is_not_waited_for() -> None:
    cluster = deleted()
    waits(cluster)
    stop_serving(cluster, LocalModelNode, seen=False)
    cluster.clock.advance(15)
    assert ends(cluster)
    assert "CleanUpTimedOut" not in cluster.recorder.reasons


def test_whether_a_kind_is_served_is_asked_once_for_many_reports() -> None:
    cluster = deleted()
    cluster.caches.live = live = FakeClient(registry=cluster.client.registry)
    for _ in range(10):
        cluster.reconcile_cache()
    assert [str(action) for action in live.actions] == ["list localmodelnodes.serving.kserve.io"]


def test_a_kind_that_is_back_is_waited_for_at_once() -> None:
    cluster = deleted()
    served, live = ServedKinds(), FakeClient(registry=cluster.client.registry)
    live.withdraw(LocalModelNode)
    assert not served.has(LocalModelNode, live, cluster.clock)
    live.serve(LocalModelNode)
    assert served.has(LocalModelNode, live, cluster.clock)


def test_the_caches_of_the_other_kind_go_on_and_end_while_one_kind_is_not_served() -> None:
    cluster = Cluster(node(), agent_pod(), group(), cache(), namespace_cache("rose"))
    for _ in range(2):
        cluster.reconcile_cache()
        cluster.reconcile_node()
    cluster.report(iris="ModelDownloaded")
    assert cluster.entries() == ["iris", "team-a/rose"]
    stop_serving(cluster, LocalModelNamespaceCache)
    cluster.client.delete(cluster.cache())
    result = cluster.reconcile_node()
    assert cluster.entries() == ["team-a/rose"]  # unknown is not empty
    assert result is not None
    assert result.requeue_after == 30
    cluster.report()
    assert ends(cluster)


def test_while_groups_are_not_served_entries_stay_until_their_caches_go() -> None:
    cluster = Cluster(node(), agent_pod(), group(), cache(), namespace_cache("rose"))
    cluster.reconcile_cache()
    cluster.reconcile_node()
    cluster.report(iris="ModelDownloaded")
    labels = cluster.labels()
    stop_serving(cluster, LocalModelNodeGroup)
    cluster.client.delete(cluster.cache())
    result = cluster.reconcile_node()
    assert cluster.entries() == ["team-a/rose"]
    assert cluster.labels() == labels
    assert result is not None
    assert result.requeue_after == 30
    cluster.report()
    assert ends(cluster)


def test_an_incomplete_local_model_node_is_never_made_while_a_kind_is_not_served() -> None:
    cluster = Cluster(node(), group(), cache(), namespace_cache())
    stop_serving(cluster, LocalModelNamespaceCache)
    result = cluster.reconcile_node()
    assert result is not None
    assert result.requeue_after == 30
    assert cluster.client.find(LocalModelNode, "node-1") is None


def test_an_event_that_concerns_a_kind_that_is_not_served_is_not_an_error() -> None:
    cluster = Cluster(node(), agent_pod(), group(), cache())
    for kind in (LocalModelNode, LocalModelNodeGroup):
        cluster.client.faults.fail(KindNotServedError("not served"), kind=kind, times=None)
    assert list(cluster.caches._of_node(node())) == []
    assert list(cluster.caches._of_agent(agent_pod())) == []
    assert list(cluster.nodes._nodes_of(cache())) == []
    assert list(cluster.groups._of_node(node())) == []
    queue = Queue()
    EnqueueNextInLine(cluster.nodes._waves, cluster.nodes).handle(CreateEvent(agent_pod()), queue)  # type: ignore[arg-type]
    assert queue.added == {"node-1": 0.0}


# namespaces ---------------------------------------------------------------------------------------------------------


def in_a_namespace() -> Cluster:
    """A namespace's cache with download and serving volumes, which is being deleted; no agent is there to wait for."""
    cluster = Cluster(group(), namespace_cache(), service("s", "team-a", of="team-a"))
    cluster.reconcile_cache(namespace="team-a")
    assert len(cluster.client.list(PersistentVolumeClaim)) == 2
    cluster.client.delete(cluster.namespace_cache())
    return cluster


def test_a_job_namespace_that_is_gone_holds_no_deletion_up() -> None:
    cluster = in_a_namespace()
    for claim in cluster.client.list(PersistentVolumeClaim, namespace=JOBS):
        cluster.client.delete(claim)
    assert ends(cluster, LocalModelNamespaceCache, "team-a")
    assert cluster.client.list(PersistentVolume) == []


def test_a_job_namespace_that_is_terminating_holds_no_deletion_up() -> None:
    """What can still be made there is nothing; what is there is deleted already, and may be held by its pods."""
    cluster = in_a_namespace()
    (claim,) = cluster.client.list(PersistentVolumeClaim, namespace=JOBS)
    claim.metadata.finalizers = ["kubernetes.io/pvc-protection"]
    cluster.client.delete(cluster.client.update(claim))
    terminating = ForbiddenError.of("unable to create new content in namespace because it is being terminated")
    cluster.client.faults.fail(terminating, verb="create", kind=PersistentVolumeClaim, times=None)
    assert ends(cluster, LocalModelNamespaceCache, "team-a")


def test_a_job_namespace_that_was_renamed_in_the_configuration_holds_no_deletion_up() -> None:
    """The volumes in the namespace of before carry the cache's label."""
    cluster = in_a_namespace()
    cluster.client.create(config_map('{"jobNamespace": "elsewhere"}'))
    assert ends(cluster, LocalModelNamespaceCache, "team-a")
    assert cluster.client.list(PersistentVolumeClaim, namespace=JOBS) == []


def test_a_namespace_that_is_terminating_lets_its_cache_go() -> None:
    """The namespace controller has deleted the cache and its claims in any order; creates are refused."""
    cluster = in_a_namespace()
    for claim in cluster.client.list(PersistentVolumeClaim, namespace="team-a"):
        cluster.client.delete(claim)
    cluster.client.faults.fail(ForbiddenError.of("being terminated"), verb="create", times=None)
    assert ends(cluster, LocalModelNamespaceCache, "team-a")
    assert cluster.client.list(PersistentVolume) == []


# in use -------------------------------------------------------------------------------------------------------------


def test_a_group_that_nothing_can_be_called_holds_no_deletion_up() -> None:
    cluster = Cluster(group(), namespace_cache("iris", "gpu", "a/b"))
    cluster.namespace_caches.live = Rigid(cluster.client)
    cluster.reconcile_cache(namespace="team-a")
    cluster.client.delete(cluster.namespace_cache())
    cluster.reconcile_cache(namespace="team-a")
    assert cluster.client.find(LocalModelNamespaceCache, "iris", namespace="team-a") is None
    assert cluster.client.list(PersistentVolumeClaim) == []


def test_without_webhooks_a_cache_in_use_goes_and_its_volumes_stay_with_their_pods() -> None:
    """Claims and volumes are deleted, never stripped of the finalizers by which Kubernetes keeps them for pods; the
    folder is the agent's to protect."""
    cluster = Cluster(group(), namespace_cache(), service("s", "team-a", of="team-a"))
    cluster.reconcile_cache(namespace="team-a")
    claim = cluster.client.get(PersistentVolumeClaim, "iris-gpu", namespace="team-a")
    volume = cluster.client.get(PersistentVolume, claim.spec.volume_name)
    for obj, finalizer in ((claim, "kubernetes.io/pvc-protection"), (volume, "kubernetes.io/pv-protection")):
        obj.metadata.finalizers = [finalizer]
        cluster.client.update(obj)
    cluster.client.delete(cluster.namespace_cache())
    assert ends(cluster, LocalModelNamespaceCache, "team-a")
    assert cluster.client.get(PersistentVolumeClaim, "iris-gpu", namespace="team-a").is_deleting
    assert cluster.client.get(PersistentVolume, volume.name).is_deleting


def test_an_answer_that_the_cache_is_gone_already_ends_it() -> None:
    cluster = deleted()
    for name in NODES:
        cluster.report(name)
    cluster.client.faults.fail(NotFoundError.of("gone"), verb="update", kind=LocalModelCache)
    assert cluster.caches.reconcile(Request("", "iris")) is None
