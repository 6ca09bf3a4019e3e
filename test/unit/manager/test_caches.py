"""The reconcilers of caches: finalizer, status, events, deletion, configuration."""

from __future__ import annotations

from datetime import timedelta

import pytest
from support.manager import (
    Cluster,
    agent_pod,
    cache,
    config_map,
    group,
    namespace_cache,
    node,
    service,
)

from localmodel.api import LocalModelCache, LocalModelNamespaceCache, LocalModelNodeGroup
from localmodel.runtime.conditions import find_status_condition
from localmodel.runtime.errors import ConflictError, ServiceUnavailableError
from localmodel.runtime.objects import Node, ObjectMeta, PersistentVolume
from localmodel.runtime.reconcile import Result


def ready(of: LocalModelCache) -> tuple[str, str]:
    found = find_status_condition(of.status.conditions, "Ready")
    assert found is not None
    return found.status, found.reason


def settle(cluster: Cluster, name: str = "iris", namespace: str = "") -> None:
    """A second later, so that the status may be written again."""
    cluster.clock.advance(1.0)
    cluster.reconcile_cache(name, namespace)


# status -----------------------------------------------------------------------------------------------------------


def test_the_finalizers_are_kserves() -> None:
    cluster = Cluster(group(), cache(), namespace_cache())
    cluster.reconcile_cache()
    cluster.reconcile_cache(namespace="team-a")
    assert cluster.cache().metadata.finalizers == ["localmodel.kserve.io/finalizer"]
    assert cluster.namespace_cache().metadata.finalizers == ["localmodelnamespacecache.kserve.io/finalizer"]


def test_the_status_follows_the_nodes() -> None:
    cluster = Cluster(node("node-1"), node("node-2"), group(), cache())
    cluster.reconcile_cache()
    assert cluster.cache().status.node_status == {"node-1": "NodeDownloadPending", "node-2": "NodeDownloadPending"}
    for name in ("node-1", "node-2"):
        cluster.reconcile_node(name)
        cluster.report(name, iris="ModelDownloaded")
    settle(cluster)
    made = cluster.cache()
    assert made.status.node_status == {"node-1": "NodeDownloaded", "node-2": "NodeDownloaded"}
    assert made.status.copies is not None
    assert made.status.copies.to_dict() == {"available": 2, "total": 2, "failed": 0}
    assert ready(made) == ("True", "AllCopiesAvailable")
    assert made.status.observed_generation == made.metadata.generation
    assert [event.message for event in cluster.recorder.events if event.reason == "Downloaded"] == [
        "The model is on node node-1",
        "The model is on node node-2",
    ]


def test_an_unready_node_without_entry_is_node_not_ready() -> None:
    cluster = Cluster(node(ready=False), group(), cache())
    cluster.reconcile_cache()
    assert cluster.cache().status.node_status == {"node-1": "NodeNotReady"}


def test_both_scopes_have_their_own_key() -> None:
    cluster = Cluster(node(), group(), cache(), namespace_cache())
    cluster.reconcile_node()
    cluster.report(iris="ModelDownloadError", team_a__iris="ignored", **{"team-a__iris": "ModelDownloaded"})
    cluster.reconcile_cache()
    cluster.reconcile_cache(namespace="team-a")
    assert cluster.cache().status.node_status == {"node-1": "NodeDownloadError"}
    assert cluster.namespace_cache().status.node_status == {"node-1": "NodeDownloaded"}


def test_a_status_that_would_not_change_is_not_written_d63() -> None:
    cluster = Cluster(node(), group(), cache())
    cluster.reconcile_cache()
    settle(cluster)
    before = len(cluster.client.writes)
    for _ in range(3):
        settle(cluster)
    assert len(cluster.client.writes) == before


def test_a_status_is_written_at_most_once_a_second_and_the_last_word_is_not_lost() -> None:
    cluster = Cluster(node(), group(), cache())
    cluster.reconcile_node()
    cluster.reconcile_cache()
    cluster.report(iris="ModelDownloading")
    result = cluster.reconcile_cache()
    assert result is not None
    assert result.requeue_after == pytest.approx(1.0)
    assert cluster.cache().status.node_status == {"node-1": "NodeDownloadPending"}
    cluster.report(iris="ModelDownloaded")
    cluster.clock.advance(result.requeue_after)
    cluster.reconcile_cache()
    assert cluster.cache().status.node_status == {"node-1": "NodeDownloaded"}


def test_a_conflict_is_raised_and_the_next_run_writes_d63() -> None:
    cluster = Cluster(node(), group(), cache())
    cluster.client.faults.fail(ConflictError.of("stale"), kind=LocalModelCache, subresource="status")
    with pytest.raises(ConflictError):
        cluster.reconcile_cache()
    cluster.reconcile_cache()
    assert cluster.cache().status.copies is not None


def test_a_cache_without_a_spec_gets_a_status_and_no_traceback_d24() -> None:
    cluster = Cluster(node(), LocalModelCache(metadata=ObjectMeta(name="iris")))
    cluster.reconcile_cache()
    assert ready(cluster.cache()) == ("False", "NoNodes")


def test_a_node_that_waits_without_an_agent_is_named_d39() -> None:
    cluster = Cluster(node("node-1"), node("node-2"), group(), cache(), agent_pod("node-1"))
    cluster.reconcile_cache()
    found = find_status_condition(cluster.cache().status.conditions, "Ready")
    assert found is not None
    assert (found.reason, found.message) == (
        "DownloadPending",
        "0 of 2 nodes have the model; no agent is ready on node node-2",
    )


def test_where_nothing_is_under_way_and_no_agent_is_there_that_is_the_reason_d39() -> None:
    cluster = Cluster(node("node-1"), node("node-2"), group(), cache(), agent_pod("node-1"))
    cluster.reconcile_node()
    cluster.report(iris="ModelDownloaded")
    cluster.reconcile_cache()
    conditions = cluster.cache().status.conditions
    assert [(c.type, c.status, c.reason) for c in conditions] == [
        ("Ready", "False", "NoAgentOnNode"),
        ("Progressing", "False", "NoAgentOnNode"),
        ("Degraded", "False", "AsExpected"),
    ]


def test_a_node_that_downloads_is_under_way_beside_one_without_an_agent_d39() -> None:
    cluster = Cluster(node("node-1"), node("node-2"), group(), cache(), agent_pod("node-1"))
    cluster.reconcile_node()
    cluster.report(iris="ModelDownloading")
    cluster.reconcile_cache()
    assert ready(cluster.cache()) == ("False", "Downloading")


# groups -----------------------------------------------------------------------------------------------------------


def test_a_missing_group_is_told_once_and_the_others_go_on() -> None:
    cluster = Cluster(node(), agent_pod(), group(), cache("iris", "nope", "gpu"))
    for _ in range(3):
        settle(cluster)
    assert ready(cluster.cache()) == ("False", "NodeGroupNotFound")
    assert cluster.recorder.lines == ["Warning NodeGroupNotFound LocalModelNodeGroup nope not found"]
    assert cluster.client.find(PersistentVolume, "iris-gpu-download") is not None
    cluster.reconcile_node()
    assert cluster.entries() == ["iris"]
    cluster.client.create(group("nope"))
    settle(cluster)
    assert ready(cluster.cache()) == ("False", "DownloadPending")


def test_a_missing_group_never_blocks_deletion_d23() -> None:
    cluster = Cluster(node(), group(), cache())
    cluster.reconcile_cache()
    cluster.client.delete(cluster.client.get(LocalModelNodeGroup, "gpu"))
    cluster.client.delete(cluster.cache())
    cluster.reconcile_cache()
    assert cluster.client.find(LocalModelCache, "iris") is None


# errors -----------------------------------------------------------------------------------------------------------


def test_a_failure_does_not_put_off_a_status_that_waits_for_its_time_d55() -> None:
    """The next try after a failure may be a minute away."""
    cluster = Cluster(node(), group(), cache())
    cluster.client.faults.fail(ServiceUnavailableError.of("away"), verb="create", kind=PersistentVolume, times=None)
    with pytest.raises(ServiceUnavailableError):
        cluster.reconcile_cache()
    cluster.client.status.patch(node(), {"status": node(ready=False).status.to_dict()})
    waits = cluster.reconcile_cache()
    assert waits == Result(requeue_after=1.0)
    cluster.clock.advance(1.0)
    with pytest.raises(ServiceUnavailableError):
        cluster.reconcile_cache()
    assert cluster.cache().status.node_status == {"node-1": "NodeNotReady"}


def test_a_failed_write_is_shown_and_tried_again_d55() -> None:
    cluster = Cluster(node(), agent_pod(), group(), cache())
    cluster.client.faults.fail(ServiceUnavailableError.of("etcd is away"), verb="create", kind=PersistentVolume)
    with pytest.raises(ServiceUnavailableError):
        cluster.reconcile_cache()
    made = cluster.cache()
    assert ready(made) == ("False", "VolumeFailed")
    assert "etcd is away" in made.status.conditions[0].message
    settle(cluster)
    assert ready(cluster.cache()) == ("False", "DownloadPending")


# deletion ---------------------------------------------------------------------------------------------------------


def deleted(*objects: object) -> Cluster:
    """A cluster whose cache was on node-1 and is being deleted; its entry is gone, the agent's report is not."""
    cluster = Cluster(node(), group(), cache(), *objects)  # type: ignore[arg-type]
    cluster.reconcile_cache()
    cluster.reconcile_node()
    cluster.report(iris="ModelDownloaded")
    cluster.client.delete(cluster.cache())
    cluster.reconcile_node()
    assert cluster.entries() == []
    return cluster


def test_a_cache_goes_at_once_where_no_agent_runs() -> None:
    cluster = deleted()
    cluster.reconcile_cache()
    assert cluster.client.find(LocalModelCache, "iris") is None


def test_a_cache_waits_for_a_ready_agent_to_remove_the_model_d74() -> None:
    cluster = deleted(agent_pod())
    cluster.clock.advance(1.0)
    result = cluster.reconcile_cache()
    assert result is not None
    assert 0 < result.requeue_after <= 15
    assert ready(cluster.cache()) == ("False", "Deleting")
    cluster.report()
    cluster.reconcile_cache()
    assert cluster.client.find(LocalModelCache, "iris") is None


def test_a_cache_does_not_wait_for_an_agent_that_is_not_ready() -> None:
    cluster = deleted(agent_pod(ready=False))
    cluster.reconcile_cache()
    assert cluster.client.find(LocalModelCache, "iris") is None


def test_a_cache_waits_ten_minutes_at_most() -> None:
    cluster = deleted(agent_pod())
    cluster.clock.advance(timedelta(minutes=9, seconds=50).total_seconds())
    cluster.reconcile_cache()
    assert cluster.client.find(LocalModelCache, "iris") is not None
    cluster.clock.advance(20.0)
    cluster.reconcile_cache()
    assert cluster.client.find(LocalModelCache, "iris") is None
    assert "CleanUpTimedOut" in cluster.recorder.reasons


def test_a_deleted_node_holds_nothing_up_d29() -> None:
    cluster = deleted(agent_pod())
    cluster.client.delete(cluster.client.get(Node, "node-1"))
    cluster.reconcile_node()
    cluster.reconcile_cache()
    assert cluster.client.find(LocalModelCache, "iris") is None


def test_a_namespace_cache_goes_too() -> None:
    cluster = Cluster(node(), group(), namespace_cache())
    cluster.reconcile_cache(namespace="team-a")
    cluster.client.delete(cluster.namespace_cache())
    cluster.reconcile_cache(namespace="team-a")
    assert cluster.client.find(LocalModelNamespaceCache, "iris", namespace="team-a") is None


# consumers --------------------------------------------------------------------------------------------------------


def test_consumers_are_listed_in_order_d64() -> None:
    cluster = Cluster(group(), cache(), service("z", "team-b"), service("a", "team-b"), service("m", "team-a"))
    cluster.reconcile_cache()
    assert [(s.namespace, s.name) for s in cluster.cache().status.inference_services] == [
        ("team-a", "m"),
        ("team-b", "a"),
        ("team-b", "z"),
    ]


def test_a_cluster_cache_leaves_the_services_of_a_namespace_cache_of_its_name_alone_d60() -> None:
    cluster = Cluster(group(), cache(), namespace_cache(), service("mine", "team-a", of="team-a"))
    cluster.reconcile_cache()
    cluster.reconcile_cache(namespace="team-a")
    assert cluster.cache().status.inference_services == []
    assert [s.name for s in cluster.namespace_cache().status.inference_services] == ["mine"]


def test_a_service_cannot_use_another_namespaces_cache() -> None:
    cluster = Cluster(group(), namespace_cache(), service("thief", "team-b", of="team-a"))
    cluster.reconcile_cache(namespace="team-a")
    assert cluster.namespace_cache().status.inference_services == []


def test_consumers_are_listed_without_volume_management_too_d27() -> None:
    cluster = Cluster(group(), cache(), service("a", "team-a"), config_map('{"disableVolumeManagement": true}'))
    cluster.reconcile_cache()
    assert [s.name for s in cluster.cache().status.inference_services] == ["a"]
    assert cluster.client.find(PersistentVolume, "iris-gpu-team-a") is None


# configuration ----------------------------------------------------------------------------------------------------


def test_a_bad_configuration_keeps_the_last_good_one() -> None:
    cluster = Cluster(config_map('{"jobNamespace": "jobs"}'))
    current = cluster.settings.current
    assert current(cluster.client, cluster.recorder).local_model.jobs_namespace == "jobs"
    bad = cluster.client.get(type(config_map("")), "inferenceservice-config", namespace="kserve")
    bad.data["localModel"] = "{"
    cluster.client.update(bad)
    for _ in range(3):
        assert current(cluster.client, cluster.recorder).local_model.jobs_namespace == "jobs"
    assert cluster.recorder.reasons == ["InvalidConfiguration"]


def test_without_configuration_the_defaults_hold() -> None:
    cluster = Cluster()
    config = cluster.settings.current(cluster.client, cluster.recorder)
    assert config.local_model.jobs_namespace == "kserve-localmodel-jobs"
