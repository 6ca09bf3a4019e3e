"""No symbolic link below the root is followed: nothing outside is read as a model, written or deleted."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from support.store import FILES, KEY, PUBLICATION, URI, content_of, fill, published, write_notes

from localmodel.agent import tree
from localmodel.agent.errors import LinkInRootError, NothingDownloadedError, StoreError, VerificationError
from localmodel.agent.filesystem import FileSystem
from localmodel.agent.manifest import KeyRecord
from localmodel.agent.scrub import Scrubber
from localmodel.agent.store import ModelStore


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    made.mkdir()
    return made


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory of somebody else's, with the files of a model."""
    made = tmp_path / "outside"
    fill(made)
    return made


class Swapping(FileSystem):
    """Puts a link in the place of a directory when a step is about to be taken: after all that looks."""

    def __init__(self, at: str, directory: Path, target: Path) -> None:
        super().__init__()
        self.at = at
        self.directory = directory
        self.target = target
        self.swapped = False

    def step(self, name: str, path: Path) -> None:
        if name == self.at and not self.swapped and self.directory.is_dir():
            self.swapped = True
            self.directory.rename(self.directory.with_name("away"))
            self.directory.symlink_to(self.target)


@pytest.mark.parametrize(
    "place", ["models", "models/.staging", "models/.trash", "models/.localmodel", "models/.localmodel/records"]
)
def test_a_link_in_the_place_of_a_directory_of_the_store_closes_it(root: Path, outside: Path, place: str) -> None:
    published(root).close()
    (root / place).rename(root / "away")
    (root / place).symlink_to(outside)
    store = ModelStore(root)
    with pytest.raises(LinkInRootError, match="follows no links") as caught:
        store.open({KEY: URI})
    assert str(root / place) in str(caught.value)
    assert not store.is_open
    assert content_of(outside) == FILES


def test_a_link_that_appears_while_the_store_is_open_closes_it(root: Path, outside: Path) -> None:
    store = published(root)
    store.trash.rename(root / "away")
    store.trash.symlink_to(outside)
    with pytest.raises(LinkInRootError):
        store.open()
    assert not store.is_open


def test_the_root_itself_may_be_reached_by_a_link(tmp_path: Path, root: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    assert published(tmp_path / "link").check(KEY).is_complete
    assert (root / "models" / KEY / "config.json").exists()


def test_a_directory_swapped_for_a_link_at_the_last_moment_is_not_gone_through(root: Path, outside: Path) -> None:
    published(root).close()
    outside.joinpath(KEY).mkdir()
    store = ModelStore(root, filesystem=Swapping("rename", root / "models" / ".trash", outside))
    store.open()
    store.remove(KEY)
    # The directory that was opened before is the one that was used.
    assert content_of(outside) == FILES
    assert list(outside.joinpath(KEY).iterdir()) == []


def test_what_is_dropped_from_a_download_is_never_anothers_file(root: Path, outside: Path) -> None:
    store = ModelStore(root)
    store.open()
    folder = store.prepare_staging(KEY, URI)
    fill(folder, {**FILES, "part/model.part": b"x"})
    fill(outside, {"model.part": b"precious"})
    write_notes(folder)
    store.close()
    store = ModelStore(root, filesystem=Swapping("remove_file", folder / "part", outside))
    store.open()
    store.publish(KEY, PUBLICATION)
    assert (outside / "model.part").read_bytes() == b"precious"


@pytest.mark.parametrize("note", [f"{KEY}.json.tmp", "marker.tmp"])
def test_a_link_in_the_place_of_a_temporary_file_is_replaced(root: Path, outside: Path, note: str) -> None:
    victim = outside / "config.json"
    notes = root / "models" / ".localmodel"
    notes.mkdir(parents=True)
    (notes / note).symlink_to(victim)
    published(root)
    assert victim.read_bytes() == FILES["config.json"]


def test_a_link_in_the_place_of_the_lock_is_refused(root: Path, outside: Path) -> None:
    published(root).close()
    lock = root / "models" / ".localmodel" / "lock"
    lock.unlink()
    lock.symlink_to(outside / "config.json")
    with pytest.raises(LinkInRootError):
        ModelStore(root, owner="node-1").open()
    assert content_of(outside) == FILES


def test_a_linked_manifest_proves_nothing(root: Path, outside: Path) -> None:
    store = published(root)
    manifest = root / "models" / ".localmodel" / f"{KEY}.json"
    manifest.rename(outside / "manifest")
    manifest.symlink_to(outside / "manifest")
    with pytest.raises(LinkInRootError):
        store.check(KEY)


def test_a_linked_record_is_not_read(root: Path, outside: Path) -> None:
    store = published(root)
    (outside / "record").write_text(json.dumps({"uri": URI, "attempt": 7}))
    (root / "models" / ".localmodel" / "records" / f"{KEY}.json").symlink_to(outside / "record")
    with pytest.raises(LinkInRootError):
        store.record(KEY)
    store.write_record("d" * 16, KeyRecord(attempt=1))
    assert json.loads((outside / "record").read_text())["attempt"] == 7


def test_a_linked_folder_is_no_model(root: Path, outside: Path) -> None:
    store = published(root)
    (store.models / KEY).rename(root / "away")
    (store.models / KEY).symlink_to(outside)
    assert store.check(KEY).kind == "incomplete"
    fill(store.prepare_staging(KEY, URI))
    store.publish(KEY, PUBLICATION)
    store.empty_trash()
    assert not (store.models / KEY).is_symlink()
    assert content_of(outside) == FILES


def test_a_file_in_a_models_place_is_no_model(root: Path) -> None:
    store = published(root)
    (store.models / KEY).rename(root / "away")
    (store.models / KEY).write_bytes(b"a file")
    assert store.check(KEY).detail == "a file or link stands in its place"
    fill(store.prepare_staging(KEY, URI))
    store.publish(KEY, PUBLICATION)
    store.empty_trash()
    assert content_of(store.models / KEY) == FILES


def test_a_linked_directory_in_a_model_is_not_part_of_it(root: Path, outside: Path) -> None:
    store = published(root)
    weights = store.models / KEY / "weights"
    weights.rename(root / "away")
    weights.symlink_to(outside / "weights")
    assert store.check(KEY).detail == "weights is a symbolic link"
    store.remove(KEY)
    store.empty_trash()
    assert content_of(outside) == FILES


def test_a_link_out_of_a_model_is_not_a_file_of_it(root: Path, outside: Path) -> None:
    store = published(root)
    config = store.models / KEY / "config.json"
    config.unlink()
    config.symlink_to(outside / "config.json")
    assert store.check(KEY).detail == "config.json is a link to no file of the model"


def test_a_linked_staging_directory_is_no_download(root: Path, outside: Path) -> None:
    store = ModelStore(root)
    store.open()
    store.prepare_staging(KEY, URI).rmdir()
    (store.staging / KEY).symlink_to(outside)
    with pytest.raises(NothingDownloadedError):
        store.publish(KEY, PUBLICATION)
    store.prepare_staging(KEY, URI)
    store.empty_trash()
    assert content_of(outside) == FILES


@pytest.mark.parametrize("read", [ModelStore.progress, lambda store, key: store.publish(key, PUBLICATION)])
def test_a_downloads_notes_are_not_read_elsewhere(
    root: Path, outside: Path, read: Callable[[ModelStore, str], object]
) -> None:
    store = ModelStore(root)
    store.open()
    folder = store.prepare_staging(KEY, URI)
    write_notes(outside)
    (outside / ".localmodel" / "progress.json").write_text(json.dumps({"uri": URI, "state": "done"}))
    (folder / ".localmodel").symlink_to(outside / ".localmodel")
    try:
        assert read(store, KEY) is None
    except (StoreError, VerificationError):
        assert store.check(KEY).kind == "absent"


def test_a_scrub_reads_no_file_elsewhere(root: Path, outside: Path) -> None:
    store = published(root)
    manifest = store.manifest(KEY)
    assert manifest is not None
    weights = store.models / KEY / "weights"
    weights.rename(root / "away")
    weights.symlink_to(outside / "weights")
    with pytest.raises(OSError, match="no file"):
        tree.file_digest(store.models / KEY, "weights/model.safetensors")
    Scrubber(store).run_once(threading.Event())
    after = store.manifest(KEY)
    assert after is not None
    assert after.digest == ""


def test_a_pipe_in_the_place_of_a_note_does_not_hang(root: Path) -> None:
    store = published(root)
    manifest = root / "models" / ".localmodel" / f"{KEY}.json"
    manifest.unlink()
    os.mkfifo(manifest)
    with pytest.raises(StoreError, match="regular"):
        store.check(KEY)
