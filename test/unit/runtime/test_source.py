"""Sources: runtimes.md 2.10 nos. 134, 137, 138."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.eventually import eventually

from localmodel.runtime.cache import Cache, CacheOptions, KindOptions
from localmodel.runtime.errors import CacheSyncTimeoutError
from localmodel.runtime.event import CreateEvent, DeleteEvent, Event, GenericEvent, UpdateEvent
from localmodel.runtime.handler import EventHandler, RequestQueue
from localmodel.runtime.objects import ConfigMap, ObjectMeta
from localmodel.runtime.predicate import Funcs
from localmodel.runtime.reconcile import Request
from localmodel.runtime.source import Channel, Kind, Source, SourceContext
from localmodel.runtime.testing import FakeClient, FakeClock
from localmodel.runtime.workqueue import RateLimitingQueue

NEVER = threading.Event()


class Recording(EventHandler):
    """Notes each event; raises on objects named "bad"."""

    def __init__(self) -> None:
        self.events: list[Event[Any]] = []

    def handle(self, event: Event[Any], queue: RequestQueue) -> None:
        self.events.append(event)
        if not isinstance(event, UpdateEvent) and event.object.name == "bad":
            raise RuntimeError("cannot handle it")


def config_map(name: str, **data: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace="ns"), data=data)


class Errors:
    def __init__(self) -> None:
        self.count = 0

    def add(self) -> None:
        self.count += 1


@pytest.fixture
def client() -> FakeClient:
    return FakeClient(config_map("old"))


@pytest.fixture
def errors() -> Errors:
    return Errors()


@pytest.fixture
def start(client: FakeClient, errors: Errors) -> Iterator[Callable[..., SourceContext]]:
    stops: list[Callable[[], None]] = []

    def run(source: Source, *, options: CacheOptions | None = None, clock: Any = None) -> SourceContext:
        cache = Cache(client, options)
        cache.start()
        queue: RequestQueue = RateLimitingQueue[Request]()
        context = SourceContext(queue=queue, cache=cache, clock=clock or FakeClock(), count_error=errors.add)
        source.start(context)
        stops.extend([source.stop, queue.shut_down, cache.stop])
        return context

    yield run
    for stop in stops:
        stop()


def test_a_kind_source_has_synced_when_its_handler_saw_what_existed(start: Any) -> None:
    handler = Recording()
    source = Kind(ConfigMap, handler)
    start(source)
    source.wait_for_sync(NEVER, 10)

    assert [(type(event), event.object.name, event.is_in_initial_list) for event in handler.events] == [  # type: ignore[union-attr]
        (CreateEvent, "old", True)
    ]


def test_a_kind_source_tells_of_changes_with_typed_objects(client: FakeClient, start: Any) -> None:
    handler = Recording()
    source = Kind(ConfigMap, handler)
    start(source)
    source.wait_for_sync(NEVER, 10)
    stored = client.create(config_map("new", key="1"))
    stored.data = {"key": "2"}
    client.update(stored)
    client.delete(stored)
    eventually(lambda: len(handler.events) == 4)

    created, updated, deleted = handler.events[1:]
    assert isinstance(created, CreateEvent)
    assert not created.is_in_initial_list
    assert isinstance(updated, UpdateEvent)
    assert (updated.object_old.data, updated.object_new.data) == ({"key": "1"}, {"key": "2"})
    assert isinstance(deleted, DeleteEvent)
    assert deleted.object.data == {"key": "2"}
    assert not deleted.delete_state_unknown


def test_134_a_deletion_that_was_missed_comes_with_the_last_object_and_says_so() -> None:
    handler = Recording()
    source = Kind(ConfigMap, handler)
    cache = Cache(FakeClient())
    queue: RequestQueue = RateLimitingQueue[Request]()
    source.start(SourceContext(queue=queue, cache=cache, clock=FakeClock(), count_error=lambda: None))
    listener = cache.get_informer(ConfigMap)._listeners[0]

    class Last:
        def object(self) -> ConfigMap:
            return config_map("gone")

    listener.handler.on_delete(Last(), True)  # type: ignore[arg-type]
    assert handler.events == [DeleteEvent(config_map("gone"), delete_state_unknown=True)]
    queue.shut_down()


def test_predicates_keep_events_from_the_handler(client: FakeClient, start: Any) -> None:
    handler = Recording()
    source = Kind(ConfigMap, handler, [Funcs(on_create=lambda event: event.object.name == "wanted")])
    start(source)
    source.wait_for_sync(NEVER, 10)
    client.create(config_map("unwanted"))
    client.create(config_map("wanted"))
    eventually(lambda: handler.events)

    assert [event.object.name for event in handler.events] == ["wanted"]  # type: ignore[union-attr]


def test_a_handler_that_raises_loses_one_event_which_is_counted(client: FakeClient, start: Any, errors: Errors) -> None:
    handler = Recording()
    source = Kind(ConfigMap, handler)
    client.create(config_map("bad"))
    start(source)
    source.wait_for_sync(NEVER, 10)
    client.create(config_map("good"))
    eventually(lambda: len(handler.events) == 3)

    assert errors.count == 1


def test_137_a_kind_that_is_not_served_fails_at_the_deadline_with_its_reason(client: FakeClient, start: Any) -> None:
    client.withdraw(ConfigMap)
    clock = FakeClock()
    source = Kind(ConfigMap, Recording())
    context = start(source, clock=clock)
    informer = context.cache.get_informer(ConfigMap)
    eventually(lambda: informer.last_error)
    raised: list[CacheSyncTimeoutError] = []

    def wait() -> None:
        try:
            source.wait_for_sync(NEVER, 5)
        except CacheSyncTimeoutError as error:
            raised.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    eventually(lambda: (clock.advance(5), not thread.is_alive())[1])
    assert "ConfigMap" in str(raised[0])
    assert "could not find the requested resource" in str(raised[0])


def test_an_optional_kind_that_is_not_served_does_not_hold_up_the_start(client: FakeClient, start: Any) -> None:
    client.withdraw(ConfigMap)
    source = Kind(ConfigMap, Recording())
    start(source, options=CacheOptions(by_kind={ConfigMap: KindOptions(optional=True)}))

    source.wait_for_sync(NEVER, 10)


def test_a_stopped_kind_source_hears_no_more(client: FakeClient, start: Any) -> None:
    handler, other = Recording(), Recording()
    source = Kind(ConfigMap, handler)
    context = start(source)
    second = Kind(ConfigMap, other)
    second.start(context)
    source.wait_for_sync(NEVER, 10)
    source.stop()
    client.create(config_map("late"))
    eventually(lambda: len(other.events) == 2)
    second.stop()

    assert len(handler.events) == 1


def test_138_events_sent_before_the_start_are_kept(start: Any) -> None:
    handler = Recording()
    channel = Channel(handler, name="timer")
    events = [GenericEvent(config_map(str(number))) for number in range(3)]
    for event in events:
        channel.send(event)
    start(channel)

    eventually(lambda: handler.events == events)


def test_138_a_full_buffer_blocks_the_sender(start: Any) -> None:
    handler = Recording()
    channel = Channel(handler, size=2)
    events = [GenericEvent(config_map(str(number))) for number in range(3)]
    sender = threading.Thread(target=lambda: [channel.send(event) for event in events])
    sender.start()
    eventually(channel._events.full)
    assert sender.is_alive()
    start(channel)

    sender.join(10)
    eventually(lambda: handler.events == events)


def test_138_a_closed_channel_delivers_what_was_sent_and_ends(start: Any) -> None:
    handler = Recording()
    channel = Channel(handler, name="closing")
    channel.send(GenericEvent(config_map("last")))
    channel.close()
    start(channel)
    eventually(lambda: len(handler.events) == 1)

    eventually(lambda: not any(thread.name == "channel-closing" for thread in threading.enumerate()))


def test_138_stop_ends_a_channel_and_its_senders(start: Any) -> None:
    channel = Channel(Recording(), name="stopping", size=1)
    start(channel)
    channel.stop()
    for _ in range(3):
        channel.send(GenericEvent(config_map("late")))

    assert not any(thread.name == "channel-stopping" for thread in threading.enumerate())
