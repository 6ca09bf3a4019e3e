"""Events in core/v1 and events.k8s.io/v1: two views of one storage."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from localmodel.runtime.errors import ConflictError, ExpiredError, InvalidError
from localmodel.runtime.listwatch import ListOptions, WatchOptions
from localmodel.runtime.objects import Event, RESTMapping, eventsv1
from localmodel.runtime.testing import FakeClient, Registry
from localmodel.runtime.testing.builtins import builtin_definition
from localmodel.runtime.testing.definitions import ResourceDefinition

CORE = builtin_definition(RESTMapping.of("", "v1", "Event"), status_subresource=False)
EVENTS = builtin_definition(RESTMapping.of("events.k8s.io", "v1", "Event"), status_subresource=False)
MERGE = "application/merge-patch+json"
TIME = "2026-01-01T00:00:00.000000Z"
REFERENCE = {"apiVersion": "v1", "kind": "ConfigMap", "namespace": "ns", "name": "a", "uid": "u"}


@pytest.fixture
def registry() -> Registry:
    registry = Registry()
    registry.register(CORE)
    registry.register(EVENTS)
    return registry


def new_event(**more: Any) -> dict[str, Any]:
    event = {
        "metadata": {"name": "a.1", "namespace": "ns"},
        "regarding": REFERENCE,
        "note": "hello",
        "reason": "Greeted",
        "action": "Greet",
        "type": "Normal",
        "eventTime": TIME,
        "reportingController": "example.com/greeter",
        "reportingInstance": "greeter-1",
    }
    return {key: value for key, value in (event | more).items() if value is not None}


def core_event(**more: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "b.1", "namespace": "ns"},
        "involvedObject": REFERENCE,
        "message": "hello",
        "reason": "Greeted",
        "type": "Warning",
        "count": 3,
        "firstTimestamp": "2026-01-01T00:00:00Z",
        "lastTimestamp": "2026-01-01T00:01:00Z",
        "source": {"component": "greeter", "host": "n1"},
    } | more


def faults(error: InvalidError) -> dict[str, str]:
    return {cause["field"]: cause["message"] for cause in error.status["details"]["causes"]}


def test_an_event_of_the_new_group_is_seen_in_core(registry: Registry) -> None:
    registry.create(EVENTS, "ns", new_event(series={"count": 2, "lastObservedTime": TIME}))
    seen = registry.get(CORE, "ns", "a.1")

    assert (seen["apiVersion"], seen["kind"]) == ("v1", "Event")
    assert seen["involvedObject"] == REFERENCE
    assert (seen["message"], seen["reportingComponent"]) == ("hello", "example.com/greeter")
    assert seen["series"]["count"] == 2
    assert (seen["action"], seen["eventTime"]) == ("Greet", TIME)
    assert not {"regarding", "note", "reportingController"} & set(seen)


def test_a_core_event_is_seen_in_the_new_group(registry: Registry) -> None:
    registry.create(CORE, "ns", core_event())
    seen = registry.get(EVENTS, "ns", "b.1")

    assert seen["apiVersion"] == "events.k8s.io/v1"
    assert (seen["regarding"], seen["note"]) == (REFERENCE, "hello")
    assert seen["deprecatedSource"] == {"component": "greeter", "host": "n1"}
    assert (seen["deprecatedCount"], seen["deprecatedLastTimestamp"]) == (3, "2026-01-01T00:01:00Z")
    assert registry.get(CORE, "ns", "b.1")["count"] == 3


def test_both_groups_have_one_resource_version_and_one_history(registry: Registry) -> None:
    options = WatchOptions(allow_bookmarks=False)
    core, new = registry.watch(CORE, options), registry.watch(EVENTS, options)
    registry.create(CORE, "ns", core_event())
    changed = registry.patch(EVENTS, "ns", "b.1", {"metadata": {"labels": {"a": "b"}}}, MERGE)
    registry.delete(EVENTS, "ns", "b.1")
    core.end()
    new.end()

    seen = [(event.type, msgspec.json.decode(event.object)) for event in core]
    assert [kind for kind, _ in seen] == ["ADDED", "MODIFIED", "DELETED"]
    assert all(event["apiVersion"] == "v1" and "message" in event for _, event in seen)
    assert seen[1][1]["metadata"]["resourceVersion"] == changed.object["metadata"]["resourceVersion"]
    assert all("note" in msgspec.json.decode(event.object) for event in new)
    assert not registry.list(CORE).items


@pytest.mark.parametrize("definition", [CORE, EVENTS])
def test_a_watch_from_too_old_a_version_is_refused_in_the_words_of_etcd(
    registry: Registry, definition: ResourceDefinition
) -> None:
    registry.create(CORE, "ns", core_event())
    registry.create(EVENTS, "ns", new_event())
    registry.store.compact()
    with pytest.raises(ExpiredError, match=r"The resourceVersion for the provided watch is too old\."):
        registry.watch(definition, WatchOptions(resource_version="1"))


def test_a_stale_update_conflicts_across_the_groups(registry: Registry) -> None:
    registry.create(CORE, "ns", core_event())
    stale = registry.get(EVENTS, "ns", "b.1")
    registry.patch(CORE, "ns", "b.1", {"count": 4}, MERGE)
    with pytest.raises(ConflictError):
        registry.update(EVENTS, "ns", "b.1", stale)


@pytest.mark.parametrize(
    ("definition", "selector", "found"),
    [
        (CORE, "involvedObject.name=a", ["a.1", "b.1"]),
        (EVENTS, "regarding.name=a,regarding.kind=ConfigMap", ["a.1", "b.1"]),
        (EVENTS, "reportingController=example.com/greeter", ["a.1"]),
        (CORE, "reportingComponent=example.com/greeter", ["a.1"]),
        (CORE, "source=greeter", ["b.1"]),
        (CORE, "source=example.com/greeter", ["a.1"]),
        (EVENTS, "type=Warning,reason=Greeted", ["b.1"]),
    ],
)
def test_events_are_selected_by_fields_in_both_groups(
    registry: Registry, definition: ResourceDefinition, selector: str, found: list[str]
) -> None:
    registry.create(EVENTS, "ns", new_event())
    registry.create(CORE, "ns", core_event())
    items = registry.list(definition, ListOptions(field_selector=selector)).items
    assert [msgspec.json.decode(item)["metadata"]["name"] for item in items] == found


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"eventTime": None}, "eventTime", "Required value"),
        ({"action": None}, "action", "Required value"),
        ({"reason": ""}, "reason", "Required value"),
        ({"reportingController": None}, "reportingController", "Required value"),
        ({"reportingController": "no spaces"}, "reportingController", "name part must consist of"),
        ({"reportingInstance": None}, "reportingInstance", "Required value"),
        ({"reportingInstance": "x" * 129}, "reportingInstance", "can have at most 128 characters"),
        ({"action": "x" * 129}, "action", "can have at most 128 characters"),
        ({"note": "x" * 1025}, "message", "can have at most 1024 characters"),
        ({"type": "Fine"}, "type", "has invalid value: Fine"),
        ({"deprecatedCount": 1}, "count", "needs to be unset"),
        ({"deprecatedSource": {"component": "x"}}, "source", "needs to be unset"),
        ({"deprecatedFirstTimestamp": TIME}, "firstTimestamp", "needs to be unset"),
        ({"series": {"count": 1, "lastObservedTime": TIME}}, "series.count", "should be at least 2"),
        ({"series": {"count": 2}}, "series.lastObservedTime", "Required value"),
        ({"regarding": {**REFERENCE, "namespace": ""}}, "involvedObject.namespace", "does not match event.namespace"),
    ],
)
def test_the_new_group_validates_strictly(registry: Registry, change: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(InvalidError) as refused:
        registry.create(EVENTS, "ns", new_event(**change))
    causes = refused.value.status["details"]["causes"]
    assert any(cause["field"] == field and message in cause["message"] for cause in causes)


@pytest.mark.parametrize(
    ("patch", "field"),
    [
        ({"note": "other"}, "message"),
        ({"regarding": {"name": "b"}}, "involvedObject"),
        ({"reason": "Other"}, "reason"),
        ({"type": "Warning"}, "type"),
        ({"action": "Other"}, "action"),
        ({"eventTime": "2026-01-02T00:00:00.000000Z"}, "eventTime"),
        ({"reportingController": "other"}, "reportingController"),
        ({"related": REFERENCE}, "related"),
        ({"deprecatedCount": 2}, "count"),
    ],
)
def test_in_the_new_group_only_the_series_changes(registry: Registry, patch: dict[str, Any], field: str) -> None:
    registry.create(EVENTS, "ns", new_event())
    with pytest.raises(InvalidError) as refused:
        registry.patch(EVENTS, "ns", "a.1", patch, MERGE)
    assert "field is immutable" in faults(refused.value)[field]

    series = {"count": 2, "lastObservedTime": TIME}
    assert registry.patch(EVENTS, "ns", "a.1", {"series": series}, MERGE).object["series"] == series


def test_core_validates_as_of_old(registry: Registry) -> None:
    with pytest.raises(InvalidError) as refused:
        registry.create(CORE, "other", core_event(metadata={"name": "b.1", "namespace": "other"}))
    assert faults(refused.value) == {
        "involvedObject.namespace": 'Invalid value: "ns": does not match event.namespace',
    }
    with pytest.raises(InvalidError) as refused:
        registry.create(CORE, "ns", core_event(eventTime=TIME))
    assert set(faults(refused.value)) == {"reportingComponent", "reportingInstance", "action"}

    registry.create(CORE, "ns", core_event())
    patched = registry.patch(CORE, "ns", "b.1", {"count": 4, "message": "again", "type": "Other"}, MERGE)
    assert patched.object["message"] == "again"


def test_an_unconditional_update_may_create(registry: Registry) -> None:
    assert registry.update(EVENTS, "ns", "a.1", new_event()).created
    assert not registry.update(EVENTS, "ns", "a.1", new_event(series={"count": 2, "lastObservedTime": TIME})).created


def test_a_compaction_is_of_the_storage() -> None:
    client = FakeClient()
    first = client.create(eventsv1.Event.from_dict(new_event()))
    client.create(eventsv1.Event.from_dict(new_event(metadata={"name": "a.2", "namespace": "ns"})))
    client.faults.compact(eventsv1.Event)
    for kind in (eventsv1.Event, Event):
        with pytest.raises(ExpiredError):
            client.watch(kind, WatchOptions(resource_version=first.metadata.resource_version))
