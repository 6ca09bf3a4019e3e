"""What `FakeClient` promises; numbers are those of the statements in reference/runtimes.md 2.16."""

from __future__ import annotations

import threading
from typing import Any, ClassVar

import pytest
from pydantic import Field

from localmodel.runtime.client import JSON_PATCH, STRATEGIC_MERGE_PATCH, Preconditions, WriteOptions
from localmodel.runtime.errors import (
    AlreadyExistsError,
    BadRequestError,
    ConflictError,
    InvalidError,
    NotFoundError,
    TransportError,
    UnsupportedMediaTypeError,
)
from localmodel.runtime.listwatch import ListOptions, WatchOptions
from localmodel.runtime.objects import (
    ConfigMap,
    Lease,
    Namespace,
    Node,
    Object,
    ObjectMeta,
    Pod,
    RESTMapping,
    Unstructured,
)
from localmodel.runtime.testing import Action, FakeClient, FakeClock, Registry
from localmodel.runtime.testing.builtins import definition_of

DRY_RUN = WriteOptions(dry_run=True)


class Widget(Object):
    """A custom resource with a status."""

    mapping: ClassVar[RESTMapping] = RESTMapping.of("example.com", "v1", "Widget")
    spec: dict[str, Any] = Field(default_factory=dict)
    status: dict[str, Any] = Field(default_factory=dict)


def widget(name: str = "a", **metadata: Any) -> Widget:
    return Widget(metadata=ObjectMeta(name=name, namespace="ns", **metadata), spec={"size": 1})


def config_map(name: str = "a", **data: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace="ns"), data=data)


def test_objects_given_at_the_start_are_there_with_their_status() -> None:
    client = FakeClient(widget().model_copy(update={"status": {"ready": True}}))
    found = client.get(Widget, "a", namespace="ns")
    assert found.status == {"ready": True}
    assert found.metadata.uid
    assert found.metadata.resource_version


def test_188_each_write_raises_the_resource_version() -> None:
    """Ours has one counter for all objects, as a server has it, where controller-runtime's fake begins at 999 and 1."""
    client = FakeClient(widget("a"))
    created = client.create(widget("b"))
    patched = client.patch(created, {"spec": {"size": 2}})
    versions = [int(w.metadata.resource_version) for w in (client.get(Widget, "a", namespace="ns"), created, patched)]
    assert versions == sorted(set(versions))


def test_189_create_refuses_a_resource_version_and_leaves_its_argument_alone() -> None:
    client, given = FakeClient(), widget(resource_version="5")
    with pytest.raises(BadRequestError, match="resourceVersion should not be set"):
        client.create(given)
    assert given == widget(resource_version="5")


def test_189_create_refuses_an_empty_name() -> None:
    with pytest.raises(InvalidError, match=r"metadata\.name: Required value: name or generateName is required"):
        FakeClient().create(widget(""))


def test_189_create_of_an_existing_object_is_refused() -> None:
    with pytest.raises(AlreadyExistsError, match=r'widgets\.example\.com "a" already exists'):
        FakeClient(widget()).create(widget())


def test_190_generate_name_adds_five_characters_within_63() -> None:
    client = FakeClient()
    short = client.create(widget("", generate_name="model-"))
    long = client.create(widget("", generate_name="m" * 100))
    assert len(short.name) == len("model-") + 5
    assert len(long.name) == 63


def test_191_update_with_another_resource_version_conflicts() -> None:
    client = FakeClient(widget())
    stale = client.get(Widget, "a", namespace="ns")
    client.patch(stale, {"spec": {"size": 2}})
    with pytest.raises(ConflictError, match="the object has been modified; please apply your changes"):
        client.update(stale)


def test_191_update_without_resource_version_is_for_built_in_kinds_only() -> None:
    client = FakeClient(widget(), config_map(a="1"))
    with pytest.raises(InvalidError, match=r"metadata\.resourceVersion: Invalid value: 0x0: must be specified"):
        client.update(widget())
    assert client.update(config_map(a="2")).data == {"a": "2"}


def test_191_patch_without_resource_version_needs_none() -> None:
    assert FakeClient(widget()).patch(widget(), {"spec": {"size": 3}}).spec == {"size": 3}


@pytest.mark.parametrize("version", [None, "", "0"])
def test_191_patch_that_takes_the_resource_version_away_is_for_built_in_kinds_only(version: str | None) -> None:
    client = FakeClient(widget(), config_map(a="1"))
    patch = {"metadata": {"resourceVersion": version}}
    with pytest.raises(InvalidError, match=r"metadata\.resourceVersion: Invalid value: 0x0: must be specified"):
        client.patch(widget(), patch | {"spec": {"size": 3}})
    assert client.patch(config_map(), patch | {"data": {"a": "2"}}).data == {"a": "2"}


def test_191_patch_with_a_stale_resource_version_conflicts() -> None:
    client = FakeClient(widget())
    with pytest.raises(ConflictError):
        client.patch(widget(), {"metadata": {"resourceVersion": "77"}, "spec": {"size": 3}})


def test_191_an_update_with_a_part_of_an_object_is_refused_before_it_deletes_the_rest() -> None:
    node = Node(metadata=ObjectMeta(name="n", resource_version="1"))
    client = FakeClient(node)
    with pytest.raises(ValueError, match=r"Node ignores fields that it does not declare.*; patch it"):
        client.update(node)
    with pytest.raises(ValueError, match="patch it"):
        client.status.update(node)
    client.patch(node, {"metadata": {"labels": {"a": "b"}}})


def test_192_update_of_a_missing_object_is_not_found_but_creates_a_lease() -> None:
    client = FakeClient()
    with pytest.raises(NotFoundError, match=r'widgets\.example\.com "a" not found'):
        client.update(widget(resource_version="1"))
    lease = client.update(Lease(metadata=ObjectMeta(name="leader", namespace="ns")))
    assert lease.metadata.uid


def test_193_delete_with_finalizers_marks_and_removing_the_last_deletes() -> None:
    client = FakeClient(widget(finalizers=["example.com/a", "example.com/b"]))
    client.delete(widget())
    marked = client.get(Widget, "a", namespace="ns")
    assert marked.is_deleting
    marked.metadata.finalizers = ["example.com/b"]
    client.update(marked)
    client.patch(marked, {"metadata": {"finalizers": []}})
    assert client.find(Widget, "a", namespace="ns") is None


def test_194_deletion_timestamp_is_the_servers() -> None:
    clock = FakeClock()
    client = FakeClient(clock=clock)
    created = client.create(widget(deletion_timestamp=clock.now(), finalizers=["example.com/a"]))
    assert not created.is_deleting
    with pytest.raises(InvalidError, match=r"metadata\.deletionTimestamp: .*field is immutable"):
        client.patch(created, {"metadata": {"deletionTimestamp": "2020-01-01T00:00:00Z"}})
    with pytest.raises(InvalidError, match="only while it has finalizers"):
        FakeClient(widget(deletion_timestamp=clock.now()))


def test_195_delete_honours_preconditions() -> None:
    client = FakeClient(widget())
    with pytest.raises(ConflictError, match=r"the UID in the precondition \(other\) does not match the UID in record"):
        client.delete(widget(), preconditions=Preconditions(uid="other"))
    with pytest.raises(ConflictError, match=r"the ResourceVersion in the precondition \(99\) does not match"):
        client.delete(widget(), preconditions=Preconditions(resource_version="99"))
    client.delete(widget(), preconditions=Preconditions(uid=client.get(Widget, "a", namespace="ns").metadata.uid))
    assert client.list(Widget) == []


def test_196_status_and_the_rest_are_written_apart() -> None:
    client = FakeClient(widget())
    obj = client.get(Widget, "a", namespace="ns")
    obj.spec, obj.status = {"size": 2}, {"ready": True}
    obj = client.update(obj)
    assert (obj.spec, obj.status, obj.metadata.generation) == ({"size": 2}, {}, 2)
    obj.spec, obj.status = {"size": 3}, {"ready": True}
    obj = client.status.update(obj)
    assert (obj.spec, obj.status, obj.metadata.generation) == ({"size": 2}, {"ready": True}, 2)
    obj = client.status.patch(obj, {"spec": {"size": 9}, "status": {"ready": False}})
    assert (obj.spec, obj.status) == ({"size": 2}, {"ready": False})


def test_196_a_kind_without_status_has_no_status_subresource() -> None:
    client = FakeClient(config_map())
    with pytest.raises(NotFoundError, match="could not find the requested resource"):
        client.status.update(client.get(ConfigMap, "a", namespace="ns"))


def test_197_a_stale_status_update_conflicts() -> None:
    client = FakeClient(widget())
    stale = client.get(Widget, "a", namespace="ns")
    client.status.patch(stale, {"status": {"n": 1}})
    with pytest.raises(ConflictError):
        client.status.update(stale)


def test_198_apply_needs_an_owner_conflicts_and_may_be_forced() -> None:
    client = FakeClient()
    with pytest.raises(InvalidError, match="fieldManager: Required value"):
        client.apply(widget(), field_owner="")
    client.apply(widget(), field_owner="ann")
    other = widget().model_copy(update={"spec": {"size": 2}})
    with pytest.raises(ConflictError, match=r'Apply failed with 1 conflict: conflict with "ann": \.spec\.size'):
        client.apply(other, field_owner="bob")
    assert client.apply(other, field_owner="bob", force=True).spec == {"size": 2}


def test_198_typed_objects_do_not_show_managed_fields_and_writing_them_back_keeps_those() -> None:
    client = FakeClient()
    applied = client.apply(widget(), field_owner="ann")
    assert b"managedFields" not in applied.to_json()
    applied.spec["colour"] = "red"
    client.update(applied)
    stored = client.registry.get(client.definition(Widget), "ns", "a")
    owners = [(entry["manager"], entry["operation"]) for entry in stored["metadata"]["managedFields"]]
    assert owners == [("ann", "Apply"), ("fake-client", "Update")]


def test_199_a_dry_run_answers_as_if_and_changes_nothing() -> None:
    client = FakeClient(widget("a"))
    version = client.registry.store.revision
    assert client.create(widget("b"), options=DRY_RUN).metadata.uid
    assert client.patch(widget("a"), {"spec": {"size": 9}}, options=DRY_RUN).spec == {"size": 9}
    client.delete(widget("a"), options=DRY_RUN)
    assert [w.spec for w in client.list(Widget)] == [{"size": 1}]
    assert client.registry.store.revision == version


def test_200_a_field_selector_that_the_kind_does_not_have_is_refused() -> None:
    with pytest.raises(BadRequestError, match=r"field label not supported: spec\.size"):
        FakeClient(widget()).list(Widget, fields={"spec.size": "1"})


def test_200_a_field_that_the_test_has_indexed_is_served_as_from_a_cache() -> None:
    client = FakeClient(widget("a"), widget("b", labels={"x": "y"}))
    client.index_field(Widget, "size", lambda obj: [str(obj.spec["size"]), "any"])
    client.patch(widget("b"), {"spec": {"size": 2}})
    assert [obj.name for obj in client.list(Widget, fields={"size": "2"})] == ["b"]
    assert [obj.name for obj in client.list(Widget, fields="size!=2")] == ["a"]
    assert [obj.name for obj in client.list(Widget, fields="size=any,metadata.name=a", limit=1)] == ["a"]
    assert client.list(Widget, fields={"size": "1"}, labels="x=y") == []


def test_201_parallel_patches_all_land() -> None:
    client = FakeClient(config_map())
    threads = [
        threading.Thread(target=client.patch, args=(config_map(), {"data": {f"k{i}": str(i)}})) for i in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(client.get(ConfigMap, "a", namespace="ns").data) == 20


def test_201_of_parallel_patches_with_a_resource_version_one_lands() -> None:
    client, outcomes = FakeClient(config_map()), []
    version = client.get(ConfigMap, "a", namespace="ns").metadata.resource_version

    def patch(value: int) -> None:
        try:
            client.patch(config_map(), {"metadata": {"resourceVersion": version}, "data": {"k": str(value)}})
            outcomes.append("landed")
        except ConflictError:
            outcomes.append("conflict")

    threads = [threading.Thread(target=patch, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(outcomes) == ["conflict"] * 7 + ["landed"]


def test_202_interceptors_see_every_verb_and_may_call_through_or_answer() -> None:
    seen: list[str] = []

    def look(action: Action, proceed: Any) -> Any:
        seen.append(str(action))
        if action.verb == "get":
            raise NotFoundError.of("hidden")
        return proceed()

    client = FakeClient(widget(), interceptors=[look])
    obj = client.list(Widget)[0]
    client.status.patch(obj, {"status": {"n": 1}})
    client.patch(obj, {"spec": {"n": 1}})
    client.watch(Widget, WatchOptions()).close()
    client.delete(obj)
    with pytest.raises(NotFoundError, match="hidden"):
        client.get(Widget, "a", namespace="ns")
    resource = "widgets.example.com"
    assert seen == [
        f"list {resource}",
        f"patch {resource}/status ns/a",
        f"patch {resource} ns/a",
        f"watch {resource}",
        f"delete {resource} ns/a",
        f"get {resource} ns/a",
    ]
    assert [str(action) for action in client.actions] == seen
    assert [action.verb for action in client.writes] == ["patch", "patch", "delete"]


def test_an_injected_error_hits_the_next_fitting_request_only() -> None:
    client = FakeClient(widget(), config_map())
    client.faults.fail(ConflictError.of("injected"), verb="patch", kind=Widget)
    client.patch(config_map(), {"data": {"a": "1"}})
    with pytest.raises(ConflictError, match="injected"):
        client.patch(widget(), {"spec": {"size": 2}})
    assert client.patch(widget(), {"spec": {"size": 2}}).spec == {"size": 2}


def test_a_dropped_answer_hides_a_write_that_happened() -> None:
    client = FakeClient()
    client.faults.drop_answer(verb="create")
    with pytest.raises(TransportError):
        client.create(widget())
    assert client.get(Widget, "a", namespace="ns").spec == {"size": 1}


def test_a_latency_passes_on_the_clock() -> None:
    clock = FakeClock()
    client = FakeClient(widget(), clock=clock)
    client.faults.delay(30, verb="get")
    thread = threading.Thread(target=client.get, args=(Widget, "a"), kwargs={"namespace": "ns"})
    thread.start()
    clock.wait_for_waiters()
    clock.advance(30)
    thread.join(10)
    assert not thread.is_alive()


def test_watches_can_be_cut_with_an_error() -> None:
    client = FakeClient()
    stream = client.watch(Widget, WatchOptions())
    assert client.faults.cut_watches(Widget, TransportError("cut")) == 1
    with pytest.raises(TransportError, match="cut"):
        list(stream)


def test_a_withdrawn_kind_is_not_found_until_it_is_served_again() -> None:
    client = FakeClient(widget())
    client.withdraw(Widget)
    with pytest.raises(NotFoundError, match="could not find the requested resource"):
        client.list_page(Widget, ListOptions())
    client.serve(Widget)
    assert len(client.list(Widget)) == 1


def test_typed_and_untyped_views_are_of_the_same_objects() -> None:
    client = FakeClient(widget())
    untyped = client.get(Unstructured.of(Widget.mapping), "a", namespace="ns")
    assert untyped.content["spec"] == {"size": 1}


def test_lists_select_by_namespace_labels_and_fields() -> None:
    client = FakeClient(
        widget("a", labels={"tier": "x"}),
        widget("b", labels={"tier": "y"}),
        Pod.from_dict({"metadata": {"name": "p", "namespace": "ns"}, "spec": {"nodeName": "n1"}}),
        Pod.from_dict({"metadata": {"name": "q", "namespace": "ns"}, "spec": {"nodeName": "n2"}}),
        Node(metadata=ObjectMeta(name="n1")),
    )
    assert [w.name for w in client.list(Widget, labels="tier in (x)")] == ["a"]
    assert [w.name for w in client.list(Widget, labels={"tier": "y"}, namespace="ns")] == ["b"]
    assert client.list(Widget, namespace="other") == []
    assert [p.name for p in client.list(Pod, fields={"spec.nodeName": "n2"})] == ["q"]
    assert [n.name for n in client.list(Node, fields="metadata.name=n1")] == ["n1"]


def test_a_json_patch_changes_the_object() -> None:
    client = FakeClient(widget())
    patch = [{"op": "test", "path": "/spec/size", "value": 1}, {"op": "replace", "path": "/spec/size", "value": 5}]
    assert client.patch(widget(), patch, patch_type=JSON_PATCH).spec == {"size": 5}
    with pytest.raises(InvalidError, match="the server rejected our request due to an error in our request"):
        client.patch(widget(), patch, patch_type=JSON_PATCH)


def test_a_strategic_merge_patch_of_a_custom_resource_is_an_unsupported_media_type() -> None:
    with pytest.raises(UnsupportedMediaTypeError, match="unknown format - accepted media types include"):
        FakeClient(widget()).patch(widget(), {}, patch_type=STRATEGIC_MERGE_PATCH)


def test_a_namespace_terminates_until_its_finalizers_are_gone() -> None:
    client = FakeClient(Namespace(metadata=ObjectMeta(name="models"), spec={"finalizers": ["kubernetes"]}))
    client.delete(client.get(Namespace, "models"))
    terminating = client.get(Namespace, "models")
    assert (terminating.is_deleting, terminating.status.phase) == (True, "Terminating")


def test_only_an_object_can_be_the_spec_of_a_finalized_namespace() -> None:
    registry, namespaces = Registry(), definition_of(Namespace)
    registry.register(namespaces)
    namespace = registry.create(namespaces, "", {"metadata": {"name": "models"}}).object
    with pytest.raises(BadRequestError, match="the spec of a Namespace must be an object, not 'kubernetes'"):
        registry.update(namespaces, "", "models", {**namespace, "spec": "kubernetes"}, subresource="finalize")


def test_a_clients_clock_is_its_registrys() -> None:
    with pytest.raises(ValueError, match="give the clock to the registry"):
        FakeClient(registry=Registry(), clock=FakeClock())
