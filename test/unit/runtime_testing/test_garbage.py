"""Garbage collection on request: what a cluster's collector would have done by now."""

from __future__ import annotations

from typing import Any

from localmodel.runtime.controllerutil import set_controller_reference
from localmodel.runtime.objects import ConfigMap, Object, ObjectMeta, OwnerReference, RESTMapping
from localmodel.runtime.testing import FakeClient
from localmodel.runtime.testing.garbage import collect_garbage

NS = "ns"


class Widget(Object):
    mapping = RESTMapping.of("example.com", "v1", "Widget")


def widget(name: str) -> Widget:
    return Widget(metadata=ObjectMeta(name=name, namespace=NS))


def owned(client: FakeClient, name: str, *owners: Any) -> ConfigMap:
    """A config map of these owners, the first of which controls it."""
    obj = ConfigMap(metadata=ObjectMeta(name=name, namespace=NS))
    set_controller_reference(owners[0], obj)
    for owner in owners[1:]:
        obj.metadata.owner_references.append(
            OwnerReference(
                api_version=owner.api_version,
                kind=owner.kind,
                name=owner.name,
                uid=owner.metadata.uid,
            )
        )
    return client.create(obj)


def names(client: FakeClient) -> list[str]:
    return [obj.name for obj in client.list(ConfigMap, namespace=NS)]


def test_203_what_has_lost_its_last_owner_goes_and_so_on_down() -> None:
    client = FakeClient()
    root = client.create(widget("root"))
    child = owned(client, "child", root)
    owned(client, "grandchild", child)
    assert collect_garbage(client.registry) == []

    client.delete(root)
    assert collect_garbage(client.registry) == ["configmaps ns/child", "configmaps ns/grandchild"]
    assert names(client) == []


def test_203_what_has_another_owner_stays_and_forgets_the_one_that_is_gone() -> None:
    client = FakeClient()
    one, two = client.create(widget("one")), client.create(widget("two"))
    owned(client, "shared", one, two)

    client.delete(one)
    assert collect_garbage(client.registry) == []
    references = client.get(ConfigMap, "shared", namespace=NS).metadata.owner_references
    assert [reference.name for reference in references] == ["two"]


def test_203_an_owner_that_came_again_is_another_one() -> None:
    client = FakeClient()
    root = client.create(widget("root"))
    owned(client, "child", root)
    client.delete(root)
    client.create(widget("root"))
    assert collect_garbage(client.registry) == ["configmaps ns/child"]


def test_203_in_the_foreground_the_owner_goes_last() -> None:
    client = FakeClient()
    root = client.create(widget("root"))
    owned(client, "child", root)
    client.delete(root, propagation="Foreground")
    assert client.get(Widget, "root", namespace=NS).is_deleting

    assert collect_garbage(client.registry) == ["configmaps ns/child"]
    assert client.list(Widget) == []


def test_203_a_dependent_with_a_finalizer_holds_its_owner_in_the_foreground() -> None:
    client = FakeClient()
    root = client.create(widget("root"))
    child = owned(client, "child", root)
    client.patch(child, {"metadata": {"finalizers": ["example.com/hold"]}})
    client.delete(root, propagation="Foreground")
    collect_garbage(client.registry)
    assert client.get(Widget, "root", namespace=NS).is_deleting

    client.patch(child, {"metadata": {"finalizers": None}})
    collect_garbage(client.registry)
    assert client.list(Widget) == []


def test_203_orphans_forget_their_owner_and_stay() -> None:
    client = FakeClient()
    root = client.create(widget("root"))
    owned(client, "child", root)
    client.delete(root, propagation="Orphan")
    assert collect_garbage(client.registry) == []
    assert client.list(Widget) == []
    assert client.get(ConfigMap, "child", namespace=NS).metadata.owner_references == []


def test_203_an_owner_of_a_kind_that_nobody_serves_counts_as_there() -> None:
    client = FakeClient()
    reference = OwnerReference(api_version="example.com/v1", kind="Gadget", name="g", uid="7")
    meta = ObjectMeta(name="child", namespace=NS, owner_references=[reference])
    client.create(ConfigMap(metadata=meta))
    assert collect_garbage(client.registry) == []
    assert names(client) == ["child"]
