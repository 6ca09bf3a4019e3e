"""What an informer holds. Numbers are statements of reference/runtimes.md."""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

import pytest
from support.scripted import config_map

from localmodel.runtime.errors import ObjectDecodeError
from localmodel.runtime.objects import ConfigMap, Node, ObjectKey, PartialObjectMetadata, RESTMapping, Unstructured
from localmodel.runtime.store import Stored, ThreadSafeStore, Trimmer

TRIMMER = Trimmer(ConfigMap)


def stored(name: str, version: int = 1, *, namespace: str = "default", **metadata: Any) -> Stored[ConfigMap]:
    return TRIMMER.trim(config_map(name, version, namespace=namespace, **metadata))


def names(found: Any) -> set[str]:
    return {item.key.name for item in found}


def labelled(obj: ConfigMap) -> list[str]:
    return list(obj.metadata.labels.values())


# Trimming


def test_managed_fields_and_type_are_not_kept() -> None:
    item = stored("a", managedFields=[{"manager": "kubectl"}])
    assert json.loads(item.body) == {"data": {"version": "1"}}
    assert json.loads(item.metadata) == {
        "name": "a",
        "namespace": "default",
        "uid": "uid-default-a",
        "resourceVersion": "1",
    }


def test_the_metadata_of_a_stored_object_is_the_servers() -> None:
    owner = {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "u", "controller": True}
    item = stored("a", 7, labels={"x": "y"}, generation=3, finalizers=["f"], ownerReferences=[owner])
    assert (str(item.key), item.uid, item.resource_version, item.labels) == (
        "default/a",
        "uid-default-a",
        "7",
        {"x": "y"},
    )
    metadata = item.object().metadata
    assert (metadata.generation, metadata.labels, metadata.finalizers) == (3, {"x": "y"}, ["f"])
    assert (metadata.owner_references[0].group, metadata.owner_references[0].controller) == ("apps", True)


NODE = {
    "metadata": {"name": "n"},
    "spec": {"podCIDR": "10.0.0.0/24"},
    "status": {
        "images": [{"names": ["big"]}],
        "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z"}],
    },
}


def test_of_a_kind_that_ignores_what_it_does_not_declare_only_that_is_kept() -> None:
    item = Trimmer(Node).trim(json.dumps(NODE).encode())
    assert json.loads(item.body) == {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    assert item.object().is_ready


def test_a_transform_sees_what_the_type_declares() -> None:
    seen: list[dict[str, Any]] = []
    Trimmer(Node, lambda obj: seen.append(obj) or obj).trim(json.dumps(NODE).encode())
    assert seen == [{"status": {"conditions": [{"type": "Ready", "status": "True"}]}}]


def test_an_object_nested_deeper_than_we_can_follow_is_refused_and_not_the_whole_list() -> None:
    """An API server stores whatever a user nests in a field that keeps unknown fields."""
    spec = b'{"a":' * 5000 + b"1" + b"}" * 5000
    raw = b'{"metadata":{"name":"deep","namespace":"default","uid":"u","resourceVersion":"5"},"spec":%b}' % spec
    with pytest.raises(ObjectDecodeError, match="RecursionError"):
        Trimmer(Unstructured.of(RESTMapping.of("example.com", "v1", "Widget"))).trim(raw)


def test_what_does_not_fit_its_type_is_kept_for_the_reader_to_complain() -> None:
    item = Trimmer(Node).trim(b'{"metadata":{"name":"n"},"status":{"conditions":7}}')
    with pytest.raises(ObjectDecodeError, match=r"status\.conditions"):
        item.object()


def test_an_item_of_a_list_may_lack_api_version_and_kind() -> None:
    item = Trimmer(ConfigMap).trim(b'{"metadata":{"name":"a"},"data":{"k":"v"}}')
    assert (item.object().kind, item.object().api_version, item.object().data) == ("ConfigMap", "v1", {"k": "v"})


@pytest.mark.parametrize(
    "raw",
    [
        b"[]",
        b"{}",
        b'{"metadata":{}}',
        b'{"metadata":{"name":1}}',
        b'{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"}}',
        b'{"apiVersion":"other/v1","kind":"ConfigMap","metadata":{"name":"a"}}',
        b"{",
    ],
)
def test_26_an_object_of_an_unexpected_type_kind_or_group_is_refused(raw: bytes) -> None:
    with pytest.raises(ObjectDecodeError):
        TRIMMER.trim(raw)


def test_a_metadata_only_kind_keeps_only_metadata_and_160_the_kind_of_the_real_object() -> None:
    kind = PartialObjectMetadata.of(ConfigMap.mapping)
    partial = b'{"apiVersion":"meta.k8s.io/v1","kind":"PartialObjectMetadata","metadata":{"name":"a"},"data":{"k":"v"}}'
    item = Trimmer(kind).trim(partial)
    assert (item.metadata, item.body) == (b'{"name":"a"}', b"{}")
    assert (item.object().kind, item.object().api_version) == ("ConfigMap", "v1")


def test_an_unstructured_kind_keeps_every_field() -> None:
    item = Trimmer(Unstructured.of(ConfigMap.mapping)).trim(config_map("a", 1))
    assert item.object().content == {"data": {"version": "1"}}


def test_51_the_transform_is_called_once_per_object_and_what_it_returns_is_kept() -> None:
    seen = []

    def transform(obj: dict[str, Any]) -> dict[str, Any]:
        seen.append(obj["metadata"]["name"])
        return {"metadata": obj["metadata"]}

    item = Trimmer(ConfigMap, transform).trim(config_map("a", 1))
    assert item.object().data == {}
    assert seen == ["a"]


def test_a_failing_transform_loses_no_object() -> None:
    item = Trimmer(ConfigMap, lambda obj: obj["nothing"]).trim(config_map("a", 1))
    assert item.object().data == {"version": "1"}


def test_60_each_read_gives_a_private_object() -> None:
    item = stored("a")
    item.object().data["version"] = "changed"
    assert item.object().data == {"version": "1"}


def test_76_what_a_reader_changes_is_its_own() -> None:
    """Deviation: there is no detection of mutated objects, because no reader ever gets the cache's own.

    What the cache keeps is bytes, and `Stored` hands out new objects: nothing reachable from one is reachable from the
    next, whether typed, unstructured or metadata only.
    """
    raw = config_map("a", 1, labels={"x": "y"}, finalizers=["f"])
    for kind in (ConfigMap, Unstructured.of(ConfigMap.mapping), PartialObjectMetadata.of(ConfigMap.mapping)):
        store: ThreadSafeStore[Any] = ThreadSafeStore()
        store.add_indexer("labels", labelled)
        store.put(Trimmer(kind).trim(raw))
        (item,) = store.list()
        before = item.object().to_dict()
        changed = item.object()
        changed.metadata.labels["x"] = "changed"
        changed.metadata.finalizers.clear()
        changed.to_dict()["metadata"].clear()
        if isinstance(changed, Unstructured):
            changed.content["data"]["version"] = "changed"
        assert item.object().to_dict() == before
        assert store.by_index({"labels": "y"}) == (item,)


def test_an_object_that_does_not_fit_its_type_is_named_in_the_error() -> None:
    item = TRIMMER.trim(b'{"metadata":{"name":"a","resourceVersion":"5"},"data":[]}')
    with pytest.raises(ObjectDecodeError, match=r"ConfigMap a \(resource version 5\) does not decode"):
        item.object()


# Keys, indexes


def test_54_the_key_is_namespace_and_name_or_the_name_alone() -> None:
    assert str(stored("a").key) == "default/a"
    assert str(Trimmer(Node).trim(b'{"metadata":{"name":"n1"}}').key) == "n1"


def test_54_a_tombstone_yields_the_same_key() -> None:
    store: ThreadSafeStore[ConfigMap] = ThreadSafeStore()
    store.put(stored("a"))
    (tombstone,) = store.replace([])
    assert tombstone.old is not None
    assert (tombstone.old.key, tombstone.new) == (ObjectKey("default", "a"), None)


def test_55_an_index_function_may_return_several_values_and_duplicates_are_collapsed() -> None:
    store: ThreadSafeStore[ConfigMap] = ThreadSafeStore()
    store.add_indexer("twice", lambda obj: ["x", "y", "x"])
    store.put(stored("a"))
    assert names(store.by_index({"twice": "x"})) == names(store.by_index({"twice": "y"})) == {"a"}


def test_56_removing_the_last_object_of_an_index_value_removes_the_value() -> None:
    store: ThreadSafeStore[ConfigMap] = ThreadSafeStore()
    store.add_indexer("label", labelled)
    store.put(stored("a", labels={"l": "x"}))
    store.put(stored("a", 2, labels={"l": "y"}))
    assert store.index_values("label") == {"y"}
    store.delete(ObjectKey("default", "a"))
    assert store.index_values("label") == frozenset()
    assert store._indexes == {"label": {}}
    assert store._namespaces == {}


def test_57_two_indexers_of_one_name_are_an_error() -> None:
    store: ThreadSafeStore[ConfigMap] = ThreadSafeStore()
    store.add_indexer("label", labelled)
    with pytest.raises(ValueError, match="label"):
        store.add_indexer("label", labelled)


def test_57_an_indexer_added_after_objects_exist_indexes_them() -> None:
    store: ThreadSafeStore[ConfigMap] = ThreadSafeStore()
    store.put(stored("a", labels={"l": "x"}))
    store.add_indexer("label", labelled)
    assert names(store.by_index({"label": "x"})) == {"a"}


def parts_of(obj: ConfigMap) -> dict[str, tuple[str, int]]:
    return {key: (value, len(value)) for key, value in obj.metadata.labels.items()}


def test_an_index_of_parts_keeps_a_part_of_each_object_under_each_value() -> None:
    store: ThreadSafeStore[ConfigMap] = ThreadSafeStore()
    store.put(stored("early", labels={"l": "x"}))
    store.add_parts_indexer(parts_of)
    store.add_parts_indexer(parts_of)
    store.put(stored("a", labels={"l": "xy", "m": "z"}))
    a, early = ObjectKey("default", "a"), ObjectKey("default", "early")
    assert store.parts(parts_of, "l") == {early: ("x", 1), a: ("xy", 2)}
    assert store.parts(parts_of, "m") == {a: ("z", 1)}
    store.put(stored("a", 2, labels={"l": "v"}))
    assert store.parts(parts_of, "l") == {early: ("x", 1), a: ("v", 1)}
    assert store.parts(parts_of, "m") == {}
    store.delete(early)
    assert store.parts(parts_of, "l") == {a: ("v", 1)}
    with pytest.raises(KeyError):
        store.parts(labelled, "l")  # type: ignore[arg-type]


def test_a_part_that_did_not_change_stays_the_very_same_object() -> None:
    store: ThreadSafeStore[ConfigMap] = ThreadSafeStore()
    store.add_parts_indexer(parts_of)
    first, second = stored("a", labels={"l": "x", "m": "y"}), stored("a", 2, labels={"l": "x", "m": "z"})
    store.put(first)
    store.put(second)
    before, after = first.parts(parts_of), second.parts(parts_of)
    assert before["l"] is after["l"] is store.parts(parts_of, "l")[ObjectKey("default", "a")]
    assert before["m"] != after["m"]


def test_what_is_read_of_an_index_of_parts_is_a_copy() -> None:
    store: ThreadSafeStore[ConfigMap] = ThreadSafeStore()
    store.add_parts_indexer(parts_of)
    store.put(stored("a", labels={"l": "x"}))
    store.parts(parts_of, "l").clear()
    assert len(store.parts(parts_of, "l")) == 1


def test_a_failing_index_function_leaves_only_that_object_out_of_only_that_index() -> None:
    store: ThreadSafeStore[ConfigMap] = ThreadSafeStore()
    store.add_indexer("fragile", lambda obj: [obj.metadata.labels["l"]])
    store.add_indexer("label", labelled)
    store.replace([stored("a", labels={"m": "x"}), stored("b", labels={"l": "x"})])
    assert names(store.by_index({"fragile": "x"})) == {"b"}
    assert names(store.by_index({"label": "x"})) == {"a", "b"}


def test_several_index_values_and_a_namespace_intersect() -> None:
    store: ThreadSafeStore[ConfigMap] = ThreadSafeStore()
    store.add_indexer("label", labelled)
    store.add_indexer("name", lambda obj: [obj.name])
    for namespace in ("n1", "n2"):
        store.put(stored("a", namespace=namespace, labels={"l": "x"}))
        store.put(stored("b", namespace=namespace, labels={"l": "x"}))
    found = store.by_index({"label": "x", "name": "b"}, "n2")
    assert [str(item.key) for item in found] == ["n2/b"]


def test_an_unknown_index_is_an_error() -> None:
    with pytest.raises(KeyError):
        ThreadSafeStore[ConfigMap]().by_index({"nothing": "x"})


# Replace


def test_40_a_replace_gives_deletions_first_and_then_the_items_in_list_order() -> None:
    store: ThreadSafeStore[ConfigMap] = ThreadSafeStore()
    store.replace([stored("a"), stored("b")])
    changes = store.replace([stored("z"), stored("b", 2), stored("c")])
    assert [(c.old and c.old.key.name, c.new and c.new.key.name) for c in changes] == [
        ("a", None),
        (None, "z"),
        ("b", "b"),
        (None, "c"),
    ]
    assert names(store.list()) == {"b", "c", "z"}


def test_44_two_replaces_without_the_object_give_one_delete() -> None:
    store: ThreadSafeStore[ConfigMap] = ThreadSafeStore()
    store.put(stored("a"))
    assert len(store.replace([])) == 1
    assert len(store.replace([])) == 0


def test_45_a_tombstone_carries_the_newest_object_seen() -> None:
    store: ThreadSafeStore[ConfigMap] = ThreadSafeStore()
    store.put(stored("a", 1))
    store.put(stored("a", 9))
    (change,) = store.replace([])
    assert change.old is not None
    assert change.old.resource_version == "9"


def test_46_a_delete_of_an_unknown_key_is_ignored() -> None:
    assert ThreadSafeStore[ConfigMap]().delete(ObjectKey("default", "a")) is None


def test_a_replace_of_one_namespace_leaves_the_others() -> None:
    store: ThreadSafeStore[ConfigMap] = ThreadSafeStore()
    store.put(stored("a", namespace="n1"))
    store.put(stored("a", namespace="n2"))
    store.replace([], namespace="n1")
    assert [str(item.key) for item in store.list()] == ["n2/a"]


def test_58_readers_see_a_replace_and_its_indexes_as_one_step() -> None:
    store: ThreadSafeStore[ConfigMap] = ThreadSafeStore()
    store.add_indexer("label", labelled)
    generations = [[stored(f"{g}-{i}", labels={"l": "x"}) for i in range(50)] for g in ("old", "new")]
    store.replace(generations[0])
    stop, torn = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            found = names(store.by_index({"label": "x"}))
            if len(found) != 50 or len({name[:3] for name in found}) != 1:
                torn.append(found)

    former = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    reader = threading.Thread(target=read)
    reader.start()
    try:
        for turn in range(60):
            store.replace(generations[turn % 2])
    finally:
        stop.set()
        reader.join()
        sys.setswitchinterval(former)
    assert torn == []
