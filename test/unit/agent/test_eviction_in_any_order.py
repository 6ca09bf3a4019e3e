"""The planner of evictions on a model of a disk: caches, sizes, uses, priorities, pins, limits, others' files change.

The model plays the agent around the planner: it removes what the planner says and starts what it admits. Whatever
happens, what the agent does never exceeds the limit and never removes what is in use, pinned or not ours; left alone it
comes to rest with at most one download for each model, and then has what fits and is wanted.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from localmodel.agent.eviction import Disk, Gauge, Item, Kind, Request, admit, fits_low, relieve

CAPACITY = 150
MINIMUM_IDLE = 600.0
RETRY_SECONDS = 1800.0


@dataclass
class Model:
    """An entry, and its model where it is there. Times in seconds."""

    key: str
    size: int
    priority: int
    is_pinned: bool
    wanted: float | None
    """Since when it is asked for, while it is not there."""
    is_there: bool = False
    is_coming: bool = False
    is_evicted: bool = False
    has_pod: bool = False
    published: float = 0.0
    used: float | None = None
    leftover: int = 0
    """Bytes of a download that failed, which waits for its next try."""
    retry: float = 0.0
    epoch: int = -1
    """Of the node when its download was let in."""

    def item(self, now: float) -> Item:
        was_used = self.used is not None and self.used >= self.published
        idle = now - (self.used if was_used and self.used is not None else self.published)
        kept = "in use" if self.has_pod else "pinned" if self.is_pinned else ""
        briefly = not kept and was_used and idle < MINIMUM_IDLE
        return Item(
            key=self.key,
            kind=Kind.MODEL,
            size=self.size,
            priority=self.priority,
            idle=idle,
            kept=kept or ("just used" if briefly else ""),
            kept_briefly=briefly,
        )


class Node:
    """The model of the disk, and of the agent around the planner."""

    removed: ClassVar[Counter[Kind]] = Counter()
    """What was removed of all disks, by kind."""

    def __init__(self) -> None:
        self.now = 0.0
        self.limit, self.high, self.low = 100, 80, 70
        self.foreign = 10
        """Bytes of others on the volume."""
        self.models: dict[str, Model] = {}
        self.unreferenced: dict[str, int] = {}
        self.downloads = 0
        self.epoch = 0
        """Counts what happens to the node beside time and new caches."""

    @property
    def used(self) -> int:
        models = sum(m.size for m in self.models.values() if m.is_there or m.is_coming)
        left = sum(m.leftover for m in self.models.values() if not m.is_coming)
        return models + left + sum(self.unreferenced.values())

    def disk(self, requester: Model | None = None) -> Disk:
        own = requester.leftover if requester is not None else 0
        models = [m for m in self.models.values() if m.is_there]
        items = [m.item(self.now) for m in models]
        items += [Item(key=key, kind=Kind.UNREFERENCED, size=size) for key, size in self.unreferenced.items()]
        items += [
            Item(key=m.key, kind=Kind.LEFTOVER, size=m.leftover)
            for m in self.models.values()
            if m.leftover and not m.is_coming and m is not requester
        ]
        return Disk(
            models=Gauge(used=self.used - own, limit=self.limit, high=self._of(self.high), low=self._of(self.low)),
            volume=Gauge(
                used=self.used - own + self.foreign,
                limit=CAPACITY,
                high=CAPACITY * self.high // 100,
                low=CAPACITY * self.low // 100,
            ),
            items=tuple(items),
            coming=tuple(
                Item(key=m.key, kind=Kind.MODEL, size=m.size, priority=m.priority)
                for m in self.models.values()
                if m.is_coming and m is not requester and not m.is_pinned and not m.has_pod
            ),
        )

    def _of(self, percent: int) -> int:
        return self.limit * percent // 100

    def remove(self, items: list[Item]) -> None:
        for item in items:
            assert not item.kept
            self.removed[item.kind] += 1
            if item.kind is Kind.UNREFERENCED:
                del self.unreferenced[item.key]
            elif item.kind is Kind.LEFTOVER:
                self.models[item.key].leftover = 0
            else:
                model = self.models[item.key]
                assert model.is_there
                assert not model.is_pinned
                assert not model.has_pod
                model.is_there, model.is_evicted, model.wanted = False, True, None

    def make_pass(self) -> None:
        before = self.disk()
        removed = relieve(before)
        for item in removed:
            if item.kind is Kind.MODEL:
                assert item.size <= min(self._of(self.low), CAPACITY * self.low // 100)
                assert self.models[item.key].epoch != self.epoch, "nothing is let in only to be removed"
        self.remove(removed)
        self.none_was_needless(removed)
        after = self.disk()
        for was, now in zip(before.gauges, after.gauges, strict=True):
            assert not was.is_high or now.used <= now.low or not self.removable(after), "it went on to the low one"
        order = sorted(self.models.values(), key=lambda m: (-m.priority, not m.has_pod, m.size, m.key))
        for model in order:
            if not model.is_there and not model.is_coming and model.retry <= self.now:
                self.try_to_start(model)

    def removable(self, disk: Disk) -> list[Item]:
        return [item for item in disk.items if not item.kept and not disk.is_too_large(item)]

    def none_was_needless(self, removed: list[Item]) -> None:
        """Nothing that was removed could come back at once."""
        for item in removed:
            assert item.kind is not Kind.MODEL or not fits_low(self.disk(), item.size)

    def may_be_displaced(self, item: Item, model: Model) -> bool:
        """What the design says, in times of day."""
        if item.kind is not Kind.MODEL:
            return True
        other = self.models[item.key]
        last = max(other.published, other.used or 0)
        asked = self.now if model.has_pod or model.wanted is None else model.wanted
        return other.priority < model.priority or (other.priority == model.priority and last < asked)

    def request(self, model: Model) -> Request:
        waited = self.now - model.wanted if model.wanted is not None else 0.0
        return Request(
            key=model.key,
            size=model.size,
            priority=model.priority,
            age=0.0 if model.has_pod else waited,
            stays=model.is_pinned or model.has_pod,
        )

    def try_to_start(self, model: Model) -> None:
        if model.is_evicted and model.has_pod and model.wanted is None:
            model.wanted = self.now
        disk = self.disk(model)
        if model.is_evicted and model.wanted is None:
            if not fits_low(disk, model.size):
                return
            displaced: list[Item] | None = []
        else:
            displaced = admit(disk, self.request(model))
            if displaced is None:
                return
            assert all(self.may_be_displaced(item, model) for item in displaced)
            self.remove(displaced)
        model.is_coming, model.epoch = True, self.epoch
        for other in self.models.values():
            if other.is_coming and other.priority < model.priority:
                other.epoch = -1  # it may go for this one when it is here
        model.leftover = 0
        self.none_was_needless(displaced)
        self.downloads += 1
        assert self.used <= self.limit
        assert self.used + self.foreign <= CAPACITY

    def finish(self, model: Model) -> None:
        model.is_coming, model.is_there, model.is_evicted, model.wanted = False, True, False, None
        model.published = self.now
        if model.has_pod:
            model.used = self.now


class Evictions(RuleBasedStateMachine):
    """One node. See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.node = Node()
        self.made = 0

    def some(self, data: st.DataObject) -> Model:
        return self.node.models[data.draw(st.sampled_from(sorted(self.node.models)))]

    @initialize(sizes=st.lists(st.integers(1, 30), max_size=8))
    def there_are_caches(self, sizes: list[int]) -> None:
        for size in sizes:
            self.cache_is_made(size, 0, False)
        self.rest(1)

    @rule(
        size=st.one_of(st.integers(1, 30), st.integers(1, 110)),
        priority=st.integers(-1, 2),
        pinned=st.sampled_from([False, False, False, True]),
    )
    def cache_is_made(self, size: int, priority: int, pinned: bool) -> None:
        self.made += 1
        key = f"m{self.made:04}"
        self.node.models[key] = Model(key, size, priority, pinned, wanted=self.node.now)
        self.node.make_pass()

    @precondition(lambda self: self.node.models)
    @rule(data=st.data(), blip=st.sampled_from([True, True, False]))
    def entry_goes(self, data: st.DataObject, blip: bool) -> None:
        self.node.epoch += 1
        model = self.some(data)
        del self.node.models[model.key]
        if model.is_there and not model.has_pod and blip:
            self.node.unreferenced[model.key] = model.size
        self.node.make_pass()

    @rule()
    def time_goes_by(self) -> None:
        self.rest(1)

    def rest(self, passes: int) -> None:
        for _ in range(passes):
            self.node.now += 700
            for model in self.node.models.values():
                if model.has_pod and model.is_there:
                    model.used = self.node.now
                if model.is_coming:
                    self.node.finish(model)
            self.node.make_pass()

    @precondition(lambda self: self.node.models)
    @rule(data=st.data())
    def pod_starts_or_waits(self, data: st.DataObject) -> None:
        self.node.epoch += 1
        model = self.some(data)
        model.has_pod = True
        if model.is_there:
            model.used = self.node.now
        self.node.make_pass()

    @precondition(lambda self: self.node.models)
    @rule(data=st.data())
    def pod_ends(self, data: st.DataObject) -> None:
        self.node.epoch += 1
        self.some(data).has_pod = False
        self.node.make_pass()

    @precondition(lambda self: self.node.models)
    @rule(data=st.data(), left=st.integers(0, 40))
    def download_fails(self, data: st.DataObject, left: int) -> None:
        self.node.epoch += 1
        model = self.some(data)
        if model.is_coming:
            model.is_coming, model.leftover = False, min(left, model.size)
            model.retry = self.node.now + RETRY_SECONDS
        self.node.make_pass()

    @precondition(lambda self: self.node.models)
    @rule(data=st.data())
    def a_service_wants_it(self, data: st.DataObject) -> None:
        self.node.epoch += 1
        model = self.some(data)
        if model.is_evicted and model.wanted is None:
            model.wanted = self.node.now
        self.node.make_pass()

    @precondition(lambda self: self.node.models)
    @rule(data=st.data(), priority=st.integers(-1, 2), pinned=st.booleans())
    def cache_is_edited(self, data: st.DataObject, priority: int, pinned: bool) -> None:
        self.node.epoch += 1
        model = self.some(data)
        model.priority, model.is_pinned = priority, pinned
        self.node.make_pass()

    @rule(limit=st.integers(20, 160), high=st.integers(10, 100), low=st.integers(0, 100))
    def limits_change(self, limit: int, high: int, low: int) -> None:
        self.node.epoch += 1
        self.node.limit, self.node.high, self.node.low = limit, high, min(low, high)
        self.node.make_pass()

    @rule(foreign=st.integers(0, CAPACITY))
    def others_fill_or_free_the_volume(self, foreign: int) -> None:
        self.node.epoch += 1
        self.node.foreign = min(foreign, CAPACITY - self.node.used) if foreign > self.node.foreign else foreign
        self.node.make_pass()

    def teardown(self) -> None:
        self.comes_to_rest()
        self.has_what_fits_and_is_wanted()

    def comes_to_rest(self) -> None:
        node = self.node
        before = node.downloads
        self.rest(2 * len(node.models) + 2)
        assert node.downloads - before <= len(node.models), "each model is downloaded once at most"
        settled = (node.downloads, node.used, [m.is_there for m in node.models.values()])
        self.rest(3)
        assert (node.downloads, node.used, [m.is_there for m in node.models.values()]) == settled

    def has_what_fits_and_is_wanted(self) -> None:
        """A pod waits only where even what it may displace leaves too little room."""
        node = self.node
        for model in node.models.values():
            if model.is_there or not model.has_pod:
                continue
            staying = [
                m
                for m in node.models.values()
                if m.is_there and (m.has_pod or m.is_pinned or m.priority > model.priority)
            ]
            models = sum(m.size for m in staying) + model.size
            fits = models <= node.limit * node.high // 100 and models + node.foreign <= CAPACITY * node.high // 100
            assert not fits, model


def test_whatever_happens_the_disk_is_never_too_full_and_comes_to_rest() -> None:
    """Some thousand passes; nothing is promised of what never came to pass."""
    Node.removed.clear()
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Evictions,
        settings=settings(
            max_examples=60,
            derandomize=True,
            stateful_step_count=60,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert Node.removed.keys() == set(Kind)
