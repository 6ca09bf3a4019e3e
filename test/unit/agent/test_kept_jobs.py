"""A Job that has ended stays for its time (kserve-behaviour.md 8), so that somebody can read why: `kubectl logs`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.agent import URI, World
from support.rivals import ONE, TWO, account_of, downloads, rivals, under_way

from localmodel.api import LocalModelCache
from localmodel.runtime.objects import Job


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = rivals(tmp_path)
    yield made
    made.store.close()


@pytest.fixture
def failed(world: World) -> Job:
    """The Job of the first try, which has failed; the second is under way."""
    world.want(dict(ONE))
    world.run()
    (job,) = world.jobs
    world.finish(job, "Failed", failed=1)
    world.run()
    world.clock.advance(30)
    world.run()
    assert len(under_way(world)) == 1
    return job


def kept(world: World) -> list[str]:
    return [job.metadata.uid for job in downloads(world)]


def test_a_try_that_does_not_start_costs_the_earlier_ones_no_log(world: World, failed: Job) -> None:
    world.run()
    world.clock.advance(900)
    world.run()
    assert (world.model("one").reason, kept(world)) == ("PodNotCreated", [failed.metadata.uid])


def test_nor_does_one_that_outgrows_the_disk(world: World, failed: Job) -> None:
    (job,) = under_way(world)
    mount = job.spec.template["spec"]["containers"][0]["volumeMounts"][0]["subPath"]
    (world.root / mount / "weights").write_bytes(b"\1" * (11 << 20))
    world.run()
    world.run()
    assert (world.model("one").reason, kept(world)) == ("InsufficientStorage", [failed.metadata.uid])


def test_wrong_credentials_can_be_read_of_when_it_is_the_turn_of_others_d17(world: World) -> None:
    world.want(dict(ONE), dict(TWO))
    world.run()
    (job,) = downloads(world)
    world.finish(job, "Failed", failed=1)
    for _ in range(3):
        world.run()
    assert [account_of(it) for it in downloads(world)] == ["one", "two"]
    assert kept(world)[0] == job.metadata.uid
    world.download(under_way(world)[0])
    world.run()
    assert (world.status("team-b/two"), world.model("team-b/two").attempts) == ("ModelDownloaded", 2)


def test_the_mode_of_downloads_may_change_between(world: World, failed: Job) -> None:
    world.configure(downloadMode="Agent")
    world.run()
    assert kept(world) == [failed.metadata.uid]


def test_they_go_with_the_model(world: World, failed: Job) -> None:
    world.client.delete(world.client.get(LocalModelCache, "one"))
    world.want({"modelName": "other", "sourceModelUri": f"{URI}-2"})
    world.run()
    assert [job.metadata.labels["model"] for job in downloads(world)] == ["other"]
    assert failed.metadata.uid not in kept(world)
