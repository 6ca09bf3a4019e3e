"""What happens to one entry is nothing to another: of the same name, made anew, or beside one that fails."""

from __future__ import annotations

from typing import Any

import pytest
from support.agent import KEY, URI, World

from localmodel.api import LocalModelNodeGroup
from localmodel.api.container import ClusterStorageContainer
from localmodel.runtime.errors import InvalidError
from localmodel.runtime.objects import Job
from localmodel.runtime.testing.fake import FakeClient

GOOD = {"modelName": "good", "sourceModelUri": "s3://good"}


def uris(world: World) -> set[str]:
    return {job.spec.template["spec"]["containers"][0]["args"][0] for job in world.jobs}


def test_caches_of_one_name_in_both_scopes_have_their_own_jobs_and_results_d44(world: World) -> None:
    world.want(
        {"modelName": "iris", "sourceModelUri": URI},
        {"modelName": "iris", "sourceModelUri": "s3://team", "namespace": "team-a"},
    )
    world.run()
    assert uris(world) == {URI, "s3://team"}
    of_team = next(job for job in world.jobs if "modelNamespace" in job.metadata.labels)
    world.finish(of_team, "Failed", failed=3)
    world.run()
    assert (world.status("iris"), world.status("team-a/iris")) == ("ModelDownloadPending", "ModelDownloadError")
    world.download(next(job for job in world.jobs if "modelNamespace" not in job.metadata.labels))
    world.run()
    assert (world.status("iris"), world.status("team-a/iris")) == ("ModelDownloaded", "ModelDownloadError")


def test_a_cache_made_anew_with_another_uri_does_not_wait_for_the_old_ones_failure_d45(world: World) -> None:
    world.want({"modelName": "iris", "sourceModelUri": URI})
    world.run()
    world.finish(world.jobs[0], "Failed", failed=3)
    world.run()
    assert world.status() == "ModelDownloadError"
    world.client.delete(world.cache())
    world.want({"modelName": "iris", "sourceModelUri": "s3://new"})
    world.run()
    assert "s3://new" in uris(world)
    assert world.status() == "ModelDownloadPending"


def test_a_cache_made_anew_with_the_same_uri_does_not_either_d45(world: World) -> None:
    world.want({"modelName": "iris", "sourceModelUri": URI})
    world.run()
    (first,) = world.jobs
    world.finish(first, "Failed", failed=3)
    world.run()
    world.client.delete(world.cache())
    world.want()
    world.run()
    world.want({"modelName": "iris", "sourceModelUri": URI})
    world.run()
    assert [job.name != first.name for job in world.jobs] == [True]
    assert world.status() == "ModelDownloadPending"


def test_the_first_container_by_name_downloads_whatever_comes_first_d53(world: World) -> None:
    for name in ("b", "c", "a"):
        formats = [{"prefix": "s3://"}]
        spec = {"container": {"name": name, "image": name}, "supportedUriFormats": formats}
        spec["workloadType"] = "localModelDownloadJob"
        world.client.create(ClusterStorageContainer.from_dict({"metadata": {"name": name}, "spec": spec}))
    world.want({"modelName": "iris", "sourceModelUri": URI})
    world.run()
    assert world.jobs[0].spec.template["spec"]["containers"][0]["image"] == "a"


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"modelSize": "much"}, "modelSize 'much' of bad is not a quantity"),
        ({"nodeGroup": "odd"}, "storageLimit of LocalModelNodeGroup odd"),
        ({"serviceAccountName": "nobody"}, "ServiceAccount kserve-localmodel-jobs/nobody does not exist"),
        ({"storage": {"key": "none"}}, "Secret kserve-localmodel-jobs/storage-config with the key 'none'"),
        ({"sourceModelUri": "odd://x"}, "ClusterStorageContainer odd has volumeDevices"),
    ],
)
def test_what_is_wrong_with_one_entry_is_told_and_stops_no_other_d42(
    world: World, bad: dict[str, Any], words: str
) -> None:
    world.client.create(LocalModelNodeGroup.from_dict({"metadata": {"name": "odd"}, "spec": {"storageLimit": "much"}}))
    container = {"name": "c", "image": "i", "volumeDevices": [{"name": "d", "devicePath": "/d"}]}
    spec = {"container": container, "supportedUriFormats": [{"regex": "("}, {"prefix": "odd://"}]}
    spec["workloadType"] = "localModelDownloadJob"
    world.client.create(ClusterStorageContainer.from_dict({"metadata": {"name": "odd"}, "spec": spec}))
    world.want({"modelName": "bad", "sourceModelUri": "s3://bad", **bad}, dict(GOOD))
    world.run()
    assert uris(world) == {"s3://good"}
    assert world.status("bad") == "ModelDownloadError"
    assert words in world.model("bad").message


def test_a_job_that_is_refused_is_told_and_stops_no_other_d42(world: World) -> None:
    def refuse(action: Any, proceed: Any) -> Any:
        if action.verb == "create" and action.kind is Job and action.object.metadata.labels["model"] == "bad":
            raise InvalidError.of("spec.template: bad")
        return proceed()

    world.agent.client = FakeClient(registry=world.client.registry, interceptors=[refuse])
    world.want({"modelName": "bad", "sourceModelUri": "s3://bad"}, dict(GOOD))
    world.run()
    assert uris(world) == {"s3://good"}
    assert (world.status("bad"), world.model("bad").reason) == ("ModelDownloadError", "JobRejected")


def test_a_folder_that_cannot_be_read_is_told_and_stops_no_other_d42(world: World) -> None:
    world.store.open()
    (world.root / "models" / ".localmodel" / "records" / f"{KEY}.json").mkdir()
    world.want({"modelName": "iris", "sourceModelUri": URI}, dict(GOOD))
    world.run()
    assert uris(world) == {"s3://good"}
    assert world.model("iris").reason == "DiskError"
