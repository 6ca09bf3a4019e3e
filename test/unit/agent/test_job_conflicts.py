"""Jobs of one name that are not one: whoever may name caches can make the hashes in two names come to the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.agent import KEY, World, without_seeing_jobs
from support.rivals import ONE, TWO, checks, downloads, rivals, shared

from localmodel.agent import jobs
from localmodel.api.names import storage_key

OTHER = "s3://mybucket/other"
MINE = {"modelName": "two", "sourceModelUri": OTHER, "namespace": "team-c", "serviceAccountName": "three"}
"""A name that comes to the same as that of TWO, by its beginning, for another URI."""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(jobs, "_hash", lambda _: "0" * 10)
    made = rivals(tmp_path)
    yield made
    made.store.close()


def test_a_download_whose_name_another_has_says_so_and_waits(world: World) -> None:
    world.want(dict(TWO), dict(MINE))
    world.run()
    (job,) = downloads(world)
    assert job.metadata.labels[jobs.STORAGE_KEY_LABEL] == KEY
    model = world.model("team-c/two")
    assert (world.status("team-c/two"), model.reason) == ("ModelDownloadError", "JobConflict")
    assert f"{job.key} has the name that this one gets and is another's" in model.message
    assert f"storage key {KEY}, cache team-b/two" in model.message


def test_it_starts_when_that_job_is_gone(world: World) -> None:
    world.want(dict(TWO), dict(MINE))
    world.run()
    (job,) = downloads(world)
    world.download(job)
    world.run()
    world.client.delete(job)
    world.run()
    (job,) = downloads(world)
    assert job.metadata.labels[jobs.STORAGE_KEY_LABEL] == storage_key(OTHER)


def test_what_one_check_proves_is_not_anothers_d16(world: World) -> None:
    """Mine succeeds on a URI of mine; under its name I ask for theirs."""
    first = {**ONE, "modelName": "mine", "sourceModelUri": OTHER}
    world.want(dict(first))
    world.run()
    world.download(downloads(world)[0])
    world.want(dict(first), dict(MINE))
    world.run()
    (check,) = checks(world)
    world.finish(check, "Complete", succeeded=1)
    world.run()
    assert world.status("team-c/two") == "ModelDownloaded"
    world.want(dict(ONE))
    world.run()
    world.download(next(job for job in downloads(world) if not job.is_complete))
    world.want(dict(ONE), dict(TWO))
    world.run()
    assert world.model("team-b/two").reason == "JobConflict"
    assert f"storage key {storage_key(OTHER)}, cache team-c/two" in world.model("team-b/two").message
    assert world.status("one") == "ModelDownloaded"


def test_a_check_that_somebody_else_made_proves_nothing_d16(world: World) -> None:
    shared(world, TWO)
    (check,) = checks(world)
    world.client.delete(check)
    check.metadata.owner_references, check.metadata.uid, check.metadata.resource_version = [], "", ""
    world.finish(world.client.create(check), "Complete", succeeded=1)
    world.run()
    assert world.model("team-b/two").reason == "JobConflict"


def test_the_own_check_that_the_cache_does_not_show_yet_is_no_conflict(world: World) -> None:
    shared(world, TWO)
    without_seeing_jobs(world)
    world.run()
    assert len(checks(world)) == 1
    assert world.model("team-b/two").reason == "CheckingCredentials"
