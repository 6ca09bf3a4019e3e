"""The promises of a download, with a source in memory and time that does not pass by itself."""

import errno
import fcntl
import hashlib
import io
import os
import tarfile
import threading
from pathlib import Path

import pytest
from support.download import FAST, URI, FakeClock, MemorySource, fetch

from localmodel.download import (
    DestinationError,
    DownloadError,
    IntegrityError,
    Manifest,
    NoSpaceError,
    NotFoundError,
    UnreachableError,
    manifest_path,
    read_progress,
)
from localmodel.download.transfer import part_path, parts_dir

BIG = bytes(range(256)) * 200  # 51,200 bytes, thirteen chunks


def write_part(dest: Path, source: MemorySource, path: str, content: bytes) -> Path:
    (file,) = [file for file in source.resolve().files if file.path == path]
    part = part_path(dest, file)
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_bytes(content)
    return part


def tree(dest: Path) -> dict[str, bytes]:
    files = (path for path in dest.rglob("*") if path.is_file())
    named = ((path.relative_to(dest).as_posix(), path) for path in files)
    return {name: path.read_bytes() for name, path in named if not name.startswith(".localmodel/")}


def tar(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tarball:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tarball.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def test_a_download_leaves_the_files_and_a_manifest_of_them(tmp_path: Path) -> None:
    contents = {"model.bin": BIG, "sub/config.json": b"{}", "empty": b""}
    manifest = fetch(tmp_path / "new" / "dest", MemorySource(contents))
    assert tree(tmp_path / "new" / "dest") == contents
    assert Manifest.read(manifest_path(tmp_path / "new" / "dest")) == manifest
    assert {entry.path: entry.sha256 for entry in manifest.files} == {
        path: hashlib.sha256(content).hexdigest() for path, content in contents.items()
    }
    assert (manifest.uri, manifest.revision) == (URI, "r1")
    assert list(parts_dir(tmp_path / "new" / "dest").iterdir()) == []


def test_the_last_progress_says_done_with_all_counted(tmp_path: Path) -> None:
    fetch(tmp_path, MemorySource({"a": BIG, "b": b"x"}))
    progress = read_progress(tmp_path)
    assert progress is not None
    assert (progress.state, progress.bytes_done, progress.bytes_total) == ("done", len(BIG) + 1, len(BIG) + 1)
    assert (progress.files_done, progress.files_total) == (2, 2)


def test_a_part_is_continued_where_it_ends(tmp_path: Path) -> None:
    source = MemorySource({"a": BIG})
    write_part(tmp_path, source, "a", BIG[:20_000])
    fetch(tmp_path, source)
    assert source.opens == [("a", 20_000)]
    assert tree(tmp_path) == {"a": BIG}


def test_a_whole_part_is_not_fetched_again(tmp_path: Path) -> None:
    source = MemorySource({"a": BIG})
    write_part(tmp_path, source, "a", BIG)
    fetch(tmp_path, source)
    assert source.opens == []


def test_a_damaged_part_is_found_out_and_fetched_anew(tmp_path: Path) -> None:
    source = MemorySource({"a": BIG})
    write_part(tmp_path, source, "a", b"\0" * 20_000)
    fetch(tmp_path, source)
    assert source.opens == [("a", 20_000), ("a", 0)]
    assert tree(tmp_path) == {"a": BIG}


def test_a_part_that_is_too_long_is_discarded(tmp_path: Path) -> None:
    source = MemorySource({"a": BIG})
    write_part(tmp_path, source, "a", BIG + b"more")
    fetch(tmp_path, source)
    assert source.opens == [("a", 0)]


def test_a_part_of_another_revision_is_removed(tmp_path: Path) -> None:
    old = write_part(tmp_path, MemorySource({"a": BIG}), "a", BIG[:20_000])
    source = MemorySource({"a": BIG[::-1]}, revision="r2")
    fetch(tmp_path, source)
    assert source.opens == [("a", 0)]
    assert not old.exists()


def test_a_file_that_is_in_place_is_not_fetched_again(tmp_path: Path) -> None:
    first = fetch(tmp_path, MemorySource({"a": BIG, "b": b"x"}))
    source = MemorySource({"a": BIG, "b": b"x"})
    assert fetch(tmp_path, source) == first
    assert source.opens == []


def test_a_damaged_file_in_place_is_fetched_again(tmp_path: Path) -> None:
    fetch(tmp_path, MemorySource({"a": BIG, "b": b"x"}))
    (tmp_path / "a").write_bytes(b"\0" * len(BIG))
    source = MemorySource({"a": BIG, "b": b"x"})
    fetch(tmp_path, source)
    assert source.opens == [("a", 0)]
    assert tree(tmp_path)["a"] == BIG


def test_without_announced_digests_a_file_counts_only_at_the_revision_it_was_fetched_at(tmp_path: Path) -> None:
    fetch(tmp_path, MemorySource({"a": BIG}, digests=False, revision="e1"))
    same, other = (MemorySource({"a": BIG}, digests=False, revision=revision) for revision in ("e1", "e2"))
    fetch(tmp_path, same)
    fetch(tmp_path, other)
    assert (same.opens, other.opens) == ([], [("a", 0)])


def test_a_file_that_the_source_dropped_is_removed_and_a_strangers_file_is_not(tmp_path: Path) -> None:
    fetch(tmp_path, MemorySource({"a": BIG, "old": b"x"}))
    (tmp_path / "mine").write_bytes(b"mine")
    fetch(tmp_path, MemorySource({"a": BIG}, revision="r2"))
    assert tree(tmp_path) == {"a": BIG, "mine": b"mine"}


def test_a_broken_connection_is_continued_in_the_same_run(tmp_path: Path) -> None:
    source = MemorySource({"a": BIG})
    source.breaks["a"] = [10_000, 30_000]
    fetch(tmp_path, source)
    assert source.opens == [("a", 0), ("a", 10_000), ("a", 30_000)]
    assert tree(tmp_path) == {"a": BIG}


def test_attempts_are_counted_only_while_nothing_moves(tmp_path: Path) -> None:
    source = MemorySource({"a": BIG})
    source.breaks["a"] = list(range(4096, len(BIG), 4096))
    fetch(tmp_path, source, env={**FAST, "LOCALMODEL_DOWNLOAD_MAX_ATTEMPTS": "2"})
    assert tree(tmp_path) == {"a": BIG}


def test_a_source_that_stays_away_is_given_up_after_growing_waits(tmp_path: Path) -> None:
    source, clock = MemorySource({"a": BIG}), FakeClock()
    source.breaks["a"] = [0] * 100
    with pytest.raises(UnreachableError, match=f"the connection broke .*{URI}"):
        fetch(tmp_path, source, clock=clock)
    assert clock.waits == [1, 2, 4, 8]
    progress = read_progress(tmp_path)
    assert progress is not None
    assert progress.state == "failed"
    assert "the connection broke" in progress.message


def test_a_source_that_cannot_continue_is_read_from_the_start(tmp_path: Path) -> None:
    source = MemorySource({"a": BIG})
    source.resumable = False
    write_part(tmp_path, source, "a", BIG[:20_000])
    fetch(tmp_path, source)
    assert tree(tmp_path) == {"a": BIG}
    progress = read_progress(tmp_path)
    assert progress is not None
    assert progress.bytes_done == len(BIG)


def test_damaged_content_is_fetched_anew(tmp_path: Path) -> None:
    source = MemorySource({"a": BIG})
    source.served["a"] = [BIG[::-1]]
    fetch(tmp_path, source)
    assert tree(tmp_path) == {"a": BIG}


@pytest.mark.parametrize("bad", [BIG[::-1], BIG + b"more"])
def test_content_that_stays_damaged_is_reported_and_never_shown(tmp_path: Path, bad: bytes) -> None:
    source = MemorySource({"a": BIG})
    source.served["a"] = [bad] * 10
    with pytest.raises(IntegrityError, match="a is damaged"):
        fetch(tmp_path, source)
    assert tree(tmp_path) == {}
    assert len(source.opens) == 3
    assert not manifest_path(tmp_path).exists()


def test_a_failed_download_takes_the_old_manifest_away(tmp_path: Path) -> None:
    fetch(tmp_path, MemorySource({"a": b"1"}))
    source = MemorySource({"a": BIG}, revision="r2")
    source.breaks["a"] = [0] * 100
    with pytest.raises(UnreachableError):
        fetch(tmp_path, source)
    assert not manifest_path(tmp_path).exists()


def test_a_plan_larger_than_the_free_space_is_refused_before_it_starts(tmp_path: Path) -> None:
    source = MemorySource({"a": BIG})
    with pytest.raises(NoSpaceError, match=r"50\.0 KiB \(51200 bytes\).*1\.0 KiB \(1024 bytes\) free") as caught:
        fetch(tmp_path, source, free_bytes=lambda _: 1024)
    assert (caught.value.needed, caught.value.free) == (len(BIG), 1024)
    assert source.opens == []


def test_what_is_on_disk_already_needs_no_space(tmp_path: Path) -> None:
    source = MemorySource({"a": BIG})
    write_part(tmp_path, source, "a", BIG[:-1000])
    fetch(tmp_path, source, free_bytes=lambda _: 1000)
    assert tree(tmp_path) == {"a": BIG}


def test_a_disk_that_fills_up_is_reported_with_numbers_and_keeps_the_part(tmp_path: Path) -> None:
    source = MemorySource({"a": BIG})
    room = [10_000]

    def write(descriptor: int, data: bytes | memoryview) -> int:
        if room[0] < len(data):
            raise OSError(errno.ENOSPC, "No space left on device")
        room[0] -= len(data)
        return os.write(descriptor, data)

    with pytest.raises(NoSpaceError, match="no space") as caught:
        fetch(tmp_path, source, write=write)
    assert caught.value.needed == len(BIG) - 8192
    fetch(tmp_path, source)
    assert source.opens == [("a", 0), ("a", 8192)]


def test_patterns_decide_which_files_are_fetched(tmp_path: Path) -> None:
    source = MemorySource({"a.bin": b"1", "a.txt": b"2"})
    fetch(tmp_path, source, env={"STORAGE_IGNORE_PATTERNS": "*.bin"})
    assert tree(tmp_path) == {"a.txt": b"2"}


def test_patterns_that_leave_nothing_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="patterns"):
        fetch(tmp_path, MemorySource({"a": b"1"}), env={"STORAGE_ALLOW_PATTERNS": "*.x"})


def test_a_destination_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".localmodel").mkdir()
    with (tmp_path / ".localmodel" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DestinationError, match="another download"):
            fetch(tmp_path, MemorySource({"a": b"1"}))


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "dest").mkdir()
    (tmp_path / "dest" / "sub").symlink_to(tmp_path / "outside")
    with pytest.raises(DestinationError, match="link"):
        fetch(tmp_path / "dest", MemorySource({"sub/a": b"1"}))
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_file_behind_a_link_is_neither_taken_for_ours_nor_removed(tmp_path: Path) -> None:
    fetch(tmp_path / "dest", MemorySource({"sub/a": b"1", "b": b"2"}))
    (tmp_path / "dest" / "sub").rename(tmp_path / "outside")
    (tmp_path / "dest" / "sub").symlink_to(tmp_path / "outside")
    fetch(tmp_path / "dest", MemorySource({"b": b"2"}, revision="r2"))
    assert (tmp_path / "outside" / "a").read_bytes() == b"1"
    with pytest.raises(DestinationError, match="link"):
        fetch(tmp_path / "dest", MemorySource({"sub/a": b"1"}))


def test_one_file_that_fails_for_good_ends_the_others(tmp_path: Path) -> None:
    source = MemorySource({"bad": BIG, "good": BIG})
    source.served["bad"] = [b""] * 10
    before = threading.active_count()
    with pytest.raises(DownloadError):
        fetch(tmp_path, source)
    assert threading.active_count() == before


def test_the_bandwidth_cap_spreads_the_bytes_over_time(tmp_path: Path) -> None:
    clock = FakeClock()
    fetch(tmp_path, MemorySource({"a": BIG}), env={"LOCALMODEL_DOWNLOAD_MAX_BYTES_PER_SECOND": "10240"}, clock=clock)
    assert clock.seconds == pytest.approx(len(BIG) / 10240)


def test_an_archive_is_replaced_by_what_it_holds(tmp_path: Path) -> None:
    source = MemorySource({"m.tar.gz": tar({"./config.json": b"{}", "sub/w.bin": BIG})}, archive="tar")
    manifest = fetch(tmp_path, source)
    assert tree(tmp_path) == {"config.json": b"{}", "sub/w.bin": BIG}
    assert [entry.path for entry in manifest.files] == ["config.json", "sub/w.bin"]
    assert list(parts_dir(tmp_path).iterdir()) == []


def test_an_archive_that_is_unpacked_already_is_not_fetched_again(tmp_path: Path) -> None:
    contents = {"m.tar.gz": tar({"w.bin": BIG})}
    first = fetch(tmp_path, MemorySource(contents, archive="tar"))
    source = MemorySource(contents, archive="tar")
    assert fetch(tmp_path, source) == first
    assert source.opens == []


def test_an_archive_that_points_outside_leaves_nothing(tmp_path: Path) -> None:
    source = MemorySource({"m.tar.gz": tar({"ok": b"1", "../evil": b"2"})}, archive="tar")
    with pytest.raises(DownloadError, match="outside"):
        fetch(tmp_path / "dest", source)
    assert tree(tmp_path / "dest") == {}
    assert [path.name for path in tmp_path.iterdir()] == ["dest"]
