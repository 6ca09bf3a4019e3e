"""Sources: runtimes.md 2.8 no. 110 and 2.10 nos. 134, 137, 138."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.eventually import eventually

from localmodel.runtime.cache import Cache, CacheOptions, KindOptions
from localmodel.runtime.cancellation import Cancellation, CancelledError
from localmodel.runtime.errors import ForbiddenError
from localmodel.runtime.event import CreateEvent, DeleteEvent, Event, GenericEvent, UpdateEvent
from localmodel.runtime.handler import EventHandler, RequestQueue
from localmodel.runtime.informer import SharedInformer
from localmodel.runtime.objects import ConfigMap, ObjectMeta
from localmodel.runtime.predicate import Funcs
from localmodel.runtime.reconcile import Request
from localmodel.runtime.source import Channel, Func, Informer, Kind, Source, SourceContext
from localmodel.runtime.testing import FakeClient, FakeClock
from localmodel.runtime.workqueue import AddOptions, PriorityQueue, RateLimitingQueue


class Recording(EventHandler):
    """Notes each event; raises on objects named "bad"."""

    def __init__(self) -> None:
        self.events: list[Event[Any]] = []

    def handle(self, event: Event[Any], queue: RequestQueue) -> None:
        name = "" if isinstance(event, UpdateEvent) else event.object.name
        self.events.append(event)
        if name == "bad":
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
        queue: RateLimitingQueue[Request] = RateLimitingQueue()
        context = SourceContext(
            queue=queue, cache=cache, clock=clock or FakeClock(), stop=threading.Event(), count_error=errors.add
        )
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
    source.wait_for_sync(10)

    (event,) = handler.events
    assert isinstance(event, CreateEvent)
    assert (event.object.name, event.is_in_initial_list) == ("old", True)


def test_a_kind_source_tells_of_changes_with_typed_objects(client: FakeClient, start: Any) -> None:
    handler = Recording()
    source = Kind(ConfigMap, handler)
    start(source)
    source.wait_for_sync(10)
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
    queue: RateLimitingQueue[Request] = RateLimitingQueue()
    source.start(
        SourceContext(queue=queue, cache=cache, clock=FakeClock(), stop=threading.Event(), count_error=lambda: None)
    )
    listener = cache.get_informer(ConfigMap)._listeners[0]

    class Last:
        def object(self) -> ConfigMap:
            return config_map("gone")

    listener.handler.on_delete(Last(), True)  # type: ignore[arg-type]
    (event,) = handler.events
    assert isinstance(event, DeleteEvent)
    assert (event.object, event.delete_state_unknown) == (config_map("gone"), True)
    queue.shut_down()


def test_134_a_deletion_without_a_readable_object_is_dropped_counted_and_logged(start: Any, errors: Errors) -> None:
    handler = Recording()
    source = Kind(ConfigMap, handler)
    context = start(source)
    source.wait_for_sync(10)
    handler.events.clear()

    class Unreadable:
        def object(self) -> ConfigMap:
            raise ValueError("not an object")

    with capture_logs() as logs:
        listener = context.cache.get_informer(ConfigMap)._listeners[0]
        listener.handler.on_delete(Unreadable(), True)

    assert handler.events == []
    assert errors.count == 1
    assert [(line["log_level"], line["source"]) for line in logs] == [("error", "kind source: ConfigMap (configmaps)")]


def test_an_object_is_decoded_only_when_somebody_asks_for_it(client: FakeClient, start: Any, errors: Errors) -> None:
    """What an index has of it is there without, before and after."""
    seen: list[tuple[Any, Any]] = []
    done = threading.Event()

    class Comparing(EventHandler):
        def handle(self, event: Event[Any], queue: RequestQueue) -> None:
            seen.append(event.parts(data))
            if isinstance(event, DeleteEvent):
                done.set()

    decoded: list[str] = []

    def data(obj: ConfigMap) -> dict[str, str]:
        decoded.append(obj.name)
        return dict(obj.data)

    source = Kind(ConfigMap, Comparing())
    context = start(source)
    context.cache.index_parts(ConfigMap, data)
    source.wait_for_sync(10)
    seen.clear()
    decoded.clear()
    stored = client.create(config_map("new", key="1"))
    stored.data = {"key": "2"}
    client.update(stored)
    client.delete(stored)
    assert done.wait(10)
    assert seen == [({}, {"key": "1"}), ({"key": "1"}, {"key": "2"}), ({"key": "2"}, {})]
    assert decoded == ["new"] * 2, "once for each version, and not again for its end"
    assert errors.count == 0


def test_events_tell_what_an_index_lost_and_got_even_of_objects_that_it_cannot_take(
    client: FakeClient, start: Any, errors: Errors
) -> None:
    """Else whoever was concerned before would never hear of it, and of the way back neither."""
    seen: list[tuple[Any, Any]] = []

    def data(obj: ConfigMap) -> dict[str, str]:
        return {obj.data["key"]: "part"}

    class Comparing(EventHandler):
        def handle(self, event: Event[Any], queue: RequestQueue) -> None:
            seen.append(event.parts(data))

    source = Kind(ConfigMap, Comparing(), [Funcs(on_create=lambda event: not event.is_in_initial_list)])
    start(source).cache.index_parts(ConfigMap, data)
    source.wait_for_sync(10)
    stored = client.create(config_map("new", key="1"))
    for changed in ({}, {"key": "2"}):
        stored.data = changed
        stored = client.update(stored)
    client.delete(stored)
    eventually(lambda: len(seen) == 4)
    assert seen == [({}, {"1": "part"}), ({"1": "part"}, {}), ({}, {"2": "part"}), ({"2": "part"}, {})]
    assert errors.count == 0


@pytest.mark.parametrize(
    ("event", "before", "after"),
    [
        (CreateEvent(config_map("a", k="1")), {}, {"k": "1"}),
        (UpdateEvent(config_map("a", k="1"), config_map("a", k="2")), {"k": "1"}, {"k": "2"}),
        (DeleteEvent(config_map("a", k="1")), {"k": "1"}, {}),
        (GenericEvent(config_map("a", k="1")), {}, {"k": "1"}),
    ],
)
def test_an_event_that_is_not_of_an_informer_has_parts_too(event: Event[Any], before: Any, after: Any) -> None:
    assert event.parts(lambda obj: obj.data) == (before, after)


def test_predicates_keep_events_from_the_handler(client: FakeClient, start: Any) -> None:
    handler = Recording()
    source = Kind(ConfigMap, handler, [Funcs(on_create=lambda event: event.object.name == "wanted")])
    start(source)
    source.wait_for_sync(10)
    client.create(config_map("unwanted"))
    client.create(config_map("wanted"))
    eventually(lambda: handler.events)

    assert [event.object.name for event in handler.events] == ["wanted"]  # type: ignore[union-attr]


def test_a_predicate_that_wants_to_exit_loses_one_event_and_not_all(
    client: FakeClient, start: Any, errors: Errors
) -> None:
    handler = Recording()

    def leave(event: CreateEvent[Any]) -> bool:
        if event.object.name == "old":
            raise SystemExit(3)
        return True

    start(Kind(ConfigMap, handler, [Funcs(on_create=leave)]))
    client.create(config_map("new"))
    eventually(lambda: handler.events)

    assert errors.count == 1


def test_a_handler_that_raises_loses_one_event_which_is_counted(client: FakeClient, start: Any, errors: Errors) -> None:
    handler = Recording()
    source = Kind(ConfigMap, handler)
    client.create(config_map("bad"))
    start(source)
    source.wait_for_sync(10)
    client.create(config_map("good"))
    eventually(lambda: len(handler.events) == 3)

    assert errors.count == 1


def test_137_a_kind_that_is_not_served_is_tried_again_until_the_time_is_over(client: FakeClient, start: Any) -> None:
    """Tried again with the reflector's backoff (0.8 s to 30 s), where controller-runtime asks every 10 s."""
    client.withdraw(ConfigMap)
    source = Kind(ConfigMap, Recording())
    context = start(source)
    informer = context.cache.get_informer(ConfigMap)
    eventually(lambda: informer.last_error)

    assert not source.wait_for_sync(0)
    assert "could not find the requested resource" in source.last_error
    assert str(source) == "kind source: ConfigMap (configmaps)"


def test_137_a_kind_that_comes_to_be_served_in_time_syncs(client: FakeClient) -> None:
    client.withdraw(ConfigMap)
    clock = FakeClock()
    cache = Cache(client, clock=clock)
    cache.start()
    queue: RateLimitingQueue[Request] = RateLimitingQueue()
    handler = Recording()
    source = Kind(ConfigMap, handler)
    source.start(SourceContext(queue=queue, cache=cache, clock=clock, stop=threading.Event(), count_error=int))
    informer = cache.get_informer(ConfigMap)
    eventually(lambda: informer.last_error)
    synced: list[bool] = []
    waiting = threading.Thread(target=lambda: synced.append(source.wait_for_sync(120)))
    waiting.start()
    client.serve(ConfigMap)
    eventually(lambda: (clock.advance(2), not waiting.is_alive())[1])

    assert synced == [True]
    assert [event.object.name for event in handler.events] == ["old"]  # type: ignore[union-attr]
    source.stop()
    queue.shut_down()
    cache.stop()


def test_a_wait_for_sync_ends_when_the_source_is_stopped(client: FakeClient, start: Any) -> None:
    client.withdraw(ConfigMap)
    source = Kind(ConfigMap, Recording())
    start(source)
    synced: list[bool] = []
    waiting = threading.Thread(target=lambda: synced.append(source.wait_for_sync(120)))
    waiting.start()
    source.stop()
    waiting.join(10)

    assert synced == [False]


def test_the_wait_for_an_optional_kind_ends_when_it_is_cancelled(start: Any) -> None:
    """Before its first list it is not known whether it is served."""
    listing = threading.Event()

    def hold(action: Any, proceed: Callable[[], Any]) -> Any:
        listing.wait(10)
        return proceed()

    client = FakeClient(interceptors=[hold])
    cache = Cache(client, CacheOptions(by_kind={ConfigMap: KindOptions(optional=True)}))
    cache.start()
    source = Kind(ConfigMap, Recording())
    queue: RateLimitingQueue[Request] = RateLimitingQueue()
    source.start(SourceContext(queue=queue, cache=cache, clock=FakeClock(), stop=threading.Event(), count_error=int))
    work = Cancellation()
    cancelled: list[CancelledError] = []

    def wait() -> None:
        try:
            with work.scope():
                source.wait_for_sync(120)
        except CancelledError as error:
            cancelled.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    work.cancel()
    waiting.join(10)
    assert len(cancelled) == 1
    listing.set()
    source.stop()
    queue.shut_down()
    cache.stop()


def test_an_optional_kind_that_is_not_served_does_not_hold_up_the_start(client: FakeClient, start: Any) -> None:
    client.withdraw(ConfigMap)
    source = Kind(ConfigMap, Recording())
    start(source, options=CacheOptions(by_kind={ConfigMap: KindOptions(optional=True)}))

    source.wait_for_sync(10)


def test_a_kind_that_may_be_forbidden_does_not_hold_up_the_start(client: FakeClient, start: Any) -> None:
    client.faults.fail(ForbiddenError.of("no"), kind=ConfigMap, times=None)
    source = Kind(ConfigMap, Recording())
    start(source, options=CacheOptions(by_kind={ConfigMap: KindOptions(may_be_forbidden=True)}))

    source.wait_for_sync(10)


def test_a_stopped_kind_source_hears_no_more(client: FakeClient, start: Any) -> None:
    handler, other = Recording(), Recording()
    source = Kind(ConfigMap, handler)
    context = start(source)
    second = Kind(ConfigMap, other)
    second.start(context)
    source.wait_for_sync(10)
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
    eventually(lambda: len(channel._events) == 2)
    sender.join(0.05)
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


def test_138_the_buffer_holds_1024_events_unless_told_otherwise() -> None:
    channel = Channel(Recording())
    for _ in range(1024):
        channel.send(GenericEvent(config_map("a")))
    more = threading.Thread(target=channel.send, args=(GenericEvent(config_map("b")),))
    more.start()
    more.join(0.05)
    assert more.is_alive()
    channel.stop()
    more.join(10)
    assert not more.is_alive()


def test_138_stop_ends_a_channel_and_its_senders(start: Any) -> None:
    channel = Channel(Recording(), name="stopping", size=1)
    start(channel)
    channel.stop()
    for _ in range(3):
        channel.send(GenericEvent(config_map("late")))

    assert not any(thread.name == "channel-stopping" for thread in threading.enumerate())


def test_a_sender_whose_work_is_cancelled_does_not_wait_for_room() -> None:
    channel = Channel(Recording(), name="full", size=1)
    channel.send(GenericEvent(config_map("a")))
    work = Cancellation()
    cancelled: list[CancelledError] = []

    def send() -> None:
        try:
            with work.scope():
                channel.send(GenericEvent(config_map("b")))
        except CancelledError as error:
            cancelled.append(error)

    sender = threading.Thread(target=send)
    sender.start()
    work.cancel()
    sender.join(10)

    assert "sending to channel source: full" in str(cancelled[0])


def test_an_informer_source_follows_an_informer_of_the_program(client: FakeClient, start: Any) -> None:
    informer = SharedInformer(ConfigMap, FakeClient(config_map("elsewhere")))
    informer.start()
    handler = Recording()
    source = Informer(informer, handler)
    start(source)

    assert source.wait_for_sync(10)
    assert [event.object.name for event in handler.events] == ["elsewhere"]  # type: ignore[union-attr]
    assert str(source) == "informer source: ConfigMap (configmaps)"
    source.stop()
    informer.stop()


def test_a_func_source_gets_the_queue_and_the_end_of_the_controller(start: Any) -> None:
    given: list[Any] = []

    def every_directory(queue: RequestQueue, stop: threading.Event) -> None:
        given.append(stop)
        queue.add(Request("", "a"))

    source = Func(every_directory)
    context = start(source)

    assert given == [context.stop]
    assert context.queue.get() == (Request("", "a"), False)
    assert source.wait_for_sync(0)
    assert str(source) == "func source: every_directory"


@pytest.mark.parametrize("names_its_own", [False, True])
def test_110_the_initial_list_and_resyncs_have_low_priority_unless_the_handler_says_otherwise(
    client: FakeClient, names_its_own: bool
) -> None:
    class Enqueue(EventHandler):
        def handle(self, event: Event[Any], queue: RequestQueue) -> None:
            obj = event.object_new if isinstance(event, UpdateEvent) else event.object
            queue.add_with_options(AddOptions(priority=5 if names_its_own else None), obj.key)

    queue: PriorityQueue[Request] = PriorityQueue()
    cache = Cache(client)
    cache.start()
    context = SourceContext(
        queue=queue, cache=cache, clock=FakeClock(), stop=threading.Event(), count_error=int, low_priority=-7
    )
    source = Kind(ConfigMap, Enqueue())
    source.start(context)
    assert source.wait_for_sync(10)
    low, live = (5, 5) if names_its_own else (-7, 0)
    assert queue.get_with_priority() == (Request("ns", "old"), low, False)

    client.create(config_map("new"))
    assert queue.get_with_priority() == (Request("ns", "new"), live, False)
    for key in (Request("ns", "old"), Request("ns", "new")):
        queue.done(key)

    informer = cache.get_informer(ConfigMap)
    informer._resync(informer._listeners[0])
    resynced = [queue.get_with_priority() for _ in range(2)]
    assert sorted((str(key), priority) for key, priority, _ in resynced) == [("ns/new", low), ("ns/old", low)]
    source.stop()
    queue.shut_down()
    cache.stop()
