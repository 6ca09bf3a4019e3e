"""The ConfigMap as an agent reads it while it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.agent import JOBS, URI, World

from localmodel.runtime.cache import KindForbiddenError
from localmodel.runtime.objects import ConfigMap
from localmodel.runtime.testing.fake import FakeClient


def test_another_job_namespace_counts_from_the_next_start_on_and_is_told(tmp_path: Path) -> None:
    """What is watched is fixed: Jobs in a namespace that is not watched would be made again and again."""
    world = World(tmp_path)
    world.configure(jobNamespace="elsewhere")
    world.want({"modelName": "iris", "sourceModelUri": URI})
    world.run()
    assert [job.namespace for job in world.jobs] == [JOBS]
    assert "restart the agents" in world.recorder.expect("InvalidConfig").message


def test_where_it_may_not_be_watched_it_is_asked_for_once_a_minute(tmp_path: Path) -> None:
    """As under KServe's role."""
    world = World(tmp_path)

    def refuse(action: Any, proceed: Any) -> Any:
        if action.kind is ConfigMap:
            raise KindForbiddenError("no")
        return proceed()

    world.agent.client = FakeClient(registry=world.client.registry, interceptors=[refuse])
    world.configure(reconcilationFrequencyInSecs=7)
    world.client.actions.clear()
    world.want()
    for _ in range(3):
        world.run()
    world.clock.advance(59)
    world.run()
    assert asked(world) == 1
    assert world.agent.config.reconcilation_frequency_in_secs == 7
    world.configure(reconcilationFrequencyInSecs=8)
    world.clock.advance(1)
    world.client.actions.clear()
    world.run()
    assert asked(world) == 1
    assert world.agent.config.reconcilation_frequency_in_secs == 8


def asked(world: World) -> int:
    return len([action for action in world.client.actions if action.kind is ConfigMap and action.verb == "get"])
