"""The lock of the work queues: it excludes, it is handed on, and it can be waited on."""

from __future__ import annotations

import threading

from support.eventually import eventually

from localmodel.runtime.workqueue.yielding_lock import YieldingLock


def test_one_thread_at_a_time_is_inside() -> None:
    lock = YieldingLock()
    counter = 0

    def work() -> None:
        nonlocal counter
        for _ in range(5000):
            with lock:
                before = counter
                counter = before + 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter == 20_000


def test_who_waits_gets_in_when_the_holder_leaves() -> None:
    lock = YieldingLock()
    inside: list[str] = []

    def work() -> None:
        with lock:
            inside.append("second")

    waiting = threading.Thread(target=work)
    with lock:
        waiting.start()
        inside.append("first")
    waiting.join(10)
    assert inside == ["first", "second"]


def test_it_is_the_lock_of_a_condition() -> None:
    lock = YieldingLock()
    condition = threading.Condition(lock)  # type: ignore[arg-type]
    ready: list[int] = []

    def wait() -> None:
        with lock:
            condition.wait_for(lambda: ready, timeout=10)
            ready.append(2)

    waiting = threading.Thread(target=wait)
    waiting.start()
    with lock:
        ready.append(1)
        condition.notify()
    waiting.join(10)
    eventually(lambda: ready == [1, 2])
