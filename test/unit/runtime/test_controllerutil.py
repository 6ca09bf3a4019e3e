"""Helpers of reconcilers: runtimes.md 2.18 nos. 208 and 209."""

from __future__ import annotations

import pytest
from support.memory_client import MemoryClient

from localmodel.runtime.controllerutil import (
    AlreadyOwnedError,
    MutateError,
    OwnerScopeError,
    add_finalizer,
    contains_finalizer,
    create_or_update,
    get_controller_of,
    remove_finalizer,
    set_controller_reference,
    set_owner_reference,
)
from localmodel.runtime.objects import ConfigMap, Job, Node, ObjectMeta, PersistentVolume


def job(name: str = "parent", namespace: str = "ns") -> Job:
    return Job(metadata=ObjectMeta(name=name, namespace=namespace, uid=f"uid-of-{name}"))


def config_map(namespace: str = "ns") -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name="child", namespace=namespace))


def test_208_the_reference_names_the_owner_as_controller() -> None:
    child = config_map()
    set_controller_reference(job(), child)

    assert child.metadata.owner_references[0].to_dict() == {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": "parent",
        "uid": "uid-of-parent",
        "controller": True,
        "blockOwnerDeletion": True,
    }


def test_208_a_second_controller_is_refused() -> None:
    child = config_map()
    set_controller_reference(job("first"), child)

    with pytest.raises(AlreadyOwnedError, match="ConfigMap ns/child is controlled by Job first already"):
        set_controller_reference(job("second"), child)


def test_208_an_owner_in_another_namespace_is_refused() -> None:
    with pytest.raises(OwnerScopeError, match="another namespace"):
        set_controller_reference(job(namespace="other"), config_map())


def test_208_a_namespaced_owner_of_a_cluster_scoped_object_is_refused() -> None:
    with pytest.raises(OwnerScopeError, match="cluster-scoped PersistentVolume pv"):
        set_controller_reference(job(), PersistentVolume(metadata=ObjectMeta(name="pv")))


def test_208_a_cluster_scoped_owner_owns_objects_of_any_namespace() -> None:
    child = config_map()
    set_controller_reference(Node(metadata=ObjectMeta(name="n1", uid="u")), child)

    controller = get_controller_of(child)
    assert controller is not None
    assert controller.name == "n1"


def test_208_the_same_owner_again_is_updated_in_place() -> None:
    child = config_map()
    set_owner_reference(job("other"), child)
    set_controller_reference(job(), child)
    again = job()
    again.metadata.uid = "new-uid"
    set_controller_reference(again, child)

    assert [reference.uid for reference in child.metadata.owner_references] == ["uid-of-other", "new-uid"]


def test_an_owner_that_was_never_stored_is_refused() -> None:
    with pytest.raises(ValueError, match="has no uid"):
        set_controller_reference(Job(metadata=ObjectMeta(name="p", namespace="ns")), config_map())


def test_finalizers_tell_whether_they_changed() -> None:
    child = config_map()

    assert add_finalizer(child, "x")
    assert not add_finalizer(child, "x")
    assert contains_finalizer(child, "x")
    assert remove_finalizer(child, "x")
    assert not remove_finalizer(child, "x")
    assert child.metadata.finalizers == []


def set_data(obj: ConfigMap) -> None:
    obj.data["key"] = "wanted"


def test_209_an_absent_object_is_created_as_mutated() -> None:
    client = MemoryClient()
    stored, result = create_or_update(client, config_map(), set_data)

    assert result == "created"
    assert stored.data == {"key": "wanted"}
    assert client.calls == ["get", "create"]


def test_209_an_existing_object_is_updated_where_it_differs() -> None:
    existing = config_map()
    existing.data = {"key": "old", "other": "kept"}
    client = MemoryClient(existing)
    stored, result = create_or_update(client, config_map(), set_data)

    assert result == "updated"
    assert stored.data == {"key": "wanted", "other": "kept"}


def test_209_no_difference_makes_no_request() -> None:
    client = MemoryClient()
    create_or_update(client, config_map(), set_data)
    client.calls.clear()
    _, result = create_or_update(client, config_map(), set_data)

    assert result == "unchanged"
    assert client.calls == ["get"]


@pytest.mark.parametrize("exists", [True, False])
def test_209_a_changed_name_is_refused(exists: bool) -> None:
    client = MemoryClient(*([config_map()] if exists else []))

    def rename(obj: ConfigMap) -> None:
        obj.metadata.name = "other"

    with pytest.raises(MutateError, match="ns/child to ns/other"):
        create_or_update(client, config_map(), rename)
