"""Events: runtimes.md 2.14. What one call of a recorder becomes, in events.k8s.io/v1 and in core/v1."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.eventually import eventually

from localmodel.runtime.errors import ApiError, ForbiddenError, NotFoundError, TransportError
from localmodel.runtime.eventcorrelator import COMBINED_PREFIX, MAX_KEYS, EventCorrelator, Occurrence, by_reason
from localmodel.runtime.events import QUEUE_SIZE, EventBroadcaster
from localmodel.runtime.eventsink import CoreEventSink, EventSink, SeriesEventSink
from localmodel.runtime.metrics import Metrics
from localmodel.runtime.objects import ConfigMap, Event, Node, ObjectMeta, ObjectReference, eventsv1
from localmodel.runtime.testing.fake import Action, FakeClient
from localmodel.runtime.testing.fake_clock import FakeClock

OBJECT = ConfigMap(metadata=ObjectMeta(name="a", namespace="ns", uid="u", resource_version="7"))
MINUTE = 60.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def client(clock: FakeClock) -> FakeClient:
    return FakeClient(clock=clock)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def broadcaster(client: FakeClient, clock: FakeClock, metrics: Metrics) -> Iterator[EventBroadcaster]:
    broadcaster = EventBroadcaster(client, clock=clock, metrics=metrics, jitter=lambda: 0.5)
    broadcaster.start()
    yield broadcaster
    broadcaster.stop()


@pytest.fixture
def core_only(client: FakeClient) -> None:
    """The rights that KServe's own manifests give: events of core/v1."""
    client.faults.fail(ForbiddenError.of("events.events.k8s.io is forbidden"), kind=eventsv1.Event, times=None)


def calls(client: FakeClient) -> list[str]:
    return [f"{action.verb} {action.kind.mapping.group_resource}" for action in client.writes]


def written(client: FakeClient) -> list[eventsv1.Event]:
    """Read behind the client's back, so that no fault hits it."""
    return FakeClient(registry=client.registry).list(eventsv1.Event)


def written_core(client: FakeClient) -> list[Event]:
    return FakeClient(registry=client.registry).list(Event)


def counts(client: FakeClient) -> list[int]:
    return [event.series.count if event.series else 1 for event in written(client)]


def dropped(metrics: Metrics, reason: str) -> float:
    return metrics.registry.get_sample_value("localmodel_events_dropped_total", {"reason": reason}) or 0


def occurrence(note: str = "hello", *, name: str = "a", component: str = "greeter", reason: str = "Greeted") -> Any:
    return Occurrence(
        name=f"{name}.1",
        namespace="ns",
        regarding=ObjectReference(api_version="v1", kind="ConfigMap", namespace="ns", name=name),
        type="Normal",
        reason=reason,
        action=reason,
        note=note,
        controller=component,
        instance=f"{component}-host",
        at=FakeClock().now(),
    )


# what is written


def test_an_event_names_object_reporter_and_time(
    broadcaster: EventBroadcaster, client: FakeClient, clock: FakeClock
) -> None:
    node = Node(metadata=ObjectMeta(name="n1", uid="n"))
    broadcaster.recorder("greeter").event(OBJECT, "Warning", "Broken", "it broke", action="Greet", related=node)
    eventually(lambda: written(client))

    event = written(client)[0]
    assert event.namespace == "ns"
    assert event.name.startswith("a.")
    assert event.regarding.to_dict() == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "namespace": "ns",
        "name": "a",
        "uid": "u",
        "resourceVersion": "7",
    }
    assert event.related
    assert (event.related.kind, event.related.name) == ("Node", "n1")
    assert (event.type, event.reason, event.action, event.note) == ("Warning", "Broken", "Greet", "it broke")
    assert event.reporting_controller == "greeter"
    assert event.reporting_instance.startswith("greeter-")
    assert (event.event_time, event.series) == (clock.now(), None)


def test_the_action_is_by_default_the_reason(broadcaster: EventBroadcaster, client: FakeClient) -> None:
    broadcaster.recorder("greeter").event(OBJECT, "Normal", "Greeted", "hello")
    eventually(lambda: written(client))

    assert written(client)[0].action == "Greeted"


def test_long_texts_are_cut_as_the_api_server_demands(broadcaster: EventBroadcaster, client: FakeClient) -> None:
    broadcaster.recorder("greeter").event(OBJECT, "Normal", "G" * 200, "é" * 600)
    eventually(lambda: written(client))

    event = written(client)[0]
    assert (event.note, event.reason, event.action) == ("é" * 512, "G" * 128, "G" * 128)


@pytest.mark.parametrize("name", ["system:node", "with a space", "x" * 234 + "-" + "y" * 18])
def test_an_event_has_a_name_that_servers_accept_whatever_the_object_is_called(
    broadcaster: EventBroadcaster, client: FakeClient, name: str
) -> None:
    obj = ConfigMap(metadata=ObjectMeta(name=name, namespace="ns", uid="u"))
    broadcaster.recorder("greeter").event(obj, "Normal", "Greeted", "hello")
    eventually(lambda: written(client))
    assert written(client)[0].regarding.name == name


def test_an_error_of_programming_costs_one_event_and_no_time(
    broadcaster: EventBroadcaster, client: FakeClient, metrics: Metrics
) -> None:
    """No write that cannot be made is tried for two minutes, while the queue fills."""
    client.faults.fail(ValueError("no such path"), verb="create", times=1)
    broadcaster.record(occurrence("one"))
    broadcaster.record(occurrence("two"))
    eventually(lambda: [event.note for event in written(client)] == ["two"])
    assert dropped(metrics, "failed") == 1


def test_a_recorder_never_raises(broadcaster: EventBroadcaster) -> None:
    broken: Any = object()
    broadcaster.recorder("greeter").event(broken, "Normal", "Greeted", "hello")


def test_a_component_that_no_server_accepts_is_refused(broadcaster: EventBroadcaster) -> None:
    with pytest.raises(ValueError, match="'my greeter' cannot report events"):
        broadcaster.recorder("my greeter")


# series


def test_182_the_second_equal_event_opens_a_series_of_count_2(
    broadcaster: EventBroadcaster, client: FakeClient, clock: FakeClock
) -> None:
    recorder = broadcaster.recorder("greeter")
    recorder.event(OBJECT, "Normal", "Greeted", "hello")
    clock.advance(5)
    changed = OBJECT.deepcopy()
    changed.metadata.resource_version = "8"
    recorder.event(changed, "Normal", "Greeted", "hello")
    eventually(lambda: calls(client) == ["create events.events.k8s.io", "patch events.events.k8s.io"])
    eventually(lambda: counts(client) == [2])

    event = written(client)[0]
    assert event.series
    assert event.series.last_observed_time == clock.now()
    assert event.event_time != clock.now()


def test_182_later_events_of_a_series_are_counted_in_memory_and_written_every_30_minutes(
    broadcaster: EventBroadcaster, client: FakeClient, clock: FakeClock
) -> None:
    recorder = broadcaster.recorder("greeter")
    told = []
    for minute in range(61):
        recorder.event(OBJECT, "Normal", "Greeted", "hello")
        eventually(lambda: not broadcaster._queue and clock.waiters)
        told.append(counts(client)[0])
        if minute < 60:
            clock.advance(MINUTE)
            clock.wait_for_waiters()

    assert told == [1] + [2] * 29 + [30] * 30 + [60]
    assert len(calls(client)) == 4


def test_182_a_silent_series_is_closed_after_6_minutes_with_its_last_count(
    broadcaster: EventBroadcaster, client: FakeClient, clock: FakeClock
) -> None:
    recorder = broadcaster.recorder("greeter")
    for _ in range(5):
        recorder.event(OBJECT, "Normal", "Greeted", "hello")
    eventually(lambda: clock.next_deadline == 6 * MINUTE)
    assert counts(client) == [2]
    clock.advance(6 * MINUTE - 1)
    assert counts(client) == [2]
    clock.advance(1)
    eventually(lambda: counts(client) == [5])
    assert clock.waiters == 0, "nothing is open, so there is nothing to wait for"

    recorder.event(OBJECT, "Normal", "Greeted", "hello")
    eventually(lambda: sorted(counts(client)) == [1, 5])


def test_182_a_single_event_is_forgotten_after_6_minutes(
    broadcaster: EventBroadcaster, client: FakeClient, clock: FakeClock
) -> None:
    recorder = broadcaster.recorder("greeter")
    recorder.event(OBJECT, "Normal", "Greeted", "hello")
    eventually(lambda: clock.waiters)
    clock.advance(6 * MINUTE)
    recorder.event(OBJECT, "Normal", "Greeted", "hello")

    eventually(lambda: counts(client) == [1, 1])
    assert calls(client) == ["create events.events.k8s.io"] * 2


def test_182_a_series_whose_event_is_gone_is_created_anew(
    broadcaster: EventBroadcaster, client: FakeClient, clock: FakeClock
) -> None:
    recorder = broadcaster.recorder("greeter")
    recorder.event(OBJECT, "Normal", "Greeted", "hello")
    eventually(lambda: written(client))
    FakeClient(registry=client.registry).delete(written(client)[0])
    recorder.event(OBJECT, "Normal", "Greeted", "hello")

    eventually(lambda: counts(client) == [2])
    assert [call.split()[0] for call in calls(client)] == ["create", "patch", "create"]


def test_182_events_with_different_notes_are_no_series(broadcaster: EventBroadcaster, client: FakeClient) -> None:
    """Unlike in client-go's tools/events: an Event's note cannot be changed, so the second would be lost."""
    recorder = broadcaster.recorder("greeter")
    recorder.event(OBJECT, "Normal", "Greeted", "hello")
    recorder.event(OBJECT, "Normal", "Greeted", "good bye")

    eventually(lambda: sorted(event.note for event in written(client)) == ["good bye", "hello"])


# core/v1, where only that is granted or served


def nothing_served(client: FakeClient) -> None:
    client.withdraw(eventsv1.Event)


def nothing_granted(client: FakeClient) -> None:
    client.faults.fail(ForbiddenError.of("events.events.k8s.io is forbidden"), kind=eventsv1.Event, times=None)


@pytest.mark.parametrize("cause", [nothing_served, nothing_granted])
def test_where_the_new_group_is_not_served_or_not_granted_events_go_to_core_from_then_on(
    broadcaster: EventBroadcaster, client: FakeClient, clock: FakeClock, cause: Callable[[FakeClient], None]
) -> None:
    cause(client)
    recorder = broadcaster.recorder("greeter")
    recorder.event(OBJECT, "Warning", "Broken", "it broke", action="Greet")
    recorder.event(OBJECT, "Normal", "Greeted", "hello")
    eventually(lambda: len(written_core(client)) == 2)

    assert calls(client) == ["create events.events.k8s.io", "create events", "create events"]
    event = next(event for event in written_core(client) if event.reason == "Broken")
    assert (event.involved_object.name, event.involved_object.uid) == ("a", "u")
    assert (event.type, event.message, event.count, event.action) == ("Warning", "it broke", 1, "Greet")
    assert (event.source.component, event.reporting_component) == ("greeter", "greeter")
    assert event.first_timestamp == event.last_timestamp == clock.now()
    assert event.event_time is None


def test_where_neither_group_is_granted_both_are_tried_again(
    broadcaster: EventBroadcaster, client: FakeClient, metrics: Metrics
) -> None:
    client.faults.fail(ForbiddenError.of("no events at all"), times=2)
    recorder = broadcaster.recorder("greeter")
    recorder.event(OBJECT, "Normal", "Greeted", "hello")
    eventually(lambda: dropped(metrics, "refused") == 1)
    recorder.event(OBJECT, "Normal", "Greeted", "hello")
    eventually(lambda: counts(client) == [2])

    assert calls(client) == ["create events.events.k8s.io", "create events", "create events.events.k8s.io"]


@pytest.mark.parametrize(
    "refusal",
    [
        ForbiddenError.of("going", details={"causes": [{"reason": "NamespaceTerminating"}]}),
        NotFoundError.of("gone", details={"kind": "namespaces", "name": "ns"}),
    ],
)
def test_a_namespace_that_goes_says_nothing_about_the_group(
    broadcaster: EventBroadcaster, client: FakeClient, metrics: Metrics, refusal: ApiError
) -> None:
    client.faults.fail(refusal)
    recorder = broadcaster.recorder("greeter")
    recorder.event(OBJECT, "Normal", "Greeted", "hello")
    eventually(lambda: dropped(metrics, "refused") == 1)
    recorder.event(OBJECT, "Normal", "Greeted", "other")
    eventually(lambda: written(client))

    assert calls(client) == ["create events.events.k8s.io"] * 2


@pytest.mark.usefixtures("core_only")
def test_175_the_same_event_again_raises_the_count_by_patch_on_the_first_name(
    broadcaster: EventBroadcaster, client: FakeClient, clock: FakeClock
) -> None:
    recorder = broadcaster.recorder("greeter")
    recorder.event(OBJECT, "Normal", "Greeted", "hello")
    eventually(lambda: written_core(client))
    clock.advance(5)
    recorder.event(OBJECT, "Normal", "Greeted", "hello")
    eventually(lambda: [event.count for event in written_core(client)] == [2])

    assert calls(client)[1:] == ["create events", "patch events"]
    event = written_core(client)[0]
    assert event.last_timestamp == clock.now()
    assert event.first_timestamp != clock.now()


@pytest.mark.usefixtures("core_only")
def test_175_an_event_that_is_gone_is_created_anew(broadcaster: EventBroadcaster, client: FakeClient) -> None:
    recorder = broadcaster.recorder("greeter")
    recorder.event(OBJECT, "Normal", "Greeted", "hello")
    eventually(lambda: written_core(client))
    FakeClient(registry=client.registry).delete(written_core(client)[0])
    recorder.event(OBJECT, "Normal", "Greeted", "hello")

    eventually(lambda: [event.count for event in written_core(client)] == [2])
    assert calls(client)[2:] == ["patch events", "create events"]


# floods


def test_176_from_the_tenth_distinct_message_within_10_minutes_one_combined_event_is_kept(
    broadcaster: EventBroadcaster, client: FakeClient
) -> None:
    recorder = broadcaster.recorder("greeter")
    for number in range(12):
        recorder.event(OBJECT, "Normal", "Greeted", f"message {number}")
    broadcaster.stop()

    found = {event.note: event.series.count if event.series else 1 for event in written(client)}
    assert found == {f"message {number}": 1 for number in range(9)} | {COMBINED_PREFIX + "message 9": 3}


@pytest.mark.usefixtures("core_only")
def test_176_in_core_the_combined_event_has_the_last_message(broadcaster: EventBroadcaster, client: FakeClient) -> None:
    recorder = broadcaster.recorder("greeter")
    for number in range(12):
        recorder.event(OBJECT, "Normal", "Greeted", f"message {number}")
    broadcaster.stop()

    found = {event.message: event.count for event in written_core(client)}
    assert found == {f"message {number}": 1 for number in range(9)} | {COMBINED_PREFIX + "message 11": 3}


@pytest.mark.parametrize(
    "other",
    [occurrence(name="b"), occurrence(component="other"), occurrence(reason="Other")],
    ids=["object", "source", "reason"],
)
def test_176_only_what_is_alike_is_combined(clock: FakeClock, other: Occurrence) -> None:
    correlator = EventCorrelator(clock)
    for number in range(10):
        last = correlator.aggregate(occurrence(f"message {number}"))

    assert last.combined
    assert not correlator.aggregate(other).combined


def test_176_messages_more_than_10_minutes_apart_are_not_combined(clock: FakeClock) -> None:
    correlator = EventCorrelator(clock)
    for number in range(9):
        correlator.aggregate(occurrence(f"message {number}"))
    clock.advance(601)

    assert correlator.aggregate(occurrence("message 9")).note == "message 9"


def test_a_combined_message_is_cut_too(clock: FakeClock) -> None:
    correlator = EventCorrelator(clock)
    for number in range(10):
        last = correlator.aggregate(occurrence(str(number) + "x" * 1023))

    assert len(last.note) == 1024
    assert last.note.startswith(COMBINED_PREFIX)


def test_177_per_source_and_object_25_events_at_once_then_one_per_5_minutes(clock: FakeClock) -> None:
    correlator = EventCorrelator(clock)
    assert [correlator.admits(occurrence()) for _ in range(30)] == [True] * 25 + [False] * 5
    assert correlator.admits(occurrence(name="b"))
    assert correlator.admits(occurrence(component="other"))

    clock.advance(299)
    assert not correlator.admits(occurrence())
    clock.advance(1.5)
    assert correlator.admits(occurrence())
    assert not correlator.admits(occurrence())


def test_177_with_a_burst_per_reason_what_is_frequent_silences_nothing_rare(clock: FakeClock) -> None:
    correlator = EventCorrelator(clock, spam_key=by_reason)
    assert [correlator.admits(occurrence()) for _ in range(30)] == [True] * 25 + [False] * 5
    assert correlator.admits(occurrence(reason="Evicted"))


def test_177_what_is_only_counted_in_memory_is_no_spam(
    broadcaster: EventBroadcaster, client: FakeClient, metrics: Metrics
) -> None:
    recorder = broadcaster.recorder("greeter")
    for _ in range(100):
        recorder.event(OBJECT, "Normal", "Greeted", "hello")
    for number in range(30):
        recorder.event(OBJECT, "Normal", f"Reason{number}", "hello")
    eventually(lambda: dropped(metrics, "spam") == 7)
    broadcaster.stop()

    assert sorted(counts(client)) == [1] * 23 + [100]


@pytest.mark.usefixtures("core_only")
def test_177_in_core_each_count_is_a_write(broadcaster: EventBroadcaster, client: FakeClient, metrics: Metrics) -> None:
    recorder = broadcaster.recorder("greeter")
    for _ in range(30):
        recorder.event(OBJECT, "Normal", "Greeted", "hello")
    eventually(lambda: dropped(metrics, "spam") == 5)

    assert [event.count for event in written_core(client)] == [25]


def series_sink(client: FakeClient) -> EventSink:
    return SeriesEventSink(client, client.registry.clock)


@pytest.mark.parametrize(("others", "verb"), [(MAX_KEYS - 1, "patch"), (MAX_KEYS, "create")])
@pytest.mark.parametrize("make", [CoreEventSink, series_sink])
def test_178_the_caches_hold_4096_keys_the_least_recent_goes_first(
    client: FakeClient, make: Callable[[FakeClient], EventSink], others: int, verb: str
) -> None:
    assert MAX_KEYS == 4096
    sink = make(client)

    def told() -> str:
        pending = sink.observe(occurrence(name="first"))
        assert pending
        pending.send()
        return client.writes[-1].verb

    assert told() == "create"
    for number in range(others):
        sink.observe(occurrence(name=f"n{number}"))
    first = len(client.writes)
    told()
    assert client.writes[first].verb == verb


def test_178_the_filter_forgets_the_least_recent_of_4096_keys(clock: FakeClock) -> None:
    correlator = EventCorrelator(clock)
    while correlator.admits(occurrence(name="first")):
        pass
    for number in range(MAX_KEYS):
        correlator.admits(occurrence(name=f"n{number}"))

    assert correlator.admits(occurrence(name="first"))


def test_178_a_series_that_is_pushed_out_is_written_first(client: FakeClient, clock: FakeClock) -> None:
    sink = SeriesEventSink(client, clock)
    for _ in range(3):
        pending = sink.observe(occurrence(name="first"))
        if pending:
            pending.send()
    for number in range(MAX_KEYS):
        sink.observe(occurrence(name=f"n{number}"))
    assert sink.due_in() == 0
    for pending in sink.due():
        pending.send()

    assert counts(client) == [3]


# queue, tries, namespace, end


def test_179_the_queue_holds_1000_a_full_queue_drops_and_the_caller_never_blocks(
    client: FakeClient, clock: FakeClock, metrics: Metrics
) -> None:
    assert QUEUE_SIZE == 1000
    broadcaster = EventBroadcaster(client, clock=clock, metrics=metrics)
    recorder = broadcaster.recorder("greeter")
    for _ in range(QUEUE_SIZE + 5):
        recorder.event(OBJECT, "Normal", "Greeted", "hello")

    assert dropped(metrics, "queue_full") == 5


def test_180_a_write_is_tried_12_times_10_seconds_apart_the_first_wait_random(
    broadcaster: EventBroadcaster, client: FakeClient, clock: FakeClock, metrics: Metrics
) -> None:
    client.faults.fail(TransportError("refused"), verb="create", times=12)
    broadcaster.recorder("greeter").event(OBJECT, "Normal", "Greeted", "hello")
    waits = []
    for _ in range(11):
        clock.wait_for_waiters()
        waits.append(clock.next_deadline)
        clock.advance(clock.next_deadline or 0)

    eventually(lambda: dropped(metrics, "unreachable") == 1)
    assert waits == [5] + [10] * 10
    assert calls(client) == ["create events.events.k8s.io"] * 12


def test_180_a_status_error_of_the_server_is_final(
    broadcaster: EventBroadcaster, client: FakeClient, metrics: Metrics
) -> None:
    client.faults.fail(ApiError.of("etcd is full", code=500))
    broadcaster.recorder("greeter").event(OBJECT, "Normal", "Greeted", "hello")

    eventually(lambda: dropped(metrics, "refused") == 1)
    assert calls(client) == ["create events.events.k8s.io"]


def test_180_an_event_that_was_written_and_not_answered_is_no_failure(
    broadcaster: EventBroadcaster, client: FakeClient, clock: FakeClock, metrics: Metrics
) -> None:
    client.faults.drop_answer(verb="create")
    recorder = broadcaster.recorder("greeter")
    recorder.event(OBJECT, "Normal", "Greeted", "hello")
    clock.wait_for_waiters()
    clock.advance(5)
    recorder.event(OBJECT, "Normal", "Greeted", "hello")

    eventually(lambda: counts(client) == [2])
    assert dropped(metrics, "refused") == 0


@pytest.mark.parametrize("group", ["events.k8s.io", "core"])
def test_181_an_event_for_an_object_without_namespace_goes_to_default(
    broadcaster: EventBroadcaster, client: FakeClient, group: str
) -> None:
    if group == "core":
        nothing_granted(client)
    node = Node(metadata=ObjectMeta(name="n1", uid="u"))
    broadcaster.recorder("greeter").event(node, "Normal", "Greeted", "hello")
    eventually(lambda: written(client))

    event = written(client)[0]
    assert (event.namespace, event.regarding.namespace) == ("default", "")


def test_183_shutdown_writes_what_is_queued_and_counted_and_drops_what_comes_later(
    client: FakeClient, clock: FakeClock, metrics: Metrics
) -> None:
    broadcaster = EventBroadcaster(client, clock=clock, metrics=metrics)
    recorder = broadcaster.recorder("greeter")
    for number in range(5):
        recorder.event(OBJECT, "Normal", "Greeted", f"hello {number}")
    for _ in range(4):
        recorder.event(OBJECT, "Normal", "Repeated", "again")
    broadcaster.start()
    broadcaster.stop()
    recorder.event(OBJECT, "Normal", "Greeted", "late")

    found = {event.note: event.series.count if event.series else 1 for event in written(client)}
    assert found == {f"hello {number}": 1 for number in range(5)} | {"again": 4}
    assert dropped(metrics, "stopped") == 1
    assert not any(thread.name == "events" for thread in threading.enumerate())


def test_183_shutdown_during_emission_neither_blocks_nor_raises(client: FakeClient, metrics: Metrics) -> None:
    broadcaster = EventBroadcaster(client, metrics=metrics)
    broadcaster.start()
    started, recorded = threading.Barrier(5), [0] * 4

    def emit(worker: int) -> None:
        recorder = broadcaster.recorder("greeter")
        started.wait()
        for number in range(200):
            recorder.event(OBJECT, "Normal", f"Reason{worker}x{number}", "hello")
            recorded[worker] += 1

    workers = [threading.Thread(target=emit, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    started.wait()
    broadcaster.stop()
    for worker in workers:
        worker.join(10)

    assert recorded == [200] * 4
    accounted = len(written(client)) + sum(dropped(metrics, why) for why in ("spam", "stopped", "queue_full"))
    assert accounted == 800


def test_183_shutdown_during_a_retry_does_not_wait_for_it(
    client: FakeClient, clock: FakeClock, metrics: Metrics
) -> None:
    client.faults.fail(TransportError("refused"), verb="create", times=12)
    broadcaster = EventBroadcaster(client, clock=clock, metrics=metrics)
    broadcaster.start()
    broadcaster.recorder("greeter").event(OBJECT, "Normal", "Greeted", "hello")
    clock.wait_for_waiters()
    broadcaster.stop()

    assert dropped(metrics, "unreachable") == 1


def test_183_shutdown_whose_time_is_over_leaves_the_last_counts(
    client: FakeClient, clock: FakeClock, metrics: Metrics
) -> None:
    def time_runs_out(action: Action, proceed: Callable[[], Any]) -> Any:
        if action.verb == "patch" and action.object["series"]["count"] > 2:
            broadcaster._cancellation.cancel()
        return proceed()

    slow = FakeClient(registry=client.registry, interceptors=[time_runs_out])
    broadcaster = EventBroadcaster(slow, clock=clock, metrics=metrics)
    recorder = broadcaster.recorder("greeter")
    for number in range(5):
        for _ in range(3):
            recorder.event(OBJECT, "Normal", f"Reason{number}", "hello")
    broadcaster.start()
    broadcaster.stop(10)

    assert sorted(counts(client)) == [2, 2, 2, 2, 3]
