"""NodeReconciler: the only author of LocalModelNodes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.manager import Cluster, cache, group, namespace_cache, node

from localmodel.api import LocalModelCache, LocalModelNode, LocalModelNodeGroup
from localmodel.runtime.errors import ConflictError
from localmodel.runtime.objects import Node, ObjectMeta
from localmodel.runtime.testing.builtins import definition_of


def test_a_local_model_node_is_created_complete_d02() -> None:
    cluster = Cluster(node(), group(), cache("a"), cache("b"), namespace_cache("c"))
    cluster.reconcile_node()
    assert [str(action) for action in cluster.client.writes] == ["create localmodelnodes.serving.kserve.io node-1"]
    assert cluster.entries() == ["a", "b", "team-a/c"]


def test_a_deleted_local_model_node_comes_back_complete_d02() -> None:
    cluster = Cluster(node(), group(), cache("a"), cache("b"))
    cluster.reconcile_node()
    cluster.client.delete(cluster.local_model_node())
    cluster.reconcile_node()
    assert cluster.entries() == ["a", "b"]


def test_both_scopes_are_written_at_once_d04() -> None:
    cluster = Cluster(node(), group(), cache("a"))
    cluster.reconcile_node()
    cluster.client.create(namespace_cache("b"))
    cluster.reconcile_node()
    assert cluster.entries() == ["a", "team-a/b"]


def test_a_write_on_a_stale_read_is_refused_d04() -> None:
    cluster = Cluster(node(), group(), cache("a"))
    cluster.reconcile_node()
    cluster.client.create(cache("b"))
    cluster.client.faults.fail(ConflictError.of("stale"), verb="update", kind=LocalModelNode)
    with pytest.raises(ConflictError):
        cluster.reconcile_node()
    cluster.reconcile_node()
    assert cluster.entries() == ["a", "b"]


def test_nothing_is_written_when_nothing_changed() -> None:
    cluster = Cluster(node(), group(), cache("a"))
    cluster.reconcile_node()
    before = len(cluster.client.writes)
    cluster.reconcile_node()
    assert len(cluster.client.writes) == before


def test_a_local_model_node_goes_with_its_node_d29() -> None:
    cluster = Cluster(node(), group(), cache("a"))
    cluster.reconcile_node()
    owner = cluster.local_model_node().metadata.owner_references[0]
    assert (owner.kind, owner.name, owner.controller, owner.block_owner_deletion) == ("Node", "node-1", True, False)
    cluster.client.delete(cluster.client.get(Node, "node-1"))
    cluster.reconcile_node()
    assert cluster.client.find(LocalModelNode, "node-1") is None


def test_a_node_made_anew_takes_over_the_local_model_node() -> None:
    cluster = Cluster(node(), group(), cache("a"))
    cluster.reconcile_node()
    cluster.client.delete(cluster.client.get(Node, "node-1"))
    made = cluster.client.create(node())
    cluster.reconcile_node()
    assert [owner.uid for owner in cluster.local_model_node().metadata.owner_references] == [made.metadata.uid]


def test_a_node_that_is_not_ready_gets_no_entry_until_it_is() -> None:
    cluster = Cluster(node(ready=False), group(), cache("a"))
    cluster.reconcile_node()
    assert cluster.client.find(LocalModelNode, "node-1") is None
    _set_ready(cluster, True)
    cluster.reconcile_node()
    assert cluster.entries() == ["a"]


def test_entries_stay_when_the_node_stops_being_ready() -> None:
    cluster = Cluster(node(), group(), cache("a"))
    cluster.reconcile_node()
    _set_ready(cluster, False)
    cluster.client.create(cache("b"))
    cluster.reconcile_node()
    assert cluster.entries() == ["a"]


def test_a_label_that_arrives_later_brings_the_entry_and_its_loss_takes_it_d33() -> None:
    cluster = Cluster(node(pool="none"), group(), cache("a"))
    cluster.reconcile_node()
    assert cluster.entries() == []
    for pool, expected in (("gpu", ["a"]), ("none", [])):
        cluster.client.patch(node(), {"metadata": {"labels": {"pool": pool}}})
        cluster.reconcile_node()
        assert cluster.entries() == expected


def test_a_changed_group_reaches_its_nodes_d34() -> None:
    cluster = Cluster(node(pool="other"), group(), cache("a"))
    cluster.reconcile_node()
    assert cluster.entries() == []
    changed = cluster.client.get(LocalModelNodeGroup, "gpu")
    changed.spec = group("gpu", operator="NotIn").spec
    cluster.client.update(changed)
    cluster.reconcile_node()
    assert cluster.entries() == ["a"]


def test_the_nodes_of_a_cache_are_those_of_its_groups_and_those_that_have_its_entry() -> None:
    cluster = Cluster(node("node-1"), node("node-2", pool="b"), node("node-3", pool="c"), group(), group("b"))
    made = cluster.client.create(cache("iris", "gpu", "b"))
    cluster.client.create(
        LocalModelNode.from_dict(
            {
                "metadata": {"name": "node-3"},
                "spec": {"localModels": [{"modelName": "iris", "sourceModelUri": "x"}]},
            }
        )
    )
    assert sorted(request.name for request in cluster.nodes._nodes_of(made)) == ["node-1", "node-2", "node-3"]


def test_fields_that_an_older_crd_prunes_are_not_written_again_and_again() -> None:
    def prune(obj: dict[str, Any]) -> list[str]:
        for entry in obj.get("spec", {}).get("localModels", ()):
            for ours in ("modelSize", "cacheUID"):
                entry.pop(ours, None)
        return []

    cluster = Cluster(node(), group(), cache("a"), cache("b"))
    cluster.client.registry.register(replace(definition_of(LocalModelNode), prune=prune))
    cluster.reconcile_node()
    assert cluster.local_model_node().spec.local_models[0].cache_uid == ""
    before = len(cluster.client.writes)
    cluster.reconcile_node()
    assert len(cluster.client.writes) == before
    cluster.client.delete(cluster.client.get(LocalModelCache, "b"))
    cluster.reconcile_node()
    assert cluster.entries() == ["a"]


def _set_ready(cluster: Cluster, ready: bool) -> None:
    changed = node(ready=ready)
    cluster.client.status.patch(changed, {"status": changed.status.to_dict()})


def test_an_existing_local_model_node_of_kserve_is_taken_over_with_its_status() -> None:
    existing = LocalModelNode(metadata=ObjectMeta(name="node-1"))
    existing.status.model_status = {"a": "ModelDownloaded"}
    cluster = Cluster(node(), group(), cache("a"), existing)
    cluster.reconcile_node()
    taken = cluster.local_model_node()
    assert cluster.entries() == ["a"]
    assert taken.status.model_status == {"a": "ModelDownloaded"}
    assert taken.metadata.owner_references[0].kind == "Node"
