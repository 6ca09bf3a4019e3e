"""The promises of runtimes.md 2.7 on a queue's metrics, under the names of section 1.9."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from localmodel.runtime.testing.fake_clock import FakeClock
from localmodel.runtime.workqueue import AddOptions, DelayingQueue, PriorityQueue, Queue, WorkqueueMetrics


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


def test_100_after_shutdown_depth_still_tells_of_a_drain(
    registry: CollectorRegistry, queue: DelayingQueue[str]
) -> None:
    queue.add("foo")
    queue.shut_down()
    assert value(registry, "depth", priority="") == 1

    queue.get()
    assert value(registry, "depth", priority="") == 0


def test_99_durations_are_counted_in_the_buckets_of_client_go(
    registry: CollectorRegistry, clock: FakeClock, queue: DelayingQueue[str]
) -> None:
    for seconds in (0.0, 1e-8, 0.5, 1.0, 5000.0):
        queue.add("foo")
        queue.get()
        clock.advance(seconds)
        queue.done("foo")

    bounds = [f"1e-0{exponent}" for exponent in (8, 7, 6, 5)] + ["0.0001", "0.001", "0.01", "0.1", "1.0", "10.0"]
    counts = [value(registry, "work_duration_seconds_bucket", le=bound) for bound in (*bounds, "100.0", "1000.0")]
    assert counts == [2, 2, 2, 2, 2, 2, 2, 2, 4, 4, 4, 4]
    assert value(registry, "work_duration_seconds_bucket", le="+Inf") == 5
    assert value(registry, "work_duration_seconds_count") == 5


def test_99_the_depth_of_a_priority_queue_is_told_by_priority(registry: CollectorRegistry, clock: FakeClock) -> None:
    metrics = WorkqueueMetrics(registry).for_queue("test", clock=clock)
    queue: PriorityQueue[str] = PriorityQueue(name="test", clock=clock, metrics=metrics)
    assert value(registry, "depth", priority="0") == 0

    queue.add_with_options(AddOptions(priority=-100), "low 1", "low 2")
    queue.add("live")
    assert value(registry, "depth", priority="0") == 1
    assert value(registry, "depth", priority="-100") == 2

    queue.add("low 1")
    assert value(registry, "depth", priority="0") == 2
    assert value(registry, "depth", priority="-100") == 1


def test_99_priorities_beyond_the_cardinality_limit_are_counted_together(
    registry: CollectorRegistry, clock: FakeClock
) -> None:
    metrics = WorkqueueMetrics(registry).for_queue("test", clock=clock)
    queue: PriorityQueue[int] = PriorityQueue(name="test", clock=clock, metrics=metrics)
    for number in range(40):
        queue.add_with_options(AddOptions(priority=number), number)

    assert [value(registry, "depth", priority=str(priority)) for priority in range(25)] == [1] * 25
    assert value(registry, "depth", priority="25") is None
    assert value(registry, "depth", priority="exceeded_cardinality_limit") == 15
    for _ in range(40):
        queue.get()
    assert value(registry, "depth", priority="3") == 0
    assert value(registry, "depth", priority="exceeded_cardinality_limit") == 0


def test_a_name_used_again_goes_on_counting(registry: CollectorRegistry, clock: FakeClock) -> None:
    families = WorkqueueMetrics(registry)
    for count in (1, 2):
        queue: Queue[str] = Queue(clock=clock, metrics=families.for_queue("test", clock=clock))
        queue.add("foo")
        assert value(registry, "adds_total") == count
        assert value(registry, "depth", priority="") == 1


def test_every_family_is_declared_and_a_second_set_in_one_registry_is_refused(registry: CollectorRegistry) -> None:
    WorkqueueMetrics(registry)

    with pytest.raises(ValueError, match="workqueue_depth"):
        WorkqueueMetrics(registry)
