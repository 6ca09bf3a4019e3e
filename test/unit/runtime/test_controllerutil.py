"""Helpers of reconcilers: runtimes.md 2.18 nos. 208 to 210."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from localmodel.runtime.controllerutil import (
    AlreadyOwnedError,
    MutateError,
    OwnerScopeError,
    add_finalizer,
    contains_finalizer,
    create_or_patch,
    create_or_update,
    delete_exactly,
    get_controller_of,
    has_owner_reference,
    remove_controller_reference,
    remove_finalizer,
    remove_owner_reference,
    set_controller_reference,
    set_owner_reference,
)
from localmodel.runtime.errors import ConflictError
from localmodel.runtime.objects import ConfigMap, Job, JobCondition, Node, ObjectMeta, PersistentVolume
from localmodel.runtime.testing import FakeClient


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


def test_owner_references_are_found_and_removed() -> None:
    child = config_map()
    set_owner_reference(job("other"), child)
    set_controller_reference(job(), child)

    assert has_owner_reference(job(), child)
    assert not has_owner_reference(job("third"), child)
    assert not remove_controller_reference(job("other"), child), "it owns, but does not control"
    assert remove_controller_reference(job(), child)
    assert get_controller_of(child) is None
    assert remove_owner_reference(job("other"), child)
    assert not remove_owner_reference(job("other"), child)
    assert child.metadata.owner_references == []


def set_data(obj: ConfigMap) -> None:
    obj.data["key"] = "wanted"


def verbs(client: FakeClient) -> list[str]:
    return [f"{action.verb} {action.subresource}".rstrip() for action in client.actions]


def test_209_an_absent_object_is_created_as_mutated() -> None:
    client = FakeClient()
    stored, result = create_or_update(client, config_map(), set_data)

    assert result == "created"
    assert stored.data == {"key": "wanted"}
    assert verbs(client) == ["get", "create"]


def test_209_an_existing_object_is_updated_where_it_differs() -> None:
    existing = config_map()
    existing.data = {"key": "old", "other": "kept"}
    client = FakeClient(existing)
    stored, result = create_or_update(client, config_map(), set_data)

    assert result == "updated"
    assert stored.data == {"key": "wanted", "other": "kept"}
    assert verbs(client) == ["get", "update"]


def test_209_an_update_of_a_stale_read_conflicts() -> None:
    client = FakeClient(config_map())

    def overtaken(obj: ConfigMap) -> None:
        client.patch(obj, {"data": {"other": "written meanwhile"}})
        set_data(obj)

    with pytest.raises(ConflictError):
        create_or_update(client, config_map(), overtaken)


Operation = Callable[[FakeClient, ConfigMap, Callable[[ConfigMap], None]], tuple[ConfigMap, str]]
EITHER = pytest.mark.parametrize("operation", [create_or_update, create_or_patch])


@EITHER
def test_209_210_no_difference_makes_no_request(operation: Operation) -> None:
    client = FakeClient()
    operation(client, config_map(), set_data)
    client.actions.clear()
    stored, result = operation(client, config_map(), set_data)

    assert (result, stored.data) == ("unchanged", {"key": "wanted"})
    assert verbs(client) == ["get"]


@EITHER
@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize(("field", "to"), [("name", "ns/other"), ("namespace", "other/child")])
def test_209_210_a_mutate_that_changes_name_or_namespace_is_an_error(
    operation: Operation, exists: bool, field: str, to: str
) -> None:
    client = FakeClient(*([config_map()] if exists else []))

    def move(obj: ConfigMap) -> None:
        setattr(obj.metadata, field, "other")

    with pytest.raises(MutateError, match=f"ns/child to {to}"):
        operation(client, config_map(), move)
    assert client.writes == []


def start(obj: Job) -> None:
    obj.spec.active_deadline_seconds = 1


def finish(obj: Job) -> None:
    obj.status.conditions = [JobCondition(type="Complete", status="True")]


def test_210_an_absent_object_is_created() -> None:
    client = FakeClient()
    stored, result = create_or_patch(client, job(), start)

    assert (result, stored.spec.active_deadline_seconds) == ("created", 1)
    assert verbs(client) == ["get", "create"]


@pytest.mark.parametrize(
    ("mutations", "result", "writes"),
    [
        ([start], "updated", ["patch"]),
        ([finish], "updatedStatusOnly", ["patch status"]),
        ([start, finish], "updatedStatus", ["patch", "patch status"]),
        ([], "unchanged", []),
    ],
)
def test_210_spec_and_status_are_patched_separately_and_reported(
    mutations: list[Callable[[Job], None]], result: str, writes: list[str]
) -> None:
    client = FakeClient(job())

    def mutate(obj: Job) -> None:
        for mutation in mutations:
            mutation(obj)

    stored, done = create_or_patch(client, job(), mutate)

    assert done == result
    assert verbs(client) == ["get", *writes]
    assert stored.spec.active_deadline_seconds == (1 if start in mutations else None)
    assert stored.is_complete == (finish in mutations)
    assert client.get(Job, "parent", namespace="ns") == stored


def test_210_a_patch_names_only_what_mutate_changed() -> None:
    existing = config_map()
    existing.data = {"key": "old", "other": "kept"}
    client = FakeClient(existing)

    def overtaken(obj: ConfigMap) -> None:
        client.patch(obj, {"data": {"other": "written meanwhile"}})
        obj.metadata.labels["a"] = "b"
        set_data(obj)

    stored, _ = create_or_patch(client, config_map(), overtaken)

    assert client.writes[-1].object == {"metadata": {"labels": {"a": "b"}}, "data": {"key": "wanted"}}
    assert stored.data == {"key": "wanted", "other": "written meanwhile"}


def test_an_object_is_deleted_and_no_later_one_of_its_name() -> None:
    client = FakeClient()
    first = client.create(config_map())
    assert delete_exactly(client, first)
    assert not delete_exactly(client, first)
    second = client.create(config_map())
    with pytest.raises(ConflictError):
        delete_exactly(client, first)
    assert client.get(ConfigMap, "child", namespace="ns").metadata.uid == second.metadata.uid
