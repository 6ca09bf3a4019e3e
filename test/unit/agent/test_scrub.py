"""Reading models again: what a disk forgot is found, told and repaired; slowly, each model once in an interval."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from support.agent import FILES as WORLD_FILES
from support.agent import KEY as WORLD_KEY
from support.agent import World
from support.store import FILES, KEY, PUBLICATION, URI, fill, write_notes

from localmodel.agent import tree
from localmodel.agent.scrub import Damage, Scrubber
from localmodel.agent.scrubbook import NOTE
from localmodel.agent.store import ModelStore
from localmodel.agent.verification import Publication
from localmodel.api.config import LocalModelConfig
from localmodel.runtime.testing.fake_clock import FakeClock

WEIGHTS = "weights/model.safetensors"
WEEK = timedelta(days=7).total_seconds()
OTHER = "d" * 16


@dataclass
class Scrubbing:
    """A store with one whole model, and its scrubber."""

    root: Path
    config: LocalModelConfig = field(default_factory=lambda: LocalModelConfig(scrub_bytes_per_second="0"))
    clock: FakeClock = field(default_factory=FakeClock)
    told: list[Damage] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        self.store = ModelStore(self.root, clock=self.clock)
        self.store.open()
        self.publish(KEY)
        self.restart()

    def publish(self, key: str) -> None:
        folder = self.store.prepare_staging(key, URI)
        fill(folder)
        write_notes(folder)
        self.store.publish(key, PUBLICATION)

    def restart(self) -> None:
        """Another process on the same disk."""
        self.registry = CollectorRegistry()
        self.worker = Scrubber(
            self.store,
            config=lambda: self.config,
            report=self.told.append,
            registry=self.registry,
            clock=self.clock,
        )

    def run(self) -> None:
        self.worker.run_once(self.stop)

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"localmodel_agent_scrub_{name}", labels) or 0.0

    def rot(self, key: str = KEY) -> None:
        """One byte of the weights changes, and neither time, size nor inode tells."""
        path = self.store.models / key / WEIGHTS
        found = path.stat()
        with path.open("r+b") as file:
            file.write(b"\xff")
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))

    def is_whole(self, key: str = KEY) -> bool:
        return self.store.check(key).is_complete


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Scrubbing]:
    made = Scrubbing(tmp_path)
    yield made
    made.store.close()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files whose digests are computed, in order."""
    found: list[str] = []
    whole = tree.file_digest

    def recording(folder: Path, relative: str, **options: object) -> str:
        found.append(f"{folder.name}/{relative}")
        return whole(folder, relative, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(tree, "file_digest", recording)
    return found


# when -----------------------------------------------------------------------------------------------------------


def test_a_model_is_read_an_interval_after_it_was_published_and_then_once_in_each(
    it: Scrubbing, reads: list[str]
) -> None:
    it.clock.advance(WEEK - 1)
    it.run()
    assert reads == []
    it.clock.advance(1)
    it.run()
    assert reads == [f"{KEY}/config.json", f"{KEY}/{WEIGHTS}"]
    it.run()
    it.clock.advance(WEEK - 1)
    it.run()
    assert len(reads) == 2
    it.clock.advance(1)
    it.run()
    assert len(reads) == 4
    assert it.metric("bytes_total") == 2 * sum(map(len, FILES.values()))
    assert it.metric("models_total", result="whole") == 2


def test_when_a_model_was_read_is_known_after_a_restart(it: Scrubbing, reads: list[str]) -> None:
    it.clock.advance(WEEK)
    it.run()
    it.restart()
    it.run()
    assert len(reads) == 2


def test_the_model_that_was_not_read_for_longest_comes_first(it: Scrubbing, reads: list[str]) -> None:
    it.clock.advance(10)
    it.publish(OTHER)
    it.clock.advance(WEEK)
    it.run()
    assert [read.partition("/")[0] for read in reads] == [KEY, KEY, OTHER, OTHER]


def test_an_interval_of_zero_is_never(it: Scrubbing, reads: list[str]) -> None:
    it.config = LocalModelConfig(scrub_interval_seconds=0)
    it.clock.advance(100 * WEEK)
    it.run()
    assert reads == []
    assert it.metric("due_models") == 0


def test_a_clock_that_goes_back_for_long_starts_no_scrub_without_end(it: Scrubbing, reads: list[str]) -> None:
    it.clock.advance(WEEK)
    it.run()
    it.clock._start -= timedelta(seconds=WEEK / 2)
    it.run()
    assert len(reads) == 2
    it.clock._start -= timedelta(seconds=10 * WEEK)
    it.run()
    it.run()
    assert len(reads) == 4


def test_a_book_that_cannot_be_understood_costs_one_more_scrub(it: Scrubbing, reads: list[str]) -> None:
    it.clock.advance(WEEK)
    (it.store.notes / NOTE).write_bytes(b"{")
    it.run()
    it.run()
    assert len(reads) == 2


def test_the_book_forgets_models_that_are_gone(it: Scrubbing) -> None:
    it.publish(OTHER)
    it.clock.advance(WEEK)
    it.run()
    it.store.remove(OTHER)
    it.clock.advance(WEEK)
    it.run()
    assert OTHER not in (it.store.notes / NOTE).read_text()


# what ------------------------------------------------------------------------------------------------------------


def test_a_byte_that_changed_without_a_trace_is_found_and_told(it: Scrubbing) -> None:
    it.clock.advance(WEEK)
    it.rot()
    assert it.is_whole(), "names, sizes and times are the same"
    it.run()
    state = it.store.check(KEY)
    assert state.kind == "incomplete"
    assert state.detail.startswith(f"{WEIGHTS} has changed on the disk: its digest is sha256:")
    assert [(damage.key, damage.uri) for damage in it.told] == [(KEY, URI)]
    assert it.metric("models_total", result="damaged") == 1
    it.run()
    assert len(it.told) == 1


def test_damage_is_not_forgotten_by_a_restart(it: Scrubbing) -> None:
    it.clock.advance(WEEK)
    it.rot()
    it.run()
    it.store.close()
    reopened = ModelStore(it.root)
    reopened.open()
    assert not reopened.check(KEY).is_complete
    reopened.close()


@pytest.mark.parametrize("number", [errno.EIO, errno.EUCLEAN])
def test_a_file_that_the_disk_cannot_give_back_is_damage(
    it: Scrubbing, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    fail_reading(monkeypatch, number, times=2)
    it.clock.advance(WEEK)
    it.run()
    assert "cannot be read any more" in it.store.check(KEY).detail


def test_what_is_right_when_read_again_is_no_damage(it: Scrubbing, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_reading(monkeypatch, errno.EIO, times=1)
    it.clock.advance(WEEK)
    it.run()
    assert it.is_whole()
    assert it.told == []


def test_a_file_that_may_not_be_read_is_no_damage_and_not_tried_every_minute(
    it: Scrubbing, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = fail_reading(monkeypatch, errno.EACCES, times=100)
    it.clock.advance(WEEK)
    for _ in range(5):
        it.run()
        it.clock.advance(60)
    assert it.is_whole()
    assert len(calls) == 1
    it.clock.advance(3600)
    it.run()
    assert len(calls) == 2


def fail_reading(monkeypatch: pytest.MonkeyPatch, number: int, *, times: int) -> list[str]:
    whole = tree.file_digest
    calls: list[str] = []

    def failing(folder: Path, relative: str, **options: object) -> str:
        calls.append(relative)
        if len(calls) <= times:
            raise OSError(number, os.strerror(number), relative)
        return whole(folder, relative, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(tree, "file_digest", failing)
    return calls


def test_a_model_that_is_replaced_while_it_is_read_is_not_blamed(
    it: Scrubbing, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replaced(folder: Path, relative: str, **_: object) -> str:
        it.store.remove(KEY)
        it.publish(KEY)
        return "0" * 64

    monkeypatch.setattr(tree, "file_digest", replaced)
    it.clock.advance(WEEK)
    it.run()
    assert it.is_whole()
    assert it.told == []


def test_digests_that_an_image_did_not_deliver_are_computed_first(it: Scrubbing, reads: list[str]) -> None:
    fill(it.store.prepare_staging(OTHER, URI))
    it.store.publish(OTHER, Publication(uri=URI))
    it.clock.advance(WEEK)
    it.run()
    assert reads[0] == f"{OTHER}/config.json"
    manifest = it.store.manifest(OTHER)
    assert manifest is not None
    assert manifest.digest.startswith("sha256:")


def test_on_a_disk_that_cannot_be_written_nothing_is_read_in_vain(
    it: Scrubbing, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    it.clock.advance(WEEK)
    it.run()
    assert reads == []


@pytest.mark.parametrize(
    ("from_disk", "expected"), [(True, ["drop", "read", "read", "drop"]), (False, ["read", "read"])]
)
def test_a_scrub_reads_the_disk_and_not_the_kernels_memory_of_it(
    it: Scrubbing, monkeypatch: pytest.MonkeyPatch, from_disk: bool, expected: list[str]
) -> None:
    calls: list[str] = []
    read = os.read
    monkeypatch.setattr(os, "posix_fadvise", lambda *_: calls.append("drop"))
    monkeypatch.setattr(os, "read", lambda *what: (calls.append("read"), read(*what))[1])
    tree.file_digest(it.store.models / KEY, WEIGHTS, from_disk=from_disk)
    assert calls == expected


@pytest.mark.parametrize(("interval", "looks"), [(WEEK, 2), (0, 2), (10, 12)], ids=["a week", "never", "10 s"])
def test_it_looks_for_work_once_a_minute_or_as_often_as_a_shorter_interval_asks(
    it: Scrubbing, monkeypatch: pytest.MonkeyPatch, interval: float, looks: int
) -> None:
    looked: list[float] = []
    monkeypatch.setattr(it.worker, "run_once", lambda _: looked.append(it.clock.monotonic()))
    it.config = LocalModelConfig(scrub_interval_seconds=int(interval))
    working = threading.Thread(target=it.worker.start, args=(it.stop,))
    working.start()
    for _ in range(60):
        it.clock.wait_for_waiters()
        it.clock.advance(2)
    it.clock.wait_for_waiters()
    it.stop.set()
    working.join(10)
    assert len(looked) == looks


# how fast --------------------------------------------------------------------------------------------------------


def test_a_scrub_goes_on_where_it_was_interrupted(it: Scrubbing, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tree.file_digest
    calls: list[str] = []

    def slow(folder: Path, relative: str, **options: object) -> str:
        calls.append(relative)
        it.clock.advance(61)
        if len(calls) == 2:
            it.stop.set()
        return whole(folder, relative, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(tree, "file_digest", slow)
    it.clock.advance(WEEK)
    it.run()
    assert it.metric("models_total", result="whole") == 0
    it.stop.clear()
    it.restart()
    it.run()
    assert calls == ["config.json", WEIGHTS, WEIGHTS]
    assert it.metric("models_total", result="whole") == 1


@pytest.mark.parametrize("end", [lambda it: it.stop.set(), lambda it: it.store.close()], ids=["stop", "disk gone"])
def test_reading_ends_at_once(
    it: Scrubbing, monkeypatch: pytest.MonkeyPatch, end: Callable[[Scrubbing], object]
) -> None:
    def ending(folder: Path, relative: str, *, on_block: Callable[[int], None], **_: object) -> str:
        end(it)
        on_block(1)
        raise AssertionError("went on")

    monkeypatch.setattr(tree, "file_digest", ending)
    it.clock.advance(WEEK)
    it.run()
    assert it.told == []


# with the agent --------------------------------------------------------------------------------------------------


def test_a_damaged_model_is_downloaded_again_and_pods_keep_what_they_have(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.publish()
    pod = world.serving_pod()
    config = LocalModelConfig(scrub_bytes_per_second="0")
    scrubber = Scrubber(world.store, config=lambda: config, report=world.agent.tell_damage, clock=world.clock)
    scrubber.run_once(threading.Event())
    weights = world.root / "models" / WORLD_KEY / WEIGHTS
    weights.write_bytes(b"\xff" * len(WORLD_FILES[WEIGHTS]))
    with weights.open("rb") as mounted:
        world.clock.advance(WEEK)
        scrubber.run_once(threading.Event())
        told = world.recorder.expect("ModelDamaged").message
        assert f"{WEIGHTS} has changed on the disk" in told
        world.run()
        assert world.status() == "ModelDownloadPending"
        assert world.model().reason == "Repairing"
        assert f"{WEIGHTS} has changed on the disk" in world.model().message
        world.download(next(job for job in world.jobs if not job.is_complete))
        world.run()
        assert world.status() == "ModelDownloaded"
        assert weights.read_bytes() == WORLD_FILES[WEIGHTS]
        assert mounted.read() == b"\xff" * len(WORLD_FILES[WEIGHTS])
        assert len(list(world.store.trash.iterdir())) == 1, "the pod may still have it open"
    world.client.delete(pod, grace_period_seconds=0)
    world.run()
    assert list(world.store.trash.iterdir()) == []
    world.store.close()
