"""The shared informer on a scripted server. Numbers are statements of reference/runtimes.md."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.scripted import (
    OPEN,
    ScriptedListerWatcher,
    ScriptedStream,
    bookmark,
    config_map,
    error_event,
    event,
    eventually,
    page,
)

from localmodel.runtime.clock import RealClock
from localmodel.runtime.deadline import DeadlineExceededError, limit
from localmodel.runtime.errors import ExpiredError, ForbiddenError, InternalError
from localmodel.runtime.informer import InformerStoppedError, SharedInformer
from localmodel.runtime.informer_options import InformerOptions
from localmodel.runtime.listwatch import ListOptions
from localmodel.runtime.objects import ConfigMap
from localmodel.runtime.phase import Phase
from localmodel.runtime.reflector import ReflectorOptions
from localmodel.runtime.store import Stored
from localmodel.runtime.testing.fake_clock import FakeClock

EXPIRED = ExpiredError.of("too old")


class Recorder:
    """A handler that remembers what it heard, as short tuples."""

    def __init__(self, before: Callable[[Stored[ConfigMap]], object] = lambda _obj: None) -> None:
        self.heard: list[tuple[Any, ...]] = []
        self._before = before

    def on_add(self, obj: Stored[ConfigMap], is_in_initial_list: bool) -> None:
        self._before(obj)
        self.heard.append(("add", str(obj.key), obj.resource_version, is_in_initial_list))

    def on_update(self, old: Stored[ConfigMap], new: Stored[ConfigMap]) -> None:
        self._before(new)
        self.heard.append(("update", str(new.key), old.resource_version, new.resource_version))

    def on_delete(self, obj: Stored[ConfigMap], final_state_unknown: bool) -> None:
        self._before(obj)
        self.heard.append(("delete", str(obj.key), obj.resource_version, final_state_unknown))

    def hears(self, count: int) -> list[tuple[Any, ...]]:
        """Waits for so many events; fails if there are more."""
        eventually(lambda: len(self.heard) >= count)
        assert len(self.heard) == count, self.heard
        return self.heard


Make = Callable[..., SharedInformer[ConfigMap]]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes informers that are stopped at the end; checks that no thread is left."""
    before = set(threading.enumerate())
    made: list[SharedInformer[ConfigMap]] = []

    def make(server: Any, clock: Any = None, **options: Any) -> SharedInformer[ConfigMap]:
        made.append(SharedInformer(ConfigMap, server, InformerOptions(**options), clock=clock))
        return made[-1]

    yield make
    for informer in made:
        informer.stop()
    assert set(threading.enumerate()) - before == set()


def stream_of(server: ScriptedListerWatcher, index: int = 0) -> ScriptedStream:
    eventually(lambda: len(server.streams) > index)
    return server.streams[index]


def test_a_handler_hears_the_list_as_initial_adds_and_then_each_event(make: Make) -> None:
    server = ScriptedListerWatcher([page(10, config_map("a", 5))])
    informer, handler = make(server), Recorder()
    informer.add_event_handler(handler)
    informer.start()
    stream_of(server).send(
        event("ADDED", config_map("b", 11)),
        event("MODIFIED", config_map("a", 12)),
        event("DELETED", config_map("a", 13)),
    )
    assert handler.hears(4) == [
        ("add", "default/a", "5", True),
        ("add", "default/b", "11", False),
        ("update", "default/a", "5", "12"),
        ("delete", "default/a", "13", False),
    ]


def test_25_a_bookmark_moves_the_synced_version_and_reaches_no_handler(make: Make) -> None:
    server = ScriptedListerWatcher([page(10)])
    informer, handler = make(server), Recorder()
    informer.add_event_handler(handler)
    informer.start()
    stream_of(server).send(bookmark(40))
    eventually(lambda: informer.last_synced_resource_version() == "40")
    assert handler.heard == []


def test_41_an_object_absent_from_a_relist_yields_a_delete_with_the_last_known_object(make: Make) -> None:
    server = ScriptedListerWatcher([page(10, config_map("a", 5), config_map("b", 6)), page(20, config_map("b", 6))])
    informer, handler = make(server), Recorder()
    informer.add_event_handler(handler)
    informer.start()
    stream_of(server).send(event("MODIFIED", config_map("a", 12)), error_event(EXPIRED.status))
    assert handler.hears(4)[-1] == ("delete", "default/a", "12", True)


def test_42_an_object_only_queued_and_absent_from_the_list_is_added_and_then_deleted(make: Make) -> None:
    server = ScriptedListerWatcher([page(10), page(20)])
    gate = threading.Event()
    informer, handler = make(server), Recorder(lambda _obj: gate.wait(5))
    informer.add_event_handler(handler)
    informer.start()
    stream_of(server).send(event("ADDED", config_map("a", 12)), error_event(EXPIRED.status))
    stream_of(server, 1)
    gate.set()
    assert handler.hears(2) == [("add", "default/a", "12", False), ("delete", "default/a", "12", True)]


def test_43_a_real_delete_is_not_doubled_by_a_relist(make: Make) -> None:
    server = ScriptedListerWatcher([page(10, config_map("a", 5)), page(20)])
    informer, handler = make(server), Recorder()
    informer.add_event_handler(handler)
    informer.start()
    stream_of(server).send(event("DELETED", config_map("a", 12)), error_event(EXPIRED.status))
    stream_of(server, 1).send(event("ADDED", config_map("end", 21)))
    assert [heard[0] for heard in handler.hears(3)] == ["add", "delete", "add"]


def test_46_a_delete_of_an_unknown_object_is_ignored(make: Make) -> None:
    server = ScriptedListerWatcher([page(10)])
    informer, handler = make(server), Recorder()
    informer.add_event_handler(handler)
    informer.start()
    stream_of(server).send(event("DELETED", config_map("x", 12)), event("ADDED", config_map("end", 13)))
    assert [heard[0] for heard in handler.hears(1)] == ["add"]


def test_47_an_empty_first_list_syncs(make: Make) -> None:
    informer = make(ScriptedListerWatcher([page(10)]))
    registration = informer.add_event_handler(Recorder())
    assert not informer.has_synced
    informer.start()
    assert informer.wait_for_sync(5)
    assert registration.wait_for_sync(5)


def test_48_64_a_registration_syncs_only_when_its_handler_has_taken_the_last_initial_item(make: Make) -> None:
    server = ScriptedListerWatcher([page(10, config_map("a", 5))])
    gate = threading.Event()
    informer = make(server)
    registration = informer.add_event_handler(Recorder(lambda _obj: gate.wait(5)))
    informer.start()
    assert informer.wait_for_sync(5)
    assert not registration.has_synced
    gate.set()
    assert registration.wait_for_sync(5)


def test_49_a_resync_never_overtakes_or_overwrites_a_newer_change(make: Make) -> None:
    """Deviation: a resync tells of every object, behind what is pending and with the newest state: a repetition."""
    server, clock, gate = ScriptedListerWatcher([page(10, config_map("a", 5))]), FakeClock(), threading.Event()
    informer, slow = make(server, clock, resync_period=100), Recorder(lambda _obj: gate.wait(5))
    informer.add_event_handler(slow)
    informer.start()
    informer.wait_for_sync(5)
    stream_of(server).send(event("MODIFIED", config_map("a", 12)))
    eventually(lambda: informer.last_synced_resource_version() == "12")
    clock.advance(111)
    gate.set()
    assert slow.hears(3) == [
        ("add", "default/a", "5", True),
        ("update", "default/a", "5", "12"),
        ("update", "default/a", "12", "12"),
    ]


def test_50_an_idle_handlers_wait_is_ended_by_stop(make: Make) -> None:
    """The queue's blocking Pop is our listener's thread; that it is closed shows in its end."""
    before = set(threading.enumerate())
    server, clock = ScriptedListerWatcher([page(10)]), FakeClock()
    informer = make(server, clock)
    registration = informer.add_event_handler(Recorder())
    informer.start()
    assert registration.wait_for_sync(5)
    clock.wait_for_waiters(1)
    informer.stop()
    assert set(threading.enumerate()) == before


def test_52_the_store_has_a_change_before_any_handler_hears_of_it(make: Make) -> None:
    server = ScriptedListerWatcher([page(10)])
    informer = make(server)
    seen: list[Any] = []
    handler = Recorder(lambda obj: seen.append(informer.store.get(obj.key)))
    informer.add_event_handler(handler)
    informer.start()
    stream_of(server).send(event("ADDED", config_map("a", 11)))
    handler.hears(1)
    assert [item.resource_version for item in seen] == ["11"]


def test_53_an_added_event_for_a_known_object_is_an_update(make: Make) -> None:
    server = ScriptedListerWatcher([page(10, config_map("a", 5))])
    informer, handler = make(server), Recorder()
    informer.add_event_handler(handler)
    informer.start()
    stream_of(server).send(event("ADDED", config_map("a", 11)))
    assert handler.hears(2)[1] == ("update", "default/a", "5", "11")


def test_61_one_handler_is_called_by_one_thread_at_a_time_in_order(make: Make) -> None:
    server = ScriptedListerWatcher([page(10)])
    threads = set()
    informer, handler = make(server), Recorder(lambda _obj: threads.add(threading.get_ident()))
    informer.add_event_handler(handler)
    informer.start()
    stream_of(server).send(*[event("MODIFIED", config_map("a", n)) for n in range(11, 211)])
    assert [heard[-1] for heard in handler.hears(200)[1:]] == [str(n) for n in range(12, 211)]
    assert len(threads) == 1


def test_62_a_deletion_and_recreation_that_went_unseen_is_one_update_with_another_uid(make: Make) -> None:
    again = config_map("a", 15, uid="another")
    server = ScriptedListerWatcher([page(10, config_map("a", 5)), page(20, again)])
    uids: list[tuple[str, str]] = []
    informer, handler = make(server), Recorder()
    handler.on_update = lambda old, new: uids.append((old.uid, new.uid))  # type: ignore[method-assign]
    informer.add_event_handler(handler)
    informer.start()
    stream_of(server).send(error_event(EXPIRED.status))
    eventually(lambda: uids)
    assert uids == [("uid-default-a", "another")]
    assert [change for change, *_ in handler.heard] == ["add"]


def test_63_a_late_handler_gets_each_stored_object_once_with_no_gap_against_live_events(make: Make) -> None:
    server = ScriptedListerWatcher([page(10, *[config_map(f"old-{n}", 5) for n in range(50)])])
    informer = make(server)
    informer.start()
    informer.wait_for_sync(5)
    stream = stream_of(server)
    handlers = []
    for n in range(100):
        stream.send(event("ADDED", config_map(f"new-{n}", 100 + n)))
        if n % 10 == 0:
            handlers.append(Recorder())
            informer.add_event_handler(handlers[-1])
    for handler in handlers:
        heard = handler.hears(150)
        assert len({key for _, key, *_ in heard}) == 150
        assert {change for change, *_ in heard} == {"add"}
        assert sum(initial for *_, initial in heard) >= 50


def test_64_a_registration_has_a_synced_state_of_its_own_later_than_the_informers(make: Make) -> None:
    informer, gate = make(ScriptedListerWatcher([page(10, config_map("a", 5))])), threading.Event()
    informer.start()
    assert informer.wait_for_sync(5)
    late = informer.add_event_handler(Recorder(lambda _obj: gate.wait(5)))
    quick = informer.add_event_handler(Recorder())
    assert quick.wait_for_sync(5)
    assert not late.has_synced
    gate.set()
    assert late.wait_for_sync(5)


def test_65_a_stopped_informer_takes_no_handler_and_does_not_start(make: Make) -> None:
    informer = make(ScriptedListerWatcher([page(10)]))
    informer.start()
    informer.stop()
    with pytest.raises(InformerStoppedError, match="ConfigMap"):
        informer.add_event_handler(Recorder())
    with pytest.raises(InformerStoppedError):
        informer.start()


def test_65_67_removing_the_last_handler_does_not_stop_the_informer_and_removing_it_twice_is_fine(make: Make) -> None:
    """A foreign handle cannot be removed: a registration removes itself, from the informer that gave it."""
    server = ScriptedListerWatcher([page(10)])
    informer, removed, stays = make(server), Recorder(), Recorder()
    registration = informer.add_event_handler(removed)
    informer.start()
    registration.remove()
    registration.remove()
    stream_of(server).send(event("ADDED", config_map("a", 11)))
    eventually(lambda: len(informer.store) == 1)
    informer.add_event_handler(stays)
    assert stays.hears(1)
    assert removed.heard == []


def test_67_the_informer_follows_on_without_any_handler_and_a_new_one_gets_what_came_meanwhile(make: Make) -> None:
    server = ScriptedListerWatcher([page(10, config_map("a", 5))])
    informer, only, later = make(server), Recorder(), Recorder()
    registration = informer.add_event_handler(only)
    informer.start()
    only.hears(1)
    registration.remove()
    stream_of(server).send(event("ADDED", config_map("b", 11)))
    assert informer.wait_for_resource_version("11", 5)
    informer.add_event_handler(later)
    assert sorted(heard[1] for heard in later.hears(2)) == ["default/a", "default/b"]
    assert informer.phases == (Phase.WATCHING,)


def test_a_handler_may_remove_itself(make: Make) -> None:
    server = ScriptedListerWatcher([page(10, config_map("a", 5), config_map("b", 6))])
    informer = make(server)
    handler = Recorder(lambda _obj: registration.remove())
    registration = informer.add_event_handler(handler)
    informer.start()
    handler.hears(1)


def test_66_a_handler_registered_twice_gets_all_events_twice(make: Make) -> None:
    informer, handler = make(ScriptedListerWatcher([page(10, config_map("a", 5))])), Recorder()
    informer.add_event_handler(handler)
    informer.add_event_handler(handler)
    informer.start()
    handler.hears(2)


def test_68_a_second_start_is_refused(make: Make) -> None:
    server = ScriptedListerWatcher([page(10)])
    informer = make(server)
    informer.start()
    informer.start()
    stream_of(server)
    assert server.requests == ["list 0", "watch 10"]


def test_68_the_transform_cannot_be_set_after_the_informer_is_made(make: Make) -> None:
    """Deviation: not from the start, but from the beginning on: options are frozen."""
    informer = make(ScriptedListerWatcher([page(10)]))
    with pytest.raises(dataclasses.FrozenInstanceError):
        informer.options.transform = lambda obj: obj  # type: ignore[misc]


def test_69_a_relist_updates_what_changed_and_says_nothing_of_what_did_not(make: Make) -> None:
    """Deviation: nor to handlers that asked for a resync; their timer tells them of every object in any case."""
    server = ScriptedListerWatcher(
        [page(10, config_map("a", 5), config_map("b", 6)), page(20, config_map("a", 5), config_map("b", 15))]
    )
    informer, handler = make(server), Recorder()
    informer.add_event_handler(handler)
    informer.start()
    stream_of(server).send(error_event(EXPIRED.status))
    stream_of(server, 1)
    assert handler.hears(3)[2] == ("update", "default/b", "6", "15")


def test_71_resync_gives_every_handler_its_stored_objects_and_asks_the_server_nothing(make: Make) -> None:
    server, clock = ScriptedListerWatcher([page(10, config_map("a", 5))]), FakeClock()
    informer, handler = make(server, clock, resync_period=36_000), Recorder()
    informer.add_event_handler(handler)
    informer.start()
    handler.hears(1)
    stream_of(server)
    clock.wait_for_waiters(1)
    clock.advance(36_000 * 0.89)
    assert clock.next_deadline is not None
    assert 0 < clock.next_deadline <= 36_000 * 0.21
    clock.advance(36_000 * 0.22)
    assert handler.hears(2)[1] == ("update", "default/a", "5", "5")
    assert server.requests == ["list 0", "watch 10"]


def test_70_a_resync_period_below_a_second_is_a_second_and_none_is_never(make: Make) -> None:
    clock = FakeClock()
    short, never = (make(ScriptedListerWatcher([page(10)]), clock, resync_period=p) for p in (0.001, 0))
    short.add_event_handler(Recorder())
    short.start()
    clock.wait_for_waiters(1)
    assert clock.next_deadline is not None
    assert clock.next_deadline >= 0.9
    never.add_event_handler(Recorder())
    never.start()
    assert never.wait_for_sync(5)
    assert clock.waiters == 1


def test_70_a_late_handlers_period_leaves_those_before_it_alone(make: Make) -> None:
    """Deviation: each handler has a timer of its own, so a late one may also ask for a shorter period."""
    server, clock = ScriptedListerWatcher([page(10, config_map("a", 5))]), FakeClock()
    informer, early, late = make(server, clock, resync_period=1000), Recorder(), Recorder()
    informer.add_event_handler(early)
    informer.start()
    early.hears(1)
    informer.add_event_handler(late, resync_period=100)
    late.hears(1)
    clock.wait_for_waiters(2)
    clock.advance(111)
    late.hears(2)
    assert len(early.heard) == 1


def test_72_a_slow_handler_holds_up_neither_the_watch_nor_other_handlers(make: Make) -> None:
    server = ScriptedListerWatcher([page(10)])
    gate = threading.Event()
    informer, slow, fast = make(server), Recorder(lambda _obj: gate.wait(5)), Recorder()
    registration = informer.add_event_handler(slow)
    informer.add_event_handler(fast)
    informer.start()
    stream_of(server).send(*[event("ADDED", config_map(f"m{n}", 11 + n)) for n in range(20)])
    fast.hears(20)
    assert slow.heard == []
    assert registration.pending >= 18
    gate.set()
    slow.hears(20)


def test_73_a_failing_handler_loses_only_the_event_at_hand(make: Make) -> None:
    server = ScriptedListerWatcher([page(10)])

    def fail(obj: Stored[ConfigMap]) -> None:
        if obj.key.name == "bad":
            raise ValueError("cannot")

    informer, handler = make(server), Recorder(fail)
    registration = informer.add_event_handler(handler)
    informer.start()
    registration.wait_for_sync(5)
    stream_of(server).send(event("ADDED", config_map("bad", 11)), event("ADDED", config_map("good", 12)))
    assert handler.hears(1)[0][1] == "default/good"
    assert (registration.failures, registration.has_synced) == (1, True)


def test_73_a_handler_that_failed_on_the_initial_list_never_reports_synced(make: Make) -> None:
    informer = make(ScriptedListerWatcher([page(10, config_map("a", 5))]))
    registration = informer.add_event_handler(Recorder(lambda _obj: 1 / 0))
    informer.start()
    eventually(lambda: registration.failures == 1 and registration.pending == 0)
    assert not registration.has_synced
    assert "ZeroDivisionError" in registration.last_error


def test_74_stop_ends_every_thread_within_a_second_even_while_a_handler_is_behind(make: Make) -> None:
    server = ScriptedListerWatcher([page(10, *[config_map(f"m{n}", 5) for n in range(50)])], [[OPEN]])
    informer, handler = make(server), Recorder(lambda _obj: threading.Event().wait(0.05))
    informer.add_event_handler(handler)
    informer.start()
    stream_of(server)
    began = time.monotonic()
    informer.stop()
    assert time.monotonic() - began < 1
    assert len(handler.heard) < 50
    assert server.streams[0].closes >= 1
    assert informer.phases == (Phase.STOPPED,)


def test_stop_ends_a_back_off(make: Make) -> None:
    informer = make(ScriptedListerWatcher([InternalError.of("oops", details={"retryAfterSeconds": 60})]))
    informer.start()
    eventually(lambda: informer.phases == (Phase.FAILING,))
    began = time.monotonic()
    informer.stop()
    assert time.monotonic() - began < 1


def test_an_informer_says_why_it_has_not_synced(make: Make) -> None:
    informer = make(ScriptedListerWatcher([ForbiddenError.of("configmaps is forbidden")]))
    informer.start()
    assert not informer.wait_for_sync(0.05)
    assert "Forbidden (403): configmaps is forbidden" in informer.last_error


class Namespaced(ScriptedListerWatcher):
    """Lists by namespace."""

    def __init__(self, lists: dict[str, list[Any]]) -> None:
        super().__init__()
        self.servers = {namespace: ScriptedListerWatcher(answers) for namespace, answers in lists.items()}

    def list_page(self, kind: Any, options: ListOptions) -> Any:
        return self.servers[options.namespace].list_page(kind, options)

    def watch(self, kind: Any, options: Any) -> Any:
        return self.servers[options.namespace].watch(kind, options)


def test_59_the_synced_version_follows_each_list_event_and_bookmark(make: Make) -> None:
    server = ScriptedListerWatcher([page(10, config_map("a", 5)), page(30)])
    informer = make(server)
    assert informer.last_synced_resource_version() == ""
    informer.start()
    assert informer.wait_for_resource_version("10", 5)
    stream = stream_of(server)
    for news, version in (
        (event("ADDED", config_map("b", 12)), "12"),
        (bookmark(20), "20"),
        (event("DELETED", config_map("b", 21)), "21"),
        (error_event(EXPIRED.status), "30"),
    ):
        assert not informer.wait_for_resource_version(version, 0)
        stream.send(news)
        assert informer.wait_for_resource_version(version, 5)
        assert informer.last_synced_resource_version() == version


def test_versions_are_compared_as_numbers_and_what_is_none_is_refused(make: Make) -> None:
    server = ScriptedListerWatcher([page(100)])
    informer = make(server)
    informer.start()
    assert informer.wait_for_resource_version("99", 5)
    assert not informer.wait_for_resource_version("1000", 0)
    with pytest.raises(ValueError, match="'abc' is not a number"):
        informer.wait_for_resource_version("abc", 0)


def test_a_wait_for_a_version_ends_with_stop_and_with_the_deadline_of_the_work_in_hand(make: Make) -> None:
    informer, clock = make(ScriptedListerWatcher([page(10)])), RealClock()
    informer.start()
    assert informer.wait_for_sync(5)
    with pytest.raises(DeadlineExceededError, match="waiting for resource version 11 of ConfigMap"), limit(clock, 0.01):
        informer.wait_for_resource_version("11", 5)
    answers: list[bool] = []
    waiter = threading.Thread(target=lambda: answers.append(informer.wait_for_resource_version("11", 30)))
    waiter.start()
    informer.stop()
    waiter.join(5)
    assert answers == [False]


def test_59_each_namespace_has_a_version_of_its_own_and_all_together_the_least(make: Make) -> None:
    server = Namespaced({"n1": [page(10)], "n2": [page(20)]})
    informer = make(server, namespaces=("n1", "n2"))
    informer.start()
    assert informer.wait_for_resource_version("20", 5, namespace="n2")
    assert informer.wait_for_resource_version("10", 5)
    assert not informer.wait_for_resource_version("20", 0)
    versions = [informer.last_synced_resource_version(namespace) for namespace in ("n1", "n2", "")]
    assert versions == ["10", "20", "10"]
    with pytest.raises(ValueError, match="'n3' is not watched"):
        informer.last_synced_resource_version("n3")


def test_several_namespaces_are_one_informer_whose_relists_do_not_touch_each_other(make: Make) -> None:
    server = Namespaced(
        {
            "n1": [page(10, config_map("a", 5, namespace="n1")), page(20)],
            "n2": [page(10, config_map("a", 6, namespace="n2"))],
        }
    )
    informer, handler = make(server, namespaces=("n1", "n2", "n1")), Recorder()
    registration = informer.add_event_handler(handler)
    informer.start()
    assert registration.wait_for_sync(5)
    assert sorted(handler.hears(2)) == [("add", "n1/a", "5", True), ("add", "n2/a", "6", True)]
    stream_of(server.servers["n1"]).send(error_event(EXPIRED.status))
    assert handler.hears(3)[2] == ("delete", "n1/a", "5", True)
    assert [str(item.key) for item in informer.store.list()] == ["n2/a"]


def test_several_namespaces_sync_only_together_and_name_what_is_missing(make: Make) -> None:
    informer = make(Namespaced({"n1": [page(10)], "n2": [ForbiddenError.of("no")]}), namespaces=("n1", "n2"))
    registration = informer.add_event_handler(Recorder())
    informer.start()
    eventually(lambda: informer.last_error)
    assert not informer.has_synced
    assert not registration.has_synced
    assert "in namespace n2" in informer.last_error


def test_51_the_transform_is_called_once_for_each_delivered_object(make: Make) -> None:
    seen: list[str] = []

    def transform(obj: dict[str, Any]) -> dict[str, Any]:
        seen.append(obj["metadata"]["resourceVersion"])
        return {"metadata": obj["metadata"]}

    server, clock = ScriptedListerWatcher([page(10, config_map("a", 5)), page(20)]), FakeClock()
    informer, handler = make(server, clock, transform=transform, resync_period=100), Recorder()
    informer.add_event_handler(handler)
    informer.start()
    handler.hears(1)
    clock.wait_for_waiters(1)
    clock.advance(111)
    handler.hears(2)
    stream_of(server).send(error_event(EXPIRED.status))
    handler.hears(3)
    assert seen == ["5"]


def test_reflector_options_reach_the_requests(make: Make) -> None:
    server = ScriptedListerWatcher([page(10)])
    make(server, labels="a=b", fields="metadata.name=x", reflector=ReflectorOptions(page_size=7)).start()
    stream_of(server)
    assert (server.lists[0].label_selector, server.lists[0].field_selector, server.lists[0].limit) == (
        "a=b",
        "metadata.name=x",
        7,
    )
