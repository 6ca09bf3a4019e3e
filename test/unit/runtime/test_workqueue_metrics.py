"""The promises of runtimes.md 2.7 on a queue's metrics, under the names of section 1.9."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from localmodel.runtime.testing.fake_clock import FakeClock
from localmodel.runtime.workqueue import DelayingQueue, Queue, WorkqueueMetrics


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def queue(registry: CollectorRegistry, clock: FakeClock) -> DelayingQueue[str]:
    metrics = WorkqueueMetrics(registry).for_queue("test", clock=clock)
    return DelayingQueue(name="test", clock=clock, metrics=metrics)


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"workqueue_{name}", {"name": "test", "controller": "test", **labels})


def test_99_adds_and_depth_count_accepted_adds_only(registry: CollectorRegistry, queue: DelayingQueue[str]) -> None:
    queue.add("foo")
    queue.add("foo")
    assert value(registry, "adds_total") == 1
    assert value(registry, "depth", priority="") == 1

    queue.get()
    assert value(registry, "depth", priority="") == 0
    queue.add("foo")
    assert value(registry, "adds_total") == 2


def test_99_queue_latency_runs_from_the_first_add(
    registry: CollectorRegistry, clock: FakeClock, queue: DelayingQueue[str]
) -> None:
    queue.add("foo")
    clock.advance(2)
    queue.add("foo")
    clock.advance(3)
    queue.get()

    assert value(registry, "queue_duration_seconds_sum") == 5
    assert value(registry, "queue_duration_seconds_count") == 1


def test_99_work_duration_runs_from_get_to_done(
    registry: CollectorRegistry, clock: FakeClock, queue: DelayingQueue[str]
) -> None:
    queue.add("foo")
    clock.advance(7)
    queue.get()
    clock.advance(4)
    assert value(registry, "unfinished_work_seconds") == 4
    assert value(registry, "longest_running_processor_seconds") == 4

    queue.done("foo")
    assert value(registry, "work_duration_seconds_sum") == 4
    assert value(registry, "unfinished_work_seconds") == 0


def test_99_retries_count_delayed_adds(registry: CollectorRegistry, queue: DelayingQueue[str]) -> None:
    queue.add_after("foo", 0)
    queue.add_after("bar", 10)

    assert value(registry, "retries_total") == 2
    queue.shut_down()


def test_100_a_queue_without_metrics_exports_nothing(registry: CollectorRegistry) -> None:
    queue: Queue[str] = Queue()
    queue.add("foo")

    assert list(registry.collect()) == []


def test_100_after_shutdown_the_gauges_no_longer_follow_the_queue(
    registry: CollectorRegistry, clock: FakeClock, queue: DelayingQueue[str]
) -> None:
    queue.add("foo")
    queue.get()
    queue.shut_down()
    clock.advance(5)

    assert value(registry, "unfinished_work_seconds") == 0
