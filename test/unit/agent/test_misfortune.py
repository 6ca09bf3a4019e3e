"""Broken notes, full disks, clocks that jump, answers that mislead: what goes wrong stays where it is."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from support.agent import KEY, URI, RoomyDisk, World

from localmodel.agent.lock import RootLock
from localmodel.api import LocalModelCache, LocalModelNamespaceCache
from localmodel.api.names import storage_key
from localmodel.runtime.objects import ConfigMap

IRIS = {"modelName": "iris", "sourceModelUri": URI}
OTHER = {"modelName": "other", "sourceModelUri": "s3://o/n"}


class FullDisk(RoomyDisk):
    """Nothing can be written while it is full; renaming and deleting work."""

    full = False

    def step(self, name: str, path: Path) -> None:
        if self.full and name in ("write", "make_directory"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path, filesystem=FullDisk())
    yield made
    made.store.close()


def notes(world: World) -> Path:
    return world.root / "models" / ".localmodel"


# broken notes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[]", b'{"storageKey": 1}', None], ids=repr)
def test_a_manifest_that_cannot_be_read_costs_its_own_model_only(world: World, content: bytes | None) -> None:
    world.publish()
    manifest = notes(world) / f"{KEY}.json"
    manifest.unlink()
    if content is None:
        manifest.mkdir()
    else:
        manifest.write_bytes(content)
    world.want(dict(IRIS), dict(OTHER))
    world.run()
    assert world.status("other") == "ModelDownloadPending"
    assert any(job.metadata.annotations["localmodel.kserve.io/model"] == "other" for job in world.jobs)
    assert (world.root / "models" / KEY / "config.json").exists()


@pytest.mark.parametrize("content", [b"{", None], ids=repr)
def test_a_record_that_cannot_be_read_costs_its_own_model_only(world: World, content: bytes | None) -> None:
    world.publish()
    world.store.close()
    record = notes(world) / "records" / f"{KEY}.json"
    record.unlink()
    if content is None:
        record.mkdir()
    else:
        record.write_bytes(content)
    world.start()
    world.want(dict(IRIS), dict(OTHER))
    world.run()
    assert world.status("other") == "ModelDownloadPending"
    assert (world.root / "models" / KEY / "config.json").exists()


# full disks --------------------------------------------------------------------------------------------------------


def test_a_full_disk_does_not_keep_an_agent_from_starting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lock"
    path.touch()
    # Truncating a file works on a full disk, writing to it does not.
    monkeypatch.setattr(os, "write", _no_space)
    lock = RootLock(path, owner="node-1")
    lock.acquire()
    assert lock.is_held
    lock.release()


def _no_space(*_: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_on_a_full_disk_what_nobody_wants_is_still_removed(world: World) -> None:
    world.publish()
    world.client.delete(world.cache())
    world.want()
    world.filesystem.full = True
    world.run()
    assert not (world.root / "models" / KEY).exists()
    assert list((world.root / "models" / ".trash").iterdir()) == []


def test_on_a_full_disk_a_grace_period_still_ends(world: World) -> None:
    world.publish()
    world.want()
    world.filesystem.full = True
    for _ in range(3):
        world.run()
        world.clock.advance(1801)
    world.run()
    assert not (world.root / "models" / KEY).exists()


def test_on_a_full_disk_what_is_whole_stays_reported(world: World) -> None:
    world.publish()
    world.want(dict(IRIS), dict(OTHER))
    world.filesystem.full = True
    world.run()
    assert world.status() == "ModelDownloaded"
    assert world.model("other").reason == "DiskFull"
    world.filesystem.full = False
    world.run()
    assert len([job for job in world.jobs if not job.is_complete]) == 1


# clocks ------------------------------------------------------------------------------------------------------------


def test_a_clock_that_goes_back_a_day_does_not_put_a_retry_off(world: World) -> None:
    world.want(dict(IRIS))
    world.run()
    world.finish(world.jobs[0], "Failed", failed=1)
    world.run()
    world.clock.jump(timedelta(days=-1))
    world.clock.advance(1801)
    world.run()
    assert len(world.jobs) == 2


def test_a_cache_that_still_names_an_unreferenced_model_is_not_asked_in_each_pass(world: World) -> None:
    world.publish()
    world.want()
    world.client.actions.clear()
    for _ in range(5):
        world.run()
    assert [a.kind for a in world.client.actions if a.verb == "get" and a.kind is LocalModelCache] == [LocalModelCache]
    world.client.delete(world.cache())
    world.clock.advance(301)
    world.run()
    assert not (world.root / "models" / KEY).exists()


def test_when_the_entries_change_the_cache_is_asked_again_at_once(world: World) -> None:
    world.publish()
    world.want()
    world.run()
    world.client.delete(world.cache())
    world.want(dict(OTHER))
    world.run()
    assert not (world.root / "models" / KEY).exists()


def test_that_an_unwanted_model_is_in_use_is_logged_once(world: World) -> None:
    world.publish()
    world.serving_pod()
    world.client.delete(world.cache())
    world.want()
    with capture_logs() as lines:
        for _ in range(3):
            world.run()
    assert [line["event"] for line in lines].count("keeping a model that is no longer wanted but in use") == 1


def test_a_clock_that_goes_forward_a_day_ends_no_grace_period(world: World) -> None:
    world.publish()
    world.want()
    world.run()
    world.clock.jump(timedelta(days=1))
    world.run()
    assert (world.root / "models" / KEY).exists()
    world.clock.advance(3601)
    world.run()
    assert not (world.root / "models" / KEY).exists()


def test_a_clock_that_goes_back_a_day_prolongs_no_grace_period(world: World) -> None:
    world.publish()
    world.want()
    world.run()
    world.clock.jump(timedelta(days=-1))
    world.restart()
    world.run()
    world.clock.advance(3601)
    world.run()
    assert not (world.root / "models" / KEY).exists()


def test_a_grace_period_goes_on_over_a_restart(world: World) -> None:
    world.publish()
    world.want()
    world.run()
    world.clock.advance(3000)
    world.restart()
    world.run()
    assert (world.root / "models" / KEY).exists()
    world.clock.advance(601)
    world.run()
    assert not (world.root / "models" / KEY).exists()


def test_what_no_cache_can_be_asked_about_gets_the_grace_too(world: World) -> None:
    """As the staging directory of a download whose record was lost."""
    world.publish()
    staged = world.root / "models" / ".staging" / ("e" * 16)
    staged.mkdir()
    world.run()
    world.clock.advance(3599)
    world.run()
    assert staged.exists()
    world.clock.advance(1)
    world.run()
    assert not staged.exists()


# answers -----------------------------------------------------------------------------------------------------------


def test_a_kind_that_is_not_served_is_not_a_cache_that_is_gone(world: World) -> None:
    entry = {"modelName": "iris", "namespace": "team", "sourceModelUri": URI}
    world.want(dict(entry))
    world.run()
    world.download(world.jobs[0])
    world.run()
    assert world.status("team/iris") == "ModelDownloaded"
    world.client.withdraw(LocalModelNamespaceCache)
    world.want()
    world.run()
    assert (world.root / "models" / KEY).exists()


@pytest.mark.parametrize(
    "name", ["reconcilationFrequencyInSecs", "unreferencedGraceSeconds", "jobTTLSecondsAfterFinished"]
)
@pytest.mark.parametrize("value", [10**18, -(10**18)])
def test_an_absurd_number_in_the_configuration_stops_nothing(world: World, name: str, value: int) -> None:
    world.publish()
    found = world.client.get(ConfigMap, "inferenceservice-config", namespace="kserve")
    found.data["localModel"] = json.dumps({**json.loads(found.data["localModel"]), name: value})
    world.client.update(found)
    world.want(dict(OTHER))
    world.run()
    assert world.status("other") == "ModelDownloadPending"
    keys = [job.metadata.labels["localmodel.kserve.io/storage-key"] for job in world.jobs]
    assert storage_key("s3://o/n") in keys
