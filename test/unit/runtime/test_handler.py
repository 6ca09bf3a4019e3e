"""Handlers: runtimes.md 2.8 no. 110 and 2.10 nos. 131 to 133."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from localmodel.runtime.event import CreateEvent, DeleteEvent, Event, GenericEvent, UpdateEvent
from localmodel.runtime.handler import (
    EnqueueRequestForObject,
    EnqueueRequestForOwner,
    EnqueueRequestsFromMapFunc,
    Funcs,
    RequestQueue,
    WithLowPriorityWhenUnchanged,
)
from localmodel.runtime.objects import ConfigMap, Job, Node, ObjectMeta, OwnerReference
from localmodel.runtime.reconcile import Request
from localmodel.runtime.testing.fake_clock import FakeClock
from localmodel.runtime.workqueue import LOW_PRIORITY, AddOptions, PriorityQueue, RateLimitingQueue


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def queue(clock: FakeClock) -> Iterator[RateLimitingQueue[Request]]:
    queue: RateLimitingQueue[Request] = RateLimitingQueue(clock=clock)
    yield queue
    queue.shut_down()


def queued(queue: RateLimitingQueue[Request]) -> list[Request]:
    items = []
    while len(queue):
        item, _ = queue.get()
        assert item is not None
        items.append(item)
    return items


def config_map(name: str = "a", *references: OwnerReference) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace="ns", owner_references=list(references)))


def owner(api_version: str, kind: str, name: str, *, controller: bool | None = True) -> OwnerReference:
    return OwnerReference(api_version=api_version, kind=kind, name=name, uid="u", controller=controller)


def events_of(obj: ConfigMap) -> list[Event[Any]]:
    return [CreateEvent(obj), UpdateEvent(obj, obj), DeleteEvent(obj), GenericEvent(obj)]


@pytest.mark.parametrize("event", events_of(config_map()))
def test_every_event_queues_its_object_once(queue: RateLimitingQueue[Request], event: Event[Any]) -> None:
    EnqueueRequestForObject().handle(event, queue)

    assert queued(queue) == [Request("ns", "a")]


@pytest.mark.parametrize("event", events_of(config_map("child", owner("batch/v1", "Job", "parent"))))
def test_every_event_queues_the_owner_once(queue: RateLimitingQueue[Request], event: Event[Any]) -> None:
    EnqueueRequestForOwner(Job).handle(event, queue)

    assert queued(queue) == [Request("ns", "parent")]


def test_131_an_update_asks_the_function_about_old_and_new(queue: RateLimitingQueue[Request]) -> None:
    handler = EnqueueRequestsFromMapFunc(lambda obj: [Request("", obj.name), Request("", "both")])

    handler.handle(UpdateEvent(config_map("old"), config_map("new")), queue)
    assert queued(queue) == [Request("", "old"), Request("", "both"), Request("", "new")]


@pytest.mark.parametrize("wrong", ["default/x", ("default", "x"), None])
def test_what_is_no_request_is_refused_before_it_is_in_the_queue(wrong: Any, queue: RateLimitingQueue[Request]) -> None:
    handler = EnqueueRequestsFromMapFunc(lambda obj: [Request("", obj.name), wrong])

    with pytest.raises(TypeError, match="give Requests, such as"):
        handler.handle(CreateEvent(config_map()), queue)
    assert queued(queue) == []


def test_a_delay_collects_a_burst_of_events_into_one_request(
    clock: FakeClock, queue: RateLimitingQueue[Request]
) -> None:
    handler = EnqueueRequestsFromMapFunc(lambda obj: [Request("", "node")], delay=0.2)
    handler.handle(CreateEvent(config_map("a")), queue)
    clock.wait_for_waiters()
    clock.advance(0.15)
    handler.handle(CreateEvent(config_map("b")), queue)
    assert len(queue) == 0

    clock.advance(0.05)
    assert queue.get() == (Request("", "node"), False)
    clock.advance(10)
    assert len(queue) == 0


def test_a_function_says_for_each_request_how_long_it_may_wait(
    clock: FakeClock, queue: RateLimitingQueue[Request]
) -> None:
    handler = EnqueueRequestsFromMapFunc(
        lambda obj: [Request("", "now"), Request("", "later")], delay=lambda request: 3.0 * (request.name == "later")
    )
    handler.handle(CreateEvent(config_map("a")), queue)
    assert queue.get() == (Request("", "now"), False)
    assert len(queue) == 0
    clock.wait_for_waiters()
    clock.advance(3)
    assert queue.get() == (Request("", "later"), False)


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        (owner("batch/v1beta1", "Job", "other-version"), [Request("ns", "other-version")]),
        (owner("example.com/v1", "Job", "other-group"), []),
        (owner("v1", "Job", "core-group"), []),
        (owner("batch/v1", "CronJob", "other-kind"), []),
    ],
)
def test_132_group_and_kind_are_compared_and_the_version_is_not(
    queue: RateLimitingQueue[Request], reference: OwnerReference, expected: list[Request]
) -> None:
    EnqueueRequestForOwner(Job).handle(CreateEvent(config_map("child", reference)), queue)

    assert queued(queue) == expected


def test_132_a_cluster_scoped_owner_has_no_namespace(queue: RateLimitingQueue[Request]) -> None:
    EnqueueRequestForOwner(Node).handle(CreateEvent(config_map("child", owner("v1", "Node", "n1"))), queue)

    assert queued(queue) == [Request("", "n1")]


@pytest.mark.parametrize(
    ("only_controller", "expected"),
    [(True, [Request("ns", "controls")]), (False, [Request("ns", "owns"), Request("ns", "controls")])],
)
def test_133_only_the_controlling_owner_counts_unless_asked_otherwise(
    queue: RateLimitingQueue[Request], only_controller: bool, expected: list[Request]
) -> None:
    child = config_map("child", owner("batch/v1", "Job", "owns", controller=None), owner("batch/v1", "Job", "controls"))
    EnqueueRequestForOwner(Job, only_controller_owner=only_controller).handle(CreateEvent(child), queue)

    assert queued(queue) == expected


def test_an_update_that_moves_an_object_to_another_owner_queues_both(queue: RateLimitingQueue[Request]) -> None:
    old = config_map("child", owner("batch/v1", "Job", "old"))
    new = config_map("child", owner("batch/v1", "Job", "new"))
    EnqueueRequestForOwner(Job).handle(UpdateEvent(old, new), queue)

    assert queued(queue) == [Request("ns", "old"), Request("ns", "new")]


def test_functions_are_called_for_their_own_event_only(queue: RateLimitingQueue[Request]) -> None:
    handler = Funcs(
        create=lambda event, q: q.add(Request("", "create")),
        update=lambda event, q: q.add(Request("", "update")),
        delete=lambda event, q: q.add(Request("", "delete")),
    )
    for event in events_of(config_map()):
        handler.handle(event, queue)

    assert queued(queue) == [Request("", "create"), Request("", "update"), Request("", "delete")]


def versioned(name: str, resource_version: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace="ns", resource_version=resource_version))


OLD, NEW = versioned("a", "1"), versioned("a", "2")
ADDS: list[Callable[[RequestQueue], None]] = [
    lambda queue: queue.add(Request("ns", "a")),
    lambda queue: queue.add_after(Request("ns", "a"), 1),
    lambda queue: queue.add_rate_limited(Request("ns", "a")),
    lambda queue: queue.add_with_options(AddOptions(), Request("ns", "a")),
]


@pytest.mark.parametrize("add", ADDS)
@pytest.mark.parametrize(
    ("event", "priority"),
    [
        (CreateEvent(NEW, is_in_initial_list=True), LOW_PRIORITY),
        (CreateEvent(NEW), 0),
        (UpdateEvent(NEW, NEW), LOW_PRIORITY),
        (UpdateEvent(OLD, NEW), 0),
        (DeleteEvent(NEW), 0),
        (GenericEvent(NEW), 0),
    ],
)
def test_110_what_tells_nothing_new_has_low_priority_in_whatever_way_it_is_added(
    clock: FakeClock, event: Event[Any], priority: int, add: Callable[[RequestQueue], None]
) -> None:
    queue: PriorityQueue[Request] = PriorityQueue(clock=clock)
    handler = Funcs(**dict.fromkeys(("create", "update", "delete", "generic"), lambda event, queue: add(queue)))
    WithLowPriorityWhenUnchanged(handler).handle(event, queue)
    if not len(queue):
        clock.wait_for_waiters()
        clock.advance(1)

    assert queue.get_with_priority() == (Request("ns", "a"), priority, False)
    queue.shut_down()


def test_110_the_handlers_own_priority_stands() -> None:
    queue: PriorityQueue[Request] = PriorityQueue()
    handler = Funcs(create=lambda event, queue: queue.add_with_options(AddOptions(priority=3), event.object.key))
    WithLowPriorityWhenUnchanged(handler, priority=-5).handle(CreateEvent(NEW, is_in_initial_list=True), queue)

    assert queue.get_with_priority() == (Request("ns", "a"), 3, False)
    queue.shut_down()
