"""Caches of one URI with other credentials take turns: when, in what order, and what is said meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.agent import KEY, World
from support.rivals import ONE, TWO, account_of, checks, downloads, rivals, shared, under_way

from localmodel.api import LocalModelCache
from localmodel.manager.reports import report_of
from localmodel.runtime.objects import Job
from localmodel.runtime.testing.fake import FakeClient


@pytest.fixture
def world(tmp_path: Path) -> World:
    return rivals(tmp_path)


def test_credentials_that_are_missing_keep_nobody_else_waiting_d17(world: World) -> None:
    world.want({**ONE, "serviceAccountName": "missing"}, dict(TWO))
    world.run()
    assert (world.status("one"), world.model("one").reason) == ("ModelDownloadError", "CredentialsInvalid")
    world.run()
    assert [account_of(job) for job in under_way(world)] == ["two"]


def test_credentials_that_are_missing_and_nobody_s_rivals_are_used_as_soon_as_they_are_there(world: World) -> None:
    world.want({**ONE, "serviceAccountName": "missing"})
    world.run()
    world.want(dict(ONE))
    world.run()
    assert [account_of(job) for job in under_way(world)] == ["one"]


def test_the_next_turn_comes_at_once(world: World) -> None:
    world.want(dict(ONE), dict(TWO))
    world.run()
    world.finish(downloads(world)[0], "Failed", failed=1)
    result = world.run()
    assert result is not None
    assert result.requeue_after == 0.5


def test_who_waits_for_another_turn_costs_no_passes(world: World) -> None:
    world.want(dict(ONE), dict(TWO))
    world.run()
    world.finish(downloads(world)[0], "Failed", failed=1)
    world.run()
    world.run()
    world.clock.advance(3600)
    result = world.run()
    assert result is not None
    assert result.requeue_after > 5
    assert world.model("one").next_retry_time is None


def test_a_turn_passes_once_where_credentials_do_not_matter(world: World) -> None:
    world.configure(storageIsolation="shared")
    world.want(dict(ONE), dict(TWO))
    world.run()
    world.finish(downloads(world)[0], "Failed", failed=1)
    world.run()
    records = []
    for _ in range(4):
        world.run()
        records.append(world.store.record(KEY))
    assert len(set(records)) == 1
    assert [account_of(job) for job in under_way(world)] == ["two"]


def test_who_was_proved_repairs_the_model_where_its_owner_cannot(world: World) -> None:
    shared(world, TWO)
    world.finish(checks(world)[0], "Complete", succeeded=1)
    world.run()
    (world.root / "models" / KEY / "config.json").unlink()
    world.run()
    world.finish(under_way(world)[0], "Failed", failed=1)
    world.run()
    world.run()
    assert [account_of(job) for job in under_way(world)] == ["two"]
    world.download(under_way(world)[0])
    world.run()
    assert world.status("team-b/two") == "ModelDownloaded"


def test_changed_credentials_are_tried_without_waiting_for_what_failed_with_others(world: World) -> None:
    world.want({**ONE, "serviceAccountName": "three"})
    world.run()
    world.finish(downloads(world)[0], "Failed", failed=1)
    world.run()
    world.want(dict(ONE))
    world.run()
    assert [account_of(job) for job in under_way(world)] == ["one"]


def test_what_does_not_fit_is_not_tried_with_other_credentials(world: World) -> None:
    world.want({**ONE, "modelName": "z", "modelSize": "1Ki"}, {**TWO, "modelSize": "1Ki"})
    for _ in range(6):
        world.run()
        for job in under_way(world):
            staged = job.spec.template["spec"]["containers"][0]["volumeMounts"][0]["subPath"]
            (world.root / staged / "weights").write_bytes(b"\0" * (12 << 20))
        world.clock.advance(60)
    assert world.store.record(KEY).attempt == 1
    assert {world.model(key).reason for key in ("z", "team-b/two")} == {"InsufficientStorage"}


def test_who_waits_for_another_waits_for_what_that_one_waits_for(world: World) -> None:
    large: dict[str, Any] = {"modelSize": "20Mi"}
    world.want({**ONE, **large}, {**TWO, **large})
    world.run()
    assert {world.model(key).reason for key in ("one", "team-b/two")} == {"InsufficientStorage"}
    # So no node holds the turn of others in its group for ever.
    assert not any(report_of(world.node, entry).is_unfinished for entry in world.node.spec.local_models)


def test_the_model_of_another_that_was_evicted_is_evicted_for_all_who_wait_for_it(world: World) -> None:
    shared(world)
    world.want({**ONE, "ttlSecondsAfterLastUse": 700}, {**TWO, "ttlSecondsAfterLastUse": 700})
    world.run()
    world.clock.advance(701)
    world.run()
    one, two = world.model("one"), world.model("team-b/two")
    assert (one.reason, two.reason) == ("Evicted", "Evicted")
    assert two.downloaded_time == one.downloaded_time
    assert not two.size_bytes


def test_a_job_with_others_credentials_that_is_not_seen_yet_is_ended_d16(world: World) -> None:
    """Its files are nobody's but theirs who started it."""
    before: list[Any] = []

    def show(action: Any, proceed: Any) -> Any:
        if action.verb != "list" or action.kind is not Job:
            return proceed()
        before.append(before[0] if before else proceed())
        return before[0]

    world.want()
    world.agent.client = FakeClient(registry=world.client.registry, interceptors=[show])
    world.want(dict(ONE))
    world.run()
    assert [account_of(job) for job in under_way(world)] == ["one"]
    world.client.delete(world.client.get(LocalModelCache, "one"))
    world.want(dict(TWO))
    world.run()
    assert under_way(world) == []
    world.run()
    assert [account_of(job) for job in under_way(world)] == ["two"]


def test_who_has_left_the_node_before_his_model_came_keeps_nobody_from_it(world: World) -> None:
    world.want(dict(ONE))
    world.run()
    world.client.delete(world.jobs[0], propagation="Background")
    world.want(dict(TWO))
    world.run()
    assert [account_of(job) for job in under_way(world)] == ["two"]
