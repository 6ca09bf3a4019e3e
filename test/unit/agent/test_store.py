"""The model store: what is visible, what survives, what is never touched."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.store import FILES, KEY, PUBLICATION, URI, content_of, fill, published, write_notes

from localmodel.agent.errors import (
    NothingDownloadedError,
    StoreError,
    VerificationError,
)
from localmodel.agent.manifest import KeyRecord
from localmodel.agent.scrub import Scrubber
from localmodel.agent.store import ModelStore
from localmodel.agent.verification import Publication
from localmodel.download.manifest import manifest_path

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
        (lambda f: write_notes(f, {**FILES, ".localmodel/manifest.json": b""}), "cannot be used"),
        (lambda f: write_notes(f, {**FILES, "../../escape": b""}), "cannot be used"),
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


LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
FAR_AWAY = datetime(2100, 1, 1, tzinfo=UTC)


class Pods:
    """Who has which key mounted, and whether anybody can tell."""

    def __init__(self, found: dict[str, dict[str, datetime]], *, knows: bool = True) -> None:
        self.found = found
        self.knows = knows
        self.unseen_since: datetime | None = None

    def of(self, key: str) -> dict[str, datetime]:
        return self.found.get(key, {})

    def look(self) -> bool:
        return self.knows


def replaced(tmp_path: Path) -> ModelStore:
    """A damaged model was replaced, and is in the trash."""
    store = published(tmp_path)
    (store.models / KEY / "config.json").unlink()
    fill(store.prepare_staging(KEY, URI))
    store.publish(KEY, PUBLICATION)
    return store


def test_a_pod_holds_what_was_replaced_whatever_the_clock_of_the_node_says(tmp_path: Path) -> None:
    store = replaced(tmp_path)
    assert store.empty_trash(Pods({KEY: {"u": FAR_AWAY}})) == 0


def test_after_a_restart_only_pods_that_can_have_it_hold_what_was_replaced(tmp_path: Path) -> None:
    replaced(tmp_path).close()
    store = ModelStore(tmp_path)
    store.open()
    assert store.empty_trash(Pods({KEY: {"u": LONG_AGO}})) == 0
    store.close()
    store = ModelStore(tmp_path)
    store.open()
    assert store.empty_trash(Pods({KEY: {"u": FAR_AWAY}})) == 1


def test_nothing_is_deleted_while_nobody_can_tell_who_uses_it(tmp_path: Path) -> None:
    store = replaced(tmp_path)
    assert store.empty_trash(Pods({}, knows=False)) == 0
    assert store.empty_trash(Pods({})) == 1


def test_what_was_replaced_stays_until_nothing_mounts_it(tmp_path: Path) -> None:
    store = published(tmp_path)
    (store.models / KEY / "config.json").unlink()
    fill(store.prepare_staging(KEY, URI))
    store.publish(KEY, PUBLICATION)
    holders = Pods({KEY: {"old": LONG_AGO}})
    store.empty_trash(holders)
    holders.found[KEY] = {"old": LONG_AGO, "new": LONG_AGO}
    store.empty_trash(holders)
    assert len(list(store.trash.iterdir())) == 1
    holders.found[KEY] = {"new": LONG_AGO}  # which got what took its place
    store.empty_trash(holders)
    assert list(store.trash.iterdir()) == []
    assert store.check(KEY).is_complete


# staging ---------------------------------------------------------------------------------------------------------


def test_leftovers_of_a_foreign_download_are_discarded_before_the_next_d07(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    store.open()
    fill(store.prepare_staging(KEY, URI))
    assert content_of(store.prepare_staging(KEY, URI)) == {}


def test_leftovers_of_our_download_of_the_same_uri_are_kept_to_resume_d15(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    store.open()
    folder = store.prepare_staging(KEY, URI)
    fill(folder)
    (folder / ".localmodel").mkdir()
    (folder / ".localmodel" / "progress.json").write_text(f'{{"uri":"{URI}","state":"failed"}}')
    assert "config.json" in content_of(store.prepare_staging(KEY, URI))
    assert content_of(store.prepare_staging(KEY, "s3://other")) == {}


def test_leftovers_that_cannot_be_written_are_not_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a download that ran as another user: the next one could not go on with them."""
    store = ModelStore(tmp_path)
    store.open()
    folder = store.prepare_staging(KEY, URI)
    (folder / ".localmodel").mkdir()
    (folder / ".localmodel" / "progress.json").write_text(f'{{"uri":"{URI}","state":"failed"}}')
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path) != folder)
    store.prepare_staging(KEY, URI)
    assert list(folder.iterdir()) == []


def test_a_whole_model_is_not_prepared_again(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is whole"):
        published(tmp_path).prepare_staging(KEY, URI)


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
