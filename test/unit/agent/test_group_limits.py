"""When a changed limit of a node group reaches a node on which nothing else happens."""

from __future__ import annotations

import pytest
from support.disks import Disks

from localmodel.api import LocalModelNodeGroup
from localmodel.api.names import GROUP_LIMITS_ANNOTATION
from localmodel.runtime.errors import ServiceUnavailableError


@pytest.fixture
def node(node: Disks) -> Disks:
    """Five of the ten MiB are taken, and nothing goes on."""
    node.have("a", 3)
    node.have("b", 2)
    tell(node, "before")
    node.clock.advance(601)
    node.run()
    node.client.actions.clear()
    return node


def tell(node: Disks, value: str) -> None:
    """As the manager does when it has seen the group change."""
    node.client.patch(node.node, {"metadata": {"annotations": {GROUP_LIMITS_ANNOTATION: value}}})


def change(node: Disks, limit: str, **eviction: int) -> None:
    group = node.client.get(LocalModelNodeGroup, "gpu1")
    node.client.patch(group, {"spec": {"storageLimit": limit, "eviction": eviction or None}})
    node.client.actions.clear()


def reads(node: Disks) -> int:
    return len([it for it in node.client.actions if (it.verb, it.kind) == ("get", LocalModelNodeGroup)])


def test_a_smaller_limit_holds_as_soon_as_the_manager_tells_of_it(node: Disks) -> None:
    change(node, "5Mi")
    tell(node, "after")
    node.run()
    assert node.there() == {"b"}
    disk = node.node.status.disk
    assert disk is not None
    assert disk.limit == "5Mi"


def test_so_do_watermarks(node: Disks) -> None:
    change(node, "10Mi", highWatermarkPercent=40, lowWatermarkPercent=30)
    tell(node, "after")
    node.run()
    assert node.there() == {"b"}


def test_the_groups_are_read_once_for_it(node: Disks) -> None:
    change(node, "10Mi")
    tell(node, "after")
    for _ in range(3):
        node.run()
    assert reads(node) == 1


def test_a_restart_reads_them_once(node: Disks) -> None:
    node.restart()
    node.client.actions.clear()
    for _ in range(3):
        node.run()
    assert reads(node) == 1


def test_where_no_manager_tells_they_are_read_again_after_ten_minutes(node: Disks) -> None:
    change(node, "5Mi")
    node.clock.advance(599)
    node.run()
    assert node.there() == {"a", "b"}
    node.clock.advance(2)
    node.run()
    assert node.there() == {"b"}


def test_a_group_that_cannot_be_read_is_tried_once_a_pass_and_holds_as_it_was(node: Disks) -> None:
    change(node, "5Mi")
    tell(node, "after")
    node.client.faults.fail(ServiceUnavailableError.of("no"), verb="get", kind=LocalModelNodeGroup)
    node.run()
    assert (node.there(), reads(node)) == ({"a", "b"}, 1)
    node.run()
    assert node.there() == {"b"}
