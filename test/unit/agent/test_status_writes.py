"""When the status is written, and what a process may forget of it: truth is on the disk (issue 6, points 1 and 9)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import kserve_crds
from support.agent import KEY, URI, World

from localmodel.api import LocalModelNode
from localmodel.runtime.errors import TransportError
from localmodel.runtime.objects import ConfigMap
from localmodel.runtime.testing.fake import Action, FakeClient

ENTRY = {"modelName": "iris", "sourceModelUri": URI}


def versions(world: World) -> str:
    return world.node.metadata.resource_version


def test_the_next_pass_comes_after_the_configured_interval(world: World) -> None:
    world.publish()
    assert requeued(world) == 60


def requeued(world: World) -> float | None:
    result = world.run()
    return result.requeue_after if result is not None else None


def test_an_interval_that_changes_counts_from_the_next_pass_on(world: World) -> None:
    world.publish()
    config = world.client.get(ConfigMap, "inferenceservice-config", namespace="kserve")
    text = json.dumps({**json.loads(config.data["localModel"]), "reconcilationFrequencyInSecs": 5})
    world.client.patch(config, {"data": {"localModel": text}})
    assert requeued(world) == 5


def test_a_new_generation_alone_is_no_news(world: World) -> None:
    world.publish()
    world.want({**ENTRY, "priority": 3})
    world.client.actions.clear()
    world.run()
    assert world.client.writes == []


class Stale:
    """A client whose reads show the LocalModelNode as it was."""

    def __init__(self, client: FakeClient, node: LocalModelNode) -> None:
        self._client = client
        self._node = node

    def find(self, kind: type[Any], name: str, *, namespace: str = "") -> Any:
        return self._node.deepcopy() if kind is LocalModelNode else self._client.find(kind, name, namespace=namespace)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def test_a_stale_cache_changes_nothing_that_was_written(world: World) -> None:
    world.want(ENTRY)
    before = world.node
    world.publish()
    version = versions(world)
    world.agent.client = Stale(world.client, before)  # type: ignore[assignment]
    for _ in range(5):
        world.clock.advance(60)
        world.run()
    assert (versions(world), world.status()) == (version, "ModelDownloaded")


def test_what_somebody_else_wrote_into_the_status_is_put_right(world: World) -> None:
    world.publish()
    node = world.node
    node.status.model_status = {"iris": "ModelDownloadError", "strange": "ModelDownloaded"}
    world.client.status.update(node)
    world.run()
    assert world.node.status.model_status == {"iris": "ModelDownloaded"}


def test_a_write_that_was_done_but_not_answered_is_not_repeated(world: World) -> None:
    world.publish()
    world.serving_pod()

    def lose(action: Action, proceed: Any) -> Any:
        answer = proceed()
        if action.verb == "update" and action.subresource == "status":
            raise TransportError("the answer was lost")
        return answer

    world.agent.client = FakeClient(registry=world.client.registry, interceptors=[lose])
    world.agent._parts = None  # the clients of the parts are those of the first pass
    with pytest.raises(TransportError):
        world.run()
    version = versions(world)
    world.agent.client = world.client
    world.agent._parts = None
    world.run()
    assert versions(world) == version


def test_a_node_that_was_made_anew_gets_its_whole_status(world: World) -> None:
    world.publish()
    world.client.delete(world.node)
    world.want(ENTRY)
    assert world.status() is None
    world.run()
    assert (world.status(), world.model().reason) == ("ModelDownloaded", "Published")


@pytest.mark.parametrize("minimal", [False, True])
def test_attempts_and_the_time_of_the_next_survive_an_api_that_forgets(tmp_path: Path, minimal: bool) -> None:
    world = World(tmp_path)
    kserve_crds.install(world.client, minimal=minimal)
    world.want(ENTRY)
    for _ in range(2):
        world.run()
        world.finish(next(job for job in world.jobs if not job.is_failed), "Failed", failed=1)
        world.run()
        world.clock.advance(31)
    for job in world.jobs:
        world.client.delete(job)
    forget(world)
    world.restart()
    world.run()
    assert (world.status(), world.jobs) == ("ModelDownloadError", []), "the second wait is a minute"
    world.clock.advance(30)
    world.run()
    assert [job.metadata.annotations["localmodel.kserve.io/attempt"] for job in world.jobs] == ["3"]
    world.store.close()


def forget(world: World) -> None:
    """Somebody empties the status, as an API server does whose definition was replaced."""
    node = world.node
    node.status = type(node.status)()
    world.client.status.update(node)


def test_who_downloaded_a_model_survives_an_api_that_forgets(tmp_path: Path) -> None:
    world = World(tmp_path)
    kserve_crds.install(world.client)
    world.want({**ENTRY, "serviceAccountName": ""})
    world.publish()
    record = world.store.record(KEY)
    forget(world)
    world.restart()
    world.run()
    assert world.store.record(KEY).owners == record.owners == ("iris",)
    assert world.status() == "ModelDownloaded"
    world.store.close()


def test_only_the_status_is_ever_written(world: World) -> None:
    """By PUT of /status with the version that was read; the object itself, which others write, never."""
    world.publish()
    world.serving_pod()
    world.client.actions.clear()
    world.run()
    writes = [action for action in world.client.writes if action.kind is LocalModelNode]
    assert [(action.verb, action.subresource) for action in writes] == [("update", "status")]
