"""The garbage collector's promises, with a real manager and cache on a fake API server."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from support.eventually import eventually

from localmodel.runtime.client import Propagation
from localmodel.runtime.manager import Manager
from localmodel.runtime.manager_options import ManagerOptions
from localmodel.runtime.objects import ConfigMap, Event, Node, Object, ObjectMeta, OwnerReference, Secret
from localmodel.runtime.testing import FakeClient
from localmodel.sandbox.controllers.garbage import GarbageCollector

NS = "team"


@pytest.fixture
def client() -> Iterator[FakeClient]:
    client = FakeClient()
    collector = GarbageCollector([ConfigMap.mapping, Node.mapping, Secret.mapping])
    manager = Manager(client, ManagerOptions(metrics_addr="0", health_probe_addr="0"))
    collector.index(manager.cache)
    manager.add_reconciler(collector)
    stop = threading.Event()
    thread = threading.Thread(target=manager.start, args=(stop,))
    thread.start()
    yield client
    stop.set()
    thread.join(10)


def owner(client: FakeClient, name: str = "owner") -> ConfigMap:
    return client.create(ConfigMap(metadata=ObjectMeta(name=name, namespace=NS)))


def reference(owner: ConfigMap, *, uid: str = "", block: bool = False) -> OwnerReference:
    return OwnerReference(
        api_version="v1",
        kind="ConfigMap",
        name=owner.name,
        uid=uid or owner.metadata.uid,
        block_owner_deletion=block,
    )


def dependent(client: FakeClient, *owners: OwnerReference, finalizers: tuple[str, ...] = ()) -> Secret:
    metadata = ObjectMeta(name="dependent", namespace=NS, owner_references=[*owners], finalizers=[*finalizers])
    return client.create(Secret(metadata=metadata))


def find(client: FakeClient) -> Secret | None:
    return client.find(Secret, "dependent", namespace=NS)


def owner_is_there(client: FakeClient) -> bool:
    return client.find(ConfigMap, "owner", namespace=NS) is not None


def test_background_deletion_takes_the_dependents_after_the_owner(client: FakeClient) -> None:
    it = owner(client)
    dependent(client, reference(it))
    client.delete(it)
    eventually(lambda: find(client) is None)


def test_a_dependent_with_another_owner_stays_and_forgets_the_dead_one(client: FakeClient) -> None:
    first, second = owner(client), owner(client, "second")
    dependent(client, reference(first), reference(second))
    client.delete(first)

    def only_second() -> bool:
        found = find(client)
        return found is not None and [o.name for o in found.metadata.owner_references] == ["second"]

    eventually(only_second)


def test_an_owner_of_that_name_with_another_uid_is_no_owner(client: FakeClient) -> None:
    dependent(client, reference(owner(client), uid="somebody else"))
    eventually(lambda: find(client) is None)


def test_foreground_deletion_keeps_the_owner_until_its_dependents_are_gone(client: FakeClient) -> None:
    it = owner(client)
    dependent(client, reference(it, block=True), finalizers=("example.com/hold",))
    client.delete(it, propagation="Foreground")
    eventually(lambda: (found := find(client)) is not None and found.is_deleting)
    assert owner_is_there(client)
    client.patch(find(client), {"metadata": {"finalizers": None}})
    eventually(lambda: find(client) is None and not owner_is_there(client))


@pytest.mark.parametrize("propagation", ["Orphan"])
def test_orphaning_keeps_the_dependents_without_their_owner(client: FakeClient, propagation: Propagation) -> None:
    it = owner(client)
    dependent(client, reference(it))
    eventually(lambda: find(client) is not None)
    client.delete(it, propagation=propagation)
    eventually(lambda: not owner_is_there(client))
    eventually(lambda: (found := find(client)) is not None and not found.metadata.owner_references)


def test_an_owner_of_a_kind_that_is_not_looked_after_counts_as_there(client: FakeClient) -> None:
    unknown = OwnerReference(api_version="example.com/v1", kind="Thing", name="x", uid="1")
    it = dependent(client, unknown)
    marker = dependent_marker(client)
    client.delete(marker)
    eventually(lambda: client.find(Secret, "marked", namespace=NS) is None)
    found = find(client)
    assert found is not None
    assert found.metadata.uid == it.metadata.uid


def dependent_marker(client: FakeClient) -> ConfigMap:
    """An owner whose dependent goes only after the collector has seen everything before it."""
    marker = owner(client, "marker")
    metadata = ObjectMeta(name="marked", namespace=NS, owner_references=[reference(marker)])
    client.create(Secret(metadata=metadata))
    return marker


# owners of another namespace ------------------------------------------------------------------------------------------


def events(client: FakeClient, name: str) -> list[Event]:
    return [event for event in client.list(Event) if event.involved_object.name == name]


def node(client: FakeClient, *owners: OwnerReference, name: str = "dependent") -> Object:
    return client.create(Node(metadata=ObjectMeta(name=name, owner_references=[*owners])))


def wait_until_seen(client: FakeClient) -> None:
    """Until the collector has looked at every node before this one."""
    last = OwnerReference(api_version="v1", kind="Node", name="never", uid="never")
    node(client, last, name="last")
    eventually(lambda: client.find(Node, "last") is None)


def test_an_event_tells_of_a_cluster_scoped_object_with_a_namespaced_owner(client: FakeClient) -> None:
    it = owner(client)
    node(client, reference(it))
    eventually(lambda: events(client, "dependent"))
    (event,) = events(client, "dependent")
    assert (event.namespace, event.type, event.reason, event.message) == (
        "default",
        "Warning",
        "OwnerRefInvalidNamespace",
        f'ownerRef [v1/ConfigMap, namespace: , name: owner, uid: {it.metadata.uid}] does not exist in namespace ""',
    )


def test_that_event_names_the_dependent_and_who_says_it(client: FakeClient) -> None:
    dependent = node(client, reference(owner(client)))
    eventually(lambda: events(client, "dependent"))
    (event,) = events(client, "dependent")
    about = event.involved_object
    assert (about.kind, about.namespace, about.uid) == ("Node", "", dependent.metadata.uid)
    assert event.reporting_component == "garbage-collector-controller"


def test_an_owner_of_another_namespace_is_told_of_before_the_dependent_goes(client: FakeClient) -> None:
    elsewhere = client.create(ConfigMap(metadata=ObjectMeta(name="owner", namespace="other")))
    dependent(client, reference(elsewhere))
    eventually(lambda: find(client) is None)
    eventually(lambda: [event.namespace for event in events(client, "dependent")] == [NS])


def test_a_cluster_scoped_object_with_a_namespaced_owner_stays_as_it_is(client: FakeClient) -> None:
    gone = OwnerReference(api_version="v1", kind="Node", name="gone", uid="gone")
    node(client, reference(owner(client)), gone)
    wait_until_seen(client)
    assert len(client.get(Node, "dependent").metadata.owner_references) == 2


def test_a_namespaced_owner_that_never_was_is_not_told_of(client: FakeClient) -> None:
    node(client, OwnerReference(api_version="v1", kind="ConfigMap", name="never", uid="never"))
    node(client, reference(owner(client)), name="told")
    eventually(lambda: events(client, "told"))
    assert events(client, "dependent") == []


def test_it_is_told_once(client: FakeClient) -> None:
    it = node(client, reference(owner(client)))
    eventually(lambda: events(client, "dependent"))
    client.patch(it, {"metadata": {"labels": {"changed": "true"}}})
    wait_until_seen(client)
    (event,) = events(client, "dependent")
    assert event.series is None
