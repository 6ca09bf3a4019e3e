"""The promises of runtimes.md 2.7 that every kind of queue keeps; the numbers are theirs."""

from __future__ import annotations

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from localmodel.runtime.workqueue import PriorityQueue, Queue, RateLimitingQueue

TIMEOUT = 10


KINDS: list[type[Queue[Any]]] = [Queue, RateLimitingQueue, PriorityQueue]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def queue(request: pytest.FixtureRequest) -> Queue[Any]:
    queue: Queue[Any] = request.param()
    return queue


def take(queue: Queue[str]) -> str:
    item, shutdown = queue.get()
    assert not shutdown
    assert item is not None
    return item


def test_77_an_item_added_twice_before_get_is_handed_out_once(queue: Queue[str]) -> None:
    queue.add("bar")
    queue.add("bar")

    assert len(queue) == 1
    queue.done(take(queue))
    assert len(queue) == 0


def test_78_an_item_added_while_processing_is_handed_out_once_more_after_done(queue: Queue[str]) -> None:
    queue.add("foo")
    item = take(queue)
    queue.add("foo")
    queue.add("foo")
    assert len(queue) == 0

    queue.done(item)
    assert take(queue) == "foo"
    queue.done("foo")
    assert len(queue) == 0


def test_79_no_item_is_ever_held_by_two_workers(queue: Queue[int]) -> None:
    held: set[int] = set()
    overlaps: list[int] = []
    lock = threading.Lock()

    def work() -> int:
        count = 0
        while True:
            item, shutdown = queue.get()
            if item is None or shutdown:
                return count
            with lock:
                if item in held:
                    overlaps.append(item)
                held.add(item)
            count += 1
            with lock:
                held.discard(item)
            queue.done(item)

    with ThreadPoolExecutor(60) as pool:
        workers = [pool.submit(work) for _ in range(10)]
        producers = [pool.submit(lambda: [queue.add(i % 7) for i in range(200)]) for _ in range(50)]
        for producer in producers:
            producer.result(TIMEOUT)
        queue.shut_down_with_drain()
        assert sum(worker.result(TIMEOUT) for worker in workers) >= 7

    assert overlaps == []


def test_80_further_done_changes_nothing(queue: Queue[str]) -> None:
    queue.add("foo")
    take(queue)
    queue.add("foo")
    queue.done("foo")
    queue.done("foo")
    assert len(queue) == 1

    queue.done(take(queue))
    queue.done("foo")
    assert len(queue) == 0


def test_81_len_counts_waiting_items_only(queue: Queue[str]) -> None:
    for item in "abc":
        queue.add(item)
    take(queue)
    queue.add("a")

    assert len(queue) == 2


def test_82_after_shut_down_adds_are_ignored_and_what_is_queued_is_still_handed_out(queue: Queue[str]) -> None:
    queue.add("first")
    queue.shut_down()
    queue.add("late")

    assert take(queue) == "first"
    assert queue.get() == (None, True)
    assert queue.shutting_down


def test_82_shut_down_wakes_every_waiting_worker(queue: Queue[str]) -> None:
    with ThreadPoolExecutor(3) as pool:
        workers = [pool.submit(queue.get) for _ in range(3)]
        queue.shut_down()

        assert [worker.result(TIMEOUT) for worker in workers] == [(None, True)] * 3


def start_drain(queue: Queue[str]) -> threading.Thread:
    thread = threading.Thread(target=queue.shut_down_with_drain)
    thread.start()
    while not queue.shutting_down:
        thread.join(0.001)
    return thread


def test_83_drain_returns_only_when_queue_and_processing_are_empty(queue: Queue[str]) -> None:
    queue.add("held")
    queue.add("waiting")
    take(queue)
    drain = start_drain(queue)

    queue.done("held")
    assert drain.is_alive()
    take(queue)
    assert drain.is_alive()
    queue.done("waiting")
    drain.join(TIMEOUT)
    assert not drain.is_alive()


def test_84_items_marked_again_while_processing_are_still_run_during_a_drain(queue: Queue[str]) -> None:
    queue.add("foo")
    take(queue)
    queue.add("foo")
    drain = start_drain(queue)

    queue.done("foo")
    assert take(queue) == "foo"
    assert drain.is_alive()
    queue.done("foo")
    drain.join(TIMEOUT)
    assert not drain.is_alive()


def test_85_shut_down_during_a_drain_ends_the_drain(queue: Queue[str]) -> None:
    queue.add("foo")
    take(queue)
    drain = start_drain(queue)

    queue.shut_down()
    drain.join(TIMEOUT)
    assert not drain.is_alive()


def test_86_the_queue_keeps_no_reference_to_an_item_that_is_done(queue: Queue[Any]) -> None:
    class Item:
        pass

    item = Item()
    alive = weakref.ref(item)
    queue.add(item)
    queue.get()
    queue.done(item)
    del item
    gc.collect()

    assert alive() is None
