"""The model store: what is visible, what survives, what is never touched."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from localmodel.agent.errors import (
    NothingDownloadedError,
    RootMissingError,
    RootNotMountedError,
    StoreError,
    StoreLockedError,
    VerificationError,
)
from localmodel.agent.filesystem import FileSystem
from localmodel.agent.manifest import KeyRecord, Reference
from localmodel.agent.scrub import Scrubber
from localmodel.agent.store import ModelStore
from localmodel.agent.verification import Publication
from localmodel.download.manifest import FileEntry, Manifest, manifest_path

URI = "s3://mybucket/mymodel"
KEY = "89da10faf446bbf1"
FILES = {"config.json": b"{}", "weights/model.safetensors": b"\x01" * 4096}
PUBLICATION = Publication(uri=URI, attempts=1, references=(Reference(model="iris", node_group="gpu1"),))


class Death(BaseException):
    """The process is gone: no `except Exception` of the product may stop it."""


class DyingFileSystem(FileSystem):
    """Dies before the n-th step that changes the disk."""

    def __init__(self, die_before: int | None = None, *, can_exchange: bool = True) -> None:
        self.steps: list[str] = []
        self._die_before = die_before
        self._can_exchange = can_exchange

    def step(self, name: str, path: Path) -> None:
        if len(self.steps) == self._die_before:
            raise Death
        self.steps.append(f"{name} {path.name}")

    def exchange(self, first: Path, second: Path) -> bool:
        return self._can_exchange and super().exchange(first, second)


def fill(folder: Path, files: dict[str, bytes] = FILES) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def write_notes(folder: Path, files: dict[str, bytes] = FILES, uri: str = URI) -> Manifest:
    manifest = Manifest.of(
        uri=uri,
        revision="abc",
        files=[FileEntry(path=n, size=len(c), sha256=hashlib.sha256(c).hexdigest()) for n, c in files.items()],
    )
    manifest_path(folder).parent.mkdir(exist_ok=True)
    manifest.write(manifest_path(folder))
    return manifest


def published(root: Path) -> ModelStore:
    store = ModelStore(root)
    store.open()
    fill(store.prepare_staging(KEY, URI))
    store.publish(KEY, PUBLICATION)
    return store


def content_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# publishing ------------------------------------------------------------------------------------------------------


def test_a_download_is_invisible_until_it_is_published(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    store.open()
    fill(store.prepare_staging(KEY, URI))
    assert store.check(KEY).kind == "absent"
    store.publish(KEY, PUBLICATION)
    assert store.check(KEY).is_complete
    assert content_of(store.models / KEY) == FILES
    assert store.staged_keys() == []


def test_staging_is_writable_for_the_group_and_passes_it_on(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    store.open()
    assert store.prepare_staging(KEY, URI).stat().st_mode & 0o7777 == 0o2775


def test_our_downloads_notes_are_stripped_and_their_digests_kept(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    store.open()
    folder = store.prepare_staging(KEY, URI)
    fill(folder, {**FILES, "leftover.part": b"x"})
    notes = write_notes(folder)
    manifest = store.publish(KEY, PUBLICATION)
    assert (manifest.digest, manifest.revision, manifest.files) == (notes.digest, "abc", notes.files)
    assert content_of(store.models / KEY) == FILES


def test_a_success_without_files_is_not_believed(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    store.open()
    store.prepare_staging(KEY, URI)
    with pytest.raises(NothingDownloadedError, match="left no file"):
        store.publish(KEY, PUBLICATION)
    assert store.check(KEY).kind == "absent"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: (f / "config.json").unlink(), "config.json is missing"),
        (lambda f: (f / "config.json").write_bytes(b"{"), "1 bytes instead of 2"),
        (lambda f: write_notes(f, uri="s3://other"), "is for s3://other"),
        (lambda f: manifest_path(f).write_text("{}"), "cannot be used"),
    ],
)
def test_a_download_that_differs_from_its_own_manifest_is_refused(
    tmp_path: Path, spoil: Callable[[Path], object], words: str
) -> None:
    store = ModelStore(tmp_path)
    store.open()
    folder = store.prepare_staging(KEY, URI)
    fill(folder)
    write_notes(folder)
    spoil(folder)
    with pytest.raises(VerificationError, match=words):
        store.publish(KEY, PUBLICATION)
    assert store.check(KEY).kind == "absent"


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../outside", "nowhere"])
def test_a_link_out_of_the_folder_is_refused(tmp_path: Path, target: str) -> None:
    store = ModelStore(tmp_path)
    store.open()
    folder = store.prepare_staging(KEY, URI)
    fill(folder)
    (tmp_path / "outside").write_text("secret")
    (folder / "link").symlink_to(target)
    with pytest.raises(VerificationError, match="link is a symbolic link"):
        store.publish(KEY, PUBLICATION)


def test_an_expected_digest_is_computed_and_compared(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    store.open()
    folder = store.prepare_staging(KEY, URI)
    fill(folder)
    with pytest.raises(VerificationError, match="expected sha256:0"):
        store.publish(KEY, Publication(uri=URI, expected_digest="sha256:0"))
    right = write_notes(tmp_path / "models" / ".staging" / KEY).digest
    assert store.publish(KEY, Publication(uri=URI, expected_digest=right)).digest == right


def test_digests_of_a_foreign_download_are_computed_later(tmp_path: Path) -> None:
    store = published(tmp_path)
    assert store.check(KEY).manifest.digest == ""  # type: ignore[union-attr]
    Scrubber(store).run_once(threading.Event())
    manifest = store.check(KEY).manifest
    assert manifest is not None
    assert manifest.files[0].sha256 == hashlib.sha256(FILES["config.json"]).hexdigest()
    assert manifest.digest.startswith("sha256:")


# crashes ---------------------------------------------------------------------------------------------------------


def visible_state(root: Path) -> str:
    """What a fresh agent sees after a crash: never a part of a model, never two copies."""
    store = ModelStore(root)
    store.open()
    state = store.check(KEY)
    if state.is_complete:
        assert content_of(store.models / KEY) == FILES
        assert store.staged_keys() == [], "a second copy was left"
    store.empty_trash()
    assert list(store.trash.iterdir()) == []
    store.close()
    return state.kind


@pytest.mark.parametrize("can_exchange", [True, False])
@pytest.mark.parametrize("before", ["nothing", "an empty folder", "a damaged model"])
@pytest.mark.parametrize("with_notes", [True, False])
def test_a_death_at_any_step_of_publishing_leaves_a_whole_model_or_none(
    tmp_path: Path, before: str, can_exchange: bool, with_notes: bool
) -> None:
    def prepare(root: Path, filesystem: FileSystem) -> ModelStore:
        root.mkdir()
        if before == "a damaged model":
            store = published(root)
            (store.models / KEY / "config.json").unlink()
            store.close()
        store = ModelStore(root)
        store.open()
        if before == "an empty folder":
            (store.models / KEY).mkdir()
        folder = store.prepare_staging(KEY, URI)
        fill(folder)
        if with_notes:
            write_notes(folder)
        store.close()
        store = ModelStore(root, filesystem=filesystem)
        store.open()
        return store

    counting = DyingFileSystem(can_exchange=can_exchange)
    prepare(tmp_path / "whole", counting).publish(KEY, PUBLICATION)
    assert len(counting.steps) > 8
    outcomes = []
    for step in range(len(counting.steps) + 1):
        root = tmp_path / str(step)
        store = prepare(root, DyingFileSystem(step, can_exchange=can_exchange))
        with suppress(Death):
            store.publish(KEY, PUBLICATION)
        store.close()
        outcomes.append(visible_state(root))
        again = ModelStore(root)
        again.open()
        if not again.check(KEY).is_complete:
            again.publish(KEY, PUBLICATION)
        again.close()
        assert visible_state(root) == "complete"
    assert outcomes[-1] == "complete"
    assert outcomes[0] != "complete"
    assert outcomes == sorted(outcomes, key=lambda kind: kind == "complete"), "once whole, it stays whole"


def test_a_death_at_any_step_of_recovery_is_recovered_from(tmp_path: Path) -> None:
    for first in range(30):
        for second in range(8):
            root = tmp_path / f"{first}-{second}"
            root.mkdir()
            store = published(root)
            (store.models / KEY / "config.json").unlink()
            fill(store.prepare_staging(KEY, URI))
            store.close()
            dying = ModelStore(root, filesystem=DyingFileSystem(first))
            with suppress(Death):
                dying.open()
                dying.publish(KEY, PUBLICATION)
            dying.close()
            dying = ModelStore(root, filesystem=DyingFileSystem(second))
            with suppress(Death):
                dying.open()
            dying.close()
            visible_state(root)


def test_a_death_at_any_step_of_removal_leaves_no_part_of_the_model(tmp_path: Path) -> None:
    for step in range(12):
        root = tmp_path / str(step)
        root.mkdir()
        published(root).close()
        store = ModelStore(root, filesystem=DyingFileSystem(step))
        with suppress(Death):
            store.open()
            store.remove(KEY)
        store.close()
        assert visible_state(root) in ("complete", "absent")


def test_an_unfinished_download_is_not_published_by_recovery_even_if_its_sizes_fit(tmp_path: Path) -> None:
    store = published(tmp_path)
    (store.models / KEY / "config.json").unlink()
    fill(store.prepare_staging(KEY, URI), {name: b"\0" * len(content) for name, content in FILES.items()})
    store.close()
    reopened = ModelStore(tmp_path)
    reopened.open()
    assert reopened.check(KEY).kind == "incomplete"


# checking --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "detail"),
    [
        (lambda f: (f / "config.json").unlink(), "config.json is missing"),
        (lambda f: (f / "config.json").write_bytes(b""), "config.json has 0 bytes instead of 2"),
        (lambda f: ((f / "config.json").unlink(), (f / "config.json").mkdir()), "config.json is not a file"),
    ],
)
def test_a_damaged_folder_is_noticed(tmp_path: Path, damage: Callable[[Path], object], detail: str) -> None:
    store = published(tmp_path)
    damage(store.models / KEY)
    assert (store.check(KEY).kind, store.check(KEY).detail) == ("incomplete", detail)


def test_a_file_that_a_pod_added_does_not_make_a_model_incomplete(tmp_path: Path) -> None:
    store = published(tmp_path)
    (store.models / KEY / "compiled.cache").write_bytes(b"x")
    assert store.check(KEY).is_complete


def test_a_folder_without_a_manifest_is_never_complete(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    store.open()
    fill(store.models / KEY)
    assert store.check(KEY).kind == "incomplete"


def test_what_was_replaced_stays_until_nothing_mounts_it(tmp_path: Path) -> None:
    store = published(tmp_path)
    (store.models / KEY / "config.json").unlink()
    fill(store.prepare_staging(KEY, URI))
    store.publish(KEY, PUBLICATION)
    store.empty_trash(lambda key, since: key == KEY and since.year > 2000)
    assert len(list(store.trash.iterdir())) == 1
    store.empty_trash()
    assert list(store.trash.iterdir()) == []
    assert store.check(KEY).is_complete


# staging ---------------------------------------------------------------------------------------------------------


def test_leftovers_of_a_foreign_download_are_discarded_before_the_next(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    store.open()
    fill(store.prepare_staging(KEY, URI))
    assert content_of(store.prepare_staging(KEY, URI)) == {}


def test_leftovers_of_our_download_of_the_same_uri_are_kept_to_resume(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    store.open()
    folder = store.prepare_staging(KEY, URI)
    fill(folder)
    (folder / ".localmodel").mkdir()
    (folder / ".localmodel" / "progress.json").write_text(f'{{"uri":"{URI}","state":"failed"}}')
    assert "config.json" in content_of(store.prepare_staging(KEY, URI))
    assert content_of(store.prepare_staging(KEY, "s3://other")) == {}


def test_a_whole_model_is_not_prepared_again(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is whole"):
        published(tmp_path).prepare_staging(KEY, URI)


# the root --------------------------------------------------------------------------------------------------------


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


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(RootMissingError, match="gone does not exist"):
        ModelStore(tmp_path / "gone").open()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_root_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(StoreError, match="writable"):
        ModelStore(tmp_path).open()


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


# others' things --------------------------------------------------------------------------------------------------


def test_unknown_directories_are_reported_and_kept(tmp_path: Path) -> None:
    store = published(tmp_path)
    for name in ("lost+found", "pre-seeded", "c" * 16):
        (store.models / name).mkdir()
    assert store.unknown_directories([]) == ["c" * 16, "lost+found", "pre-seeded"]
    assert store.unknown_directories(["c" * 16]) == ["lost+found", "pre-seeded"]


def test_removal_takes_the_folder_and_keeps_the_attempt_counter(tmp_path: Path) -> None:
    store = published(tmp_path)
    store.write_record(KEY, KeyRecord(uri=URI, attempt=3, outcome="published", references=PUBLICATION.references))
    assert store.known_keys() == {KEY}
    store.remove(KEY)
    assert store.check(KEY).kind == "absent"
    assert store.known_keys() == set()
    assert store.record(KEY) == KeyRecord(attempt=3, outcome="removed")


def test_removal_of_a_link_in_a_models_place_leaves_its_target(tmp_path: Path) -> None:
    store = published(tmp_path)
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "file").touch()
    store.remove(KEY)
    (store.models / KEY).symlink_to(tmp_path / "target")
    assert store.check(KEY).kind == "incomplete"
    store.remove(KEY)
    store.empty_trash()
    assert (tmp_path / "target" / "file").exists()


def test_usage_counts_models_staging_and_foreign_folders(tmp_path: Path) -> None:
    store = published(tmp_path)
    fill(store.prepare_staging("d" * 16, "s3://x"), {"a": b"12345"})
    fill(store.models / "foreign", {"b": b"123"})
    usage = store.usage()
    assert usage.used == sum(map(len, FILES.values())) + 5 + 3
    assert usage.staged == {"d" * 16: 5}
    assert usage.capacity > usage.available > 0
