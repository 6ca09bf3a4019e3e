"""A cache whose revision, patterns or digest change: what is here is not what it asks for any more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.agent import FILES, KEY, URI, World

from localmodel.agent.tree import file_digest
from localmodel.api import LocalModelCache
from localmodel.api.names import storage_key
from localmodel.download.manifest import FileEntry, compute_digest

ENTRY: dict[str, Any] = {"modelName": "iris", "sourceModelUri": URI}
OTHER = f"sha256:{'1' * 64}"


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.publish()
    return world


def digest_of(folder: Path) -> str:
    return compute_digest([FileEntry(path=path, size=len(FILES[path]), sha256=file_digest(folder, path))
                           for path in sorted(FILES)])  # fmt: skip


@pytest.mark.parametrize("change", [{"revision": "v2"}, {"include": ["*.json"]}, {"exclude": ["*.bin"]}])
def test_a_changed_selection_is_downloaded_anew_and_pods_keep_the_old_files(
    world: World, change: dict[str, Any]
) -> None:
    world.serving_pod()
    held = (world.root / "models" / KEY / "config.json").open("rb")
    world.want(ENTRY | change)
    world.run()
    assert world.status() == "ModelDownloadPending"
    (job,) = [job for job in world.jobs if not job.is_complete]
    assert (world.root / "models" / KEY / "config.json").exists()
    world.download(job, {"config.json": b"other"})
    world.run()
    assert world.status() == "ModelDownloaded"
    assert (world.root / "models" / KEY / "config.json").read_bytes() == b"other"
    with held:
        assert held.read() == FILES["config.json"]
    version, made = world.node.metadata.resource_version, len(world.jobs)
    world.run()
    world.restart()
    world.run()
    assert (world.node.metadata.resource_version, len(world.jobs)) == (version, made)


def test_a_cache_that_changes_takes_nothing_from_another(world: World) -> None:
    twin = {**ENTRY, "modelName": "twin"}
    world.want(dict(ENTRY), dict(twin))
    world.run()
    world.want(ENTRY | {"revision": "v2"}, dict(twin))
    world.run()
    assert (world.status("twin"), world.model("iris").reason) == ("ModelDownloaded", "SelectionDiffers")


def test_the_digest_of_what_is_here_may_be_named_and_dropped(world: World) -> None:
    folder = world.root / "models" / KEY
    manifest = world.store.manifest(KEY)
    assert manifest is not None
    world.store.add_digests(KEY, manifest, {path: file_digest(folder, path) for path in FILES})
    for digest in (digest_of(folder), ""):
        world.want(ENTRY | {"digest": digest})
        world.run()
        assert world.status() == "ModelDownloaded"
    world.want(ENTRY | {"digest": OTHER})
    world.run()
    assert world.status() == "ModelDownloadPending"


def test_a_digest_that_kserve_s_crd_prunes_is_asked_of_the_cache(tmp_path: Path) -> None:
    world = World(tmp_path)
    uri = "s3://bucket/other"
    world.want({"modelName": "other", "sourceModelUri": uri, "modelSize": ""})
    world.client.patch(world.client.get(LocalModelCache, "other"), {"spec": {"digest": OTHER}})
    world.run()
    world.download(world.jobs[0])
    world.run()
    assert world.model("other").reason == "VerificationFailed"
    assert not (world.root / "models" / storage_key(uri)).exists()
