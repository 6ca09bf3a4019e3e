"""How the registry deletes: at once, or by deletion timestamp, finalizers and grace periods."""

from __future__ import annotations

from typing import Any

import pytest
from support.widgets import NS, PODS, WIDGETS, Json, widget

from localmodel.runtime.client import MERGE_PATCH
from localmodel.runtime.errors import InvalidError, NotFoundError
from localmodel.runtime.listwatch import ListOptions
from localmodel.runtime.objects import RESTMapping
from localmodel.runtime.testing import FakeClock, Registry
from localmodel.runtime.testing.builtins import builtin_definition

NAMESPACES = builtin_definition(RESTMapping.of("", "v1", "Namespace", namespaced=False))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def registry(clock: FakeClock) -> Registry:
    return Registry(clock=clock)


def held(registry: Registry, *finalizers: str) -> Json:
    sent = widget(size=1)
    sent["metadata"]["finalizers"] = list(finalizers)
    return registry.create(WIDGETS, NS, sent).object


def pod(registry: Registry, *, node: str = "n1", phase: str = "Running", **spec: Any) -> None:
    registry.create(PODS, NS, widget("a", nodeName=node, **spec))
    registry.patch(PODS, NS, "a", {"status": {"phase": phase}}, MERGE_PATCH, subresource="status")


def test_an_object_that_nothing_holds_goes_at_once(registry: Registry) -> None:
    created = registry.create(WIDGETS, NS, widget()).object
    written = registry.delete(WIDGETS, NS, "a")
    assert written.deleted
    assert int(written.object["metadata"]["resourceVersion"]) > int(created["metadata"]["resourceVersion"])
    with pytest.raises(NotFoundError):
        registry.delete(WIDGETS, NS, "a")


def test_a_finalizer_holds_a_deleted_object(registry: Registry) -> None:
    held(registry, "example.com/a")
    written = registry.delete(WIDGETS, NS, "a")
    metadata = written.object["metadata"]
    assert not written.deleted
    assert metadata["deletionTimestamp"] == "2026-01-01T00:00:00Z"
    assert metadata["deletionGracePeriodSeconds"] == 0
    assert metadata["generation"] == 2


def test_a_second_delete_keeps_the_first_timestamp_and_writes_nothing(registry: Registry, clock: FakeClock) -> None:
    held(registry, "example.com/a")
    first = registry.delete(WIDGETS, NS, "a").object
    clock.advance(60)
    assert registry.delete(WIDGETS, NS, "a").object == first


def test_while_an_object_is_being_deleted_finalizers_may_only_go(registry: Registry) -> None:
    held(registry, "example.com/a", "example.com/b")
    registry.delete(WIDGETS, NS, "a")
    with pytest.raises(InvalidError, match=r'found new finalizers \[\]string\{"example\.com/c"\}'):
        registry.patch(WIDGETS, NS, "a", {"metadata": {"finalizers": ["example.com/a", "example.com/c"]}}, MERGE_PATCH)
    registry.patch(WIDGETS, NS, "a", {"metadata": {"finalizers": ["example.com/b"]}}, MERGE_PATCH)
    assert registry.patch(WIDGETS, NS, "a", {"metadata": {"finalizers": None}}, MERGE_PATCH).deleted


def test_a_put_that_leaves_the_deletion_timestamp_out_does_not_revive(registry: Registry) -> None:
    sent = held(registry, "example.com/a")
    registry.delete(WIDGETS, NS, "a")
    sent["metadata"] |= {"resourceVersion": registry.get(WIDGETS, NS, "a")["metadata"]["resourceVersion"]}
    sent["spec"] = {"size": 2}
    assert registry.update(WIDGETS, NS, "a", sent).object["metadata"]["deletionTimestamp"]


@pytest.mark.parametrize(
    ("propagation", "finalizers"),
    [
        ("Foreground", ["foregroundDeletion"]),
        ("Orphan", ["orphan"]),
    ],
)
def test_propagation_that_waits_for_the_garbage_collector_is_a_finalizer(
    registry: Registry, propagation: Any, finalizers: list[str]
) -> None:
    registry.create(WIDGETS, NS, widget())
    written = registry.delete(WIDGETS, NS, "a", propagation=propagation)
    assert (written.deleted, written.object["metadata"]["finalizers"]) == (False, finalizers)
    assert registry.delete(WIDGETS, NS, "a", propagation="Background").deleted


def test_a_delete_without_a_policy_leaves_an_earlier_one_in_force(registry: Registry) -> None:
    registry.create(WIDGETS, NS, widget())
    registry.delete(WIDGETS, NS, "a", propagation="Foreground")
    assert registry.delete(WIDGETS, NS, "a").object["metadata"]["finalizers"] == ["foregroundDeletion"]


def test_a_pod_on_a_node_waits_for_its_kubelet(registry: Registry) -> None:
    pod(registry)
    metadata = registry.delete(PODS, NS, "a").object["metadata"]
    assert (metadata["deletionTimestamp"], metadata["deletionGracePeriodSeconds"]) == ("2026-01-01T00:00:30Z", 30)
    assert registry.delete(PODS, NS, "a", grace_period_seconds=0).deleted


def test_the_grace_period_of_a_pod_is_its_own_or_the_callers(registry: Registry) -> None:
    pod(registry, terminationGracePeriodSeconds=5)
    assert registry.delete(PODS, NS, "a").object["metadata"]["deletionGracePeriodSeconds"] == 5


def test_a_later_delete_can_only_shorten_the_grace_period(registry: Registry) -> None:
    pod(registry)
    registry.delete(PODS, NS, "a")
    longer = registry.delete(PODS, NS, "a", grace_period_seconds=99).object["metadata"]
    shorter = registry.delete(PODS, NS, "a", grace_period_seconds=10).object["metadata"]
    assert (longer["deletionTimestamp"], longer["deletionGracePeriodSeconds"]) == ("2026-01-01T00:00:30Z", 30)
    assert (shorter["deletionTimestamp"], shorter["deletionGracePeriodSeconds"]) == ("2026-01-01T00:00:10Z", 10)


@pytest.mark.parametrize(("node", "phase"), [("", "Pending"), ("n1", "Succeeded"), ("n1", "Failed")])
def test_a_pod_without_a_node_or_a_finished_one_goes_at_once(registry: Registry, node: str, phase: str) -> None:
    pod(registry, node=node, phase=phase)
    assert registry.delete(PODS, NS, "a").deleted


def test_losing_the_last_finalizer_does_not_cut_a_pods_grace_period(registry: Registry) -> None:
    pod(registry)
    registry.patch(PODS, NS, "a", {"metadata": {"finalizers": ["example.com/a"]}}, MERGE_PATCH)
    registry.delete(PODS, NS, "a")
    assert not registry.patch(PODS, NS, "a", {"metadata": {"finalizers": None}}, MERGE_PATCH).deleted


def test_a_namespace_goes_when_it_is_finalized(registry: Registry) -> None:
    registry.create(NAMESPACES, "", {"metadata": {"name": "models"}, "spec": {"finalizers": ["kubernetes"]}})
    terminating = registry.delete(NAMESPACES, "", "models").object
    assert terminating["status"]["phase"] == "Terminating"
    terminating["spec"]["finalizers"] = []
    assert registry.update(NAMESPACES, "", "models", terminating, subresource="finalize").deleted


def test_delete_collection_deletes_what_its_selector_finds(registry: Registry) -> None:
    for name, tier in (("a", "x"), ("b", "y"), ("c", "x")):
        registry.create(WIDGETS, NS, widget(name, labels={"tier": tier}))
    gone = registry.delete_collection(WIDGETS, ListOptions(namespace=NS, label_selector="tier=x"))
    assert [written.object["metadata"]["name"] for written in gone] == ["a", "c"]
    assert len(registry.list(WIDGETS).items) == 1
