"""What must be on the disk before what: a machine may lose its power, and then only what was synced is there.

The file system's steps and the kernel's syncs are written down in their order; a step that comes before the sync that
it relies on would, after a power cut, be there without it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.store import KEY, PUBLICATION, URI, fill, published

from localmodel.agent.filesystem import FileSystem
from localmodel.agent.manifest import KeyRecord
from localmodel.agent.store import ModelStore
from localmodel.agent.trash import NO_HOLDERS

MANIFEST, STAGED = f".localmodel/{KEY}.json", f".staging/{KEY}"
NOTE = [f"fsync {MANIFEST}.tmp", f"rename {MANIFEST}.tmp", "fsync .localmodel"]


class Written(FileSystem):
    """Writes down what changes the disk, and what is synced, by the path below `models`."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self._models = root / "models"
        self.done: list[str] = []
        sync = os.fsync

        def noted(descriptor: int) -> None:
            sync(descriptor)
            self._note("fsync", Path(f"/proc/self/fd/{descriptor}").readlink())

        monkeypatch.setattr(os, "fsync", noted)

    def step(self, name: str, path: Path) -> None:
        if name in ("rename", "exchange", "remove_file", "remove_tree"):
            self._note(name, path)

    def _note(self, what: str, path: Path) -> None:
        self.done.append(f"{what} {path.relative_to(self._models).as_posix()}")

    def in_order(self, *expected: str) -> None:
        """Each of these was done, after the one before it."""
        rest = iter(self.done)
        for step in expected:
            assert step in rest, (step, self.done)


def test_a_model_is_in_place_only_once_its_files_and_its_manifest_are_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = Written(tmp_path, monkeypatch)
    store = ModelStore(tmp_path, filesystem=written)
    store.open()
    fill(store.prepare_staging(KEY, URI))
    written.done.clear()
    store.publish(KEY, PUBLICATION)
    for file, *directories in (("config.json",), ("weights/model.safetensors", "weights")):
        synced = [f"fsync {STAGED}/{name}" for name in (file, *directories)]
        written.in_order(*synced, f"fsync {STAGED}", *NOTE, f"rename {STAGED}", "fsync .", "fsync .staging")


def test_the_old_manifest_is_gone_from_the_disk_before_another_download_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(tmp_path).close()
    written = Written(tmp_path, monkeypatch)
    store = ModelStore(tmp_path, filesystem=written)
    store.open()
    (store.models / KEY / "config.json").unlink()
    written.done.clear()
    store.prepare_staging(KEY, URI)
    assert written.done == [f"remove_file {MANIFEST}", "fsync .localmodel"]


def test_a_model_is_forgotten_only_once_its_folder_is_in_the_trash_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = published(tmp_path)
    store.write_record(KEY, KeyRecord(uri=URI, attempt=1, outcome="published", references=PUBLICATION.references))
    store.close()
    written = Written(tmp_path, monkeypatch)
    store = ModelStore(tmp_path, filesystem=written)
    store.open()
    written.done.clear()
    store.remove(KEY)
    written.in_order(f"rename {KEY}", "fsync .", f"fsync .localmodel/records/{KEY}.json.tmp")


def test_an_eviction_is_written_down_before_its_model_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published(tmp_path).close()
    written = Written(tmp_path, monkeypatch)
    store = ModelStore(tmp_path, filesystem=written)
    store.open()
    written.done.clear()
    store.evict(KEY, KeyRecord(uri=URI, attempt=1, outcome="evicted"), NO_HOLDERS)
    record = f".localmodel/records/{KEY}.json"
    noted = (f"fsync {record}.tmp", f"rename {record}.tmp")
    written.in_order(*noted, f"rename {KEY}", "fsync .", f"remove_file {MANIFEST}")
