"""The models root: held by one agent, told from a disk that is not mounted, adopted from KServe's."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

import pytest
from support.store import KEY, URI, Death, DyingFileSystem, fill, published

from localmodel.agent.errors import (
    DiskFullError,
    RootMissingError,
    RootNotMountedError,
    StoreLockedError,
)
from localmodel.agent.filesystem import FileSystem
from localmodel.agent.manifest import KeyRecord
from localmodel.agent.store import ModelStore


def test_two_agents_never_share_a_root(tmp_path: Path) -> None:
    first, second = ModelStore(tmp_path, owner="node-1"), ModelStore(tmp_path, owner="node-2")
    first.open()
    with pytest.raises(StoreLockedError, match=r"another agent \(node node-1\)") as caught:
        second.open()
    assert caught.value.holder == "node-1"
    first.close()
    second.open()


def test_an_unmounted_disk_is_not_an_empty_one(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    with pytest.raises(RootNotMountedError, match="its disk is probably not mounted"):
        store.open({KEY: URI})
    assert not store.is_open
    assert list(tmp_path.iterdir()) == [], "nothing is written to what may be the mount point"


def test_a_disk_that_comes_back_is_taken_again(tmp_path: Path) -> None:
    store = published(tmp_path)
    (tmp_path / "models").rename(tmp_path / "away")
    with pytest.raises(RootNotMountedError):
        store.open({KEY: URI})
    (tmp_path / "away").rename(tmp_path / "models")
    store.open({KEY: URI})
    assert store.is_open
    assert store.check(KEY).is_complete


def test_a_replaced_disk_is_taken_once_someone_makes_the_marker(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    store.marker.parent.mkdir(parents=True)
    store.marker.touch()
    store.open({KEY: URI})
    assert store.check(KEY).kind == "absent"


def test_what_another_disk_in_its_place_says_counts_and_not_what_was_read_before(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    store = published(tmp_path / "one")
    store.write_record(KEY, KeyRecord(uri=URI, attempt=3))
    other = published(tmp_path / "two")
    other.write_record(KEY, KeyRecord(uri=URI, attempt=7))
    other.close()
    (tmp_path / "one" / "models").rename(tmp_path / "away")
    (tmp_path / "two" / "models").rename(tmp_path / "one" / "models")
    store.open({KEY: URI})
    assert store.record(KEY).attempt == 7


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(RootMissingError, match="gone does not exist"):
        ModelStore(tmp_path / "gone").open()


def test_a_root_whose_marker_cannot_be_written_is_not_open(tmp_path: Path) -> None:
    class Full(FileSystem):
        def step(self, name: str, path: Path) -> None:
            if name == "write" and path.name.startswith("marker"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    store = ModelStore(tmp_path, filesystem=Full())
    with pytest.raises(DiskFullError):
        store.open()
    assert not store.is_open


def test_kserves_folders_are_adopted_at_the_first_opening_only(tmp_path: Path) -> None:
    fill(tmp_path / "models" / KEY)
    empty, unlisted = "a" * 16, "b" * 16
    (tmp_path / "models" / empty).mkdir()
    fill(tmp_path / "models" / unlisted)
    store = ModelStore(tmp_path)
    assert store.open({KEY: URI, empty: "s3://empty"}) == [KEY]
    manifest = store.check(KEY).manifest
    assert manifest is not None
    assert manifest.adopted
    assert not store.check(empty).is_complete
    assert not store.check(unlisted).is_complete
    store.close()
    assert store.open({unlisted: "s3://later"}) == []
    assert not store.check(unlisted).is_complete


def test_a_model_whose_marker_got_lost_keeps_its_manifest(tmp_path: Path) -> None:
    store = published(tmp_path)
    (store.models / KEY / "config.json").unlink()
    store.marker.unlink()
    store.open({KEY: URI})
    assert store.marker.exists()
    assert store.check(KEY).detail == "config.json is missing"


def test_a_death_during_adoption_adopts_again(tmp_path: Path) -> None:
    for step in range(20):
        root = tmp_path / str(step)
        fill(root / "models" / KEY)
        store = ModelStore(root, filesystem=DyingFileSystem(step))
        with suppress(Death):
            store.open({KEY: URI})
        store.close()
        fresh = ModelStore(root)
        fresh.open({KEY: URI})
        assert fresh.check(KEY).is_complete
        fresh.close()
