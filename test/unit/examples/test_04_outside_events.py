"""A directory that changes has its object reconciled; the clock of the look at it is the test's."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from support.eventually import eventually
from support.examples import load

from localmodel.runtime import ObjectMeta, Request, Result
from localmodel.runtime.handler import EnqueueRequestForObject
from localmodel.runtime.source import Channel
from localmodel.runtime.testing import BackgroundManager, FakeClient, FakeClock, wire


@pytest.fixture(scope="module")
def example() -> ModuleType:
    return load("04_outside_events")


def test_a_folder_follows_its_directory(
    example: ModuleType, manager: BackgroundManager, fake_client: FakeClient, tmp_path: Path
) -> None:
    look = FakeClock()

    def files() -> int | None:
        count: int | None = fake_client.get(example.Folder, "photos", namespace="default").status.files
        return count

    def next_look() -> None:
        look.wait_for_waiters()
        look.advance(1)

    example.add_to(manager, tmp_path, clock=look)
    fake_client.create(example.Folder(metadata=ObjectMeta(name="photos", namespace="default")))
    manager.run()
    eventually(lambda: files() == 0)

    directory = tmp_path / "default" / "photos"
    directory.mkdir(parents=True)
    (directory / "one.jpg").touch()
    next_look()
    eventually(lambda: files() == 1)
    (directory / "one.jpg").unlink()
    directory.rmdir()
    next_look()
    eventually(lambda: files() == 0)


def test_what_no_event_tells_is_found_later(example: ModuleType, fake_client: FakeClient, tmp_path: Path) -> None:
    channel = Channel(EnqueueRequestForObject())
    reconciler = wire(example.FolderReconciler(tmp_path, channel), fake_client)
    fake_client.create(example.Folder(metadata=ObjectMeta(name="photos", namespace="default")))
    assert reconciler.reconcile(Request("default", "photos")) == Result(requeue_after=example.SAFETY_NET)
    assert reconciler.reconcile(Request("default", "a directory without folder")) is None
