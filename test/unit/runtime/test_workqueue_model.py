"""Both kinds of work queue against a simple model, by random steps on a clock that is moved by hand.

The model is a list, a set and a dict, searched from end to end. After every step the queue must have the model's length
and the model's metrics, and every item that it hands out must be the one that the model names.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from prometheus_client import CollectorRegistry
from support.eventually import eventually

from localmodel.runtime.testing.fake_clock import FakeClock
from localmodel.runtime.workqueue import AddOptions, PriorityQueue, RateLimitingQueue, WorkqueueMetrics

ITEMS = st.sampled_from("abcdef")
PRIORITIES = st.one_of(st.none(), st.sampled_from([-100, 0, 5]))
DELAYS = st.sampled_from([0.0, 1.0, 2.0, 5.0])
NEVER = float("inf")


class WatchedClock(FakeClock):
    """A clock that knows until when the queue's timer sleeps. Nothing else waits on it here."""

    def __init__(self) -> None:
        super().__init__()
        self.asleep_until = NEVER

    def wait(self, condition: threading.Condition, timeout: float | None) -> None:
        self.asleep_until = NEVER if timeout is None else self.monotonic() + timeout
        super().wait(condition, timeout)


@dataclass
class Waiting:
    item: str
    priority: int


@dataclass
class Model:
    """What a queue promises. With `prioritised` false priorities do not count and a delay stands for itself."""

    prioritised: bool
    now: float = 0.0
    waiting: list[Waiting] = field(default_factory=list)
    """In the order of becoming ready, or of being raised."""
    held: set[str] = field(default_factory=set)
    again: dict[str, int] = field(default_factory=dict)
    """Held items that were added again, and their priority."""
    delayed: dict[str, tuple[float, int]] = field(default_factory=dict)
    """Due time and priority, in the order of being put there."""
    adds: int = 0

    def add(self, item: str, delay: float, priority: int | None) -> None:
        priority = (priority or 0) if self.prioritised else 0
        if delay and not (self.prioritised and self._dirty(item)):
            self._delay(item, self.now + delay, priority)
        else:
            self._accept(item, priority)

    def _dirty(self, item: str) -> bool:
        return item in self.again or any(waiting.item == item for waiting in self.waiting)

    def _delay(self, item: str, due: float, priority: int) -> None:
        known = self.delayed.get(item)
        if known is not None:
            if known[0] <= due and known[1] >= priority:
                return
            due, priority = min(due, known[0]), max(priority, known[1])
            del self.delayed[item]
        self.delayed[item] = (due, priority)

    def _accept(self, item: str, priority: int) -> None:
        if self.prioritised and item in self.delayed:
            priority = max(priority, self.delayed.pop(item)[1])
        if not self._dirty(item):
            self.adds += 1
        if item in self.held:
            self.again[item] = max(priority, self.again.get(item, priority))
            return
        known = next((waiting for waiting in self.waiting if waiting.item == item), None)
        if known is None or known.priority < priority:
            self.waiting = [waiting for waiting in self.waiting if waiting.item != item]
            self.waiting.append(Waiting(item, priority))

    def get(self) -> tuple[str, int]:
        highest = max(waiting.priority for waiting in self.waiting)
        chosen = next(waiting for waiting in self.waiting if waiting.priority == highest)
        self.waiting.remove(chosen)
        self.held.add(chosen.item)
        return chosen.item, chosen.priority

    def done(self, item: str) -> None:
        if item in self.held:
            self.held.remove(item)
            if item in self.again:
                self.waiting.append(Waiting(item, self.again.pop(item)))

    def advance(self, seconds: float) -> None:
        self.now += seconds
        due = [item for item, (when, _) in self.delayed.items() if when <= self.now]
        for item in sorted(due, key=lambda item: self.delayed[item][0]):
            self._accept(item, self.delayed.pop(item)[1])

    @property
    def next_due(self) -> float:
        return min((due for due, _ in self.delayed.values()), default=NEVER)


class PlainQueueMachine(RuleBasedStateMachine):
    """Steps that a producer, a worker and time can take."""

    prioritised = False

    @initialize()
    def start(self) -> None:
        self.clock = WatchedClock()
        self.registry = CollectorRegistry()
        self.model = Model(self.prioritised)
        self.queue = self.make(WorkqueueMetrics(self.registry))

    def make(self, metrics: WorkqueueMetrics) -> RateLimitingQueue[str]:
        return RateLimitingQueue(clock=self.clock, metrics=metrics.for_queue("q", clock=self.clock))

    @rule(item=ITEMS, delay=DELAYS, priority=PRIORITIES)
    def add(self, item: str, delay: float, priority: int | None) -> None:
        self.queue.add_with_options(AddOptions(after=delay, priority=priority), item)
        self.model.add(item, delay, priority)

    @rule(items=st.lists(ITEMS, max_size=4), priority=PRIORITIES)
    def add_several(self, items: list[str], priority: int | None) -> None:
        self.queue.add_with_options(AddOptions(priority=priority), *items)
        for item in items:
            self.model.add(item, 0.0, priority)

    @rule(item=ITEMS, delay=DELAYS)
    def add_plainly(self, item: str, delay: float) -> None:
        if delay:
            self.queue.add_after(item, delay)
        else:
            self.queue.add(item)
        self.model.add(item, delay, None)

    @precondition(lambda self: self.model.waiting)
    @rule()
    def get(self) -> None:
        held = set(self.model.held)
        item, priority, shutdown = self.queue.get_with_priority()

        assert item not in held
        assert (item, priority, shutdown) == (*self.model.get(), False)

    @rule(item=ITEMS)
    def done(self, item: str) -> None:
        """Also for an item that nobody holds."""
        self.queue.done(item)
        self.model.done(item)

    @rule(seconds=st.sampled_from([0.5, 1.0, 3.0]))
    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.model.advance(seconds)

    @invariant()
    def length_and_metrics_are_the_models(self) -> None:
        """Once the timer sleeps: it may wake too early, for an item that is no longer delayed, but never too late."""
        eventually(lambda: self.model.now < self.clock.asleep_until <= self.model.next_due)
        assert len(self.queue) == len(self.model.waiting)
        depths = {
            sample.labels["priority"]: sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == "workqueue_depth" and sample.value
        }
        priorities = [waiting.priority for waiting in self.model.waiting]
        assert depths == Counter(str(priority) if self.prioritised else "" for priority in priorities)
        labels = {"name": "q", "controller": "q"}
        assert self.registry.get_sample_value("workqueue_adds_total", labels) == self.model.adds

    def teardown(self) -> None:
        """Nothing is lost: what is held, delayed or waiting is all handed out at last, and then the queue ends."""
        if not hasattr(self, "queue"):
            return
        for item in sorted(self.model.held):
            self.done(item)
        self.advance(10.0)
        self.length_and_metrics_are_the_models()
        while self.model.waiting:
            self.get()
        for item in sorted(self.model.held):
            self.done(item)
        self.length_and_metrics_are_the_models()
        self.queue.shut_down_with_drain()
        assert self.queue.get() == (None, True)


class PriorityQueueMachine(PlainQueueMachine):
    prioritised = True

    def make(self, metrics: WorkqueueMetrics) -> RateLimitingQueue[str]:
        """Strict order: that nothing starves is tried by `test_111_...`."""
        metrics_of_queue = metrics.for_queue("q", clock=self.clock)
        return PriorityQueue(clock=self.clock, metrics=metrics_of_queue, starvation_seconds=NEVER)


SETTINGS = settings(max_examples=60, stateful_step_count=30, deadline=None)

TestPlainQueue = PlainQueueMachine.TestCase
TestPlainQueue.settings = SETTINGS
TestPriorityQueue = PriorityQueueMachine.TestCase
TestPriorityQueue.settings = SETTINGS
