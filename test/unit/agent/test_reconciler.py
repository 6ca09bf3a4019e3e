"""The reconciler against an API server in memory and a real directory."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from support.agent import JOBS, KEY, URI, World

from localmodel.runtime.errors import ServiceUnavailableError
from localmodel.runtime.listwatch import ListPage
from localmodel.runtime.objects import ConfigMap, Job, parse_quantity
from localmodel.runtime.reconcile import Request
from localmodel.runtime.testing.fake import FakeClient

# the main job --------------------------------------------------------------------------------------------------------


def test_a_wanted_model_is_downloaded_published_and_reported(world: World) -> None:
    world.want({"modelName": "iris", "sourceModelUri": URI})
    world.run()
    (job,) = world.jobs
    assert world.status() == "ModelDownloadPending"
    assert (world.root / "models" / ".staging" / KEY).is_dir()

    world.client.status.patch(job, {"status": {"active": 1, "ready": 1}})
    world.run()
    assert world.status() == "ModelDownloading"

    world.download(job)
    assert world.store.check(KEY).kind == "absent"
    world.run()
    assert world.status() == "ModelDownloaded"
    assert (world.root / "models" / KEY / "config.json").read_bytes() == b"{}"
    model = world.model()
    assert (model.storage_key, model.size_bytes, model.bytes_downloaded, model.attempts) == (KEY, 1002, 1002, 1)
    assert model.reason == "Published"
    assert world.reasons() == ["Downloading", "Downloaded"]
    assert [(c.type, c.status) for c in world.node.status.conditions] == [
        ("StorageReady", "True"),
        ("DiskPressure", "False"),
    ]


def test_a_pass_without_news_writes_nothing(world: World) -> None:
    world.publish()
    world.client.actions.clear()
    for _ in range(3):
        world.clock.advance(60)
        world.run()
    assert world.client.writes == []


def test_a_restart_starts_nothing_again(world: World) -> None:
    world.want({"modelName": "iris", "sourceModelUri": URI})
    world.run()
    world.restart()
    world.run()
    assert len(world.jobs) == 1
    world.download(world.jobs[0])
    world.restart()
    world.run()
    assert world.status() == "ModelDownloaded"
    world.restart()
    world.run()
    assert len(world.jobs) == 1


def test_another_nodes_request_is_ignored(world: World) -> None:
    assert world.agent.reconcile(Request("", "node-2")) is None


def test_progress_comes_from_the_downloads_own_notes(world: World) -> None:
    world.want({"modelName": "iris", "sourceModelUri": URI})
    world.run()
    world.client.status.patch(world.jobs[0], {"status": {"active": 1, "ready": 1}})
    notes = world.root / "models" / ".staging" / KEY / ".localmodel"
    notes.mkdir()
    for done in (10, 20):
        (notes / "progress.json").write_text(
            json.dumps({"uri": URI, "state": "downloading", "bytesDone": done, "bytesTotal": 100})
        )
        result = world.run()
        world.clock.advance(1)
        assert (world.model().bytes_downloaded, world.model().size_bytes) == (done, 100)
    assert result is not None
    assert result.requeue_after == 1


# failures ------------------------------------------------------------------------------------------------------------


def test_a_failed_download_is_retried_after_30_seconds_with_a_new_job_d41(world: World) -> None:
    world.want({"modelName": "iris", "sourceModelUri": URI})
    world.run()
    (job,) = world.jobs
    pod = world.download_pod(job)
    terminated = {"terminated": {"exitCode": 1, "reason": "Error", "message": "no such model: 404"}}
    statuses = [{"name": "download", "state": terminated}]
    world.client.status.patch(pod, {"status": {"phase": "Failed", "containerStatuses": statuses}})
    world.finish(job, "Failed", failed=3)
    result = world.run()
    assert world.status() == "ModelDownloadError"
    model = world.model()
    assert (model.reason, model.message, model.attempts) == ("DownloadFailed", "no such model: 404", 1)
    assert model.next_retry_time == world.clock.now() + timedelta(seconds=30)
    assert "Warning DownloadFailed iris: no such model: 404" in world.recorder.lines
    assert result is not None
    assert result.requeue_after == 30

    world.clock.advance(29)
    world.restart()
    world.run()
    assert len(world.jobs) == 1
    world.clock.advance(1)
    world.run()
    assert len(world.jobs) == 2
    assert (world.status(), world.model().attempts) == ("ModelDownloadPending", 2)


def test_a_failed_pod_of_a_job_that_goes_on_is_no_error_d40(world: World) -> None:
    world.want({"modelName": "iris", "sourceModelUri": URI})
    world.run()
    world.client.status.patch(world.jobs[0], {"status": {"active": 1, "failed": 1}})
    world.run()
    assert (world.status(), world.model().reason) == ("ModelDownloading", "Retrying")


def test_a_success_without_files_is_an_error(world: World) -> None:
    world.want({"modelName": "iris", "sourceModelUri": URI})
    world.run()
    world.finish(world.jobs[0], "Complete", succeeded=1)
    world.run()
    assert (world.status(), world.model().reason) == ("ModelDownloadError", "NothingDownloaded")


def test_one_entry_that_cannot_start_does_not_stop_another_d42(world: World) -> None:
    world.want(
        {"modelName": "bad", "sourceModelUri": "s3://bad", "nodeGroup": "gone"},
        {"modelName": "worse", "sourceModelUri": "s3://worse", "serviceAccountName": "nobody"},
        {"modelName": "good", "sourceModelUri": URI},
    )
    world.run()
    assert [job.metadata.labels["model"] for job in world.jobs] == ["good"]
    assert "LocalModelNodeGroup 'gone' does not exist" in world.model("bad").message
    assert world.model("worse").message == f"ServiceAccount {JOBS}/nobody does not exist"
    assert world.status("worse") == "ModelDownloadError"


def test_an_error_of_the_api_server_at_one_entry_does_not_stop_another_d42(world: World) -> None:
    def refuse(action: Any, proceed: Callable[[], Any]) -> Any:
        if action.verb == "create" and action.kind is Job and action.object.metadata.labels["model"] == "bad":
            raise ServiceUnavailableError.of("try later")
        return proceed()

    client = FakeClient(registry=world.client.registry, interceptors=[refuse])
    world.agent.client = world.agent.live = client
    world.want({"modelName": "bad", "sourceModelUri": "s3://bad"}, {"modelName": "good", "sourceModelUri": URI})
    result = world.run()
    assert [job.metadata.labels["model"] for job in world.jobs] == ["good"]
    assert world.model("bad").message == "try later"
    assert result is not None
    assert result.requeue_after == 5


def test_a_job_that_exists_but_is_not_seen_is_not_made_twice_nor_disturbed(world: World) -> None:
    world.want({"modelName": "iris", "sourceModelUri": URI})
    world.run()
    partial = world.root / "models" / ".staging" / KEY / "partial.bin"
    partial.write_bytes(b"half")

    def stale(action: Any, proceed: Callable[[], Any]) -> Any:
        return ListPage([], "1") if action.verb == "list" and action.kind is Job else proceed()

    world.restart()
    world.agent.client = FakeClient(registry=world.client.registry, interceptors=[stale])
    world.run()
    assert len(world.jobs) == 1
    assert world.status() == "ModelDownloadPending"
    assert partial.read_bytes() == b"half"


def test_a_job_is_found_again_after_the_disk_was_replaced(world: World) -> None:
    world.want({"modelName": "iris", "sourceModelUri": URI})
    world.run()
    world.store.close()
    shutil.rmtree(world.root / "models")
    world.start()
    world.run()
    world.finish(world.jobs[0], "Complete", succeeded=1)
    world.run()
    assert world.model().reason == "NothingDownloaded"
    world.clock.advance(30)
    world.run()
    assert len(world.jobs) == 2


def test_a_foreign_job_of_the_same_name_is_not_taken_for_ours(world: World) -> None:
    world.want({"modelName": "iris", "sourceModelUri": URI})
    world.run()
    (job,) = world.jobs
    world.client.patch(job, {"metadata": {"ownerReferences": None}})
    world.run()
    assert world.status() == "ModelDownloadError"
    assert "does not belong to this node" in world.model().message


def test_a_job_that_is_still_being_deleted_is_waited_for(world: World) -> None:
    world.want({"modelName": "iris", "sourceModelUri": URI})
    world.run()
    (job,) = world.jobs
    world.client.patch(job, {"metadata": {"finalizers": ["example.com/hold"]}})
    world.client.delete(job)
    world.run()
    assert len(world.jobs) == 1
    assert world.status() == "ModelDownloadPending"
    world.client.patch(world.jobs[0], {"metadata": {"finalizers": None}})
    world.run()
    assert not world.jobs[0].is_deleting


# repair --------------------------------------------------------------------------------------------------------------


def test_a_lost_folder_is_downloaded_again_under_a_new_name(world: World) -> None:
    world.publish()
    (world.root / "models" / KEY / "config.json").unlink()
    world.run()
    assert len(world.jobs) == 2
    assert world.status() == "ModelDownloadPending"
    assert world.model().message.startswith("downloading again: config.json is missing")
    world.download(next(job for job in world.jobs if not job.is_complete))
    world.run()
    assert world.status() == "ModelDownloaded"


def test_no_new_attempt_while_a_pod_of_the_last_still_runs(world: World) -> None:
    world.publish()
    pod = world.download_pod(world.jobs[0])
    (world.root / "models" / KEY / "config.json").unlink()
    world.run()
    assert len(world.jobs) == 1
    world.client.status.patch(pod, {"status": {"phase": "Succeeded"}})
    world.run()
    assert len(world.jobs) == 2


# sharing -------------------------------------------------------------------------------------------------------------


def test_two_caches_with_one_uri_share_one_download(world: World) -> None:
    world.want(
        {"modelName": "one", "sourceModelUri": URI, "namespace": "team-a"},
        {"modelName": "two", "sourceModelUri": URI, "namespace": "team-b"},
    )
    world.run()
    (job,) = world.jobs
    world.download(job)
    world.run()
    assert (world.status("team-a/one"), world.status("team-b/two")) == ("ModelDownloaded", "ModelDownloaded")


def test_a_cache_with_other_credentials_does_not_get_the_others_files(world: World) -> None:
    world.publish()
    world.want(
        {"modelName": "iris", "sourceModelUri": URI},
        {"modelName": "a-thief", "sourceModelUri": URI, "serviceAccountName": "other"},
    )
    world.run()
    assert (world.status("iris"), world.status("a-thief")) == ("ModelDownloaded", "ModelDownloadPending")
    assert world.model("a-thief").reason == "CredentialsDiffer"


# room ----------------------------------------------------------------------------------------------------------------


def test_a_model_that_does_not_fit_waits_with_the_numbers(world: World) -> None:
    world.want({"modelName": "iris", "sourceModelUri": URI, "modelSize": "11Mi"})
    world.run()
    world.run()
    assert world.jobs == []
    assert (world.status(), world.model().reason) == ("ModelDownloadPending", "InsufficientStorage")
    assert "needs 11.0 MiB" in world.model().message
    assert "can never fit: the limit of LocalModelNodeGroup gpu1 is 10.0 MiB" in world.model().message
    assert world.reasons() == ["InsufficientStorage"]


def test_the_disk_is_reported_with_the_groups_limit_also_after_a_restart(world: World) -> None:
    world.publish()
    world.restart()
    world.run()
    disk = world.node.status.disk
    assert disk is not None
    assert disk.limit == "10Mi"
    assert parse_quantity(disk.capacity) > 10 << 20


def test_two_downloads_cannot_promise_the_same_room(world: World) -> None:
    world.want(
        {"modelName": "a", "sourceModelUri": "s3://a", "modelSize": "6Mi"},
        {"modelName": "b", "sourceModelUri": "s3://b", "modelSize": "6Mi"},
    )
    world.run()
    assert len(world.jobs) == 1
    assert world.model("b").reason == "InsufficientStorage"
    world.run()
    assert len(world.jobs) == 1


def test_no_more_downloads_run_at_a_time_than_configured_and_priority_decides_d46(world: World) -> None:
    config = world.client.get(ConfigMap, "inferenceservice-config", namespace="kserve")
    world.client.patch(config, {"data": {"localModel": json.dumps({"maxConcurrentDownloadsPerNode": 1})}})
    world.want(
        {"modelName": "low", "sourceModelUri": "s3://low", "modelSize": "1Mi"},
        {"modelName": "high", "sourceModelUri": URI, "modelSize": "2Mi", "priority": 1},
    )
    world.run()
    assert [job.metadata.labels["model"] for job in world.jobs] == ["high"], "though it is larger"
    assert "1 may run at a time" in world.model("low").message
    world.download(world.jobs[0])
    world.run()
    assert world.status("high") == "ModelDownloaded"
    assert len(world.jobs) == 2


# the root ------------------------------------------------------------------------------------------------------------


def test_an_unmounted_disk_stops_everything_and_says_so(world: World) -> None:
    world.publish()
    (world.root / "models").rename(world.root / "away")
    world.run()
    condition = world.node.status.conditions[0]
    assert (condition.status, condition.reason) == ("False", "RootNotMounted")
    assert world.status() == "ModelDownloaded", "what is not known is not changed"
    assert len(world.jobs) == 1
    (world.root / "away").rename(world.root / "models")
    world.run()
    assert world.node.status.conditions[0].status == "True"
    assert len(world.jobs) == 1


def test_kserves_models_are_adopted_on_upgrade(world: World) -> None:
    folder = world.root / "models" / KEY
    folder.mkdir(parents=True)
    (folder / "config.json").write_bytes(b"{}")
    world.want({"modelName": "iris", "sourceModelUri": URI})
    world.client.status.patch(world.node, {"status": {"modelStatus": {"iris": "ModelDownloaded"}}})
    world.run()
    assert world.status() == "ModelDownloaded"
    assert world.jobs == []
    world.run()
    assert world.reasons() == ["Adopted"], "told once"


def test_a_broken_configuration_keeps_the_last_good_one(world: World) -> None:
    world.publish()
    config = world.client.get(ConfigMap, "inferenceservice-config", namespace="kserve")
    world.client.patch(config, {"data": {"localModel": "{"}})
    result = world.run()
    world.run()
    assert result is not None
    assert result.requeue_after == 60
    assert world.reasons().count("InvalidConfig") == 1


def test_what_is_good_of_a_broken_configuration_is_used_from_the_start(world: World) -> None:
    world.want({"modelName": "iris", "sourceModelUri": URI})
    config = world.client.get(ConfigMap, "inferenceservice-config", namespace="kserve")
    document = json.dumps({"reconcilationFrequencyInSecs": 7, "fsGroup": -1})
    world.client.patch(config, {"data": {"localModel": document, "credentials": "{"}})
    result = world.run()
    assert result is not None
    assert result.requeue_after == 7
    told = world.recorder.expect("InvalidConfig").message
    assert "fsGroup is -1" in told
    assert "credentials: not JSON" in told
