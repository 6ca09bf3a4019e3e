"""The Job controller's promises."""

from __future__ import annotations

from typing import Any

import pytest

from localmodel.runtime.errors import ApiError
from localmodel.runtime.objects import Job, ObjectKey, Pod
from localmodel.runtime.testing import FakeClient, FakeClock, wire
from localmodel.sandbox.controllers.jobpods import CONTROLLER_UID, pod_name
from localmodel.sandbox.controllers.jobs import JobOptions, JobReconciler

KEY = ObjectKey("jobs", "fetch")


def job(**spec: Any) -> Job:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox"}]}}
    return Job.from_dict({"metadata": {"name": "fetch", "namespace": "jobs"}, "spec": {"template": template, **spec}})


class World:
    """One Job, its controller, and hands that play the kubelet."""

    def __init__(self, job: Job) -> None:
        self.clock = FakeClock()
        self.client = FakeClient(clock=self.clock)
        self.client.create(job)
        self.reconciler = wire(JobReconciler(JobOptions(first_delay=10)), self.client, self.clock)

    def reconcile(self) -> float | None:
        result = self.reconciler.reconcile(KEY)
        return result.requeue_after if result else None

    @property
    def job(self) -> Job:
        return self.client.get(Job, KEY.name, namespace=KEY.namespace)

    @property
    def pods(self) -> list[Pod]:
        return self.client.list(Pod, namespace=KEY.namespace)

    def end(self, phase: str) -> None:
        """Lets the pod that is not finished yet end."""
        pod = next(pod for pod in self.pods if not pod.is_finished)
        self.client.status.patch(pod, {"status": {"phase": phase}})

    def condition(self, type_: str) -> tuple[str, str]:
        condition = next(c for c in self.job.status.conditions if c.type == type_)
        return condition.status, condition.reason


def test_a_job_gets_one_pod_with_its_labels_and_owner() -> None:
    world = World(job())
    world.reconcile()
    (pod,) = world.pods
    assert pod.name == pod_name(world.job, 0)
    assert pod.metadata.labels[CONTROLLER_UID] == world.job.metadata.uid
    assert [(o.kind, o.uid, o.controller) for o in pod.metadata.owner_references] == [
        ("Job", world.job.metadata.uid, True)
    ]
    assert (world.job.status.active, world.job.status.start_time is not None) == (1, True)


def test_reconciling_again_makes_no_second_pod() -> None:
    world = World(job())
    for _ in range(3):
        world.reconcile()
    assert len(world.pods) == 1


def test_a_stale_job_makes_no_second_pod_for_the_same_attempt() -> None:
    """The pod is there, but neither the cached Job nor the cached pods know it."""
    world = World(job())
    stale = world.job
    world.reconcile()
    assert world.reconciler._create_pods(stale, [], 1) == 0
    assert len(world.pods) == 1


def test_a_pod_of_that_name_that_is_not_ours_is_an_error() -> None:
    world = World(job())
    foreign = Pod.from_dict({"metadata": {"name": pod_name(world.job, 0), "namespace": "jobs"}, "spec": {}})
    world.client.create(foreign)
    with pytest.raises(ApiError):
        world.reconcile()


def test_a_succeeded_pod_completes_the_job() -> None:
    world = World(job())
    world.reconcile()
    world.end("Succeeded")
    world.reconcile()
    status = world.job.status
    assert world.job.is_complete
    assert world.job.has_condition("SuccessCriteriaMet")
    assert (status.succeeded, status.active, status.completion_time is not None) == (1, 0, True)


def test_a_failed_pod_is_followed_by_another_after_the_delay() -> None:
    world = World(job(backoffLimit=2))
    world.reconcile()
    world.end("Failed")
    assert world.reconcile() == pytest.approx(10)
    assert (world.job.status.failed, world.job.status.active, len(world.pods)) == (1, 0, 1)
    world.clock.advance(10)
    world.reconcile()
    assert {pod.name for pod in world.pods} == {pod_name(world.job, 0), pod_name(world.job, 1)}
    assert world.job.status.active == 1


def test_the_delay_doubles() -> None:
    world = World(job(backoffLimit=5))
    delays = []
    for _ in range(3):
        world.reconcile()
        world.end("Failed")
        delays.append(world.reconcile())
        world.clock.advance(delays[-1] or 0)
    assert delays == pytest.approx([10, 20, 40])


def test_more_failures_than_the_backoff_limit_fail_the_job() -> None:
    world = World(job(backoffLimit=1))
    for _ in range(2):
        world.reconcile()
        world.end("Failed")
        world.clock.advance(world.reconcile() or 0)
    assert world.job.is_failed
    assert world.condition("Failed") == ("True", "BackoffLimitExceeded")
    assert world.job.has_condition("FailureTarget")
    assert (world.job.status.failed, len(world.pods)) == (2, 2)


def test_a_pod_that_vanished_counts_as_failed() -> None:
    world = World(job(backoffLimit=0))
    world.reconcile()
    world.client.delete(world.pods[0], grace_period_seconds=0)
    world.reconcile()
    assert world.job.is_failed


def bind(world: World) -> None:
    """Lets the pod have a node, so that deleting it waits for a kubelet."""
    (pod,) = world.pods
    pod.spec.node_name = "node-1"
    world.client.update(pod)


def test_a_terminating_pod_is_replaced_at_once_by_default() -> None:
    world = World(job(backoffLimit=3))
    world.reconcile()
    bind(world)
    world.client.delete(world.pods[0])
    world.clock.advance(world.reconcile() or 0)
    world.reconcile()
    assert len(world.pods) == 2
    assert world.job.status.terminating == 1


def test_with_replacement_policy_failed_a_terminating_pod_is_waited_for() -> None:
    world = World(job(backoffLimit=3, podReplacementPolicy="Failed"))
    world.reconcile()
    bind(world)
    world.client.delete(world.pods[0])
    world.clock.advance(100)
    world.reconcile()
    assert (len(world.pods), world.job.status.failed) == (1, 0)
    world.end("Failed")
    world.clock.advance(world.reconcile() or 0)
    world.reconcile()
    assert len(world.pods) == 2


def test_the_active_deadline_fails_the_job_and_deletes_its_pod() -> None:
    world = World(job(activeDeadlineSeconds=60))
    assert world.reconcile() == pytest.approx(60, abs=1)
    world.clock.advance(61)
    world.reconcile()
    world.reconcile()
    assert world.condition("Failed") == ("True", "DeadlineExceeded")
    assert world.pods == []


def test_a_finished_job_goes_after_its_ttl() -> None:
    world = World(job(ttlSecondsAfterFinished=100))
    world.reconcile()
    world.end("Succeeded")
    world.reconcile()
    assert world.reconcile() == pytest.approx(100, abs=1)
    world.clock.advance(101)
    world.reconcile()
    found = world.client.find(Job, KEY.name, namespace=KEY.namespace)
    assert found is None or found.is_deleting


def test_a_suspended_job_runs_nothing_until_it_is_resumed() -> None:
    world = World(job(suspend=True))
    world.reconcile()
    assert world.pods == []
    assert world.condition("Suspended") == ("True", "JobSuspended")
    world.client.patch(world.job, {"spec": {"suspend": False}})
    world.reconcile()
    assert len(world.pods) == 1
    assert world.condition("Suspended") == ("False", "JobResumed")


@pytest.mark.parametrize(
    "spec",
    [{"parallelism": 3}, {"completionMode": "Indexed"}, {"successPolicy": {"rules": []}}, {"managedBy": "x.example/y"}],
)
def test_what_it_cannot_do_is_refused_with_an_event(spec: dict[str, Any]) -> None:
    world = World(job(**spec))
    world.reconcile()
    assert world.pods == []
    assert world.reconciler.recorder.reasons == ["Unsupported"]  # type: ignore[attr-defined]


# accounting


def tracked(pod: Pod) -> bool:
    return "batch.kubernetes.io/job-tracking" in pod.metadata.finalizers


def test_a_pod_is_held_until_its_end_is_counted() -> None:
    world = World(job(backoffLimit=2))
    world.reconcile()
    assert [tracked(pod) for pod in world.pods] == [True]
    world.end("Failed")
    world.reconcile()
    assert [tracked(pod) for pod in world.pods] == [False]
    world.reconcile()
    assert world.job.status.failed == 1


def test_an_end_that_a_crash_left_half_counted_is_counted_once() -> None:
    world = World(job(backoffLimit=2))
    world.reconcile()
    world.end("Failed")
    uid = world.pods[0].metadata.uid
    world.client.status.patch(world.job, {"status": {"uncountedTerminatedPods": {"failed": [uid]}}})
    for _ in range(3):
        world.reconcile()
    assert world.job.status.failed == 1


def test_an_end_whose_pod_was_let_go_before_a_crash_is_counted() -> None:
    world = World(job(backoffLimit=2))
    world.reconcile()
    world.end("Failed")
    pod = world.pods[0]
    world.client.status.patch(world.job, {"status": {"uncountedTerminatedPods": {"failed": [pod.metadata.uid]}}})
    world.client.patch(pod, {"metadata": {"finalizers": None}})
    world.reconcile()
    assert world.job.status.failed == 1


def test_the_pods_of_a_job_that_is_deleted_are_let_go() -> None:
    world = World(job())
    world.reconcile()
    world.client.delete(world.job)
    world.reconcile()
    assert not any(tracked(pod) for pod in world.pods)


def test_as_many_pods_run_as_the_parallelism_allows_and_the_completions_need() -> None:
    world = World(job(completions=3, parallelism=2))
    world.reconcile()
    assert len(world.pods) == 2
    for running in (2, 1, 0):
        world.end("Succeeded")
        world.reconcile()
        assert sum(not pod.is_finished for pod in world.pods) == running
    assert world.job.is_complete
    assert world.job.status.succeeded == 3


def test_a_smaller_parallelism_ends_pods_without_counting_them() -> None:
    world = World(job(completions=3, parallelism=3))
    world.reconcile()
    world.client.patch(world.job, {"spec": {"parallelism": 1}})
    world.reconcile()
    assert (len(world.pods), world.job.status.failed, world.job.status.active) == (1, 0, 1)


# failure policy


def failing(world: World, code: int, **status: Any) -> None:
    """Lets the pod that runs end with an exit code."""
    pod = next(pod for pod in world.pods if not pod.is_finished)
    ended = {"name": "c", "state": {"terminated": {"exitCode": code}}}
    world.client.status.patch(pod, {"status": {"phase": "Failed", "containerStatuses": [ended], **status}})
    world.reconcile()


def rule(action: str, **match: Any) -> dict[str, Any]:
    return {"podFailurePolicy": {"rules": [{"action": action, **match}]}}


CODES = {"onExitCodes": {"operator": "In", "values": [42]}}
DISRUPTED = {"onPodConditions": [{"type": "DisruptionTarget"}]}


def test_an_exit_code_can_fail_the_job_at_once() -> None:
    world = World(job(backoffLimit=5, **rule("FailJob", **CODES)))
    world.reconcile()
    failing(world, 42)
    assert world.condition("Failed") == ("True", "PodFailurePolicy")


def test_an_ignored_failure_is_replaced_and_not_counted() -> None:
    world = World(job(backoffLimit=0, **rule("Ignore", **DISRUPTED)))
    world.reconcile()
    for _ in range(3):
        failing(world, 137, conditions=[{"type": "DisruptionTarget", "status": "True"}])
    assert (world.job.status.failed, world.job.status.active, len(world.pods)) == (0, 1, 4)


def test_the_first_rule_that_matches_decides() -> None:
    rules = [{"action": "Count", **CODES}, {"action": "FailJob", **CODES}]
    world = World(job(backoffLimit=5, podFailurePolicy={"rules": rules}))
    world.reconcile()
    failing(world, 42)
    assert (world.job.status.failed, world.job.is_failed) == (1, False)


def test_another_exit_code_counts_as_ever() -> None:
    world = World(job(backoffLimit=0, **rule("FailJob", **CODES)))
    world.reconcile()
    failing(world, 1)
    assert world.condition("Failed") == ("True", "BackoffLimitExceeded")
