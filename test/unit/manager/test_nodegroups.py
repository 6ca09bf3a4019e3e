"""The status of node groups."""

from __future__ import annotations

from typing import Any

import pytest
from support.manager import Cluster, group, node

from localmodel.api import LocalModelNode, LocalModelNodeGroup
from localmodel.api.quantity import format_bytes
from localmodel.runtime.errors import NotFoundError
from localmodel.runtime.objects import Node
from localmodel.runtime.reconcile import Request


def with_disk(name: str, used: str, available: str, limit: str = "") -> LocalModelNode:
    disk = {"used": used, "available": available, "limit": limit}
    return LocalModelNode.from_dict({"metadata": {"name": name}, "status": {"disk": disk}})


def reconciled(cluster: Cluster) -> dict[str, Any]:
    cluster.groups.reconcile(Request("", "gpu"))
    status = cluster.client.get(LocalModelNodeGroup, "gpu").status.to_dict()
    condition = status.pop("conditions")[0]  # Ready; those of agents: test_agent_status
    return {**status, "ready": (condition["status"], condition["reason"])}


def test_a_group_counts_its_nodes_and_their_room_d10() -> None:
    cluster = Cluster(
        group(),
        node("node-1"),
        node("node-2"),
        node("node-3", pool="other"),
        with_disk("node-1", "1Gi", "9Gi"),
        with_disk("node-2", "512Mi", "9.5Gi"),
        with_disk("node-3", "1Ti", "1Ti"),
    )
    assert reconciled(cluster) == {
        "nodes": 2,
        "used": "1.5Gi",
        "available": "18.5Gi",
        "ready": ("True", "NodesFound"),
    }


def test_the_room_that_is_left_ends_with_the_limit() -> None:
    cluster = Cluster(
        group(),
        node("node-1"),
        node("node-2"),
        node("node-3"),
        with_disk("node-1", "1Gi", "70Gi", "10Gi"),
        with_disk("node-2", "12Gi", "70Gi", "10Gi"),
        with_disk("node-3", "1Gi", "2Gi", "10Gi"),
    )
    assert reconciled(cluster)["available"] == "11Gi"


def test_a_group_without_nodes_says_so() -> None:
    assert reconciled(Cluster(group(), node(pool="other")))["ready"] == ("False", "NoNodes")


def test_a_group_that_requires_nothing_says_so() -> None:
    bare = group()
    del bare.spec.persistent_volume_spec["nodeAffinity"]
    assert reconciled(Cluster(bare, node()))["ready"] == ("False", "NoNodeAffinity")


def test_an_affinity_that_cannot_be_read_is_shown() -> None:
    cluster = Cluster(group(operator="Like"), node())
    assert reconciled(cluster)["ready"] == ("False", "InvalidNodeAffinity")


def test_nothing_is_written_when_nothing_changed() -> None:
    cluster = Cluster(group(), node())
    reconciled(cluster)
    before = len(cluster.client.writes)
    reconciled(cluster)
    assert len(cluster.client.writes) == before


def test_a_change_within_a_second_waits() -> None:
    cluster = Cluster(group(), node())
    reconciled(cluster)
    cluster.client.delete(cluster.client.get(Node, "node-1"))
    result = cluster.groups.reconcile(Request("", "gpu"))
    assert result is not None
    assert result.requeue_after == pytest.approx(1.0)


def test_where_the_crd_has_no_status_subresource_the_status_is_written_with_the_object() -> None:
    cluster = Cluster(group(), node())
    cluster.client.faults.fail(
        NotFoundError.of("the server could not find the requested resource"),
        kind=LocalModelNodeGroup,
        subresource="status",
        times=None,
    )
    cluster.groups.reconcile(Request("", "gpu"))
    assert str(cluster.client.writes[-1]) == "update localmodelnodegroups.serving.kserve.io gpu"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (1000, "1000"), (1024**2, "1Mi"), (3 * 1024**3 + 5, "3Gi"), (1_700_000_000_000, "1.5Ti")],
)
def test_bytes_are_short_to_read(count: int, text: str) -> None:
    assert format_bytes(count) == text


def test_a_specification_that_came_back_unseen_is_a_new_generation_all_the_same() -> None:
    cluster = Cluster(group(), node())
    cluster.reconcile_group()
    for limit in (1, 0):
        cluster.client.patch(group(), {"spec": {"maxConcurrentDownloads": limit}})
    cluster.reconcile_group()
    found = cluster.client.get(LocalModelNodeGroup, "gpu")
    assert (
        {condition.observed_generation for condition in found.status.conditions} == {found.metadata.generation} == {3}
    )
