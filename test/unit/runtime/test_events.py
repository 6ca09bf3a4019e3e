"""Events: runtimes.md 2.14."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from support.eventually import eventually
from support.memory_client import MemoryClient

from localmodel.runtime.errors import ForbiddenError, TransportError
from localmodel.runtime.eventcorrelator import COMBINED_PREFIX, MAX_KEYS, EventCorrelator
from localmodel.runtime.events import QUEUE_SIZE, EventBroadcaster
from localmodel.runtime.metrics import Metrics
from localmodel.runtime.objects import ConfigMap, Event, EventSource, Node, ObjectMeta, ObjectReference
from localmodel.runtime.testing.fake_clock import FakeClock

OBJECT = ConfigMap(metadata=ObjectMeta(name="a", namespace="ns", uid="u", resource_version="7"))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def client() -> MemoryClient:
    return MemoryClient()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def broadcaster(client: MemoryClient, clock: FakeClock, metrics: Metrics) -> Iterator[EventBroadcaster]:
    broadcaster = EventBroadcaster(client, clock=clock, metrics=metrics, jitter=lambda: 0.5)
    broadcaster.start()
    yield broadcaster
    broadcaster.stop()


def written(client: MemoryClient) -> list[Event]:
    calls = list(client.calls)
    events = client.list(Event)
    client.calls[:] = calls
    return events


def dropped(metrics: Metrics, reason: str) -> float:
    return metrics.registry.get_sample_value("localmodel_events_dropped_total", {"reason": reason}) or 0


def test_an_event_names_object_source_and_time(
    broadcaster: EventBroadcaster, client: MemoryClient, clock: FakeClock
) -> None:
    broadcaster.recorder("greeter").event(OBJECT, "Warning", "Broken", "it broke")
    eventually(lambda: written(client))

    event = written(client)[0]
    assert event.namespace == "ns"
    assert event.name.startswith("a.")
    about = event.involved_object
    assert (about.api_version, about.kind, about.namespace, about.name, about.uid, about.resource_version) == (
        "v1",
        "ConfigMap",
        "ns",
        "a",
        "u",
        "7",
    )
    assert (event.type, event.reason, event.message, event.count) == ("Warning", "Broken", "it broke", 1)
    assert (event.source.component, event.reporting_component) == ("greeter", "greeter")
    assert event.first_timestamp == event.last_timestamp == clock.now()


def test_175_the_same_event_again_raises_the_count_by_patch(
    broadcaster: EventBroadcaster, client: MemoryClient, clock: FakeClock
) -> None:
    recorder = broadcaster.recorder("greeter")
    recorder.event(OBJECT, "Normal", "Greeted", "hello")
    clock.advance(5)
    recorder.event(OBJECT, "Normal", "Greeted", "hello")
    eventually(lambda: client.calls == ["create", "patch"])
    eventually(lambda: [event.count for event in written(client)] == [2])

    event = written(client)[0]
    assert event.last_timestamp == clock.now()
    assert event.first_timestamp != clock.now()


def test_175_an_event_that_is_gone_is_created_anew(broadcaster: EventBroadcaster, client: MemoryClient) -> None:
    recorder = broadcaster.recorder("greeter")
    recorder.event(OBJECT, "Normal", "Greeted", "hello")
    eventually(lambda: written(client))
    client.delete(written(client)[0])
    client.calls.clear()
    recorder.event(OBJECT, "Normal", "Greeted", "hello")

    eventually(lambda: client.calls == ["patch", "create"])
    eventually(lambda: [event.count for event in written(client)] == [2])


def make(message: str, *, name: str = "a", component: str = "greeter") -> Event:
    return Event(
        metadata=ObjectMeta(name=f"{name}.1", namespace="ns"),
        involved_object=ObjectReference(api_version="v1", kind="ConfigMap", namespace="ns", name=name),
        source=EventSource(component=component),
        reason="Greeted",
        message=message,
        type="Normal",
        count=1,
    )


def correlate(correlator: EventCorrelator, event: Event) -> Event | None:
    observed = correlator.correlate(event)
    if observed is not None:
        correlator.written(observed)
    return observed


def test_176_from_the_tenth_distinct_message_on_one_combined_event_is_kept(clock: FakeClock) -> None:
    correlator = EventCorrelator(clock)
    observed = [correlate(correlator, make(f"message {number}")) for number in range(12)]

    messages = [(event.message, event.count) for event in observed if event]
    assert messages[:9] == [(f"message {number}", 1) for number in range(9)]
    assert messages[9:] == [
        (COMBINED_PREFIX + "message 9", 1),
        (COMBINED_PREFIX + "message 10", 2),
        (COMBINED_PREFIX + "message 11", 3),
    ]


def test_176_messages_more_than_ten_minutes_apart_are_not_combined(clock: FakeClock) -> None:
    correlator = EventCorrelator(clock)
    for number in range(9):
        correlate(correlator, make(f"message {number}"))
    clock.advance(601)

    observed = correlate(correlator, make("message 9"))
    assert observed is not None
    assert observed.message == "message 9"


def test_177_a_source_has_25_events_for_an_object_and_then_one_per_five_minutes(clock: FakeClock) -> None:
    correlator = EventCorrelator(clock)
    observed = [correlate(correlator, make("hello")) for _ in range(30)]
    assert [event is not None for event in observed] == [True] * 25 + [False] * 5
    assert correlate(correlator, make("hello", name="b")) is not None
    assert correlate(correlator, make("hello", component="other")) is not None

    clock.advance(299)
    assert correlate(correlator, make("hello")) is None
    clock.advance(1.5)
    assert correlate(correlator, make("hello")) is not None
    assert correlate(correlator, make("hello")) is None


def test_178_the_memory_is_bounded_and_forgets_the_least_recent(clock: FakeClock) -> None:
    correlator = EventCorrelator(clock)
    correlate(correlator, make("hello", name="first"))
    for number in range(MAX_KEYS):
        correlate(correlator, make("hello", name=f"n{number}"))

    observed = correlate(correlator, make("hello", name="first"))
    assert observed is not None
    assert observed.count == 1
    again = correlate(correlator, make("hello", name=f"n{MAX_KEYS - 1}"))
    assert again is not None
    assert again.count == 2


def test_179_a_full_queue_drops_and_the_caller_never_blocks(
    client: MemoryClient, clock: FakeClock, metrics: Metrics
) -> None:
    broadcaster = EventBroadcaster(client, clock=clock, metrics=metrics)
    recorder = broadcaster.recorder("greeter")
    for _ in range(QUEUE_SIZE + 5):
        recorder.event(OBJECT, "Normal", "Greeted", "hello")

    assert dropped(metrics, "queue_full") == 5


def test_180_a_write_without_answer_is_tried_12_times_10_seconds_apart(
    broadcaster: EventBroadcaster, client: MemoryClient, clock: FakeClock, metrics: Metrics
) -> None:
    client.fail("create", *[TransportError("refused")] * 12)
    broadcaster.recorder("greeter").event(OBJECT, "Normal", "Greeted", "hello")
    waits = []
    for _ in range(11):
        clock.wait_for_waiters()
        waits.append(clock.next_deadline)
        clock.advance(clock.next_deadline or 0)

    eventually(lambda: dropped(metrics, "unreachable") == 1)
    assert waits == [5] + [10] * 10
    assert client.calls == ["create"] * 12


def test_180_an_answer_of_the_server_is_final(
    broadcaster: EventBroadcaster, client: MemoryClient, metrics: Metrics
) -> None:
    client.fail("create", ForbiddenError.of("namespace is terminating"))
    broadcaster.recorder("greeter").event(OBJECT, "Normal", "Greeted", "hello")

    eventually(lambda: dropped(metrics, "refused") == 1)
    assert client.calls == ["create"]


def test_181_events_of_cluster_scoped_objects_go_to_the_default_namespace(
    broadcaster: EventBroadcaster, client: MemoryClient
) -> None:
    node = Node(metadata=ObjectMeta(name="n1", uid="u"))
    broadcaster.recorder("greeter").event(node, "Normal", "Greeted", "hello")
    eventually(lambda: written(client))

    event = written(client)[0]
    assert (event.namespace, event.involved_object.namespace) == ("default", "")


def test_183_stop_writes_what_is_queued_and_later_events_are_dropped(
    client: MemoryClient, clock: FakeClock, metrics: Metrics
) -> None:
    broadcaster = EventBroadcaster(client, clock=clock, metrics=metrics)
    recorder = broadcaster.recorder("greeter")
    for number in range(5):
        recorder.event(OBJECT, "Normal", "Greeted", f"hello {number}")
    broadcaster.start()
    broadcaster.stop()
    recorder.event(OBJECT, "Normal", "Greeted", "late")

    assert [event.message for event in written(client)] == [f"hello {number}" for number in range(5)]
    assert dropped(metrics, "stopped") == 1
    assert not any(thread.name == "events" for thread in threading.enumerate())


def test_183_stop_during_a_retry_does_not_wait_for_it(client: MemoryClient, clock: FakeClock, metrics: Metrics) -> None:
    client.fail("create", *[TransportError("refused")] * 12)
    broadcaster = EventBroadcaster(client, clock=clock, metrics=metrics)
    broadcaster.start()
    broadcaster.recorder("greeter").event(OBJECT, "Normal", "Greeted", "hello")
    clock.wait_for_waiters()
    broadcaster.stop()

    assert dropped(metrics, "unreachable") == 1


def test_a_recorder_never_raises(broadcaster: EventBroadcaster) -> None:
    broken: Any = object()
    broadcaster.recorder("greeter").event(broken, "Normal", "Greeted", "hello")


def test_a_long_message_is_cut_at_1024_bytes(broadcaster: EventBroadcaster, client: MemoryClient) -> None:
    broadcaster.recorder("greeter").event(OBJECT, "Normal", "Greeted", "é" * 600)
    eventually(lambda: written(client))

    assert written(client)[0].message == "é" * 512
