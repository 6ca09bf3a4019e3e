"""Nothing goes that a pod of this node may have mounted, however late the agent hears of the pod."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from support.agent import FILES, KEY, World

from localmodel.runtime.errors import ForbiddenError, ServiceUnavailableError
from localmodel.runtime.objects import Pod
from localmodel.runtime.testing.fake import FakeClient, ListPage


def pods_answer(world: World, answer: Callable[[], ListPage]) -> FakeClient:
    """A client to which a list of pods is answered so."""

    def intercept(action: Any, proceed: Callable[[], Any]) -> Any:
        return answer() if action.verb == "list" and action.kind is Pod else proceed()

    return FakeClient(registry=world.client.registry, interceptors=[intercept])


def nothing() -> ListPage:
    return ListPage([], "1")


def refused() -> ListPage:
    raise ServiceUnavailableError.of("not now")


def drop_the_cache(world: World) -> None:
    world.client.delete(world.cache())
    world.want()


def test_a_pod_that_the_cache_does_not_show_yet_keeps_a_model_that_nobody_wants(world: World) -> None:
    world.publish()
    world.serving_pod()
    drop_the_cache(world)
    world.agent.client = pods_answer(world, nothing)
    world.run()
    assert (world.root / "models" / KEY / "config.json").exists()


def test_nothing_is_removed_while_the_pods_cannot_be_read(world: World) -> None:
    world.publish()
    drop_the_cache(world)
    world.agent.live = pods_answer(world, refused)
    world.restart()
    world.agent.live = pods_answer(world, refused)
    again = world.run()
    assert (world.root / "models" / KEY).is_dir()
    assert again is not None
    assert again.requeue_after == 5
    world.agent.live = world.client
    world.restart()
    world.run()
    assert not (world.root / "models" / KEY).exists()


@pytest.mark.parametrize("hours", [-48, 48])
def test_what_was_repaired_stays_for_the_pod_that_has_it_when_the_clock_jumps(world: World, hours: int) -> None:
    world.publish()
    pod = world.serving_pod()
    world.clock.jump(timedelta(hours=hours))
    (world.root / "models" / KEY / "config.json").unlink()
    world.run()
    world.run()
    job = next(job for job in world.jobs if not job.is_complete)
    world.download(job)
    world.run()
    assert world.status() == "ModelDownloaded"
    trash = world.root / "models" / ".trash"
    (kept,) = trash.iterdir()
    assert (kept / "weights" / "model.safetensors").read_bytes() == FILES["weights/model.safetensors"]
    world.client.status.patch(pod, {"status": {"phase": "Succeeded"}})
    world.run()
    assert list(trash.iterdir()) == []


def test_what_is_known_to_be_held_costs_no_list_of_pods_in_each_pass(world: World) -> None:
    asked: list[str] = []

    def count(action: Any, proceed: Callable[[], Any]) -> Any:
        if action.verb == "list" and action.kind is Pod:
            asked.append(action.verb)
        return proceed()

    world.agent.live = FakeClient(registry=world.client.registry, interceptors=[count])
    world.publish()
    assert asked == []
    world.serving_pod()
    (world.root / "models" / KEY / "config.json").unlink()
    world.run()
    world.download(next(job for job in world.jobs if not job.is_complete))
    world.run()
    assert len(list((world.root / "models" / ".trash").iterdir())) == 1
    assert asked == ["list"]
    world.run()
    world.run()
    assert asked == ["list"]


def test_where_pods_may_not_be_read_what_was_replaced_stays_for_the_grace_period(world: World) -> None:
    """As under KServe's role."""

    def forbidden() -> ListPage:
        raise ForbiddenError.of("no")

    world.publish()
    world.agent.client = world.agent.live = pods_answer(world, forbidden)
    (world.root / "models" / KEY / "config.json").unlink()
    world.run()
    world.download(next(job for job in world.jobs if not job.is_complete))
    world.run()
    trash = world.root / "models" / ".trash"
    for _ in range(2):
        assert len(list(trash.iterdir())) == 1
        world.clock.advance(1799)
        world.run()
    world.clock.advance(3)
    world.run()
    assert list(trash.iterdir()) == []
