"""Room on the disk: the agent against an API server in memory, a real directory, a volume as large as a test says."""

from __future__ import annotations

from typing import Any

import pytest
from support.disks import Disks

from localmodel.agent.inventory import Inventory
from localmodel.runtime.errors import ForbiddenError, ServiceUnavailableError
from localmodel.runtime.listwatch import ListPage
from localmodel.runtime.objects import Pod
from localmodel.runtime.testing.fake import FakeClient

MIB = 1 << 20


# pressure --------------------------------------------------------------------------------------------------------


def test_above_the_high_watermark_the_least_recently_used_models_go_until_below_the_low_one_d10(node: Disks) -> None:
    for name in ("a", "b", "c"):
        node.have(name, 2)
        node.clock.advance(10)
    node.clock.advance(600)
    pod = node.pod("a")
    node.run()
    node.client.delete(pod, grace_period_seconds=0)
    node.run()
    node.clock.advance(700)
    node.limit("7Mi")
    node.run()
    assert node.there() == {"a", "c"}
    assert (node.status("b"), node.model("b").reason) == ("ModelDownloadPending", "Evicted")
    assert "models took more than the high watermark" in node.model("b").message
    assert "Evicted" in node.reasons()


def test_a_volume_that_others_fill_costs_the_models_that_may_go_d11(node: Disks) -> None:
    node.have("a", 2)
    node.have("b", 2)
    node.disk.foreign = 81 * node.disk.capacity // 100
    node.run()
    assert node.there() == set()
    assert node.pressure().status == "True"
    assert "are used, by whomever" in node.pressure().message
    assert node.pressure().message.endswith("; free space on this node or remove models from it")
    node.disk.foreign = node.disk.capacity // 2
    node.run()
    assert node.pressure().status == "False"
    assert [reason for reason in node.reasons() if "Pressure" in reason] == ["DiskPressure", "DiskPressureRelieved"]


def test_room_that_comes_back_late_costs_no_second_model(node: Disks) -> None:
    """As of a file system that frees blocks in the background."""
    for name in ("a", "b", "c"):
        node.have(name, 2)
        node.clock.advance(1)
    node.disk.capacity, node.disk.foreign = 20 * MIB, 11 * MIB
    node.run()
    assert node.there() == {"c"}, "17 of 20 MiB, and 14 are left to them"
    node.disk.foreign += 4 * MIB
    due = node.run()
    assert node.there() == {"c"}
    assert due is not None
    assert due.requeue_after <= 30
    node.clock.advance(30)
    node.run()
    assert node.there() == set()


def test_what_is_in_use_pinned_or_just_used_stays_and_is_named(node: Disks) -> None:
    node.have("used", 2)
    node.have("pinned", 2, evictionPolicy="Never")
    node.have("recent", 2)
    node.limit("4Mi")
    node.pod("used")
    pod = node.pod("recent")
    node.run()
    node.client.delete(pod, grace_period_seconds=0)
    node.run()
    assert node.there() == {"used", "pinned", "recent"}
    message = node.pressure().message
    assert "in use: used" in message
    assert "pinned by evictionPolicy Never: pinned" in message
    assert "used a short while ago: recent" in message
    assert "of the limit of 4.0 MiB of LocalModelNodeGroup gpu1" in message
    assert message.endswith("; raise its storageLimit or remove models from this node")
    node.clock.advance(600)
    node.run()
    assert node.there() == {"used", "pinned"}


def test_priority_goes_before_last_use(node: Disks) -> None:
    node.have("low", 2, priority=-1)
    node.clock.advance(10)
    node.have("high", 2, priority=5)
    pod = node.pod("low")
    node.run()
    node.client.delete(pod, grace_period_seconds=0)
    node.run()
    node.limit("4Mi")
    node.clock.advance(700)
    node.run()
    assert node.there() == {"high"}


def test_a_model_that_could_never_come_back_is_not_evicted_for_the_watermark(node: Disks) -> None:
    node.have("huge", 8)
    node.limit("10Mi", highWatermarkPercent=70, lowWatermarkPercent=60)
    node.run()
    assert node.there() == {"huge"}
    assert "larger than the low watermark: huge" in node.pressure().message


def test_leftovers_go_first_then_what_no_entry_asks_for(node: Disks) -> None:
    node.have("stays", 2)
    node.have("kept", 3)
    node.add("broken", 2)
    left = node.root / "models" / ".staging" / node.key("broken") / "part"
    for _ in range(7):  # until the next try is far away
        node.clock.advance(1801)
        node.run()
        (job,) = node.unfinished()
        left.write_bytes(b"\0" * 2 * MIB)
        node.finish(job, "Failed", failed=3)
        node.run()
    del node.entries["kept"]
    node.tell()
    node.run()
    assert left.exists()
    node.limit("8704Ki")  # 7 MiB are more than 80 % of it, 5 MiB less than 70 %
    node.run()
    assert not left.exists()
    assert node.folder("kept").exists(), "within its grace"
    node.limit("6Mi")
    node.run()
    assert not node.folder("kept").exists()
    assert node.folder("stays").exists()


def test_what_is_resumed_soon_is_no_leftover(node: Disks) -> None:
    node.have("other", 2)
    node.add("broken", 2)
    node.run()
    left = node.root / "models" / ".staging" / node.key("broken") / "part"
    left.write_bytes(b"\0" * 2 * MIB)
    node.finish(node.unfinished()[0], "Failed", failed=3)
    node.run()
    node.disk.capacity, node.disk.foreign = 10 * MIB, 5 * MIB
    node.run()
    assert left.exists()
    assert node.there() == set(), "9 of 10 MiB are taken"


@pytest.mark.parametrize(
    ("one", "another"), [({"priority": -5}, {"priority": 5}), ({}, {"evictionPolicy": "Never"})], ids=repr
)
def test_of_several_caches_of_a_model_the_kindest_counts(
    node: Disks, one: dict[str, Any], another: dict[str, Any]
) -> None:
    node.add("a", 3, **one)
    node.entries["twin"], node.real["twin"] = {**node.entries["a"], "modelName": "twin", **another}, 3
    node.tell()
    node.settle()
    node.clock.advance(10)
    node.have("b", 3)
    node.limit("7Mi")
    node.run()
    assert node.folder("a").exists()
    assert not node.folder("b").exists(), "though it is younger"


def test_foreign_folders_are_counted_and_never_removed(node: Disks) -> None:
    node.have("a", 1)
    foreign = node.root / "models" / ("f" * 16)
    foreign.mkdir()
    (foreign / "data").write_bytes(b"\0" * 9 * MIB)
    node.run()
    assert node.there() == set()
    assert foreign.exists()
    assert node.pressure().status == "True"


def test_a_pod_that_the_cache_does_not_show_yet_protects_its_model(node: Disks) -> None:
    node.have("a", 6)
    node.pod("a")

    def stale(action: Any, proceed: Any) -> Any:
        return ListPage([], "1") if action.verb == "list" and action.kind is Pod else proceed()

    node.agent.client = FakeClient(registry=node.client.registry, interceptors=[stale])
    node.limit("7Mi")
    node.run()
    assert node.there() == {"a"}


@pytest.mark.parametrize("error", [ServiceUnavailableError, ForbiddenError])
def test_while_the_api_server_does_not_tell_of_pods_nothing_is_evicted(node: Disks, error: Any) -> None:
    node.have("a", 3)
    node.have("b", 3)

    def refuse(action: Any, proceed: Any) -> Any:
        if action.verb == "list" and action.kind is Pod:
            raise error.of("not now")
        return proceed()

    node.restart()
    node.agent.live = FakeClient(registry=node.client.registry, interceptors=[refuse])
    node.limit("7Mi")
    node.run()
    assert node.there() == {"a", "b"}
    assert "possibly in use" in node.pressure().message


# downloads -------------------------------------------------------------------------------------------------------


def test_a_download_displaces_what_was_last_used_before_it_was_asked_for(node: Disks) -> None:
    node.have("a", 4)
    node.clock.advance(10)
    node.have("b", 3)
    node.add("c", 4)
    node.run()
    assert node.there() == {"b"}, "before the download starts"
    assert [job.metadata.labels["model"] for job in node.unfinished()] == ["c"]
    node.settle()
    assert node.there() == {"b", "c"}
    assert "c needed the room" in node.model("a").message
    assert node.model("a").downloaded_time is not None
    assert node.model("a").size_bytes == 4 * MIB


def test_a_pod_that_waits_asks_all_the_time(node: Disks) -> None:
    """So its model displaces one that was used after it was asked for first."""
    node.have("used", 4)
    pod = node.pod("used")
    node.add("waits", 6)
    node.run()
    node.client.delete(pod, grace_period_seconds=0)
    node.run()
    node.clock.advance(700)
    node.settle()
    assert node.there() == {"used"}
    node.pod("waits")
    node.settle()
    assert node.there() == {"waits"}


def test_two_models_that_do_not_fit_together_do_not_throw_each_other_out(node: Disks) -> None:
    node.add("a", 5)
    node.add("b", 5)
    node.settle(6)
    (first,) = node.there()
    waiting = next(name for name in node.entries if name != first)
    assert node.model(waiting).reason == "InsufficientStorage"
    jobs = len(node.jobs)
    for _ in range(5):
        node.clock.advance(3600)
        node.settle()
    assert node.there() == {first}
    assert len(node.jobs) == jobs


def test_higher_priority_is_not_displaced(node: Disks) -> None:
    node.have("high", 6, priority=1)
    node.add("low", 4)
    node.settle()
    assert node.there() == {"high"}
    assert (
        "models take 6.0 MiB of the limit of 10.0 MiB of LocalModelNodeGroup gpu1, of which eviction leaves 8.0 MiB"
        in node.model("low").message
    )


def test_nothing_is_downloaded_only_to_be_evicted_at_once(node: Disks) -> None:
    node.have("pinned", 6, evictionPolicy="Never")
    node.add("more", 3)
    node.settle()
    assert node.there() == {"pinned"}
    assert node.model("more").reason == "InsufficientStorage"


def test_what_stays_may_fill_the_limit(node: Disks) -> None:
    node.have("pinned", 6, evictionPolicy="Never")
    node.have("too", 4, evictionPolicy="Never")
    assert node.there() == {"pinned", "too"}


def test_a_smaller_model_of_lower_priority_need_not_wait_for_one_that_finds_no_room(node: Disks) -> None:
    node.have("used", 4)
    node.pod("used")
    node.add("large", 6, priority=1)
    node.add("small", 2)
    node.settle()
    assert node.there() == {"used", "small"}
    assert node.model("large").reason == "InsufficientStorage"
    node.client.delete(node.client.get(Pod, "server-used", namespace="default"), grace_period_seconds=0)
    node.run()
    node.clock.advance(601)
    node.settle()
    assert node.there() == {"large", "small"}


def test_reservations_outlive_the_agent(node: Disks) -> None:
    node.add("a", 5, priority=1)
    node.run()
    node.restart()
    node.add("b", 5, priority=2)
    node.run()
    assert [job.metadata.labels["model"] for job in node.unfinished()] == ["a"]
    assert "5.0 MiB are reserved for downloads under way" in node.model("b").message


# order, repair, death ----------------------------------------------------------------------------------------------


def test_of_equal_priority_the_smaller_starts_first_and_what_a_pod_waits_for_before_it(node: Disks) -> None:
    node.configure(maxConcurrentDownloadsPerNode=1)
    node.have("first", 1)
    for name, size in (("large", 3), ("small", 1), ("wanted", 2)):
        spec = {"modelName": name, "sourceModelUri": node.uri(name), "modelSize": f"{size}Mi"}
        node.entries[name], node.real[name] = spec, size
    node.tell()
    node.pod("wanted")
    started = []
    for _ in range(6):
        node.run()
        started += [job.metadata.labels["model"] for job in node.unfinished()]
        for job in node.unfinished():
            node.download(job)
    assert list(dict.fromkeys(started)) == ["wanted", "small", "large"]


def test_a_broken_folder_makes_way_for_its_own_repair(node: Disks) -> None:
    node.have("a", 6)
    (node.folder("a") / "weights").unlink()
    (node.folder("a") / "rest").write_bytes(b"\0" * 6 * MIB)
    node.run()
    assert [job.metadata.labels["model"] for job in node.unfinished()] == ["a"]
    assert not node.folder("a").exists()
    node.settle()
    assert node.status("a") == "ModelDownloaded"


def test_a_broken_model_in_use_is_never_evicted(node: Disks) -> None:
    node.have("a", 6)
    node.pod("a")
    (node.folder("a") / "weights").unlink()
    (node.folder("a") / "rest").write_bytes(b"\0" * 6 * MIB)
    node.limit("7Mi")
    node.run()
    assert (node.folder("a") / "rest").exists()
    assert node.model("a").reason == "InsufficientStorage"


def test_many_downloads_that_wait_look_at_the_disk_once(node: Disks, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        node.have(f"here-{number}", 1)
    for number in range(5):
        node.add(f"waits-{number}", 20)
    node.run()
    node.run()
    made: list[object] = []
    make = Inventory._make
    monkeypatch.setattr(Inventory, "_make", lambda *args: made.append(args) or make(*args))
    node.run()
    assert {node.model(f"waits-{number}").reason for number in range(5)} == {"InsufficientStorage"}
    assert len(made) == 1


@pytest.mark.parametrize(("priority", "starts"), [(0, False), (1, True)])
def test_what_is_coming_is_not_let_in_only_to_be_removed_for_what_stays(
    node: Disks, priority: int, starts: bool
) -> None:
    """Above the high watermark only what stays there can stay: 3 of 10 MiB are coming, 6 more would be above the 8."""
    node.add("coming", 3)
    node.run()
    node.add("pinned", 6, evictionPolicy="Never", priority=priority)
    node.run()
    assert len(node.unfinished()) == (2 if starts else 1), "what it could displace, it does not wait for"
    assert (node.model("pinned").reason == "InsufficientStorage") is not starts
