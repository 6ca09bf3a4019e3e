"""When a model leaves the disk: what its cache says, what pods and downloads do, and what is not ours."""

from __future__ import annotations

import pytest
from support.agent import KEY, URI, World

from localmodel.api import LocalModelCache


def test_a_model_whose_cache_is_gone_leaves_the_disk_at_once(world: World) -> None:
    world.publish()
    world.client.delete(world.client.get(LocalModelCache, "iris"))
    world.want()
    world.run()
    assert not (world.root / "models" / KEY).exists()
    assert world.jobs == []
    world.run()
    assert world.node.status.model_status == {}
    assert list((world.root / "models" / ".trash").iterdir()) == []


def test_a_model_whose_cache_still_stands_is_kept_for_the_grace_period(world: World) -> None:
    world.configure(reconcilationFrequencyInSecs=86400)
    world.publish()
    world.want()
    for wait in (3600, 1801):
        due = world.run()
        assert due is not None
        assert due.requeue_after == wait, "no event tells of the end"
        world.clock.advance(1800 - 1)
    assert (world.root / "models" / KEY).exists()
    world.clock.advance(2)
    world.run()
    assert not (world.root / "models" / KEY).exists()


def test_an_entry_that_comes_back_within_the_grace_finds_its_model(world: World) -> None:
    world.publish()
    world.want()
    world.run()
    assert world.status() is None
    world.want({"modelName": "iris", "sourceModelUri": URI})
    world.run()
    assert world.status() == "ModelDownloaded"
    assert len(world.jobs) == 1


@pytest.mark.parametrize(
    ("sub_path", "claim"), [(f"models/{KEY}", "another-claim"), (f"models/{KEY}/sub", "iris-gpu1"), ("", "iris-gpu1")]
)
def test_a_model_in_use_is_never_deleted_d01(world: World, sub_path: str, claim: str) -> None:
    world.publish()
    pod = world.serving_pod(sub_path=sub_path, claim=claim)
    world.client.delete(world.client.get(LocalModelCache, "iris"))
    world.want()
    world.run()
    world.run()
    assert (world.root / "models" / KEY).exists()
    assert world.node.status.model_status == {}, "the cache need not wait for the pod"
    world.client.delete(pod, grace_period_seconds=0)
    world.run()
    assert not (world.root / "models" / KEY).exists()


def test_use_is_reported(world: World) -> None:
    world.publish()
    world.serving_pod()
    world.run()
    assert world.model().in_use
    assert world.model().last_used_time == world.clock.now()


def test_a_folder_is_not_removed_under_a_running_download_d08(world: World) -> None:
    world.want({"modelName": "iris", "sourceModelUri": URI})
    world.run()
    pod = world.download_pod(world.jobs[0])
    world.client.delete(world.client.get(LocalModelCache, "iris"))
    world.want()
    world.run()
    assert world.jobs == []
    assert (world.root / "models" / ".staging" / KEY).exists()
    world.client.status.patch(pod, {"status": {"phase": "Failed"}})
    world.run()
    assert not (world.root / "models" / ".staging" / KEY).exists()


def test_without_a_local_model_node_nothing_is_deleted(world: World) -> None:
    world.publish()
    world.client.delete(world.client.get(LocalModelCache, "iris"))
    world.client.delete(world.node)
    assert world.run() is None
    assert (world.root / "models" / KEY).exists()


def test_a_shared_model_stays_when_one_of_its_caches_goes_d09(world: World) -> None:
    world.want({"modelName": "one", "sourceModelUri": URI}, {"modelName": "two", "sourceModelUri": URI})
    world.run()
    (job,) = world.jobs
    assert job.metadata.labels["model"] == "one"
    world.client.delete(world.client.get(LocalModelCache, "one"))
    world.want({"modelName": "two", "sourceModelUri": URI})
    world.run()
    assert [j.name for j in world.jobs] == [job.name]
    assert world.node.status.model_status == {"two": "ModelDownloadPending"}


def test_foreign_directories_are_never_deleted_d01(world: World) -> None:
    world.publish()
    for name in ("lost+found", "f" * 16):
        (world.root / "models" / name).mkdir()
    world.want()
    world.clock.advance(10_000)
    world.run()
    assert (world.root / "models" / "lost+found").exists()
    assert (world.root / "models" / ("f" * 16)).exists()


def test_whose_a_model_is_stands_in_its_manifest_too(world: World) -> None:
    """So it goes with its cache, at once, also where its record was lost and its Job has gone."""
    world.publish()
    world.client.delete(world.jobs[0], propagation="Background")
    world.store.close()
    (world.root / "models" / ".localmodel" / "records" / f"{KEY}.json").unlink()
    world.start()
    world.client.delete(world.client.get(LocalModelCache, "iris"))
    world.want()
    world.run()
    assert not (world.root / "models" / KEY).exists()
