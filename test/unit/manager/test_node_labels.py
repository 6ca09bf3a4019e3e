"""The labels of Nodes: which models a node has, and whose agent runs on it."""

from __future__ import annotations

from typing import Any

import pytest
from support.manager import Cluster, cache, config_map, group, namespace_cache, node

from localmodel.api import LocalModelCache, LocalModelNode, LocalModelNodeGroup
from localmodel.api.names import ready_label, storage_key
from localmodel.runtime.errors import ForbiddenError, NotFoundError
from localmodel.runtime.objects import Node
from localmodel.runtime.testing.fake import Action

URI = "hf://o/m"
READY = {f"localmodel.kserve.io/{storage_key(URI)}": "ready"}
GROUP_LABEL = "localmodel.kserve.io/node-group"


def cluster_with_a_copy(*more: Any) -> Cluster:
    cluster = Cluster(node(), group(), cache(), *more)
    cluster.reconcile_node()
    cluster.report(iris="ModelDownloaded")
    cluster.reconcile_node()
    return cluster


def node_patches(cluster: Cluster) -> list[Action]:
    return [action for action in cluster.client.writes if action.kind is Node]


def later(cluster: Cluster) -> None:
    cluster.clock.advance(10)
    cluster.reconcile_node()


def label(cluster: Cluster, **labels: str | None) -> None:
    changed = {f"localmodel.kserve.io/{name}": value for name, value in labels.items()}
    cluster.client.patch(node(), {"metadata": {"labels": changed}})
    cluster.client.actions.clear()


# copies ------------------------------------------------------------------------------------------------------------


def test_a_node_with_a_whole_copy_says_so() -> None:
    cluster = cluster_with_a_copy()
    assert cluster.labels() == READY
    assert cluster.client.get(Node, "node-1").metadata.labels["pool"] == "gpu"


@pytest.mark.parametrize("status", ["ModelDownloadPending", "ModelDownloading", "ModelDownloadError"])
def test_a_copy_that_is_not_whole_is_none(status: str) -> None:
    cluster = Cluster(node(), group(), cache())
    cluster.reconcile_node()
    cluster.report(iris=status)
    cluster.reconcile_node()
    assert cluster.labels() == {}


def test_a_copy_that_cannot_be_read_is_none_until_it_can() -> None:
    cluster = cluster_with_a_copy()
    for reason, labels in (("DiskNotResponding", {}), ("Ready", READY)):
        told = {"type": "StorageReady", "status": "True" if reason == "Ready" else "False", "reason": reason}
        local = cluster.client.get(LocalModelNode, "node-1")
        cluster.client.status.patch(local, {"status": {"conditions": [{**told, "message": "m"}]}})
        later(cluster)
        assert cluster.labels() == labels


def test_a_report_on_another_uri_is_none_d45() -> None:
    cluster = Cluster(node(), group(), cache())
    cluster.reconcile_node()
    cluster.say("iris", "ModelDownloaded", storageKey=storage_key("hf://o/old"))
    cluster.reconcile_node()
    assert cluster.labels() == {}


def test_a_report_about_the_entry_before_is_none_d45() -> None:
    """The status is that of an earlier cache of the name, and says no storage key, as KServe's CRDs have it."""
    cluster = Cluster(node(), group(), cache(sourceModelUri="hf://o/old"))
    cluster.reconcile_node()
    cluster.report(iris="ModelDownloaded")
    cluster.client.delete(cluster.cache())
    cluster.client.create(cache(sourceModelUri="hf://o/new"))
    cluster.reconcile_node()
    assert cluster.labels() == {}


def test_two_caches_of_one_model_share_the_label() -> None:
    cluster = cluster_with_a_copy(namespace_cache())
    cluster.say("team-a/iris", "ModelDownloaded")
    cluster.client.delete(cluster.cache())
    later(cluster)
    assert cluster.labels() == READY


def test_the_label_goes_when_the_model_is_evicted() -> None:
    cluster = cluster_with_a_copy()
    cluster.say("iris", "ModelDownloadPending", reason="Evicted")
    later(cluster)
    assert cluster.labels() == {}


def test_the_label_goes_with_the_cache() -> None:
    cluster = cluster_with_a_copy()
    cluster.client.delete(cluster.client.get(LocalModelCache, "iris"))
    later(cluster)
    assert cluster.labels() == {}


def test_the_label_goes_with_the_local_model_node() -> None:
    cluster = cluster_with_a_copy()
    cluster.client.delete(cluster.local_model_node())
    later(cluster)
    assert cluster.labels() == {}


def test_the_label_goes_while_the_local_model_node_is_being_deleted() -> None:
    cluster = cluster_with_a_copy()
    cluster.client.patch(cluster.local_model_node(), {"metadata": {"finalizers": ["example.com/x"]}})
    cluster.client.delete(cluster.local_model_node())
    later(cluster)
    assert cluster.labels() == {}


# how they are written ----------------------------------------------------------------------------------------------


def test_a_patch_names_nothing_but_what_changes() -> None:
    cluster = cluster_with_a_copy()
    cluster.report(iris="ModelDownloadPending")
    cluster.clock.advance(10)
    cluster.client.actions.clear()
    cluster.reconcile_node()
    assert [action.object for action in node_patches(cluster)] == [{"metadata": {"labels": dict.fromkeys(READY)}}]


def test_labels_that_are_right_are_not_written() -> None:
    cluster = cluster_with_a_copy()
    cluster.client.actions.clear()
    for _ in range(3):
        later(cluster)
    assert cluster.client.writes == []


def test_a_node_is_patched_once_in_ten_seconds() -> None:
    cluster = cluster_with_a_copy()
    cluster.clock.advance(4)
    cluster.report(iris="ModelDownloadPending")
    cluster.client.actions.clear()
    result = cluster.reconcile_node()
    assert result is not None
    assert result.requeue_after == 6
    assert node_patches(cluster) == []
    cluster.clock.advance(6)
    assert not cluster.reconcile_node().requeue_after  # type: ignore[union-attr]
    assert cluster.labels() == {}


def test_a_label_that_somebody_removes_comes_back() -> None:
    cluster = cluster_with_a_copy()
    cluster.client.patch(node(), {"metadata": {"labels": dict.fromkeys(READY)}})
    later(cluster)
    assert cluster.labels() == READY


def test_a_forged_label_goes_and_a_wrong_value_is_mended() -> None:
    cluster = cluster_with_a_copy()
    label(cluster, **{"0123456789abcdef": "ready", storage_key(URI): "maybe"})
    later(cluster)
    assert cluster.labels() == READY


def test_a_node_that_no_group_has_loses_forged_labels() -> None:
    cluster = Cluster(node(pool="other"), group())
    label(cluster, **{"0123456789abcdef": "ready", "node-group": "gpu"})
    cluster.reconcile_node()
    assert cluster.labels() == {}


@pytest.mark.parametrize("name", ["0123456789ABCDEF", "0123456789abcde", "0123456789abcdef0", "rack"])
def test_labels_that_are_not_ours_stay(name: str) -> None:
    cluster = cluster_with_a_copy()
    label(cluster, **{name: "x"})
    later(cluster)
    assert cluster.labels() == READY | {f"localmodel.kserve.io/{name}": "x"}
    assert node_patches(cluster) == []


def test_a_node_that_goes_meanwhile_is_no_failure() -> None:
    cluster = Cluster(node(), group(), cache())
    cluster.reconcile_node()
    cluster.report(iris="ModelDownloaded")
    cluster.client.faults.fail(NotFoundError.of("gone"), verb="patch", kind=Node)
    cluster.reconcile_node()
    assert cluster.labels() == {}


# groups ------------------------------------------------------------------------------------------------------------


def test_the_first_group_with_the_node_is_named_if_it_has_agents() -> None:
    everything = group("all", operator="NotIn", agent={"image": "agent"})
    cluster = Cluster(node(), group("gpu", agent={}), everything)
    cluster.reconcile_node()
    assert cluster.labels() == {GROUP_LABEL: "all"}


def test_a_group_that_asks_for_no_agent_labels_nothing_and_hides_those_behind_it() -> None:
    cluster = Cluster(node(), group("gpu", agent={"image": "agent"}), group("all", operator="NotIn"))
    cluster.reconcile_node()
    assert cluster.labels() == {}


def test_a_configured_agent_image_is_for_all_groups() -> None:
    cluster = Cluster(node(), group(), config_map('{"localModelAgentImage": "agent"}'))
    cluster.reconcile_node()
    assert cluster.labels() == {GROUP_LABEL: "gpu"}


def test_the_group_label_goes_when_the_node_leaves_the_group() -> None:
    cluster = Cluster(node(), group(agent={"image": "agent"}))
    cluster.reconcile_node()
    assert cluster.labels() == {GROUP_LABEL: "gpu"}
    cluster.client.patch(node(), {"metadata": {"labels": {"pool": "other"}}})
    later(cluster)
    assert cluster.labels() == {}


def test_the_group_label_stays_while_the_affinity_cannot_be_read() -> None:
    cluster = Cluster(node(), group(agent={"image": "agent"}))
    cluster.reconcile_node()
    broken = cluster.client.get(LocalModelNodeGroup, "gpu")
    broken.spec = group(agent={"image": "agent"}, operator="Like").spec
    cluster.client.update(broken)
    later(cluster)
    assert cluster.labels() == {GROUP_LABEL: "gpu"}


def test_both_labels_come_in_one_patch() -> None:
    cluster = Cluster(node(), group(), cache())
    cluster.reconcile_node()
    cluster.report(iris="ModelDownloaded")
    changed = cluster.client.get(LocalModelNodeGroup, "gpu")
    changed.spec = group(agent={"image": "agent"}).spec
    cluster.client.update(changed)
    cluster.client.actions.clear()
    cluster.reconcile_node()
    assert len(node_patches(cluster)) == 1
    assert cluster.labels() == READY | {GROUP_LABEL: "gpu"}


def test_labels_do_not_touch_the_local_model_node() -> None:
    cluster = cluster_with_a_copy()
    assert [str(a) for a in cluster.client.writes if a.kind is LocalModelNode and not a.subresource] == [
        "create localmodelnodes.serving.kserve.io node-1"
    ]


def test_without_the_right_to_patch_nodes_the_rest_goes_on() -> None:
    cluster = Cluster(node(), group(), cache())
    cluster.reconcile_node()
    cluster.client.faults.fail(ForbiddenError.of("nodes is forbidden"), verb="patch", kind=Node, times=None)
    cluster.report(iris="ModelDownloaded")
    for _ in range(3):
        cluster.clock.advance(10)
        cluster.reconcile_node()
    assert cluster.entries() == ["iris"]
    cluster.client.faults.clear()
    cluster.clock.advance(10)
    cluster.reconcile_node()
    assert ready_label(storage_key("hf://o/m")) in cluster.client.get(Node, "node-1").metadata.labels
