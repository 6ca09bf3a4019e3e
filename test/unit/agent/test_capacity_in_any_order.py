"""Room on a real directory in any order: the same promises as `test_eviction_in_any_order`, kept by the whole agent."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.disks import Disks

from localmodel.api import LocalModelCache
from localmodel.runtime.objects import Pod

FOREIGN = "f" * 16


class Capacities(RuleBasedStateMachine):
    """One node. See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.node = Disks(self.root, unit="Ki")
        self.limit_now = 20
        self.node.limit("20Ki")
        self.made = 0
        self.mounted: set[str] = set()
        self.waiting: set[str] = set()
        self.pinned: set[str] = set()

    @initialize(sizes=st.lists(st.integers(1, 6), min_size=1, max_size=5))
    def there_are_caches(self, sizes: list[int]) -> None:
        (self.root / "models" / FOREIGN).mkdir(parents=True)
        for size in sizes:
            self.cache_is_made(size, 0, False, None)

    def run(self) -> None:
        """A pass; what it starts fits."""
        before = {job.name for job in self.node.jobs}
        pinned = {name for name in self.pinned if self.node.folder(name).exists()}
        self.node.run()
        started = [job for job in self.node.jobs if job.name not in before]
        assert pinned <= self.node.there()
        if started:
            coming = {job.metadata.annotations["localmodel.kserve.io/model"] for job in self.node.unfinished()}
            assert sum(self.node.real[name] for name in coming | self.node.there()) <= self.limit_now
        self.mounted |= {name for name in self.waiting if self.node.folder(name).exists()}

    def some(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.node.entries)))

    @precondition(lambda self: len(self.node.entries) < 8)
    @rule(
        size=st.integers(1, 9),
        priority=st.integers(0, 1),
        pinned=st.sampled_from([False, False, True]),
        ttl=st.sampled_from([None, None, 2000]),
    )
    def cache_is_made(self, size: int, priority: int, pinned: bool, ttl: int | None) -> None:
        self.made += 1
        name = f"m{self.made:03}"
        fields = {"ttlSecondsAfterLastUse": ttl} if ttl is not None else {}
        self.node.add(name, size, priority=priority, evictionPolicy="Never" if pinned else "", **fields)
        if pinned:
            self.pinned.add(name)
        self.run()

    @precondition(lambda self: self.node.entries)
    @rule(data=st.data(), blip=st.booleans())
    def entry_goes(self, data: st.DataObject, blip: bool) -> None:
        name = self.some(data)
        if name in self.waiting:
            return
        del self.node.entries[name]
        self.pinned.discard(name)
        self.node.tell()
        if not blip:
            self.node.client.delete(self.node.client.get(LocalModelCache, name))
        self.run()

    @rule(seconds=st.sampled_from([5, 400, 700]))
    def downloads_end(self, seconds: int) -> None:
        self.rest(1, seconds)

    def rest(self, passes: int, seconds: int = 700) -> None:
        for _ in range(passes):
            self.run()
            for job in self.node.unfinished():
                name = job.metadata.annotations["localmodel.kserve.io/model"]
                self.node.download(job, {"w": b"\0" * (self.node.real[name] << 10)})
            self.node.clock.advance(seconds)
            self.run()

    @precondition(lambda self: self.node.unfinished())
    @rule(data=st.data())
    def download_fails(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.node.unfinished()))
        mount = job.spec.template["spec"]["containers"][0]["volumeMounts"][0]
        (self.root / mount["subPath"] / "part").write_bytes(b"\0" * 1024)
        self.node.finish(job, "Failed", failed=1)
        self.run()

    @precondition(lambda self: self.node.entries.keys() - self.waiting)
    @rule(data=st.data())
    def pod_starts_or_waits(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.node.entries.keys() - self.waiting)))
        self.node.pod(name)
        self.waiting.add(name)
        if self.node.folder(name).exists():
            self.mounted.add(name)
        self.run()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def pod_ends(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.waiting)))
        self.node.client.delete(
            self.node.client.get(Pod, f"server-{name}", namespace="default"), grace_period_seconds=0
        )
        self.waiting.remove(name)
        self.mounted.discard(name)
        self.run()

    @precondition(lambda self: self.node.entries)
    @rule(data=st.data())
    def a_service_wants_it(self, data: st.DataObject) -> None:
        self.node.service_wants(self.some(data))
        self.run()

    @rule(limit=st.integers(6, 30))
    def limit_changes(self, limit: int) -> None:
        self.limit_now = limit
        self.node.limit(f"{limit}Ki")
        self.run()

    @rule(percent=st.sampled_from([10, 75, 85]))
    def others_fill_or_free_the_volume(self, percent: int) -> None:
        self.node.disk.foreign = self.node.disk.capacity * percent // 100
        self.run()

    @rule()
    def agent_is_restarted(self) -> None:
        self.node.restart()
        self.run()

    @invariant()
    def what_is_mounted_stays(self) -> None:
        assert self.mounted <= self.node.there()

    @invariant()
    def what_is_not_ours_stays(self) -> None:
        assert (self.root / "models" / FOREIGN).is_dir()

    def teardown(self) -> None:
        try:
            self.comes_to_rest()
        finally:
            self.node.store.close()
            shutil.rmtree(self.root)

    def comes_to_rest(self) -> None:
        jobs = len(self.node.jobs)
        self.rest(7)  # longer than any time to live
        assert len(self.node.jobs) - jobs <= len(self.node.entries), "each model is downloaded once at most"
        settled = (len(self.node.jobs), self.node.there())
        self.rest(3, 5)
        assert (len(self.node.jobs), self.node.there()) == settled
        for name in self.node.entries:
            assert self.node.model(name).reason in ("Published", "Evicted", "InsufficientStorage"), self.node.model(
                name
            )


TestCapacities = Capacities.TestCase
TestCapacities.settings = settings(
    max_examples=12,
    derandomize=True,
    stateful_step_count=30,
    deadline=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
