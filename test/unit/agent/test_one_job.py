"""At most one unfinished Job for a storage key, and no result of one download taken for another's."""

from __future__ import annotations

from support.agent import JOBS, KEY, URI, World, without_seeing_jobs

from localmodel.api import LocalModelCache
from localmodel.runtime.objects import ServiceAccount

IRIS = {"modelName": "iris", "sourceModelUri": URI}


def models(world: World) -> list[str]:
    return [job.metadata.annotations["localmodel.kserve.io/model"] for job in world.jobs]


def test_a_stale_cache_and_another_first_entry_start_no_second_job(world: World) -> None:
    world.want(dict(IRIS))
    world.run()
    without_seeing_jobs(world)
    world.want(dict(IRIS), {"modelName": "a-first", "sourceModelUri": URI})
    world.run()
    assert models(world) == ["iris"]


def test_a_job_of_an_attempt_that_the_disk_forgot_is_adopted(world: World) -> None:
    world.want(dict(IRIS))
    world.run()
    world.finish(world.jobs[0], "Failed", failed=1)
    world.run()
    world.clock.advance(30)
    world.run()
    world.client.delete(world.jobs[0], propagation="Background")
    assert len(world.jobs) == 1
    world.store.close()
    (world.root / "models" / ".localmodel" / "records" / f"{KEY}.json").unlink()
    world.start()
    world.run()
    assert len(world.jobs) == 1
    world.download(world.jobs[0])
    world.run()
    assert world.status() == "ModelDownloaded"


def test_the_job_of_an_earlier_local_model_node_ends_before_another_starts(world: World) -> None:
    world.want(dict(IRIS))
    world.run()
    (old,) = world.jobs
    world.client.patch(old, {"metadata": {"finalizers": ["example.com/hold"]}})
    world.client.delete(world.node)
    world.run()
    world.want(dict(IRIS))
    world.run()
    (job,) = world.jobs
    assert job.is_deleting
    assert world.status() == "ModelDownloadPending"
    world.client.patch(job, {"metadata": {"finalizers": None}})
    world.run()
    (new,) = world.jobs
    assert new.name != old.name


def test_a_job_with_our_labels_that_nobody_owns_is_named(world: World) -> None:
    world.want(dict(IRIS))
    world.run()
    (job,) = world.jobs
    world.client.patch(job, {"metadata": {"ownerReferences": None}})
    world.want(dict(IRIS), {"modelName": "a-first", "sourceModelUri": URI})
    world.run()
    assert len(world.jobs) == 1
    assert job.name in world.model().message


def test_the_result_of_a_removed_model_is_not_taken_for_the_next_ones_d45(world: World) -> None:
    world.publish()
    (old,) = world.jobs
    world.client.patch(old, {"metadata": {"finalizers": ["example.com/hold"]}})
    world.client.delete(world.client.get(LocalModelCache, "iris"))
    world.want()
    world.run()
    world.want(dict(IRIS))
    world.run()
    assert [event for event in world.reasons() if event == "DownloadFailed"] == []
    new = next(job for job in world.jobs if job.name != old.name)
    assert new.metadata.annotations["localmodel.kserve.io/attempt"] == "2"


# credentials -------------------------------------------------------------------------------------------------------


def account(world: World, name: str) -> None:
    world.client.create(ServiceAccount.from_dict({"metadata": {"name": name, "namespace": JOBS}}))


def test_a_model_outlives_its_cache_only_for_caches_with_its_credentials_d16(world: World) -> None:
    account(world, "other")
    world.publish()
    thief = {"modelName": "thief", "sourceModelUri": URI, "serviceAccountName": "other"}
    world.want(dict(IRIS), dict(thief))
    world.run()
    assert world.model("thief").reason == "CredentialsDiffer"
    world.client.delete(world.cache())
    world.want(dict(thief))
    world.run()
    assert world.status("thief") == "ModelDownloadPending"
    assert models(world)[-1:] == ["thief"]
    world.download(next(job for job in world.jobs if not job.is_complete))
    world.run()
    assert world.status("thief") == "ModelDownloaded"


def test_a_download_under_way_is_not_handed_to_other_credentials(world: World) -> None:
    account(world, "other")
    thief = {"modelName": "thief", "sourceModelUri": URI, "serviceAccountName": "other"}
    world.want(dict(IRIS), dict(thief))
    world.run()
    pod = world.download_pod(world.jobs[0])
    world.client.delete(world.cache())
    world.want(dict(thief))
    world.run()
    assert world.jobs == []
    world.run()
    assert world.jobs == []
    world.client.delete(pod, grace_period_seconds=0)
    world.run()
    assert models(world) == ["thief"]


def test_a_model_is_not_handed_over_while_the_cache_that_downloaded_it_stands(world: World) -> None:
    account(world, "other")
    world.publish()
    thief = {"modelName": "thief", "sourceModelUri": URI, "serviceAccountName": "other"}
    world.want(dict(thief))
    world.run()
    assert world.model("thief").reason == "CredentialsDiffer"
    world.want(dict(IRIS), dict(thief))
    world.run()
    assert world.status() == "ModelDownloaded"


def test_a_cache_that_changes_its_credentials_keeps_its_model(world: World) -> None:
    account(world, "other")
    world.publish()
    bare = {"modelName": "a-bare", "sourceModelUri": URI, "serviceAccountName": "third"}
    world.want({**IRIS, "serviceAccountName": "other"}, bare)
    world.run()
    assert (world.status(), world.status("a-bare")) == ("ModelDownloaded", "ModelDownloadPending")
