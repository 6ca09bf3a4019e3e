"""A disk that hangs while a pass works on it: said by another thread, and all goes on when it answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.agent import KEY, URI, RoomyDisk, World

from localmodel.agent.errors import NotRespondingError
from localmodel.agent.probe import DEADLINE, NOTE, DiskProbe
from localmodel.agent.progresspage import ProgressPage
from localmodel.runtime.errors import ServiceUnavailableError
from localmodel.runtime.httpserver import HttpRequest
from localmodel.runtime.testing.waiting import eventually


class Disk(RoomyDisk):
    """Changes hang while `free` is not set; reading goes on, as on a frozen file system."""

    def __init__(self) -> None:
        super().__init__()
        self.free = threading.Event()
        self.free.set()
        self.hanging: list[str] = []
        self.probed = 0

    def step(self, name: str, path: Path) -> None:
        if name == "stat":
            return
        self.probed += path.name.startswith(NOTE)
        if not self.free.is_set():
            self.hanging.append(f"{name} {path.name}")
            self.free.wait(10)


class Hanging(World):
    """A world whose disk can be frozen in the middle of a pass."""

    def __init__(self, root: Path) -> None:
        self.disk = Disk()
        super().__init__(root, filesystem=self.disk)
        self.configure(highWatermarkPercent=100, lowWatermarkPercent=100)
        self.agent._probe = DiskProbe(self.store, filesystem=self.disk, clock=self.clock)
        self.agent.watch._probe = self.agent._probe

    def freeze_in_a_pass(self) -> threading.Thread:
        """The pass that would prepare a second download; it has the disk's first answer, and hangs then."""
        self.want({"modelName": "iris", "sourceModelUri": URI}, {"modelName": "new", "sourceModelUri": "s3://b/new"})
        self.disk.free.clear()
        passing = threading.Thread(target=self.run, daemon=True)
        passing.start()
        eventually(lambda: self.disk.hanging, timeout=10)
        return passing

    def look_until_overdue(self) -> None:
        """The looks of half a deadline, until the disk is asked, and of a whole one until that counts."""
        for looks in (2, 4):
            for _ in range(looks):
                self.clock.advance(DEADLINE / 4)
                self.agent.watch.look()
            eventually(lambda: len(self.disk.hanging) == 2, timeout=10)

    def condition(self) -> tuple[str, str, str]:
        found = next(c for c in self.node.status.conditions if c.type == "StorageReady")
        return found.status, found.reason, found.message


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Hanging]:
    made = Hanging(tmp_path)
    made.publish()
    yield made
    made.disk.free.set()
    made.store.close()


def test_a_pass_that_hangs_is_told_with_what_to_do_and_the_agent_is_not_ready(world: Hanging) -> None:
    world.freeze_in_a_pass()
    world.look_until_overdue()
    status, reason, message = world.condition()
    assert (status, reason) == ("False", "DiskNotResponding")
    assert f"write and fsync of {world.store.notes / NOTE}" in message
    assert "look at the node's kernel log" in message
    assert world.status() == "ModelDownloaded", "what is not known is not changed"
    with pytest.raises(NotRespondingError):
        world.agent.check_ready()
    assert world.reasons().count("StorageNotReady") == 1


def test_it_is_told_once(world: Hanging) -> None:
    world.freeze_in_a_pass()
    world.look_until_overdue()
    world.client.actions.clear()
    world.look_until_overdue()
    assert world.client.writes == []
    assert len(world.disk.hanging) == 2, "a dead disk costs two threads"


def test_when_the_disk_answers_the_pass_goes_on_and_nothing_is_downloaded_again(world: Hanging) -> None:
    passing = world.freeze_in_a_pass()
    world.look_until_overdue()
    world.disk.free.set()
    passing.join(10)
    assert not passing.is_alive()
    world.run()
    assert world.condition()[:2] == ("True", "Ready")
    world.agent.check_ready()
    assert sorted(job.metadata.labels["model"] for job in world.jobs) == ["iris", "new"]
    assert (world.root / "models" / KEY).is_dir()


def test_a_pass_that_takes_long_on_a_disk_that_answers_is_no_news(world: Hanging) -> None:
    world.client.actions.clear()
    before = world.disk.probed
    with world.agent.watch.passing():
        for _ in range(12):
            world.clock.advance(DEADLINE / 4)
            world.agent.watch.look()
            eventually(world.agent._probe._current.answered.is_set)  # type: ignore[union-attr]
    assert world.client.writes == []
    assert world.disk.probed > before, "asked by writing"


def test_between_passes_nobody_asks(world: Hanging) -> None:
    world.clock.advance(DEADLINE * 3)
    before = world.agent._probe._current
    world.agent.watch.look()
    assert world.agent._probe._current is before


def test_a_status_that_cannot_be_written_is_tried_again(world: Hanging) -> None:
    world.freeze_in_a_pass()
    fault = world.client.faults.fail(ServiceUnavailableError.of("not now"), verb="update")
    world.look_until_overdue()
    world.client.faults.clear(fault)
    world.agent.watch.look()
    assert world.condition()[1] == "DiskNotResponding"


def test_it_looks_four_times_in_a_deadline_until_it_is_stopped(world: Hanging) -> None:
    world.freeze_in_a_pass()
    stop = threading.Event()
    watching = threading.Thread(target=world.agent.watch.start, args=(stop,), daemon=True)
    watching.start()
    for look in range(6):
        world.clock.wait_for_waiters()
        world.clock.advance(DEADLINE / 4)
        if look == 1:
            eventually(lambda: len(world.disk.hanging) == 2, timeout=10)
    eventually(lambda: world.condition()[1] == "DiskNotResponding", timeout=10)
    stop.set()
    watching.join(10)
    assert not watching.is_alive()


def test_the_progress_page_answers_though_the_disk_hangs(world: Hanging, monkeypatch: pytest.MonkeyPatch) -> None:
    world.want({"modelName": "iris", "sourceModelUri": URI}, {"modelName": "new", "sourceModelUri": "s3://b/new"})
    world.run()
    world.download_pod(next(job for job in world.jobs if job.metadata.labels["model"] == "new"))
    world.run()

    def hangs() -> None:
        raise NotRespondingError("the disk has not answered")

    monkeypatch.setattr(world.store, "progress", lambda *_: pytest.fail("asked the disk"))
    page = ProgressPage("node-1", world.store, world.agent.observed, check_disk=hangs)
    models = json.loads(page.serve(HttpRequest()).body)["models"]
    assert {model["key"]: model["status"] for model in models} == {"iris": "ModelDownloaded", "new": "ModelDownloading"}
