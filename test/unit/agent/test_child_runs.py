"""`downloadMode: Agent`: the agent downloads itself; processes are played."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from support.agent import World
from support.childruns import FILES, KEY, URI, container, started, want

from localmodel.agent.childprocess import ChildExit
from localmodel.api import LocalModelCache, LocalModelNamespaceCache
from localmodel.api.names import storage_key
from localmodel.runtime.objects import Job


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, children=True)


# a download ---------------------------------------------------------------------------------------------------------


def test_a_download_is_a_process_and_no_job(world: World) -> None:
    want(world, revision="v1", include=["*.json"])
    child = started(world)
    assert world.jobs == []
    assert world.status() == "ModelDownloadPending"
    world.run()
    assert world.status() == "ModelDownloading"
    assert child.plan.destination == world.root / "models" / ".staging" / KEY
    assert child.plan.env["LOCALMODEL_DOWNLOAD_REVISION"] == "v1"
    assert child.plan.env["STORAGE_ALLOW_PATTERNS"] == '["*.json"]'
    child.succeeds(FILES)
    world.run()
    assert world.status() == "ModelDownloaded"
    assert (world.root / "models" / KEY / "config.json").read_bytes() == b"{}"


def test_a_failure_tells_its_last_words_and_is_tried_again_later(world: World) -> None:
    want(world)
    started(world).fails("not found: the hub has no model org/model")
    world.run()
    assert world.status() == "ModelDownloadError"
    model = world.model()
    assert (model.reason, model.message, model.attempts) == (
        "DownloadFailed",
        "not found: the hub has no model org/model",
        1,
    )
    assert model.next_retry_time is not None
    world.run()
    assert len(world.children.started) == 1
    world.clock.advance(30)
    assert started(world).plan.attempt == 2
    assert len(world.children.started) == 2


def test_the_wait_after_failures_doubles(world: World) -> None:
    want(world)
    started(world).fails()
    world.run()
    world.clock.advance(30)
    started(world).fails()
    world.run()
    retry = world.model().next_retry_time
    assert retry is not None
    assert (retry - world.clock.now()).total_seconds() == 60


@pytest.mark.parametrize(
    ("ended", "what"),
    [
        (ChildExit(137, "the download ran out of memory"), "ran out of memory"),
        (ChildExit(-signal.SIGKILL), "was killed"),
        (ChildExit(-signal.SIGABRT, out_of_memory=True), "ran out of memory"),
    ],
)
def test_want_of_memory_says_what_to_raise(world: World, ended: ChildExit, what: str) -> None:
    world.set_config({"memoryLimit": "64Mi"}, downloadMode="Agent")
    want(world)
    started(world).exit = ended
    world.run()
    model = world.model()
    assert model.reason == "OOMKilled"
    assert what in model.message
    assert "raise storageInitializer.memoryLimit of the configuration (it may take 64.0 MiB now)" in model.message


def test_a_kill_that_was_not_for_memory_is_not_called_so(world: World) -> None:
    want(world)
    started(world).exit = ChildExit(-signal.SIGKILL, out_of_memory=False)
    world.run()
    assert world.model().reason == "DownloadFailed"
    assert "SIGKILL" in world.model().message


def test_an_agent_that_starts_anew_repeats_the_attempt_whose_end_it_did_not_see(world: World) -> None:
    want(world)
    child = started(world)
    child.reports(10, 100)
    world.restart()
    assert started(world).plan.attempt == 1
    assert (child.plan.destination / ".localmodel" / "progress.json").exists()


def test_nothing_starts_while_a_process_of_an_earlier_agent_writes_d08(world: World) -> None:
    world.children.foreign = {KEY}
    want(world)
    world.run()
    assert world.children.started == []
    assert (world.status(), world.model().reason) == ("ModelDownloadPending", "Waiting")
    assert not (world.root / "models" / ".staging" / KEY).exists()
    world.children.foreign = set()
    assert started(world).plan.attempt == 1


def test_at_most_so_many_processes_run(world: World) -> None:
    world.set_config(downloadMode="Agent", maxConcurrentDownloadsPerNode=2)
    world.want(*({"modelName": f"m-{n}", "sourceModelUri": f"hf://org/m-{n}"} for n in range(3)))
    world.run()
    assert len(world.children.started) == 2
    world.children.started[0].succeeds(FILES)
    world.run()
    world.run()
    assert len(world.children.started) == 3


def test_without_a_limit_of_its_own_an_agent_runs_four_processes(world: World) -> None:
    world.want(*({"modelName": f"m-{n}", "sourceModelUri": f"hf://org/m-{n}"} for n in range(6)))
    world.run()
    assert len(world.children.started) == 4


def test_progress_comes_from_the_process(world: World) -> None:
    want(world)
    started(world).reports(250, 1000)
    world.run()
    assert (world.model().bytes_downloaded, world.model().size_bytes) == (250, 1000)


# its end ------------------------------------------------------------------------------------------------------------


def test_a_model_that_is_wanted_no_more_ends_its_process_first_d08(world: World) -> None:
    want(world)
    child = started(world)
    world.run()
    world.client.delete(world.client.get(LocalModelCache, "iris"))
    world.want()
    world.run()
    assert child.is_told_to_end
    assert child.plan.destination.is_dir()
    assert "iris" in world.node.status.model_status
    child.ends()
    world.run()
    assert not child.plan.destination.exists()
    assert world.node.status.model_status == {}


def test_a_process_that_was_told_to_end_and_is_wanted_again_has_not_failed(world: World) -> None:
    want(world)
    child = started(world)
    world.client.delete(world.client.get(LocalModelCache, "iris"))
    world.want()
    world.run()
    child.ends()
    want(world)
    assert started(world) is not child
    assert world.model().reason != "DownloadFailed"
    assert "DownloadFailed" not in world.reasons()


def test_a_label_blip_ends_no_process(world: World) -> None:
    want(world)
    child = started(world)
    world.run()
    world.want()
    world.run()
    assert not child.is_told_to_end
    assert world.status() == "ModelDownloading"


# the other mode -----------------------------------------------------------------------------------------------------


def test_a_process_goes_on_after_the_mode_has_changed(world: World) -> None:
    want(world)
    child = started(world)
    world.set_config(downloadMode="Job")
    world.run()
    assert world.jobs == []
    child.succeeds(FILES)
    world.run()
    assert world.status() == "ModelDownloaded"


def test_a_job_that_runs_goes_on_after_the_mode_has_changed(world: World) -> None:
    world.set_config()
    want(world)
    world.run()
    (job,) = world.jobs
    world.client.status.patch(job, {"status": {"active": 1, "ready": 1}})
    world.set_config(downloadMode="Agent")
    world.run()
    assert world.children.started == []
    assert world.status() == "ModelDownloading"
    world.download(world.jobs[0])
    world.run()
    assert world.status() == "ModelDownloaded"


def test_a_job_that_waits_gives_way_to_a_process(world: World) -> None:
    world.set_config()
    want(world)
    world.run()
    world.set_config(downloadMode="Agent")
    world.run()
    assert world.jobs == []
    assert started(world).plan.attempt == 1


def test_a_job_whose_pod_is_on_the_node_goes_on(world: World) -> None:
    world.set_config()
    want(world)
    world.run()
    world.download_pod(world.jobs[0], phase="Pending")
    world.set_config(downloadMode="Agent")
    world.run()
    assert len(world.jobs) == 1
    assert world.children.started == []


def test_a_job_that_the_agent_does_not_see_yet_holds_a_process_up(world: World, monkeypatch: Any) -> None:
    world.set_config()
    want(world)
    world.run()
    world.set_config(downloadMode="Agent")
    every = world.client.list

    class Blind:
        def __getattr__(self, name: str) -> Any:
            return getattr(world.client, name)

        def list(self, kind: Any, **options: Any) -> Any:
            return [] if kind is Job else every(kind, **options)

    world.agent.client = Blind()  # type: ignore[assignment]
    world.run()
    assert world.children.started == []


def test_namespaces_that_are_isolated_have_processes_and_folders_of_their_own(world: World) -> None:
    world.set_config(downloadMode="Agent", storageIsolation="namespace", servingVolumeScope="model")
    for namespace in ("team-a", "team-b"):
        document = {
            "metadata": {"name": "iris", "namespace": namespace},
            "spec": {"sourceModelUri": URI, "modelSize": "1Mi", "nodeGroups": ["gpu1"]},
        }
        world.client.create(LocalModelNamespaceCache.from_dict(document))
    world.want(*({"modelName": "iris", "namespace": it, "sourceModelUri": URI} for it in ("team-a", "team-b")))
    world.run()
    plans = {child.plan.cache: child.plan for child in world.children.started}
    assert {name: plan.key for name, plan in plans.items()} == {
        "team-a/iris": storage_key(URI, "team-a"),
        "team-b/iris": storage_key(URI, "team-b"),
    }
    assert all(plan.destination.is_dir() for plan in plans.values())


# what it may not download -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "what"),
    [
        ("s3://bucket/model", "the agent cannot download s3://bucket/model itself"),
        ("file:///var/run/secrets/kubernetes.io/serviceaccount", "names files of whatever downloads it"),
        ("FILE:///etc", "names files of whatever downloads it"),
        ("https://x.blob.core.windows.net/c/m", "the agent cannot download"),
        ("/mnt/models/models", "the agent cannot download"),
    ],
)
def test_what_the_agent_must_not_or_cannot_download_is_refused(world: World, uri: str, what: str) -> None:
    world.want({"modelName": "iris", "sourceModelUri": uri})
    world.run()
    assert world.children.started == []
    assert (world.status(), world.model().reason) == ("ModelDownloadError", "DownloadModeUnsupported")
    assert what in world.model().message
    assert "use downloadMode: Job" in world.model().message


def test_a_foreign_image_for_another_scheme_cannot_run_in_the_agent(world: World) -> None:
    container(world, "s3://")
    world.want({"modelName": "iris", "sourceModelUri": "s3://bucket/model"})
    world.run()
    assert "the image of ClusterStorageContainer hub, which cannot run in the agent" in world.model().message


# one that does not get on --------------------------------------------------------------------------------------------


def test_a_process_that_writes_nothing_any_more_is_ended_and_tried_again(world: World) -> None:
    world.set_config(downloadMode="Agent", downloadStallSeconds=100)
    want(world)
    child = started(world)
    world.run()
    world.clock.advance(101)
    world.run()
    assert (world.status(), world.model().reason) == ("ModelDownloadError", "DownloadStalled")
    assert child.is_told_to_end
    world.clock.advance(30)
    world.run()
    assert len(world.children.started) == 1
    child.ends()
    assert started(world).plan.attempt == 2


def test_a_process_has_the_deadline_of_jobs(world: World) -> None:
    world.set_config(downloadMode="Agent", jobActiveDeadlineSeconds=60)
    want(world)
    child = started(world)
    assert child.plan.deadline_seconds == 60
    child.exit = ChildExit(-signal.SIGTERM, is_late=True)
    world.run()
    assert (world.model().reason, world.model().message) == (
        "DeadlineExceeded",
        "the download took longer than 60 s and was ended; raise localModel.jobActiveDeadlineSeconds",
    )


def test_a_process_that_nobody_asks_for_any_more_counts_until_it_has_ended(world: World) -> None:
    world.set_config(downloadMode="Agent", maxConcurrentDownloadsPerNode=1)
    want(world)
    started(world)
    world.want({"modelName": "other", "sourceModelUri": "hf://org/other"})
    world.run()
    assert len(world.children.started) == 1


def test_what_a_process_writes_for_nobody_any_more_is_no_leftover(world: World) -> None:
    want(world)
    child = started(world)
    (child.plan.destination / "part").write_bytes(b"\0" * 1000)
    world.want()
    world.run()
    world.filesystem.foreign = 95 << 30
    world.run()
    assert (child.plan.destination / "part").exists()
    child.fails()
    world.run()
    assert not child.plan.destination.exists()
