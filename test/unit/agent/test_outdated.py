"""Pods that go on with what was in a model's place before it get an event that says what to do."""

from __future__ import annotations

from typing import Any

import pytest
from support.agent import KEY, URI, World

from localmodel.runtime.objects import Pod


def pod_of(world: World, phase: str = "Running", **mount: Any) -> Pod:
    return world.client.status.patch(world.serving_pod(**mount), {"status": {"phase": phase}})


def download(world: World) -> None:
    world.want({"modelName": "iris", "sourceModelUri": URI})
    world.run()
    world.download(next(job for job in world.jobs if not job.is_complete))
    world.run()
    assert world.status() == "ModelDownloaded"


def told(world: World) -> list[tuple[str, str]]:
    """The namespaces and names of the pods."""
    return [(it.object.namespace, it.object.name) for it in world.recorder.events if it.reason == "ModelReplaced"]


def test_a_pod_that_has_a_damaged_model_is_told_when_another_took_its_place(world: World) -> None:
    world.publish()
    pod_of(world)
    (world.root / "models" / KEY / "config.json").unlink()
    world.run()
    assert told(world) == []
    download(world)
    world.run()
    assert told(world) == [("default", "server")]
    message = world.recorder.expect("ModelReplaced", type_="Warning").message
    assert URI in message
    assert "delete the pod" in message


def test_a_pod_that_started_before_its_model_came_is_told(world: World) -> None:
    """The kubelet has made an empty directory for it."""
    (world.root / "models" / KEY).mkdir(parents=True)
    pod_of(world)
    download(world)
    assert told(world) == [("default", "server")]


@pytest.mark.parametrize(
    ("phase", "sub_path"), [("Pending", f"models/{KEY}"), ("Succeeded", f"models/{KEY}"), ("Running", "")]
)
def test_a_pod_that_sees_the_new_one_is_told_nothing(world: World, phase: str, sub_path: str) -> None:
    """It has not started, has ended, or looks from above and finds what is there."""
    (world.root / "models" / KEY).mkdir(parents=True)
    pod_of(world, phase, sub_path=sub_path)
    download(world)
    assert told(world) == []


def test_where_nothing_was_in_its_place_nobody_is_told(world: World) -> None:
    pod_of(world)
    download(world)
    assert told(world) == []
