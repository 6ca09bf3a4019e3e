"""Do downloads write where the agent looks? Told beforehand, and where a download left nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.agent import URI, World

from localmodel.agent.hostpath import AgentPod, host_path_of
from localmodel.api import LocalModelNodeGroup
from localmodel.runtime.errors import ForbiddenError
from localmodel.runtime.objects import Object, Pod, Unstructured

IRIS = {"modelName": "iris", "sourceModelUri": URI}


def agent_pod(path: str, *, mount: str) -> dict[str, Any]:
    return {
        "metadata": {"name": "agent-x", "namespace": "kserve"},
        "spec": {
            "volumes": [
                {"name": "tmp", "emptyDir": {}},
                {"name": "m", **({"hostPath": {"path": path}} if path else {})},
            ],
            "containers": [{"name": "manager", "image": "i", "volumeMounts": [{"name": "m", "mountPath": mount}]}],
        },
    }


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    made.agent._pod_name = "agent-x"
    group = made.client.get(LocalModelNodeGroup, "gpu1")
    made.client.patch(group, {"spec": {"persistentVolumeSpec": {"local": {"path": "/data/models"}}}})
    yield made
    made.store.close()


def run_as(world: World, document: dict[str, Any]) -> Object:
    kind = Unstructured.of(Pod.mapping)
    return world.client.create(kind.from_dict(document))


def leave_nothing(world: World) -> None:
    world.finish(world.jobs[0], "Complete", succeeded=1)
    world.run()


def told(world: World) -> list[str]:
    return [line for line in world.recorder.lines if "PathMismatch" in line]


def test_a_difference_is_told_when_the_first_download_starts_d12(world: World) -> None:
    run_as(world, agent_pod("/models", mount=str(world.root)))
    world.want(dict(IRIS), {"modelName": "other", "sourceModelUri": "s3://o/n"})
    world.run()
    assert len(world.jobs) == 2, "one may be a link to the other on the host"
    assert [line for line in told(world) if "StorageNotReady" not in line] == [
        "Warning PathMismatch downloads of LocalModelNodeGroup gpu1 write to /data/models on this node, but this agent "
        f"has /models mounted at {world.root}; make the two one path"
    ]


def test_a_job_that_succeeded_and_left_nothing_makes_a_condition_with_both_paths_d12(world: World) -> None:
    run_as(world, agent_pod("/models", mount=str(world.root)))
    world.want(dict(IRIS))
    world.run()
    leave_nothing(world)
    assert (world.status(), world.model().reason) == ("ModelDownloadError", "NothingDownloaded")
    condition = world.node.status.conditions[0]
    assert (condition.status, condition.reason) == ("False", "PathMismatch")
    assert "write to /data/models on this node, but this agent has /models" in condition.message
    assert "left no file" in condition.message


def test_the_condition_goes_when_a_download_arrives(world: World) -> None:
    world.want(dict(IRIS))
    world.run()
    leave_nothing(world)
    assert world.node.status.conditions[0].reason == "PathMismatch"
    world.clock.advance(30)
    world.run()
    world.download(next(job for job in world.jobs if not job.is_complete))
    world.run()
    assert world.node.status.conditions[0].reason == "Ready"


@pytest.mark.parametrize("own", ["/data/models", "/data/models/", ""])
def test_where_the_paths_are_one_or_the_agents_is_not_known_nothing_is_told(world: World, own: str) -> None:
    run_as(world, agent_pod(own, mount=str(world.root)))
    world.want(dict(IRIS))
    world.run()
    assert told(world) == []


def test_an_agent_that_may_not_read_its_pod_or_is_none_works_all_the_same(world: World) -> None:
    run_as(world, agent_pod("/models", mount=str(world.root)))
    fault = world.client.faults.fail(ForbiddenError.of("no"), verb="get", kind=AgentPod)
    world.want(dict(IRIS))
    world.run()
    assert fault.hits == 1
    assert told(world) == []
    assert len(world.jobs) == 1


@pytest.mark.parametrize(
    ("mount", "path", "expected"),
    [
        ({"mountPath": "/mnt/models"}, "/models", "/models"),
        ({"mountPath": "/mnt/models/"}, "/models/", "/models"),
        ({"mountPath": "/mnt"}, "/data", "/data/models"),
        ({"mountPath": "/mnt/models", "subPath": "a"}, "/data", "/data/a"),
        ({"mountPath": "/mnt/model"}, "/data", ""),
        ({"mountPath": "/mnt/models"}, None, ""),
    ],
)
def test_the_host_path_of_a_directory_in_a_pod(mount: dict[str, str], path: str | None, expected: str) -> None:
    spec = {
        "volumes": [{"name": "m", "hostPath": {"path": path}} if path else {"name": "m", "emptyDir": {}}],
        "containers": [{"volumeMounts": [{"name": "m", **mount}]}, {"name": "sidecar"}],
    }
    assert host_path_of(spec, "/mnt/models") == expected
