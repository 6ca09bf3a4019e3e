"""What a node shall have, as a function of labels, groups and caches."""

from __future__ import annotations

from typing import Any

from localmodel.api import (
    LocalModelCache,
    LocalModelConfig,
    LocalModelInfo,
    LocalModelNamespaceCache,
    LocalModelNodeGroup,
)
from localmodel.manager.entries import desired_entries, entry_for, key_of, membership
from localmodel.runtime.objects import Node, ObjectMeta

CONFIG = LocalModelConfig()


def group(name: str, operator: str = "In") -> LocalModelNodeGroup:
    expression = {"key": "pool", "operator": operator, "values": [name]}
    affinity = {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}
    return LocalModelNodeGroup.from_dict(
        {"metadata": {"name": name}, "spec": {"persistentVolumeSpec": {"nodeAffinity": affinity}}}
    )


def node(*pools: str) -> Node:
    return Node(metadata=ObjectMeta(name="node-1", labels={"pool": pools[0]} if pools else {}))


def cache(name: str, *groups: str, **spec: Any) -> LocalModelCache:
    return LocalModelCache.from_dict(
        {
            "metadata": {"name": name, "uid": f"uid-{name}"},
            "spec": {"sourceModelUri": f"hf://o/{name}", "modelSize": "1Gi", "nodeGroups": list(groups), **spec},
        }
    )


def test_an_entry_carries_what_the_agent_needs_of_the_cache_d38() -> None:
    made = entry_for(
        cache("iris", "gpu", serviceAccountName="sa", storage={"key": ""}, priority=3, revision="main", digest="d"),
        "gpu",
        CONFIG,
    ).to_dict()
    assert made == {
        "sourceModelUri": "hf://o/iris",
        "modelName": "iris",
        "nodeGroup": "gpu",
        "serviceAccountName": "sa",
        "storage": {"key": ""},
        "modelSize": "1Gi",
        "cacheUID": "uid-iris",
        "priority": 3,
        "revision": "main",
        "digest": "d",
    }


def test_entries_are_sorted_by_key_and_both_scopes_may_share_a_name() -> None:
    scoped = LocalModelNamespaceCache.from_dict(
        {"metadata": {"name": "iris", "namespace": "team-a"}, "spec": {"nodeGroups": ["gpu"]}}
    )
    entries = desired_entries(
        membership(node("gpu"), [group("gpu")]),
        [scoped, cache("zoo", "gpu"), cache("iris", "gpu")],
        (),
        ready=True,
        config=CONFIG,
    )
    assert [key_of(entry) for entry in entries] == ["iris", "team-a/iris", "zoo"]


def test_a_node_of_any_group_of_the_cache_gets_it_d32() -> None:
    entries = desired_entries(
        membership(node("b"), [group("a"), group("b")]), [cache("iris", "a", "b")], (), ready=True, config=CONFIG
    )
    assert [entry.node_group for entry in entries] == ["b"]


def test_a_node_in_two_groups_belongs_to_the_first_in_the_caches_list_d36() -> None:
    both = [group("gpu"), group("all", "NotIn")]
    for _ in range(3):
        entries = desired_entries(
            membership(node("gpu"), both), [cache("iris", "all", "gpu")], (), ready=True, config=CONFIG
        )
        assert [entry.node_group for entry in entries] == ["all"]


def test_a_group_taken_out_of_the_cache_takes_its_entries_d35() -> None:
    groups = membership(node("a"), [group("a"), group("b")])
    had = [entry_for(cache("iris", "a"), "a", CONFIG)]
    assert desired_entries(groups, [cache("iris", "b")], had, ready=True, config=CONFIG) == []


def test_a_node_that_is_not_ready_gets_nothing_new_and_loses_nothing() -> None:
    groups = membership(node("gpu"), [group("gpu")])
    caches = [cache("old", "gpu"), cache("new", "gpu")]
    had = [entry_for(caches[0], "gpu", CONFIG)]
    assert [e.model_name for e in desired_entries(groups, caches, had, ready=False, config=CONFIG)] == ["old"]
    assert [e.model_name for e in desired_entries(groups, caches, had, ready=True, config=CONFIG)] == ["new", "old"]


def test_a_cache_that_is_being_deleted_has_no_entry() -> None:
    doomed = cache("iris", "gpu")
    doomed.metadata = ObjectMeta.from_dict({"name": "iris", "deletionTimestamp": "2026-01-01T00:00:00Z"})
    assert desired_entries(membership(node("gpu"), [group("gpu")]), [doomed], (), ready=True, config=CONFIG) == []


def test_an_affinity_that_cannot_be_read_takes_nothing_away() -> None:
    groups = membership(node("gpu"), [group("gpu", "Like")])
    assert groups.unknown == {"gpu"}
    had = [entry_for(cache("iris", "gpu"), "gpu", CONFIG)]
    caches = [cache("iris", "gpu"), cache("new", "gpu")]
    assert [e.model_name for e in desired_entries(groups, caches, had, ready=True, config=CONFIG)] == ["iris"]


def test_a_cache_without_groups_is_nowhere_d24() -> None:
    bare = LocalModelCache(metadata=ObjectMeta(name="bare"))
    had = [LocalModelInfo(model_name="bare")]
    assert desired_entries(membership(node("gpu"), [group("gpu")]), [bare], had, ready=True, config=CONFIG) == []
