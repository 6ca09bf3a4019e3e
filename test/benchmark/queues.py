"""The sides that put items through work queues, beside the standard library's queue."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from prometheus_client import CollectorRegistry

from localmodel.runtime.reconcile import Request
from localmodel.runtime.workqueue import PriorityQueue, QueueMetrics, RateLimitingQueue, WorkQueue, WorkqueueMetrics

from .case import Context
from .measure import Lap, memory_mib

WORKERS = 4
AN_HOUR = 3600.0

Work = Callable[[list[Request]], None]


def standard(context: Context) -> dict[str, float]:
    """put and get of queue.Queue, which neither deduplicates nor knows what is in work."""
    items: queue.Queue[Request] = queue.Queue()

    def work(requests: list[Request]) -> None:
        for request in requests:
            items.put(request)
            items.get()

    return _in_workers(context, work)


def rate_limiting(context: Context) -> dict[str, float]:
    return _in_workers(context, _cycle(RateLimitingQueue()))


def rate_limiting_with_metrics(context: Context) -> dict[str, float]:
    return _in_workers(context, _cycle(RateLimitingQueue(metrics=_metrics())))


def priority(context: Context) -> dict[str, float]:
    return _in_workers(context, _cycle(PriorityQueue()))


def priority_with_metrics(context: Context) -> dict[str, float]:
    return _in_workers(context, _cycle(PriorityQueue(metrics=_metrics())))


def standard_handed_over(context: Context) -> dict[str, float]:
    """The same, put by another thread: a get may have to wait."""
    items: queue.Queue[Request] = queue.Queue()

    def take() -> None:
        items.get()

    return _handed_over(context, items.put, take)


def rate_limiting_handed_over(context: Context) -> dict[str, float]:
    return _hand_over(context, RateLimitingQueue())


def priority_handed_over(context: Context) -> dict[str, float]:
    return _hand_over(context, PriorityQueue())


def delayed(context: Context) -> dict[str, float]:
    return _delay(context, RateLimitingQueue())


def delayed_with_priority(context: Context) -> dict[str, float]:
    return _delay(context, PriorityQueue())


def _metrics() -> QueueMetrics:
    return WorkqueueMetrics(CollectorRegistry()).for_queue("benchmark")


def _hand_over(context: Context, items: WorkQueue[Request]) -> dict[str, float]:
    def take() -> None:
        item, _ = items.get()
        assert item is not None
        items.done(item)

    return _handed_over(context, items.add, take)


def _handed_over(context: Context, put: Callable[[Request], None], take: Callable[[], None]) -> dict[str, float]:
    """One thread puts everything in, the workers take it out."""
    requests = [Request("default", f"object-{index}") for index in range(context.size // WORKERS * WORKERS)]

    def work() -> None:
        for _ in range(len(requests) // WORKERS):
            take()

    def fill() -> None:
        for request in requests:
            put(request)

    threads = [threading.Thread(target=run) for run in (work,) * WORKERS + (fill,)]
    lap = Lap()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return lap.rates(len(requests))


def _cycle(items: WorkQueue[Request]) -> Work:
    """add, get and done, of whatever item comes."""

    def work(requests: list[Request]) -> None:
        for request in requests:
            items.add(request)
            item, _ = items.get()
            assert item is not None
            items.done(item)

    return work


def _in_workers(context: Context, work: Work) -> dict[str, float]:
    """Each worker puts in its own items and takes out whatever is next."""
    shares = [
        [Request("default", f"object-{worker}-{index}") for index in range(context.size // WORKERS)]
        for worker in range(WORKERS)
    ]
    ready = threading.Barrier(WORKERS + 1)

    def run(requests: list[Request]) -> None:
        ready.wait()
        work(requests)

    threads = [threading.Thread(target=run, args=(share,)) for share in shares]
    for thread in threads:
        thread.start()
    lap = Lap()
    ready.wait()
    for thread in threads:
        thread.join()
    return lap.rates(sum(map(len, shares)))


def _delay(context: Context, items: WorkQueue[Request]) -> dict[str, float]:
    """The memory of the whole process, the items included."""
    lap = Lap()
    for index in range(context.size):
        items.add_after(Request("default", f"object-{index}"), AN_HOUR + index % 997)
    numbers = lap.rates(context.size)
    peak = memory_mib("VmHWM")
    items.shut_down()
    return numbers | {"peak_mib": peak}
