"""The promises of runtimes.md 2.8 on `PriorityQueue`; those of 2.7 are tried on it in `test_workqueue*.py`."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client import CollectorRegistry
from support.eventually import eventually

from localmodel.runtime.testing.fake_clock import FakeClock
from localmodel.runtime.workqueue import LOW_PRIORITY, AddOptions, PriorityQueue, WorkQueue, WorkqueueMetrics

TIMEOUT = 10


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def queue(clock: FakeClock, registry: CollectorRegistry) -> Iterator[PriorityQueue[str]]:
    metrics = WorkqueueMetrics(registry).for_queue("test", clock=clock)
    queue: PriorityQueue[str] = PriorityQueue(name="test", clock=clock, metrics=metrics)
    yield queue
    queue.shut_down()


def put(queue: WorkQueue[str], *items: str, priority: int | None = None, after: float = 0.0) -> None:
    queue.add_with_options(AddOptions(priority=priority, after=after), *items)


def take(queue: WorkQueue[str]) -> str:
    item, shutdown = queue.get()
    assert item is not None
    assert not shutdown
    queue.done(item)
    return item


def take_all(queue: WorkQueue[str]) -> list[str]:
    return [take(queue) for _ in range(len(queue))]


def depth(registry: CollectorRegistry, priority: str) -> float | None:
    labels = {"name": "test", "controller": "test", "priority": priority}
    return registry.get_sample_value("workqueue_depth", labels)


def test_101_higher_priority_first_and_within_one_the_order_of_becoming_ready(queue: PriorityQueue[str]) -> None:
    put(queue, "low 1", "low 2", priority=LOW_PRIORITY)
    put(queue, "live 1", "live 2")
    put(queue, "high 1", priority=7)
    queue.add("live 3")

    assert take_all(queue) == ["high 1", "live 1", "live 2", "live 3", "low 1", "low 2"]


def test_101_the_priority_is_handed_out_with_the_item(queue: PriorityQueue[str]) -> None:
    put(queue, "low", priority=LOW_PRIORITY)
    put(queue, "live")

    assert queue.get_with_priority() == ("live", 0, False)
    assert queue.get_with_priority() == ("low", LOW_PRIORITY, False)


def test_101_a_delayed_item_of_high_priority_overtakes_once_it_is_ready(
    clock: FakeClock, queue: PriorityQueue[str]
) -> None:
    put(queue, "high", priority=5, after=1)
    put(queue, "a", "b")
    assert take(queue) == "a"

    clock.wait_for_waiters()
    clock.advance(1)
    eventually(lambda: len(queue) == 2)
    assert take_all(queue) == ["high", "b"]


def test_102_a_re_add_raises_a_waiting_item_and_never_lowers_it(queue: PriorityQueue[str]) -> None:
    put(queue, "raised", "kept", priority=1)
    put(queue, "raised", priority=3)
    put(queue, "raised", priority=2)
    put(queue, "kept", priority=LOW_PRIORITY)
    queue.add("kept")

    assert queue.get_with_priority() == ("raised", 3, False)
    assert queue.get_with_priority() == ("kept", 1, False)
    assert len(queue) == 0


def test_102_a_live_event_takes_its_item_out_of_the_backlog(queue: PriorityQueue[str]) -> None:
    put(queue, "a", "b", "c", priority=LOW_PRIORITY)
    queue.add("c")

    assert take_all(queue) == ["c", "a", "b"]


def test_102_an_item_in_work_or_delayed_is_raised_too(clock: FakeClock, queue: PriorityQueue[str]) -> None:
    put(queue, "held")
    queue.get()
    put(queue, "held", priority=1)
    put(queue, "held", priority=4)
    put(queue, "delayed", priority=2, after=1)
    put(queue, "delayed", priority=3, after=1)
    clock.wait_for_waiters()
    clock.advance(1)
    queue.done("held")
    eventually(lambda: len(queue) == 2)

    assert queue.get_with_priority() == ("held", 4, False)
    assert queue.get_with_priority() == ("delayed", 3, False)


def test_102_an_item_handed_out_starts_anew(queue: PriorityQueue[str]) -> None:
    put(queue, "foo", priority=9)
    take(queue)
    put(queue, "foo", priority=1)

    assert queue.get_with_priority() == ("foo", 1, False)


def test_103_a_raised_item_overtakes_lower_and_goes_behind_those_at_its_new_level(queue: PriorityQueue[str]) -> None:
    put(queue, "raised", "low", priority=0)
    put(queue, "high 1", "high 2", priority=1)
    put(queue, "raised", priority=1)
    put(queue, "high 3", priority=1)

    assert take_all(queue) == ["high 1", "high 2", "raised", "high 3", "low"]


def test_104_a_re_add_keeps_the_earlier_ready_time(clock: FakeClock, queue: PriorityQueue[str]) -> None:
    put(queue, "later first", after=10)
    put(queue, "later first", after=1)
    put(queue, "later last", after=1)
    put(queue, "later last", after=10)
    eventually(lambda: clock.next_deadline == 1)
    clock.advance(1)
    eventually(lambda: len(queue) == 2)

    put(queue, "later first", after=10)
    assert take_all(queue) == ["later first", "later last"]
    assert len(queue) == 0
    clock.advance(20)
    put(queue, "marker", after=1)
    eventually(lambda: clock.next_deadline == 1)
    clock.advance(1)
    assert take(queue) == "marker"


def test_105_an_item_in_work_can_be_queued_and_is_handed_out_right_after_done(queue: PriorityQueue[str]) -> None:
    put(queue, "foo")
    queue.get()
    put(queue, "foo", priority=10)
    put(queue, "bar")
    assert len(queue) == 1
    assert take(queue) == "bar"
    with ThreadPoolExecutor(1) as pool:
        blocked = pool.submit(queue.get)
        assert not blocked.done()
        queue.done("foo")

        assert blocked.result(TIMEOUT) == ("foo", False)


def test_106_len_and_depth_ignore_items_that_are_not_ready(
    clock: FakeClock, queue: PriorityQueue[str], registry: CollectorRegistry
) -> None:
    put(queue, "now", priority=3)
    put(queue, "later", priority=3, after=1)
    assert len(queue) == 1
    assert depth(registry, "3") == 1

    clock.wait_for_waiters()
    clock.advance(1)
    eventually(lambda: len(queue) == 2)
    assert depth(registry, "3") == 2


def test_107_a_waiting_item_re_added_without_delay_is_available_at_once(
    clock: FakeClock, queue: PriorityQueue[str], registry: CollectorRegistry
) -> None:
    """Once, and with the better of its priorities; the depth never leaves the truth."""
    put(queue, "foo", priority=2, after=1)
    queue.add("foo")
    assert depth(registry, "2") == 1

    assert queue.get_with_priority() == ("foo", 2, False)
    queue.done("foo")
    assert depth(registry, "2") == 0
    put(queue, "marker", after=2)
    clock.wait_for_waiters()
    clock.advance(2)
    assert take(queue) == "marker"
    assert len(queue) == 0
    assert (depth(registry, "2"), depth(registry, "0")) == (0, 0)


def test_108_get_is_released_by_shutdown_even_when_items_remain(queue: PriorityQueue[str]) -> None:
    """What remains here is delayed or held; what is ready is handed out first, as promise 82 has it for every queue."""
    put(queue, "held")
    queue.get()
    put(queue, "held")
    put(queue, "delayed", after=1000)
    with ThreadPoolExecutor(2) as pool:
        blocked = [pool.submit(queue.get) for _ in range(2)]
        queue.shut_down()

        assert [get.result(TIMEOUT) for get in blocked] == [(None, True)] * 2


def test_108_two_gets_after_shutdown_both_return(queue: PriorityQueue[str]) -> None:
    put(queue, "ready", priority=LOW_PRIORITY)
    queue.shut_down()
    with ThreadPoolExecutor(2) as pool:
        gets = [pool.submit(queue.get) for _ in range(2)]

        assert sorted((get.result(TIMEOUT) for get in gets), key=str) == [("ready", False), (None, True)]


def test_108_shutdown_while_items_are_handed_out_ends_every_worker() -> None:
    for _ in range(20):
        queue: PriorityQueue[str] = PriorityQueue()
        with ThreadPoolExecutor(4) as pool:
            workers = [pool.submit(lambda q: [q.done(q.get()[0]) for _ in range(40)], queue) for _ in range(3)]
            pool.submit(lambda q: [put(q, str(i), priority=i % 3, after=i % 2 / 1e4) for i in range(100)], queue)
            queue.shut_down()
            for worker in workers:
                worker.result(TIMEOUT)


def test_111_an_item_does_not_starve_behind_a_stream_of_higher_priorities(
    clock: FakeClock, queue: PriorityQueue[str]
) -> None:
    put(queue, "low", priority=LOW_PRIORITY)

    def run(count: int) -> list[str]:
        """Live items come as fast as they are handled: two wait at any time."""
        taken = []
        for number in range(count):
            put(queue, f"live {number}", f"live {number + 1}")
            taken.append(take(queue))
        return taken

    assert "low" not in run(100)
    clock.advance(60)
    assert "low" in run(4)


def test_111_many_starved_items_get_a_share_and_do_not_turn_the_order_around(
    clock: FakeClock, queue: PriorityQueue[str]
) -> None:
    put(queue, *(f"low {number}" for number in range(100)), priority=LOW_PRIORITY)
    put(queue, *(f"middle {number}" for number in range(100)), priority=-50)
    clock.advance(60)
    put(queue, *(f"live {number}" for number in range(300)))

    taken = [take(queue) for _ in range(400)]
    assert sum(item.startswith("live") for item in taken) == 300
    assert [item for item in taken if item.startswith("low")] == [f"low {number}" for number in range(100)]
    assert take(queue) == "middle 0"


def test_111_how_long_an_item_may_starve_is_an_option(clock: FakeClock) -> None:
    queue: PriorityQueue[str] = PriorityQueue(clock=clock, starvation_seconds=5)
    put(queue, "low", priority=LOW_PRIORITY)
    clock.advance(5)
    put(queue, "a", "b", "c", "d")

    assert take_all(queue) == ["a", "b", "c", "low", "d"]


def test_scrapes_and_workers_do_not_disturb_each_other(registry: CollectorRegistry) -> None:
    """Priorities come and go while a scrape walks over them, and no depth is ever negative."""
    queue: PriorityQueue[int] = PriorityQueue(metrics=WorkqueueMetrics(registry).for_queue("test"))
    choose = random.Random(0)
    handed_out: list[int] = []
    lock = threading.Lock()

    def work() -> None:
        while True:
            item, shutdown = queue.get()
            if item is None or shutdown:
                return
            with lock:
                handed_out.append(item)
            queue.done(item)

    def produce() -> None:
        for number in range(2000):
            options = AddOptions(priority=choose.randrange(-30, 30), after=choose.choice((0.0, 0.0, 1e-4)))
            queue.add_with_options(options, number)

    with ThreadPoolExecutor(6) as pool:
        workers = [pool.submit(work) for _ in range(4)]
        producer = pool.submit(produce)
        while not producer.done():
            depths = [sample.value for family in registry.collect() for sample in family.samples]
            assert min(depths) >= 0
        producer.result(TIMEOUT)
        eventually(lambda: len(set(handed_out)) == 2000)
        queue.shut_down()
        for worker in workers:
            worker.result(TIMEOUT)

    assert sorted(handed_out) == list(range(2000))
