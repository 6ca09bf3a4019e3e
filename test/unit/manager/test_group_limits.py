"""The annotation that tells a node's agent that the limits of its groups have changed."""

from __future__ import annotations

from typing import Any

import pytest
from support.manager import Cluster, cache, group, node

from localmodel.api import LocalModelCache, LocalModelNode, LocalModelNodeGroup
from localmodel.api.names import GROUP_LIMITS_ANNOTATION
from localmodel.runtime.cache import KindNotServedError
from localmodel.runtime.testing import Action


def told(cluster: Cluster) -> str:
    return cluster.local_model_node().metadata.annotations.get(GROUP_LIMITS_ANNOTATION, "")


def change(cluster: Cluster, name: str = "gpu", **spec: Any) -> None:
    cluster.client.patch(cluster.client.get(LocalModelNodeGroup, name), {"spec": spec})
    cluster.reconcile_node()


def writes(cluster: Cluster) -> list[Action]:
    return [action for action in cluster.client.writes if action.kind is LocalModelNode]


@pytest.fixture
def cluster() -> Cluster:
    made = Cluster(node(), group(), group("other"), cache("a"))
    made.reconcile_node()
    return made


def test_it_comes_with_the_local_model_node(cluster: Cluster) -> None:
    assert len(told(cluster)) == 16
    assert len(cluster.client.writes) == 1


@pytest.mark.parametrize(
    "spec",
    [
        {"storageLimit": "20Gi"},
        {"eviction": {"highWatermarkPercent": 60}},
        {"eviction": {"lowWatermarkPercent": 10}},
    ],
    ids=["limit", "high", "low"],
)
def test_a_change_of_limits_is_told_once(cluster: Cluster, spec: dict[str, Any]) -> None:
    before, entries = told(cluster), cluster.local_model_node().spec
    cluster.client.actions.clear()
    change(cluster, **spec)
    cluster.reconcile_node()
    assert told(cluster) not in ("", before)
    assert cluster.local_model_node().spec == entries
    assert [action.verb for action in writes(cluster)] == ["update"]


def test_the_same_limits_are_told_in_the_same_words(cluster: Cluster) -> None:
    before = told(cluster)
    change(cluster, storageLimit="20Gi")
    change(cluster, storageLimit="10Gi")
    assert told(cluster) == before


@pytest.mark.parametrize("name", ["gpu", "other"])
def test_what_does_not_concern_the_agents_memory_writes_nothing(cluster: Cluster, name: str) -> None:
    cluster.client.actions.clear()
    change(cluster, name, maxConcurrentDownloads=3, tolerations=[{"key": "gpu"}])
    assert writes(cluster) == []


def test_a_group_that_has_no_entry_here_writes_nothing(cluster: Cluster) -> None:
    before = told(cluster)
    change(cluster, "other", storageLimit="20Gi")
    assert told(cluster) == before


def test_it_goes_with_the_last_entry(cluster: Cluster) -> None:
    cluster.client.delete(cluster.client.get(LocalModelCache, "a"))
    cluster.reconcile_node()
    assert (cluster.entries(), told(cluster)) == ([], "")


def test_while_nobody_knows_the_groups_it_stays(cluster: Cluster) -> None:
    before = told(cluster)
    cluster.client.delete(cluster.client.get(LocalModelCache, "a"))
    cluster.client.faults.fail(KindNotServedError("not served"), kind=LocalModelNodeGroup, times=None)
    cluster.reconcile_node()
    assert (cluster.entries(), told(cluster)) == ([], before)
