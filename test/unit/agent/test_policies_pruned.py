"""Evictions where KServe's own CRDs prune the policies of entries: they are read from the caches."""

from __future__ import annotations

from support import kserve_crds
from support.disks import Disks

from localmodel.api import LocalModelCache, LocalModelNode
from localmodel.runtime.errors import ServiceUnavailableError


def test_pruned_policies_are_read_from_caches_and_remembered(node: Disks) -> None:
    kserve_crds.install(node.client, only=LocalModelNode)
    node.have("pinned", 3, evictionPolicy="Never")
    node.have("other", 3)
    node.limit("7Mi")
    node.run()
    assert node.there() == {"pinned"}
    node.client.actions.clear()
    for _ in range(5):
        node.clock.advance(60)
        node.run()
    assert [a for a in node.client.actions if a.verb == "get" and a.kind is LocalModelCache] == []


def test_a_policy_that_has_changed_counts_before_a_model_goes(node: Disks) -> None:
    kserve_crds.install(node.client, only=LocalModelNode)
    node.have("a", 3)
    node.have("b", 3)
    node.client.patch(node.cache("a"), {"spec": {"evictionPolicy": "Never"}})
    node.limit("7Mi")
    node.run()
    assert node.there() == {"a"}


def test_a_model_whose_cache_cannot_be_read_stays(node: Disks) -> None:
    kserve_crds.install(node.client, only=LocalModelNode)
    node.have("a", 3)
    node.have("b", 3)
    node.limit("7Mi")
    fault = node.client.faults.fail(ServiceUnavailableError.of("no"), verb="get", kind=LocalModelCache, times=None)
    node.run()
    assert fault.hits > 0
    assert node.there() == {"a", "b"}
    assert "whose cache cannot be read now: a" in node.recorder.expect("DiskPressure").message
