"""Caches whose entries have left a node while they live on elsewhere: what their ownership and proofs are worth."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from support.agent import KEY, World
from support.rivals import ONE, TWO, account_of, checks, downloads, rivals, shared, under_way

GRACE = 3600


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = rivals(tmp_path)
    yield made
    made.store.close()


def proved(world: World) -> None:
    """One has downloaded the model, and two has proved its credentials."""
    shared(world, TWO)
    world.finish(checks(world)[0], "Complete", succeeded=1)
    world.run()
    assert world.status("team-b/two") == "ModelDownloaded"


def come_back(world: World, entry: dict[str, object], *, after: float, beside: dict[str, object]) -> None:
    world.want(dict(beside))
    world.run()
    world.clock.advance(after)
    world.run()
    world.want(dict(entry), dict(beside))
    world.run()


# owners --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def left(world: World) -> World:
    """One has downloaded the model and its entry has left; its cache still stands, and two wants the model."""
    shared(world)
    world.want(dict(TWO))
    world.run()
    return world


def test_an_absent_owner_keeps_the_model_for_the_grace_and_it_says_until_when(left: World) -> None:
    left.clock.advance(GRACE - 1)
    left.run()
    model = left.model("team-b/two")
    assert (model.reason, under_way(left)) == ("CredentialsDiffer", [])
    assert "one has no entry on this node now" in model.message
    assert "downloaded anew after 2026-01-01T01:00:00Z" in model.message


def test_then_others_download_it_with_their_own_credentials_d16(left: World) -> None:
    left.clock.advance(GRACE)
    left.run()
    (job,) = under_way(left)
    assert account_of(job) == "two"
    assert left.status("team-b/two") == "ModelDownloadPending"
    left.download(job)
    left.run()
    assert left.status("team-b/two") == "ModelDownloaded"


def test_the_agent_looks_again_when_the_grace_is_over(left: World) -> None:
    left.configure(reconcilationFrequencyInSecs=7200)
    left.clock.advance(GRACE - 10)
    result = left.run()
    assert result is not None
    assert result.requeue_after == 10


def test_a_pass_in_the_grace_writes_nothing_anywhere(left: World) -> None:
    record = left.store.notes / "records" / f"{KEY}.json"
    before = record.stat().st_mtime_ns
    left.client.actions.clear()
    left.clock.advance(60)
    left.run()
    assert (left.client.writes, record.stat().st_mtime_ns) == ([], before)


def test_the_grace_outlives_a_restart(left: World) -> None:
    left.clock.advance(GRACE - 1)
    left.restart()
    left.run()
    assert under_way(left) == []
    left.clock.advance(1)
    left.run()
    assert [account_of(job) for job in under_way(left)] == ["two"]


@pytest.mark.parametrize("by", [timedelta(days=1), timedelta(days=-1)], ids=["on", "back"])
def test_no_clock_that_jumps_ends_or_prolongs_it(left: World, by: timedelta) -> None:
    left.clock.jump(by)
    left.run()
    assert under_way(left) == []
    left.clock.advance(GRACE)
    left.run()
    assert [account_of(job) for job in under_way(left)] == ["two"]


def test_an_owner_that_comes_back_in_time_has_its_model_and_the_next_absence_begins_anew(left: World) -> None:
    left.clock.advance(GRACE - 1)
    left.want(dict(ONE), dict(TWO))
    left.run()
    assert left.status("one") == "ModelDownloaded"
    left.want(dict(TWO))
    left.clock.advance(2)
    left.run()
    assert under_way(left) == []


def test_one_that_comes_back_later_is_checked_like_any_other(left: World) -> None:
    left.clock.advance(GRACE)
    left.run()
    left.download(under_way(left)[0])
    left.want(dict(ONE), dict(TWO))
    left.run()
    assert (left.status("team-b/two"), left.model("one").reason) == ("ModelDownloaded", "CheckingCredentials")


def test_owners_that_all_ask_for_other_files_now_do_not_wait_for_each_other(world: World) -> None:
    both = [{**ONE, "modelName": name} for name in ("one", "other")]
    world.want(*map(dict, both))
    world.run()
    world.download(downloads(world)[0])
    world.run()
    world.want(*({**entry, "revision": f"v{number}"} for number, entry in enumerate(both)))
    world.run()
    assert [job.metadata.labels["model"] for job in under_way(world)] == ["one"]
    assert world.model("other").reason == "SelectionDiffers"


# proofs --------------------------------------------------------------------------------------------------------------


def test_a_proof_outlives_a_short_absence(world: World) -> None:
    proved(world)
    world.client.delete(checks(world)[0])
    come_back(world, TWO, after=GRACE - 1, beside=ONE)
    assert (world.status("team-b/two"), checks(world)) == ("ModelDownloaded", [])
    world.run()
    assert (world.status("team-b/two"), checks(world)) == ("ModelDownloaded", [])
    assert "team-b/two" in world.store.record(KEY).owners


def test_but_not_a_long_one_d16(world: World) -> None:
    proved(world)
    come_back(world, TWO, after=GRACE, beside=ONE)
    assert (world.model("team-b/two").reason, len(checks(world))) == ("CheckingCredentials", 2)


def test_nor_one_that_no_agent_has_seen_the_end_of_d16(world: World) -> None:
    proved(world)
    world.want(dict(ONE))
    world.run()
    world.clock.advance(GRACE)
    world.restart()
    world.want(dict(ONE), dict(TWO))
    world.run()
    assert (world.model("team-b/two").reason, len(checks(world))) == ("CheckingCredentials", 2)


def test_who_has_downloaded_it_is_known_as_long_when_others_took_it_over(world: World) -> None:
    proved(world)
    come_back(world, ONE, after=GRACE - 1, beside=TWO)
    assert (world.status("one"), len(checks(world)), len(downloads(world))) == ("ModelDownloaded", 1, 1)


def test_but_no_longer_d16(world: World) -> None:
    proved(world)
    come_back(world, ONE, after=GRACE, beside=TWO)
    assert (world.model("one").reason, len(checks(world))) == ("CheckingCredentials", 2)


def test_an_owner_whose_download_has_not_ended_has_proved_nothing_d16(world: World) -> None:
    world.want(dict(ONE), {**ONE, "modelName": "other"})
    world.run()
    world.want({**ONE, "modelName": "other", "serviceAccountName": "three"})
    world.run()
    assert [check for check in world.store.record(KEY).checks if check.proved] == []


def test_a_failed_checks_pause_outlives_a_short_absence(world: World) -> None:
    shared(world, TWO)
    world.finish(checks(world)[0], "Failed", failed=1)
    world.run()
    come_back(world, TWO, after=1, beside=ONE)
    assert (world.model("team-b/two").reason, len(checks(world))) == ("CredentialsRejected", 1)
