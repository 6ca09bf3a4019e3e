"""Evicted models: when they come back, when lives end, and what is on the disk when an agent dies."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from support.agent import DeathError, Mortal
from support.disks import Disks, QuickDisk

from localmodel.api import LocalModelCache, LocalModelNodeGroup

# coming back -----------------------------------------------------------------------------------------------------


def evicted(node: Disks) -> None:
    """`a` (4 MiB) had to go for `b` (5 MiB)."""
    node.have("a", 4)
    node.clock.advance(10)
    node.have("b", 5)
    assert node.there() == {"b"}


def test_an_evicted_model_comes_back_where_it_fits_below_the_low_watermark(node: Disks) -> None:
    evicted(node)
    node.limit("11Mi")  # 9 of 11: below no watermark
    node.settle()
    assert node.there() == {"b"}
    node.limit("13Mi")
    node.settle()
    assert node.there() == {"a", "b"}
    assert node.model("a").reason == "Published"


def test_an_evicted_model_comes_back_when_a_service_wants_it_and_displaces_as_a_new_one(node: Disks) -> None:
    evicted(node)
    node.clock.advance(10)
    node.service_wants("a")
    node.settle()
    assert node.there() == {"a"}
    assert node.model("b").reason == "Evicted"


def test_an_annotation_that_stands_counts_once(node: Disks) -> None:
    evicted(node)
    node.clock.advance(10)
    node.service_wants("a", "b")
    for _ in range(4):
        node.clock.advance(3600)
        node.settle()
    assert node.there() == {"a"}
    assert node.model("b").reason == "Evicted", "it was here when it was asked for"
    assert len(node.jobs) == 3


def test_a_pod_that_waits_brings_its_model_back(node: Disks) -> None:
    evicted(node)
    node.clock.advance(10)
    node.pod("a")
    node.settle()
    assert node.there() == {"a"}
    assert node.model("a").in_use


def test_a_restart_does_not_bring_an_evicted_model_back(node: Disks) -> None:
    evicted(node)
    jobs = len(node.jobs)
    node.restart()
    node.settle()
    assert len(node.jobs) == jobs
    assert node.model("a").reason == "Evicted"


def test_an_idle_model_ends_with_its_time_to_live_and_returns_only_when_wanted(node: Disks) -> None:
    node.configure(reconcilationFrequencyInSecs=86400)
    node.have("a", 1, ttlSecondsAfterLastUse=3600)
    node.clock.advance(3500)
    due = node.run()
    assert node.there() == {"a"}
    assert due is not None
    assert 0 < due.requeue_after <= 100, "no event tells of the end"
    node.clock.advance(due.requeue_after)
    node.run()
    assert node.there() == set()
    assert "ttlSecondsAfterLastUse" in node.model("a").message
    node.settle()
    assert node.there() == set()
    node.service_wants("a")
    node.settle()
    assert node.there() == {"a"}


def test_a_use_before_it_came_back_shortens_no_life(node: Disks) -> None:
    node.have("a", 1, ttlSecondsAfterLastUse=3600)
    pod = node.pod("a")
    node.run()
    node.client.delete(pod, grace_period_seconds=0)
    node.run()
    node.clock.advance(7200)
    node.run()
    assert node.there() == set()
    node.service_wants("a")
    node.settle()
    node.clock.advance(3500)
    node.run()
    assert node.there() == {"a"}
    node.clock.advance(200)
    node.run()
    assert node.there() == set()


def test_a_short_life_lasts_the_minimum_idle_time_and_a_pinned_model_has_no_end(node: Disks) -> None:
    node.have("short", 1, ttlSecondsAfterLastUse=1)
    node.have("pinned", 1, ttlSecondsAfterLastUse=1, evictionPolicy="Never")
    node.clock.advance(500)
    node.run()
    assert node.there() == {"short", "pinned"}
    node.clock.advance(100)
    node.run()
    assert node.there() == {"pinned"}


def test_a_use_lengthens_life_and_a_clock_that_jumps_does_not_end_it(node: Disks) -> None:
    node.have("a", 1, ttlSecondsAfterLastUse=3600)
    node.clock.advance(3000)
    pod = node.pod("a")
    node.run()
    node.client.delete(pod, grace_period_seconds=0)
    node.run()
    node.clock.advance(3000)
    node.clock.jump(timedelta(days=30))
    node.run()
    assert node.there() == {"a"}
    node.clock.advance(700)
    node.run()
    assert node.there() == set()


def test_of_several_caches_the_kindest_counts(node: Disks) -> None:
    node.add("a", 1, ttlSecondsAfterLastUse=700)
    twin = {**node.entries["a"], "modelName": "twin", "ttlSecondsAfterLastUse": 7000}
    node.entries["twin"], node.real["twin"] = twin, 1
    node.tell()
    node.settle()
    node.clock.advance(3000)
    node.run()
    assert node.folder("a").exists()


# use -------------------------------------------------------------------------------------------------------------


def test_last_use_is_on_the_disk_and_written_sparsely(node: Disks) -> None:
    node.have("a", 1)
    pod = node.pod("a")
    node.run()
    began = node.store.record(node.key("a")).last_used_time
    assert began == node.clock.now()
    node.clock.advance(200)
    node.run()
    assert node.store.record(node.key("a")).last_used_time == began
    node.clock.advance(200)
    node.run()
    assert node.store.record(node.key("a")).last_used_time == node.clock.now()
    node.client.delete(pod, grace_period_seconds=0)
    node.clock.advance(50)
    node.run()
    assert node.model("a").last_used_time == node.clock.now()
    node.restart()
    node.client.status.patch(node.node, {"status": {"models": None}})
    node.run()
    assert node.model("a").last_used_time == node.store.record(node.key("a")).last_used_time


# what it costs, and death ----------------------------------------------------------------------------------------


def test_idle_passes_read_and_write_nothing(node: Disks) -> None:
    evicted(node)
    node.settle()
    node.client.actions.clear()
    for _ in range(5):
        node.clock.advance(60)
        node.run()
    assert node.client.writes == []
    assert [a for a in node.client.actions if a.kind in (LocalModelCache, LocalModelNodeGroup)] == []


class MortalQuickDisk(Mortal, QuickDisk):
    """Both."""


@pytest.mark.parametrize("step", range(10))
def test_a_death_at_any_step_of_an_eviction_leaves_a_whole_model_or_none(tmp_path: Path, step: int) -> None:
    node = Disks(tmp_path, disk=MortalQuickDisk())
    node.have("a", 4)
    node.clock.advance(10)
    node.have("b", 3)
    node.limit("7Mi")
    assert isinstance(node.disk, Mortal)
    node.disk.left = step
    try:
        node.run()
    except DeathError:
        node.restart()
    node.disk.left = -1
    assert node.store.root == tmp_path
    node.settle()
    assert node.there() == {"b"}
    assert node.model("a").reason == "Evicted"
    assert len(node.jobs) == 2, "nothing is downloaded again"
    node.store.close()
