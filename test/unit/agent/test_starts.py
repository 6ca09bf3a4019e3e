"""Downloads whose pod does not start, or that run and do nothing: what is said, and when they have failed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.agent import JOBS, KEY, URI, World

from localmodel.api.names import storage_key
from localmodel.runtime.errors import ForbiddenError, ServiceUnavailableError
from localmodel.runtime.listwatch import ListPage
from localmodel.runtime.objects import ConfigMap, Event, Job, Pod
from localmodel.runtime.testing.fake import FakeClient

IRIS = {"modelName": "iris", "sourceModelUri": URI}
UNBOUND = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.",
}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    made.agent.client = FakeClient(registry=made.client.registry, interceptors=[pods_of_the_node])
    made.want(dict(IRIS))
    made.run()
    made.run()  # now it has seen the Job
    yield made
    made.store.close()


def pods_of_the_node(action: Any, proceed: Callable[[], Any]) -> Any:
    """The agent's cache has no others."""
    page = proceed()
    if action.verb == "list" and action.kind is Pod:
        return ListPage([item for item in page.items if Pod.from_json(item).spec.node_name], page.resource_version)
    return page


def configure(world: World, **changes: Any) -> None:
    config = world.client.get(ConfigMap, "inferenceservice-config", namespace="kserve")
    config.data["localModel"] = json.dumps(json.loads(config.data["localModel"]) | changes)
    world.client.update(config)


def pod_of(world: World, job: Job, *, node: str = "node-1", **status: Any) -> Pod:
    pod = world.client.create(Pod.from_dict({
        "metadata": {"name": f"{job.name}-x", "namespace": JOBS,
                     "labels": {**job.metadata.labels, "batch.kubernetes.io/job-name": job.name},
                     "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": job.name,
                                          "uid": job.metadata.uid, "controller": True}]},
        "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}],
                 "volumes": [{"name": "m", "persistentVolumeClaim": {"claimName": "iris-gpu1"}}]},
    }))  # fmt: skip
    return world.client.status.patch(pod, {"status": {"phase": "Pending", **status}})


def warn(world: World, about: Job | Pod, reason: str, message: str) -> None:
    reference = {"kind": about.kind, "name": about.name, "namespace": JOBS, "uid": about.metadata.uid}
    count = len(world.client.list(Event))
    world.client.create(Event.from_dict({
        "metadata": {"name": f"e{count}", "namespace": JOBS},
        "involvedObject": reference, "reason": reason, "message": message, "type": "Warning",
        "lastTimestamp": world.clock.now().isoformat(),
    }))  # fmt: skip


def intercept(world: World, interceptor: Callable[[Any, Callable[[], Any]], Any]) -> None:
    registry = world.client.registry
    world.restart()
    world.agent.client = FakeClient(registry=registry, interceptors=[interceptor, pods_of_the_node])
    world.agent.live = FakeClient(registry=registry, interceptors=[interceptor])
    world.run()


def end(world: World, pod: Pod) -> None:
    world.client.status.patch(pod, {"status": {"phase": "Failed"}})


def wait(world: World, seconds: int) -> None:
    """A pass each minute."""
    for _ in range(0, seconds, 60):
        world.clock.advance(60)
        world.run()


# what is said ---------------------------------------------------------------------------------------------------------


def test_a_pod_that_is_on_no_node_is_looked_after_once_a_minute_has_gone(world: World) -> None:
    pod_of(world, world.jobs[0], node="", conditions=[UNBOUND])
    world.client.actions.clear()
    world.clock.advance(59)
    result = world.run()
    assert result is not None
    assert result.requeue_after == 1
    world.clock.advance(1)
    world.run()
    assert (world.status(), world.model().reason) == ("ModelDownloadPending", "VolumeUnbound")
    assert "see kubectl describe pvc iris-gpu1" in world.model().message


def test_looks_become_rare_and_a_pass_without_news_writes_nothing(world: World) -> None:
    pod_of(world, world.jobs[0], node="", conditions=[UNBOUND])
    wait(world, 60)
    world.client.actions.clear()
    wait(world, 600)
    assert world.client.writes == []
    assert len([action for action in world.client.actions if (action.verb, action.kind) == ("list", Pod)]) == 2


def test_a_job_without_a_pod_says_what_its_last_warning_says(world: World) -> None:
    warn(world, world.jobs[0], "FailedCreate", "forbidden: an older cause")
    world.clock.advance(1)
    warn(world, world.jobs[0], "FailedCreate", 'no PriorityClass with name "high" was found')
    wait(world, 60)
    assert world.model().reason == "PodNotCreated"
    assert world.model().message.endswith('has no pod: no PriorityClass with name "high" was found')


def test_a_volume_that_cannot_be_mounted_is_told_from_the_pods_events(world: World) -> None:
    creating = [{"name": "c", "state": {"waiting": {"reason": "ContainerCreating"}}}]
    pod = pod_of(world, world.jobs[0], containerStatuses=creating)
    warn(world, pod, "FailedMount", "path /models does not exist")
    wait(world, 60)
    assert world.model().reason == "MountFailed"
    assert "path /models does not exist; the node group's local.path must be" in world.model().message


def test_a_bundle_that_went_before_the_container_started_is_told_as_such(world: World) -> None:
    pod = pod_of(world, world.jobs[0])
    warn(world, pod, "FailedMount", 'MountVolume.SetUp failed for volume "cabundle-cert" : configmap "x" not found')
    wait(world, 60)
    assert world.model().reason == "ContainerConfigInvalid"
    assert world.model().message.endswith(f"create what is missing in namespace {JOBS}")


def test_each_trouble_is_an_event_once(world: World) -> None:
    pod_of(world, world.jobs[0], node="", conditions=[UNBOUND])
    wait(world, 300)
    assert world.reasons() == ["Downloading", "VolumeUnbound"]


def test_a_secret_that_went_before_the_container_started_is_told_at_once(world: World) -> None:
    waiting = {"reason": "CreateContainerConfigError", "message": 'secret "hf" not found'}
    pod_of(world, world.jobs[0], containerStatuses=[{"name": "c", "state": {"waiting": waiting}}])
    world.run()
    assert (world.status(), world.model().reason) == ("ModelDownloadPending", "ContainerConfigInvalid")


@pytest.mark.parametrize("error", [ForbiddenError, ServiceUnavailableError])
def test_what_cannot_be_looked_up_does_no_harm(world: World, error: Any) -> None:
    def refuse(action: Any, proceed: Callable[[], Any]) -> Any:
        if action.verb == "list" and action.kind is Event:
            raise error.of("no")
        return proceed()

    intercept(world, refuse)
    wait(world, 60)
    assert (world.status(), world.model().reason) == (
        "ModelDownloadPending",
        "PodNotCreated" if error is ForbiddenError else "Waiting",
    )


# when it has failed ---------------------------------------------------------------------------------------------------


def test_a_download_that_never_starts_fails_and_is_tried_again_d41(world: World) -> None:
    (first,) = world.jobs
    pod = pod_of(world, first, node="", conditions=[UNBOUND])
    wait(world, 840)
    assert world.status() == "ModelDownloadPending"
    wait(world, 60)
    assert (world.status(), world.model().reason) == ("ModelDownloadError", "VolumeUnbound")
    assert world.model().message.startswith("the download's pod has not started for 900 s: Unschedulable: pod has")
    assert world.jobs == []
    end(world, pod)
    world.run()
    assert world.status() == "ModelDownloadError"
    world.clock.advance(30)
    world.run()
    (second,) = world.jobs
    assert (second.name != first.name, world.model().attempts, world.status()) == (True, 2, "ModelDownloadPending")


def test_one_that_never_starts_gives_its_slot_to_another_d46(world: World) -> None:
    configure(world, maxConcurrentDownloadsPerNode=1)
    world.want(dict(IRIS), {"modelName": "other", "sourceModelUri": "s3://other"})
    wait(world, 840)
    assert [job.metadata.labels["model"] for job in world.jobs] == ["iris"]
    wait(world, 120)
    assert [job.metadata.labels["model"] for job in world.jobs] == ["other"]


def test_the_time_is_configured_and_zero_is_never(world: World) -> None:
    configure(world, jobStartTimeoutSeconds=0)
    wait(world, 3600)
    assert (len(world.jobs), world.status()) == (1, "ModelDownloadPending")
    configure(world, jobStartTimeoutSeconds=60)
    world.run()
    assert world.status() == "ModelDownloadError"


def test_the_agent_looks_when_the_time_is_over(world: World) -> None:
    configure(world, jobStartTimeoutSeconds=75, reconcilationFrequencyInSecs=3600)
    waits = []
    for seconds in (60, 15):
        result = world.run()
        assert result is not None
        waits.append(result.requeue_after)
        world.clock.advance(seconds)
    world.run()
    assert (waits, world.status()) == ([60, 15], "ModelDownloadError")


def test_no_jump_of_the_clock_ends_a_download(world: World) -> None:
    for days in (100, -200):
        world.clock.jump(timedelta(days=days))
        world.run()
    assert (len(world.jobs), world.status()) == (1, "ModelDownloadPending")


@pytest.mark.parametrize("status", [{"ready": 1}, {}])
def test_a_download_that_has_started_takes_its_time(world: World, status: dict[str, Any]) -> None:
    configure(world, downloadStallSeconds=0)
    world.client.status.patch(world.jobs[0], {"status": {"active": 1, **status}})
    pod_of(world, world.jobs[0], phase="Running")  # the Job's own count may come late
    wait(world, 3600)
    assert len(world.jobs) == 1
    assert world.status() == "ModelDownloading"


def test_a_job_that_somebody_suspended_is_left_to_him(world: World) -> None:
    condition = {"type": "Suspended", "status": "True", "reason": "JobSuspended"}
    world.client.status.patch(world.jobs[0], {"status": {"conditions": [condition]}})
    wait(world, 3600)
    assert (world.status(), world.model().reason) == ("ModelDownloadPending", "JobSuspended")
    assert len(world.jobs) == 1


def test_a_failure_whose_job_could_not_be_deleted_is_brought_to_its_end(world: World) -> None:
    failing = True

    def refuse(action: Any, proceed: Callable[[], Any]) -> Any:
        if failing and action.verb == "delete" and action.kind is Job:
            raise ServiceUnavailableError.of("no")
        return proceed()

    intercept(world, refuse)
    wait(world, 900)
    assert len(world.jobs) == 1
    failing = False
    world.run()
    assert (world.jobs, world.status(), world.model().reason) == ([], "ModelDownloadError", "PodNotCreated")
    assert world.model().attempts == 1


def test_without_its_pods_end_no_other_attempt_begins(world: World) -> None:
    pod = pod_of(world, world.jobs[0])
    wait(world, 900)
    assert world.jobs == []
    wait(world, 3600)
    assert world.jobs == []
    end(world, pod)
    world.run()
    assert len(world.jobs) == 1


# downloads that run ---------------------------------------------------------------------------------------------------


def running(world: World) -> Job:
    job = world.jobs[0]
    world.client.status.patch(job, {"status": {"active": 1, "ready": 1}})
    pod_of(world, job, phase="Running")
    return job


def test_a_download_that_writes_nothing_for_an_hour_is_ended_d41(world: World) -> None:
    running(world)
    world.run()
    wait(world, 3540)
    assert world.status() == "ModelDownloading"
    wait(world, 60)
    assert (world.status(), world.model().reason) == ("ModelDownloadError", "DownloadStalled")
    assert world.jobs == []


def test_a_download_that_grows_goes_on_d41(world: World) -> None:
    running(world)
    for hour in range(5):
        (world.root / "models" / ".staging" / KEY / f"part{hour}").write_bytes(b"x" * 5000)
        wait(world, 3000)
    assert world.status() == "ModelDownloading"


def test_its_own_notes_are_work_too(world: World) -> None:
    running(world)
    notes = world.root / "models" / ".staging" / KEY / ".localmodel"
    notes.mkdir()
    for stamp in range(5):
        # Always as long: only the time of the file tells.
        (notes / "progress.json").write_text(json.dumps({"uri": URI, "state": "verifying"}))
        os.utime(notes / "progress.json", (stamp, stamp))
        wait(world, 3000)
    assert world.status() == "ModelDownloading"


# slots ----------------------------------------------------------------------------------------------------------------


def test_a_download_that_nobody_asks_for_holds_its_slot_until_it_has_ended_d46(world: World) -> None:
    configure(world, maxConcurrentDownloadsPerNode=1)
    job = running(world)
    world.client.delete(world.cache())
    world.want({"modelName": "other", "sourceModelUri": "s3://other"})
    world.run()
    assert [job.metadata.labels["model"] for job in world.jobs] == []
    end(world, world.client.get(Pod, f"{job.name}-x", namespace=JOBS))
    world.run()
    assert [job.metadata.labels["localmodel.kserve.io/storage-key"] for job in world.jobs] == [
        storage_key("s3://other")
    ]


def test_a_job_that_is_being_deleted_holds_its_slot_while_its_pod_runs_d46(world: World) -> None:
    configure(world, maxConcurrentDownloadsPerNode=1)
    job = running(world)
    world.client.delete(job)
    world.want(dict(IRIS), {"modelName": "other", "sourceModelUri": "s3://other", "priority": 1})
    world.run()
    assert world.jobs == []


# another agent process ------------------------------------------------------------------------------------------------


def restarted(world: World) -> None:
    world.restart()
    world.agent.client = FakeClient(registry=world.client.registry, interceptors=[pods_of_the_node])
    world.run()


def test_an_agent_that_restarts_now_and_then_gives_a_download_up_all_the_same(world: World) -> None:
    for _ in range(2):
        wait(world, 420)
        restarted(world)
    assert world.status() == "ModelDownloadPending"
    wait(world, 60)
    assert (world.status(), world.model().reason) == ("ModelDownloadError", "PodNotCreated")


@pytest.mark.parametrize("by", [timedelta(days=1), timedelta(days=-1)], ids=["on", "back"])
def test_it_has_looked_at_each_for_a_minute_before_whatever_the_clock_says(world: World, by: timedelta) -> None:
    world.clock.jump(by)
    restarted(world)
    world.clock.advance(59)
    world.run()
    assert (world.model().attempts, world.status()) == (1, "ModelDownloadPending")


def test_a_job_that_tries_again_has_its_time_anew(world: World) -> None:
    job = world.jobs[0]
    end(world, pod_of(world, job))
    world.client.status.patch(job, {"status": {"failed": 1}})
    wait(world, 840)
    restarted(world)
    wait(world, 840)
    assert (len(world.jobs), world.status()) == (1, "ModelDownloading")


def test_a_job_that_was_suspended_waits_from_when_it_went_on(world: World) -> None:
    wait(world, 840)
    world.client.status.patch(world.jobs[0], {"status": {"startTime": world.clock.now().isoformat()}})
    restarted(world)
    wait(world, 840)
    assert (len(world.jobs), world.status()) == (1, "ModelDownloadPending")


def hanging(world: World) -> None:
    """A download has run for an hour but a minute, and its last change is as long ago, by the clock of the disk."""
    world.clock.jump(datetime.now(UTC) - world.clock.now())
    job = world.jobs[0]
    world.client.status.patch(job, {"status": {"active": 1, "ready": 1}})
    state = {"running": {"startedAt": world.clock.now().isoformat()}}
    pod_of(world, job, phase="Running", containerStatuses=[{"name": "c", "state": state}])
    world.run()
    (world.root / "models" / ".staging" / KEY / "part").write_bytes(b"x")
    wait(world, 3540)


def test_a_hanging_download_is_ended_also_by_an_agent_that_restarts(world: World) -> None:
    hanging(world)
    restarted(world)
    assert world.status() == "ModelDownloading"
    wait(world, 120)
    assert (world.status(), world.model().reason) == ("ModelDownloadError", "DownloadStalled")


def test_one_that_goes_on_is_not_whatever_the_clock_says(world: World) -> None:
    hanging(world)
    world.clock.jump(timedelta(days=1))
    restarted(world)
    world.clock.advance(59)
    world.run()
    assert world.status() == "ModelDownloading"
    (world.root / "models" / ".staging" / KEY / "part").write_bytes(b"xx")
    wait(world, 3480)
    assert world.status() == "ModelDownloading"


def test_a_pod_that_has_just_been_started_has_its_time_whatever_lies_there(world: World) -> None:
    hanging(world)
    pod = world.client.get(Pod, f"{world.jobs[0].name}-x", namespace=JOBS)
    state = {"running": {"startedAt": world.clock.now().isoformat()}}
    world.client.status.patch(pod, {"status": {"containerStatuses": [{"name": "c", "state": state}]}})
    restarted(world)
    wait(world, 3480)
    assert world.status() == "ModelDownloading"
