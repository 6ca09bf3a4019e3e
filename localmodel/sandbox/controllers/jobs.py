"""`JobReconciler`: runs a Job's pod, once per attempt, until it succeeds or the Job gives up.

Scope: the Jobs of this project, that is completions and parallelism of one. Anything else is refused with an event.
Attempts run one after another and are numbered by `status.failed`; the pod of attempt n has a name made from the Job's
uid and n. So two passes with stale caches ask for the same pod and the API server refuses the second: there are
never two pods for one attempt. A pod that `status.active` counts but that is gone counts as failed.
Rules: https://kubernetes.io/docs/concepts/workloads/controllers/job/. Neighbours: the scheduler places the pod, the
kubelet runs it, the garbage collector removes it with its Job.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import structlog

from localmodel.runtime.client import Preconditions
from localmodel.runtime.errors import AlreadyExistsError, NotFoundError
from localmodel.runtime.objects import Job, JobCondition, ObjectMeta, OwnerReference, Pod
from localmodel.runtime.reconcile import Reconciler, Request, Result

if TYPE_CHECKING:
    from localmodel.runtime.builder import Builder

log = structlog.get_logger(__name__)

CONTROLLER_UID = "batch.kubernetes.io/controller-uid"
JOB_NAME = "batch.kubernetes.io/job-name"
DEFAULT_BACKOFF_LIMIT = 6


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """How long the controller waits before the next attempt. Kubernetes: 10 s, doubling to 10 min."""

    first_delay: float = 10.0
    longest_delay: float = 600.0


@dataclass(frozen=True)
class Failure:
    """Why a Job gives up: the reason and message of its Failed condition."""

    reason: str
    message: str


BACKOFF_LIMIT_EXCEEDED = Failure("BackoffLimitExceeded", "Job has reached the specified backoff limit")
COMPLETIONS_REACHED = ("CompletionsReached", "Reached expected number of succeeded pods")
DEADLINE_EXCEEDED = Failure("DeadlineExceeded", "Job was active longer than specified deadline")


class JobReconciler(Reconciler):
    """Brings Jobs to completion or failure, and removes finished ones after their TTL."""

    def __init__(self, options: JobOptions | None = None) -> None:
        self._options = options or JobOptions()
        self._retry_at: dict[Request, float] = {}
        """Monotonic time of the next attempt of a Job whose last one failed. Lost on a restart: it retries at once."""

    def setup(self, builder: Builder) -> None:
        builder.named("job").for_(Job).owns(Pod)

    def reconcile(self, request: Request) -> Result | None:
        job = self.client.find(Job, request.name, namespace=request.namespace)
        if job is None or job.is_deleting:
            self._retry_at.pop(request, None)
            return None
        if job.is_complete or job.is_failed:
            self._retry_at.pop(request, None)
            return self._expire(job)
        if refusal := unsupported(job):
            self.recorder.event(job, "Warning", "Unsupported", refusal)
            return None
        pods = self._pods(job)
        if job.spec.to_dict().get("suspend"):
            self._suspend(job, pods)
            return None
        return self._run(job, pods)

    def _pods(self, job: Job) -> list[Pod]:
        pods = self.client.list(Pod, namespace=job.namespace, labels={CONTROLLER_UID: job.metadata.uid})
        name = pod_name(job, job.status.failed)
        if job.status.active and all(pod.name != name for pod in pods):
            # Counted as active but not in the cache: just created, or deleted behind our back.
            pod = self.live.find(Pod, name, namespace=job.namespace)
            pods += [pod] if pod else []
        return pods

    def _run(self, job: Job, pods: list[Pod]) -> Result | None:
        before = job.to_dict()
        now = self.clock.now()
        job.status.start_time = job.status.start_time or now
        set_condition(job, "Suspended", "False", "JobResumed", "Job resumed", now, only_existing=True)
        pod = next((pod for pod in pods if pod.name == pod_name(job, job.status.failed)), None)
        if job.has_condition("FailureTarget") or job.has_condition("SuccessCriteriaMet"):
            return self._finish(job, pods, before)
        if pod is not None and pod.status.phase == "Succeeded":
            job.status.succeeded = 1
            set_condition(job, "SuccessCriteriaMet", "True", *COMPLETIONS_REACHED, now)
            return self._finish(job, pods, before)

        if has_failed(job, pod):
            job.status.failed += 1
            job.status.active = 0
            self._retry_at[job.key] = self.clock.monotonic() + self._delay(job.status.failed)
            pod = None
        if failure := self._failure(job, pod):
            set_condition(job, "FailureTarget", "True", failure.reason, failure.message, now)
            return self._finish(job, pods, before)
        return self._next(job, pod, pods, before)

    def _failure(self, job: Job, pod: Pod | None) -> Failure | None:
        limit = job.spec.backoff_limit if job.spec.backoff_limit is not None else DEFAULT_BACKOFF_LIMIT
        restarts = sum(status.restart_count for status in pod.status.container_statuses) if pod else 0
        if job.status.failed + restarts > limit:
            return BACKOFF_LIMIT_EXCEEDED
        if (deadline := self._deadline(job)) is not None and self.clock.now() >= deadline:
            return DEADLINE_EXCEEDED
        return None

    @staticmethod
    def _deadline(job: Job) -> datetime | None:
        seconds = job.spec.active_deadline_seconds
        if seconds is None or job.status.start_time is None:
            return None
        return job.status.start_time + timedelta(seconds=seconds)

    def _next(self, job: Job, pod: Pod | None, pods: list[Pod], before: dict[str, Any]) -> Result | None:
        """The Job goes on: waits for its pod, or for the next attempt, or starts that."""
        wait = 0.0
        if pod is None:
            wait = self._wait(job, pods)
            if wait <= 0:
                self._create_pod(job)
                self._retry_at.pop(job.key, None)
        job.status.active = 0 if pod is None and wait > 0 else 1
        job.status.ready = int(pod is not None and pod.is_ready and not pod.is_deleting)
        job.status.terminating = sum(pod.is_deleting and not pod.is_finished for pod in pods)
        self._write(job, before)
        if (deadline := self._deadline(job)) is not None:
            remaining = max((deadline - self.clock.now()).total_seconds(), 0.01)
            wait = min(wait, remaining) if wait > 0 else remaining
        return Result(requeue_after=wait) if 0 < wait < math.inf else None

    def _wait(self, job: Job, pods: list[Pod]) -> float:
        """Seconds to the next attempt; infinite while the policy waits for a pod's end, which will be an event."""
        if job.spec.pod_replacement_policy == "Failed" and not all(pod.is_finished for pod in pods):
            return math.inf
        return self._retry_at.get(job.key, 0.0) - self.clock.monotonic()

    def _delay(self, failures: int) -> float:
        return float(min(self._options.first_delay * 2 ** (failures - 1), self._options.longest_delay))

    def _create_pod(self, job: Job) -> None:
        pod = build_pod(job, job.status.failed)
        try:
            self.client.create(pod)
        except AlreadyExistsError:
            existing = self.live.find(Pod, pod.name, namespace=pod.namespace)
            if existing and any(owner.uid == job.metadata.uid for owner in existing.metadata.owner_references):
                return
            raise
        self.recorder.event(job, "Normal", "SuccessfulCreate", f"Created pod: {pod.name}")
        log.info("created pod", job=str(job.key), pod=pod.name, attempt=job.status.failed)

    def _finish(self, job: Job, pods: list[Pod], before: dict[str, Any]) -> Result | None:
        """Ends what still runs; the Job is Complete or Failed once nothing does."""
        running = [pod for pod in pods if not pod.is_finished]
        self._delete_pods(job, running)
        job.status.active, job.status.ready = 0, 0
        job.status.terminating = len(running)
        if not running:
            self._conclude(job)
        self._write(job, before)
        return None

    def _conclude(self, job: Job) -> None:
        now = self.clock.now()
        if job.has_condition("SuccessCriteriaMet"):
            job.status.completion_time = now
            set_condition(job, "Complete", "True", *COMPLETIONS_REACHED, now)
            self.recorder.event(job, "Normal", "Completed", "Job completed")
            return
        target = next(c for c in job.status.conditions if c.type == "FailureTarget")
        set_condition(job, "Failed", "True", target.reason, target.message, now)
        self.recorder.event(job, "Warning", target.reason, target.message)

    def _suspend(self, job: Job, pods: list[Pod]) -> None:
        before = job.to_dict()
        running = [pod for pod in pods if not pod.is_finished]
        self._delete_pods(job, running)
        job.status.active, job.status.ready, job.status.start_time = 0, 0, None
        job.status.terminating = len(running)
        set_condition(job, "Suspended", "True", "JobSuspended", "Job suspended", self.clock.now())
        self._write(job, before)

    def _delete_pods(self, job: Job, pods: list[Pod]) -> None:
        for pod in pods:
            if pod.is_deleting:
                continue
            try:
                self.client.delete(pod, preconditions=Preconditions(uid=pod.metadata.uid))
            except NotFoundError:
                continue
            self.recorder.event(job, "Normal", "SuccessfulDelete", f"Deleted pod: {pod.name}")

    def _write(self, job: Job, before: dict[str, Any]) -> None:
        if job.to_dict() != before:
            self.client.status.update(job)

    def _expire(self, job: Job) -> Result | None:
        """Removes a finished Job once its TTL is over, its pods first."""
        ttl = job.spec.ttl_seconds_after_finished
        finished = [c.last_transition_time for c in job.status.conditions if c.type in ("Complete", "Failed")]
        if ttl is None or not finished or finished[0] is None:
            return None
        remaining = (finished[0] + timedelta(seconds=ttl) - self.clock.now()).total_seconds()
        if remaining > 0:
            return Result(requeue_after=remaining)
        try:
            self.client.delete(job, propagation="Foreground", preconditions=Preconditions(uid=job.metadata.uid))
        except NotFoundError:
            return None
        log.info("removed finished job after its TTL", job=str(job.key), ttl_seconds=ttl)
        return None


def unsupported(job: Job) -> str:
    """What of the Job's spec this controller cannot do, or an empty string."""
    spec = job.spec.to_dict()
    if spec.get("completions", 1) != 1 or spec.get("parallelism", 1) != 1:
        return "the sandbox runs only Jobs with completions: 1 and parallelism: 1"
    for field in ("podFailurePolicy", "successPolicy"):
        if spec.get(field):
            return f"the sandbox does not support spec.{field} of a Job"
    return "" if spec.get("completionMode", "NonIndexed") == "NonIndexed" else "the sandbox runs no indexed Jobs"


def has_failed(job: Job, pod: Pod | None) -> bool:
    """Whether the current attempt is over without success: its pod failed, is being replaced, or vanished."""
    if pod is None:
        return job.status.active > 0
    if pod.status.phase == "Failed":
        return True
    return pod.is_deleting and job.spec.pod_replacement_policy != "Failed"


def pod_name(job: Job, attempt: int) -> str:
    """The one name that the pod of this attempt can have."""
    digest = hashlib.sha256(f"{job.metadata.uid}/{attempt}".encode()).hexdigest()[:5]
    return f"{job.name[:57].rstrip('-.')}-{digest}"


def build_pod(job: Job, attempt: int) -> Pod:
    """The pod of an attempt: the Job's template, its tracking labels, and the Job as controlling owner."""
    template = job.spec.template
    metadata = ObjectMeta.from_dict(template.get("metadata") or {})
    metadata.name, metadata.namespace = pod_name(job, attempt), job.namespace
    metadata.labels |= {
        CONTROLLER_UID: job.metadata.uid,
        JOB_NAME: job.name,
        "controller-uid": job.metadata.uid,
        "job-name": job.name,
    }
    metadata.owner_references = [
        OwnerReference(
            api_version="batch/v1",
            kind="Job",
            name=job.name,
            uid=job.metadata.uid,
            controller=True,
            block_owner_deletion=True,
        )
    ]
    return Pod.from_dict({"metadata": metadata.to_dict(), "spec": template.get("spec") or {}})


def set_condition(
    job: Job, type_: str, status: str, reason: str, message: str, now: datetime, *, only_existing: bool = False
) -> None:
    """Sets a condition; its transition time moves only with its status."""
    for condition in job.status.conditions:
        if condition.type == type_:
            if condition.status != status:
                condition.status, condition.reason, condition.message = status, reason, message
                condition.last_transition_time = now
            return
    if not only_existing:
        job.status.conditions.append(
            JobCondition(type=type_, status=status, reason=reason, message=message, last_transition_time=now)
        )
