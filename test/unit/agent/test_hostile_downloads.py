"""What a download may leave behind, where its source means harm: nothing of it reaches the agent or other models."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.agent import KEY, URI, World

from localmodel.agent.beneath import Beneath
from localmodel.agent.errors import VerificationError
from localmodel.agent.filesystem import FileSystem
from localmodel.agent.tree import MAX_DEPTH, disk_size, scan
from localmodel.download.manifest import FileEntry, Manifest

OTHER = "s3://other/model"
LEVELS = 3000
"""More than the interpreter recurses into, and more than a path may have names."""


@pytest.fixture(autouse=True)
def shallow(tmp_path: Path) -> Iterator[None]:
    """pytest cannot remove what is nested too deep."""
    yield
    subprocess.run(["rm", "-rf", *map(str, tmp_path.iterdir())], check=True)


def nest(folder: Path, levels: int = LEVELS) -> None:
    """Directories in each other, and a file of ten bytes in the first and the last."""
    descriptor = os.open(folder, os.O_RDONLY)
    for level in range(levels):
        if level in (0, levels - 1):
            file = os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=descriptor)
            os.write(file, b"0123456789")
            os.close(file)
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)


def stage(world: World) -> Path:
    """The staging directory of a download that is under way."""
    world.want({"modelName": "iris", "sourceModelUri": URI}, {"modelName": "other", "sourceModelUri": OTHER})
    world.run()
    return world.root / "models" / ".staging" / KEY


def test_directories_without_end_stop_no_other_model(world: World) -> None:
    nest(stage(world))
    for job in list(world.jobs):
        world.download(job)
    world.run()
    assert (world.status("iris"), world.status("other")) == ("ModelDownloadError", "ModelDownloaded")
    assert world.model("iris").reason == "VerificationFailed"
    assert "too deep" in world.model("iris").message


def test_directories_without_end_are_removed(tmp_path: Path) -> None:
    folder, files = tmp_path / "folder", FileSystem()
    files.confine(tmp_path)
    folder.mkdir()
    nest(folder)
    (folder / ".moved-up-1").mkdir()
    (folder / ".moved-up-1" / "file").write_bytes(b"")
    assert disk_size(folder) >= 10
    files.remove_tree(folder)
    assert list(tmp_path.iterdir()) == []


def test_a_deep_model_is_read_as_long_as_paths_go(tmp_path: Path) -> None:
    nest(tmp_path, MAX_DEPTH)
    assert sorted(scan(tmp_path).values()) == [10, 10]
    (tmp_path / "more").mkdir()
    nest(tmp_path / "more", MAX_DEPTH)
    with pytest.raises(VerificationError, match="too deep"):
        scan(tmp_path)


@pytest.mark.parametrize(
    "document",
    [
        '{"uri": "%s", "state": "downloading", "bytesDone": 18446744073709551615}',
        '{"uri": "%s", "state": "downloading", "bytesTotal": -5}',
        '{"uri": "%s", "state": "downloading", "x": ' + "[" * 9000 + "]" * 9000 + "}",
        '{"uri": "%s", "state": "downloading", "message": "' + "x" * 100_000 + '"}',
    ],
    ids=["more than 64 bits", "negative", "nested", "long"],
)
def test_progress_that_cannot_be_true_is_none(world: World, document: str) -> None:
    notes = stage(world) / ".localmodel"
    notes.mkdir()
    (notes / "progress.json").write_text(document % URI)
    (notes.parent / "weights").write_bytes(b"12345")
    world.download_pod(next(job for job in world.jobs if job.metadata.labels["model"] == "iris"))
    world.run()
    assert world.store.progress(KEY) is None
    assert world.model("iris").bytes_downloaded in (None, 5, 5 + len(document % URI))


def test_a_manifest_nested_without_end_is_that_downloads_failure(world: World) -> None:
    notes = stage(world) / ".localmodel"
    notes.mkdir()
    (notes / "manifest.json").write_text('{"uri": "", "x": ' + "[" * 9000 + "]" * 9000 + "}")
    for job in list(world.jobs):
        world.download(job)
    world.run()
    assert (world.model("iris").reason, world.status("other")) == ("VerificationFailed", "ModelDownloaded")


@pytest.mark.parametrize(
    ("image", "status"), [("kserve/loader", "ModelDownloadError"), ("localmodel", "ModelDownloaded")]
)
def test_a_source_cannot_vouch_for_itself_where_a_digest_is_expected(world: World, image: str, status: str) -> None:
    """Notes of the source's own, brought by an image to which they are files like any other."""
    expected = Manifest.of(uri=URI, revision=None, files=[FileEntry(path="weights", size=4, sha256="a" * 64)])
    world.set_config({"image": f"{image}:1"})
    world.want({"modelName": "iris", "sourceModelUri": URI, "digest": expected.digest})
    world.run()
    (job,) = world.jobs
    world.download(job, {"weights": b"evil", ".localmodel/manifest.json": expected.to_json()})
    world.run()
    assert world.status() == status


def test_a_file_that_is_too_large_for_a_note_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "note").write_bytes(b"12345")
    assert Beneath(tmp_path).read(tmp_path / "note", limit=5) == b"12345"
    with pytest.raises(OSError, match="more than 4"):
        Beneath(tmp_path).read(tmp_path / "note", limit=4)
