"""What a disk refuses is told with reason, path and remedy, and stops only what cannot be done without it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.agent import FILES, KEY, URI, World

from localmodel.agent import root
from localmodel.agent.filesystem import FileSystem
from localmodel.agent.store import ModelStore
from localmodel.api.names import storage_key

IRIS = {"modelName": "iris", "sourceModelUri": URI}
OTHER = {"modelName": "other", "sourceModelUri": "s3://o/n"}
OTHER_KEY = storage_key("s3://o/n")


class Refusing(FileSystem):
    """Answers steps with an error where `refuses` says so."""

    def __init__(self) -> None:
        super().__init__()
        self.refuses: Callable[[str, Path], int] = lambda _step, _path: 0
        self.steps: list[tuple[str, Path]] = []

    def step(self, name: str, path: Path) -> None:
        self.steps.append((name, path))
        number = self.refuses(name, path)
        if number:
            raise OSError(number, os.strerror(number), str(path))


@pytest.fixture
def disk() -> Refusing:
    return Refusing()


@pytest.fixture
def world(tmp_path: Path, disk: Refusing) -> Iterator[World]:
    made = World(tmp_path, filesystem=disk)
    made.configure(highWatermarkPercent=100, lowWatermarkPercent=100)  # the disk below is the machine's own
    yield made
    made.store.close()


def condition(world: World) -> tuple[str, str, str]:
    found = next(c for c in world.node.status.conditions if c.type == "StorageReady")
    return found.status, found.reason, found.message


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What the kernel says of the file system; change it."""
    found = os.statvfs("/")
    said = SimpleNamespace(**{name: getattr(found, name) for name in dir(found) if name.startswith("f_")})
    said.f_flag &= ~os.ST_RDONLY
    monkeypatch.setattr(os, "statvfs", lambda _: said)
    return said


# read-only, full, of another owner -------------------------------------------------------------------------------


def test_a_disk_that_became_read_only_is_told_though_nothing_is_written(
    world: World, disk: Refusing, system: SimpleNamespace
) -> None:
    world.publish()
    disk.refuses = lambda *_: errno.EROFS
    system.f_flag |= os.ST_RDONLY
    world.run()
    status, reason, message = condition(world)
    assert (status, reason) == ("False", "ReadOnlyFileSystem")
    assert f"mount {world.root} read-write" in message
    assert world.status() == "ModelDownloaded"
    assert world.reasons().count("StorageNotReady") == 1
    disk.refuses = lambda *_: 0
    system.f_flag &= ~os.ST_RDONLY
    for _ in range(2):
        world.run()
    assert condition(world)[:2] == ("True", "Ready")
    assert world.reasons().count("StorageReady") == 1


def test_a_read_only_disk_still_serves_and_reports_what_is_whole_after_a_restart(
    world: World, disk: Refusing, system: SimpleNamespace
) -> None:
    world.publish()
    disk.refuses = lambda *_: errno.EROFS
    system.f_flag |= os.ST_RDONLY
    world.restart()
    world.want(dict(IRIS), dict(OTHER), {"modelName": "again", "sourceModelUri": URI})
    world.run()
    assert world.status("iris") == world.status("again") == "ModelDownloaded"
    assert world.status("other") == "ModelDownloadPending"
    assert world.model("other").reason == "ReadOnlyFileSystem"
    assert len(world.jobs) == 1
    world.agent.check_ready()
    disk.refuses = lambda *_: 0
    system.f_flag &= ~os.ST_RDONLY
    world.run()
    assert condition(world)[0] == "True"
    assert len(world.jobs) == 2


@pytest.mark.parametrize(
    ("facts", "what"), [({"f_bavail": 0}, "no space is left"), ({"f_favail": 0}, "no file (inode) is left")]
)
def test_a_full_disk_is_told(world: World, system: SimpleNamespace, facts: dict[str, int], what: str) -> None:
    world.publish()
    vars(system).update(facts)
    world.run()
    assert condition(world)[:2] == ("False", "DiskFull")
    assert what in condition(world)[2]
    assert world.status() == "ModelDownloaded"


@pytest.mark.parametrize("place", ["", ".staging", ".trash", ".localmodel"])
def test_a_directory_that_may_not_be_written_is_named_with_its_owner(
    world: World, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    world.publish()
    path = world.store.models / place
    monkeypatch.setattr(os, "access", lambda tried, _mode: Path(tried) != path)
    world.run()
    status, reason, message = condition(world)
    assert (status, reason) == ("False", "WrongOwner")
    assert f"cannot write {path}, owned by {os.getuid()}:{os.getgid()}, mode " in message
    assert f"chown {os.geteuid()}:{os.getegid()} {path}" in message
    assert world.status() == "ModelDownloaded"


def test_a_new_root_that_may_not_be_written_is_told(world: World, disk: Refusing) -> None:
    disk.refuses = lambda *_: errno.EACCES
    world.want(dict(IRIS))
    world.run()
    assert condition(world)[:2] == ("False", "WrongOwner")
    assert world.jobs == []
    disk.refuses = lambda *_: 0
    world.run()
    assert len(world.jobs) == 1


# one folder of another owner -------------------------------------------------------------------------------------


def test_a_model_folder_of_another_user_blocks_that_model_only_d13(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = world.root / "models" / KEY
    (folder / "sub").mkdir(parents=True)
    monkeypatch.setattr(os, "access", lambda tried, mode: Path(tried) != folder or not mode & os.W_OK)
    world.want(dict(IRIS), dict(OTHER))
    world.run()
    for job in world.jobs:
        world.download(job)
    world.run()
    assert world.status("other") == "ModelDownloaded"
    model = world.model("iris")
    assert model.reason == "WrongOwner"
    assert f"cannot move {folder} away: it is owned by {os.getuid()}:{os.getgid()}" in model.message
    assert condition(world)[:2] == ("False", "WrongOwner")
    monkeypatch.undo()
    world.run()
    assert world.status("iris") == "ModelDownloaded", "what was downloaded is published, and not downloaded again"
    assert len(world.jobs) == 2
    assert condition(world)[0] == "True"


def test_an_empty_folder_that_the_kubelet_made_for_a_pod_is_replaced_d05_d13(world: World, disk: Refusing) -> None:
    folder = world.root / "models" / KEY
    folder.mkdir(parents=True)
    # The kernel moves a directory elsewhere only for who may write the directory itself.
    disk.refuses = lambda step, path: errno.EACCES if step == "exchange" else 0
    world.want(dict(IRIS))
    world.run()
    assert world.status() == "ModelDownloadPending", "an empty folder is no model"
    world.download(world.jobs[0])
    world.run()
    assert world.status() == "ModelDownloaded"
    assert (folder / "config.json").read_bytes() == FILES["config.json"]


# what cannot be deleted ------------------------------------------------------------------------------------------


def test_what_cannot_be_deleted_is_told_once_with_its_path_and_tried_ever_more_seldom_d13(
    world: World, disk: Refusing
) -> None:
    world.publish()
    disk.refuses = lambda step, _: errno.EACCES if step == "remove_tree" else 0
    world.client.delete(world.cache())
    world.want()
    for _ in range(10):
        world.run()
        world.clock.advance(60)
    tries = [path for step, path in disk.steps if step == "remove_tree"]
    assert len(tries) == 4, "at 0, 60, 180 and 420 s"
    told = [line for line in world.recorder.lines if "CannotDelete" in line]
    assert len(told) == 1
    assert f"cannot delete {tries[0]}: Permission denied" in told[0]
    assert "chown -R it to the agent" in told[0]
    status, _, message = condition(world)
    assert status == "True", "models can be downloaded all the same"
    assert f"cannot delete {tries[0]}" in message
    disk.refuses = lambda *_: 0
    world.clock.advance(3600)
    world.run()
    assert "cannot delete" not in condition(world)[2]
    assert list(world.store.trash.iterdir()) == []


def test_a_model_that_cannot_be_moved_away_is_told_and_others_are_removed_d13(world: World, disk: Refusing) -> None:
    world.publish()
    world.want(dict(IRIS), dict(OTHER))
    world.run()
    world.download(next(job for job in world.jobs if not job.is_complete))
    world.run()
    folder = world.root / "models" / KEY
    disk.refuses = lambda step, path: errno.EACCES if step == "rename" and path == folder else 0
    for name in ("iris", "other"):
        world.client.delete(world.cache(name))
    world.want()
    result = world.run()
    assert folder.exists()
    assert not (world.root / "models" / OTHER_KEY).exists()
    status, reason, message = condition(world)
    assert (status, reason) == ("False", "WrongOwner")
    assert f"cannot move {folder} away: it is owned by" in message
    assert result is not None
    assert result.requeue_after == 60, "the next pass is soon enough"
    disk.refuses = lambda *_: 0
    world.run()
    assert condition(world)[0] == "True"
    assert not folder.exists()


def test_directories_that_a_download_made_unwritable_are_deleted_d13(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    store.open()
    nested = store.prepare_staging(KEY, URI) / "a" / "b"
    nested.mkdir(parents=True)
    (nested / "file").touch()
    nested.chmod(0o555)
    nested.parent.chmod(0o555)
    store.remove(KEY)
    store.empty_trash()
    assert list(store.trash.iterdir()) == []
    assert store.leftovers == []


# what is not ours ------------------------------------------------------------------------------------------------


def test_what_is_not_ours_is_told_once_and_never_touched_d01_d14(world: World) -> None:
    names = ["lost+found", "my-preseeded-model", "sklearn-iris", "f" * 16]
    for name in names:
        path = world.root / "models" / name / "1" / "model.bin"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"weights")
    world.publish()
    world.client.delete(world.cache())
    world.want()
    for _ in range(3):
        world.clock.advance(10_000)
        world.run()
    for name in names:
        assert (world.root / "models" / name / "1" / "model.bin").read_bytes() == b"weights"
    assert not (world.root / "models" / KEY).exists()
    (told,) = [line for line in world.recorder.lines if "ForeignFolders" in line]
    assert all(name in told for name in names)
    assert f"not ours and left alone: {', '.join(sorted(names))}" in condition(world)[2]


def test_a_thousand_foreign_names_make_no_long_message(world: World) -> None:
    for number in range(1000):
        (world.root / "models" / f"{number:04}-{'x' * 100}").mkdir(parents=True)
    (world.root / "models" / os.fsdecode(b"0000-\xff")).mkdir()
    world.want(dict(IRIS))
    world.run()
    message = condition(world)[2]
    assert "and 993 more" in message
    assert len(message) < 1000


# missing, not mounted, replaced, locked --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("is_mounted", "reason", "words"),
    [(False, "RootNotMounted", "probably not mounted"), (True, "RootEmpty", "it is another disk, or was emptied")],
)
def test_a_disk_that_is_away_is_told_from_one_that_was_replaced(
    world: World, monkeypatch: pytest.MonkeyPatch, is_mounted: bool, reason: str, words: str
) -> None:
    monkeypatch.setattr(root, "is_whole_file_system", lambda _: is_mounted)
    world.publish()
    (world.root / "models").rename(world.root / "away")
    world.run()
    status, told, message = condition(world)
    assert (status, told) == ("False", reason)
    assert words in message
    assert [path.name for path in world.root.iterdir()] == ["away"], "nothing is written to what may be a mount point"
    assert world.status() == "ModelDownloaded"
    assert len(world.jobs) == 1


def test_a_missing_root_is_told(world: World) -> None:
    world.publish()
    world.root.rename(world.root.with_name("gone"))
    world.run()
    assert condition(world)[:2] == ("False", "RootMissing")
    assert str(world.root) in condition(world)[2]
    world.root.with_name("gone").rename(world.root)
    world.run()
    assert condition(world)[0] == "True"


def test_a_root_of_another_agent_is_told_with_its_node(world: World) -> None:
    other = ModelStore(world.root, owner="node-2")
    other.open()
    world.want(dict(IRIS))
    world.run()
    status, reason, message = condition(world)
    assert (status, reason) == ("False", "RootLocked")
    assert "(node node-2)" in message
    other.close()


def test_a_link_in_the_root_is_told(world: World, tmp_path_factory: pytest.TempPathFactory) -> None:
    world.publish()
    (world.root / "models").rename(world.root / "away")
    (world.root / "models").symlink_to(tmp_path_factory.mktemp("elsewhere"))
    world.run()
    assert condition(world)[:2] == ("False", "LinkInRoot")


def test_directories_of_the_store_that_somebody_removed_are_made_again(world: World) -> None:
    world.publish()
    world.store.trash.rmdir()
    world.store.staging.rmdir()
    world.run()
    assert condition(world)[0] == "True"
    assert world.store.trash.is_dir()
    assert world.store.staging.is_dir()


# what KServe believes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("left", ["nothing", "an empty folder", "half of the files"])
def test_a_status_that_says_downloaded_is_no_proof_d05_d06(world: World, left: str) -> None:
    world.publish()
    folder = world.root / "models" / KEY
    (folder / "config.json").unlink()
    if left != "half of the files":
        (folder / "weights/model.safetensors").unlink()
        (folder / "weights").rmdir()
    if left == "nothing":
        folder.rmdir()
    world.run()
    assert world.status() == "ModelDownloadPending"
    (again,) = [job for job in world.jobs if not job.is_complete]
    world.finish(again, "Complete", succeeded=1)
    world.run()
    assert world.status() == "ModelDownloadError", "two Jobs that succeeded are no model"
    assert world.model().reason == "NothingDownloaded"


def test_old_files_do_not_mix_with_new_ones_d07(world: World) -> None:
    world.want(dict(IRIS))
    world.run()
    world.download(world.jobs[0], {"old.bin": b"old"})
    staged = world.root / "models" / ".staging" / KEY
    (staged / "old.bin").unlink()
    world.run()
    assert world.model().reason == "NothingDownloaded"
    (staged / "old.bin").write_bytes(b"half")
    world.clock.advance(30)
    world.run()
    world.download(next(job for job in world.jobs if not job.is_complete))
    world.run()
    assert world.status() == "ModelDownloaded"
    assert not (world.root / "models" / KEY / "old.bin").exists()
