"""How many checks of credentials run on a node at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.agent import JOBS, URI, World
from support.rivals import TWO, checks, rivals, shared

from localmodel.agent.checks import MOST_AT_A_TIME, MOST_OF_A_NAMESPACE
from localmodel.runtime.objects import Job, ServiceAccount


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = rivals(tmp_path)
    yield made
    made.store.close()


def claimants(world: World, namespace: str, count: int) -> list[dict[str, Any]]:
    """Caches of one namespace, each with an account of its own."""
    names = [f"{namespace}-{number}" for number in range(count)]
    for name in names:
        world.client.create(ServiceAccount.from_dict({"metadata": {"name": name, "namespace": JOBS}}))
    entry = {"sourceModelUri": URI, "namespace": namespace}
    return [{**entry, "modelName": name, "serviceAccountName": name} for name in names]


def unfinished(world: World) -> list[Job]:
    return [job for job in checks(world) if not (job.is_complete or job.is_failed)]


def test_a_tenant_with_many_caches_has_few_checks_at_a_time(world: World) -> None:
    shared(world, *claimants(world, "team-a", 30))
    world.run()
    assert len(checks(world)) == MOST_OF_A_NAMESPACE
    waiting = world.model("team-a/team-a-9")
    assert (world.status("team-a/team-a-9"), waiting.reason) == ("ModelDownloadPending", "CheckingCredentials")
    assert "waiting for other checks of credentials" in waiting.message


def test_it_holds_up_no_other_tenant(world: World) -> None:
    shared(world, *claimants(world, "team-a", 30), TWO)
    assert {job.metadata.labels["modelNamespace"] for job in checks(world)} == {"team-a", "team-b"}


def test_many_tenants_share_what_a_node_runs(world: World) -> None:
    shared(world, *(entry for number in range(30) for entry in claimants(world, f"team-{number:02}", 1)))
    world.run()
    assert len(checks(world)) == MOST_AT_A_TIME


def test_each_that_ends_makes_room_for_the_next_until_all_are_proved(world: World) -> None:
    entries = claimants(world, "team-a", 7)
    shared(world, *entries)
    for _ in entries:
        for job in unfinished(world):
            world.finish(job, "Complete", succeeded=1)
        world.run()
        assert len(unfinished(world)) <= MOST_OF_A_NAMESPACE
    assert {world.status(f"team-a/team-a-{number}") for number in range(7)} == {"ModelDownloaded"}
