"""A disk that hangs: told by a condition, asked once, and used again when it answers."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.agent import KEY, World

from localmodel.agent.errors import NotRespondingError
from localmodel.agent.filesystem import FileSystem
from localmodel.agent.probe import DEADLINE, NOTE, WRITE_INTERVAL, DiskProbe


class Disk(FileSystem):
    """Hangs at a step while `free` is not set; `broken` is what a write answers."""

    def __init__(self) -> None:
        super().__init__()
        self.free = threading.Event()
        self.free.set()
        self.hanging = threading.Event()
        self.broken = 0
        self.hangs_at = "stat"
        self.steps: list[str] = []

    def step(self, name: str, path: Path) -> None:
        self.steps.append(name)
        if name == self.hangs_at and not self.free.is_set():
            self.hanging.set()
            self.free.wait(10)
        if name == "write" and self.broken:
            raise OSError(self.broken, os.strerror(self.broken), str(path))

    @property
    def questions(self) -> int:
        return self.steps.count("stat")

    @property
    def writes(self) -> int:
        return self.steps.count("write")


@pytest.fixture
def disk() -> Iterator[Disk]:
    made = Disk()
    yield made
    made.free.set()


@pytest.fixture
def world(tmp_path: Path, disk: Disk) -> Iterator[World]:
    made = World(tmp_path)
    probe = DiskProbe(made.store, filesystem=disk, clock=made.clock)
    made.agent._probe = probe
    made.publish()
    yield made
    made.store.close()


def run_past_the_deadline(world: World, disk: Disk) -> None:
    """A pass whose question is not answered in time."""
    passing = threading.Thread(target=world.run)
    passing.start()
    assert disk.hanging.wait(10)
    world.clock.wait_for_waiters()
    world.clock.advance(DEADLINE)
    passing.join(10)
    assert not passing.is_alive()


def condition(world: World) -> tuple[str, str, str]:
    found = next(c for c in world.node.status.conditions if c.type == "StorageReady")
    return found.status, found.reason, found.message


def test_a_disk_that_does_not_answer_in_time_is_told_with_what_was_tried_and_since_when(
    world: World, disk: Disk
) -> None:
    disk.free.clear()
    run_past_the_deadline(world, disk)
    status, reason, message = condition(world)
    assert (status, reason) == ("False", "DiskNotResponding")
    assert f"stat of {world.root / 'models'}" in message
    assert "has not answered since 2026-01-01T00:0" in message
    assert world.status() == "ModelDownloaded", "what is not known is not changed"
    with pytest.raises(NotRespondingError):
        world.agent.check_ready()


def test_while_it_hangs_no_second_question_is_asked_and_no_pass_waits_or_works(
    world: World, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.free.clear()
    run_past_the_deadline(world, disk)
    asked = disk.questions
    monkeypatch.setattr(world.store, "open", lambda *_: pytest.fail("touched the disk"))
    world.client.actions.clear()
    for _ in range(3):
        world.clock.advance(60)
        world.run()
    assert disk.questions == asked
    assert world.client.writes == [], "nothing new to say"


def test_it_recovers_by_itself(world: World, disk: Disk) -> None:
    woken = threading.Event()
    world.agent._probe.on_recovery = woken.set
    disk.free.clear()
    run_past_the_deadline(world, disk)
    disk.free.set()
    assert woken.wait(10), "a pass is asked for"
    world.run()
    assert condition(world)[:2] == ("True", "Ready")
    world.agent.check_ready()
    assert len(world.jobs) == 1


def test_an_answer_in_time_is_no_news(world: World) -> None:
    world.client.actions.clear()
    world.run()
    assert world.client.writes == []


def test_a_hang_while_the_agent_is_idle_is_seen_by_the_readiness_check(world: World, disk: Disk) -> None:
    disk.free.clear()
    world.clock.advance(60)
    world.agent.check_ready()
    assert disk.hanging.wait(10)
    world.clock.advance(DEADLINE)
    with pytest.raises(NotRespondingError):
        world.agent.check_ready()


def test_readiness_that_is_asked_all_the_time_does_not_ask_the_disk_as_often(world: World, disk: Disk) -> None:
    world.clock.advance(60)
    before = disk.questions
    for _ in range(10):
        world.agent.check_ready()
        world.clock.advance(0.5)
    assert disk.questions <= before + 1


def test_a_hanging_write_is_told_as_such(world: World, disk: Disk) -> None:
    disk.hangs_at = "write"
    disk.free.clear()
    world.clock.advance(WRITE_INTERVAL)
    run_past_the_deadline(world, disk)
    assert f"write and fsync of {world.store.notes / NOTE}" in condition(world)[2]


def test_a_file_is_written_at_first_and_then_seldom(world: World, disk: Disk) -> None:
    world.run()
    assert disk.writes == 1
    for _ in range(9):
        world.clock.advance(60)
        world.run()
    assert disk.writes == 1
    world.clock.advance(60)
    world.run()
    assert disk.writes == 2


@pytest.mark.parametrize(
    ("number", "reason"),
    [(errno.EIO, "DiskError"), (errno.EDQUOT, "DiskFull"), (errno.EROFS, "ReadOnlyFileSystem")],
)
def test_a_write_that_fails_is_told_and_tried_in_each_pass_until_it_succeeds(
    world: World, disk: Disk, number: int, reason: str
) -> None:
    disk.broken = number
    world.clock.advance(WRITE_INTERVAL)
    world.run()
    assert condition(world)[:2] == ("False", reason)
    assert world.status() == "ModelDownloaded"
    disk.broken = 0
    world.run()
    assert condition(world)[0] == "True"


def test_nothing_is_written_to_what_is_not_ours(world: World, disk: Disk) -> None:
    world.store.close()
    world.clock.advance(WRITE_INTERVAL)
    before = disk.writes
    world.agent._probe.check()
    assert disk.writes == before


def test_without_a_local_model_node_a_hanging_disk_holds_nothing_up(world: World, disk: Disk) -> None:
    world.client.delete(world.node)
    disk.free.clear()
    run_past_the_deadline(world, disk)
    assert (world.root / "models" / KEY).exists()
