"""The agent where KServe's own CRDs are installed: what we added to spec and status is pruned."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support import kserve_crds
from support.agent import JOBS, KEY, URI, World

from localmodel.api.credentials import copy_name
from localmodel.runtime.objects import Secret


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    kserve_crds.install(made.client)
    yield made
    made.store.close()


def passes(world: World, count: int) -> int:
    """The writes of so many passes, a minute apart."""
    world.client.actions.clear()
    for _ in range(count):
        world.clock.advance(60)
        world.run()
    return len(world.client.writes)


def test_a_model_is_downloaded_and_reported(world: World) -> None:
    world.publish()
    assert world.node.spec.local_models[0].model_size == ""
    assert world.node.status.conditions == []


def test_passes_without_news_write_nothing(world: World) -> None:
    world.publish()
    assert passes(world, 100) == 0


def test_a_model_in_use_is_not_told_again_and_again(world: World) -> None:
    world.publish()
    world.serving_pod()
    world.run()
    assert passes(world, 100) == 0


def test_a_restart_costs_one_write_that_changes_nothing(world: World) -> None:
    world.publish()
    before = world.node.metadata.resource_version
    world.restart()
    assert passes(world, 10) == 1
    assert world.node.metadata.resource_version == before


def test_a_failing_disk_is_told_once(world: World) -> None:
    world.publish()
    (world.root / "models" / ".localmodel" / "marker").unlink()
    (world.root / "models" / KEY).rename(world.root / "elsewhere")
    passes(world, 3)
    assert world.reasons().count("StorageNotReady") == 1
    assert passes(world, 20) == 0


def test_the_room_that_a_download_was_promised_stays_promised(world: World) -> None:
    world.want({"modelName": "iris", "sourceModelUri": URI})
    world.client.patch(world.cache("iris"), {"spec": {"modelSize": "6Mi"}})
    world.run()
    world.restart()
    world.want({"modelName": "iris", "sourceModelUri": URI}, {"modelName": "other", "sourceModelUri": "s3://o/n"})
    world.client.patch(world.cache("other"), {"spec": {"modelSize": "6Mi"}})
    world.run()
    assert [job.metadata.annotations["localmodel.kserve.io/model"] for job in world.jobs] == ["iris"]
    assert world.status("other") == "ModelDownloadPending"


def test_a_copy_of_credentials_is_found_by_the_uid_that_was_pruned(world: World) -> None:
    world.want({"modelName": "iris", "sourceModelUri": URI})
    name = copy_name(world.cache("iris").metadata.uid)
    world.client.create(
        Secret.from_dict({"metadata": {"name": name, "namespace": JOBS}, "data": {"k": "eyJ0eXBlIjogInMzIn0="}})
    )
    world.want({"modelName": "iris", "sourceModelUri": URI, "storage": {"key": f"{name}/k"}})
    world.run()
    assert world.node.spec.local_models[0].cache_uid == ""
    assert f"'secretKeyRef': {{'name': '{name}', 'key': 'k'}}" in str(world.jobs[0].to_dict())
