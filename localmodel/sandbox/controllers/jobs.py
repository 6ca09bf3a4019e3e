"""`JobReconciler`: runs a Job's pods until enough have succeeded or the Job gives up, and removes it after its TTL.

Each pod carries a finalizer until its end is counted, in three writes: its uid into `status.uncountedTerminatedPods`,
the finalizer off, the uid out and the count up. So each pod counts once, whatever a cache knows or a crash interrupts.
New pods are only made when nothing is uncounted and the API server, asked live, has no more pods than the cache; their
names are numbered, so that of two passes with stale caches the second is refused.
Scope: Jobs that are not indexed. Rules: https://kubernetes.io/docs/concepts/workloads/controllers/job/. Neighbours:
`jobpods` for what a pod is and means, the scheduler places it, the kubelet runs it, the garbage collector removes it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import structlog

from localmodel.runtime.client import Preconditions
from localmodel.runtime.controllerutil import get_controller_of
from localmodel.runtime.errors import AlreadyExistsError, ApiError, ConflictError, NotFoundError
from localmodel.runtime.objects import Job, JobCondition, Pod
from localmodel.runtime.reconcile import Reconciler, Request, Result

from . import jobpods
from .jobpods import CONTROLLER_UID, TRACKING
from .kinds import is_namespace_terminating

if TYPE_CHECKING:
    from localmodel.runtime.builder import Builder

log = structlog.get_logger(__name__)

Json = dict[str, Any]

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
            self._let_go(request)
            return None
        if job.is_complete or job.is_failed:
            self._retry_at.pop(request, None)
            self._untrack(self._pods(job))
            return self._expire(job)
        if refusal := jobpods.unsupported(job):
            self.recorder.event(job, "Warning", "Unsupported", refusal)
            return None
        return self._run(job)

    def _pods(self, job: Job) -> list[Pod]:
        pods = self.client.list(Pod, namespace=job.namespace, labels={CONTROLLER_UID: job.metadata.uid})
        if job.status.active > sum(jobpods.is_active(pod) for pod in pods):
            # Just created and not in the cache yet, or deleted behind our back.
            pods = self.live.list(Pod, namespace=job.namespace, labels={CONTROLLER_UID: job.metadata.uid})
        return [pod for pod in pods if (owner := get_controller_of(pod)) and owner.uid == job.metadata.uid]

    def _let_go(self, request: Request) -> None:
        """The pods of a Job that is gone, or on its way, are the garbage collector's: nobody counts them any more."""
        pods = self.client.list(Pod, namespace=request.namespace, labels={jobpods.JOB_NAME: request.name})
        for pod in pods:
            owner = get_controller_of(pod)
            if owner is None or owner.kind != "Job" or owner.name != request.name:
                continue
            live = self.live.find(Job, request.name, namespace=request.namespace)
            if live is None or live.metadata.uid != owner.uid or live.is_deleting:
                self._untrack([pod])

    # one pass -----------------------------------------------------------------------------------------------------

    def _run(self, job: Job) -> Result | None:
        before = job.to_dict()
        pods = self._pods(job)
        failed_before = job.status.failed
        job.status.start_time = job.status.start_time or (None if is_suspended(job) else self.clock.now())
        self._count(job, pods)
        self._judge(job, pods)
        if job.has_condition("FailureTarget") or job.has_condition("SuccessCriteriaMet"):
            return self._finish(job, pods, before)
        if is_suspended(job):
            self._suspend(job, pods, before)
            return None
        self._resume(job)
        if job.status.failed > failed_before:
            self._retry_at[job.key] = self.clock.monotonic() + self._delay(job.status.failed)
        return self._go_on(job, pods, before)

    def _count(self, job: Job, pods: Sequence[Pod]) -> None:
        """Counts the pods that have ended, in the writes that make it exact; those that a rule ignores are let go."""
        uncounted = uncounted_of(job)
        for pod in pods:
            if not jobpods.is_tracked(pod) or pod.metadata.uid in (*uncounted["succeeded"], *uncounted["failed"]):
                continue
            if pod.status.phase == "Succeeded":
                uncounted["succeeded"].append(pod.metadata.uid)
            elif jobpods.has_failed(job, pod):
                action, message = jobpods.judge(job, pod)
                if action == "Ignore":
                    self._untrack([pod])
                    continue
                if action == "FailJob":
                    self._target(job, Failure("PodFailurePolicy", message))
                uncounted["failed"].append(pod.metadata.uid)
        if not any(uncounted.values()):
            return
        self._write_uncounted(job, uncounted)
        counted = {*uncounted["succeeded"], *uncounted["failed"]}
        self._untrack(pod for pod in pods if pod.metadata.uid in counted)
        job.status.succeeded += len(uncounted["succeeded"])
        job.status.failed += len(uncounted["failed"])
        set_uncounted(job, {"succeeded": [], "failed": []})

    def _write_uncounted(self, job: Job, uncounted: dict[str, list[str]]) -> None:
        """The first write; the Job is as stored afterwards."""
        if uncounted == uncounted_of(job):
            return
        set_uncounted(job, uncounted)
        stored = self.client.status.update(job)
        job.metadata.resource_version = stored.metadata.resource_version

    def _untrack(self, pods: Iterable[Pod]) -> None:
        for pod in pods:
            if not jobpods.is_tracked(pod):
                continue
            finalizers = [name for name in pod.metadata.finalizers if name != TRACKING]
            locked = {"uid": pod.metadata.uid, "resourceVersion": pod.metadata.resource_version}
            try:
                self.client.patch(pod, {"metadata": {"finalizers": finalizers or None, **locked}})
                pod.metadata.finalizers = finalizers  # for the rest of the pass
            except NotFoundError:
                continue
            except ConflictError:
                # The pod changed: with its newest version.
                live = self.live.find(Pod, pod.name, namespace=pod.namespace)
                if live is not None and live.metadata.uid == pod.metadata.uid:
                    self._untrack([live])
                pod.metadata.finalizers = finalizers

    def _judge(self, job: Job, pods: Sequence[Pod]) -> None:
        """Decides whether the Job is at its end."""
        if job.has_condition("FailureTarget") or job.has_condition("SuccessCriteriaMet"):
            return
        limit = job.spec.backoff_limit if job.spec.backoff_limit is not None else DEFAULT_BACKOFF_LIMIT
        again = jobpods.restarts(job, pods)
        if job.status.failed > limit or (again > 0 and again >= limit):
            self._target(job, BACKOFF_LIMIT_EXCEEDED)
        elif (deadline := self._deadline(job)) is not None and self.clock.now() >= deadline:
            self._target(job, DEADLINE_EXCEEDED)
        elif job.status.succeeded >= completions(job):
            set_condition(job, "SuccessCriteriaMet", "True", *COMPLETIONS_REACHED, self.clock.now())

    def _target(self, job: Job, failure: Failure) -> None:
        if not job.has_condition("FailureTarget"):
            set_condition(job, "FailureTarget", "True", failure.reason, failure.message, self.clock.now())

    @staticmethod
    def _deadline(job: Job) -> datetime | None:
        seconds = job.spec.active_deadline_seconds
        if seconds is None or job.status.start_time is None or is_suspended(job):
            return None
        return job.status.start_time + timedelta(seconds=seconds)

    def _go_on(self, job: Job, pods: Sequence[Pod], before: Json) -> Result | None:
        """Waits for the pods, or for the next attempt, or starts that."""
        active = [pod for pod in pods if jobpods.is_active(pod)]
        terminating = [pod for pod in pods if pod.is_deleting and not pod.is_finished]
        in_the_way = len(active) + (len(terminating) if jobpods.waits_for_end(job) else 0)
        wanted = min(int(job.spec.to_dict().get("parallelism", 1)), completions(job) - job.status.succeeded)
        delays = [self._retry_at.get(job.key, 0.0) - self.clock.monotonic()]
        created = 0
        if wanted > in_the_way and delays[0] <= 0:
            created = self._create_pods(job, pods, wanted - in_the_way)
            self._retry_at.pop(job.key, None)
        elif wanted < len(active):
            surplus, active = active[: len(active) - wanted], active[len(active) - wanted :]
            self._untrack(surplus)
            self._delete_pods(job, surplus)
        job.status.active = len(active) + created
        job.status.ready = sum(pod.is_ready for pod in active)
        job.status.terminating = len(terminating)
        self._write(job, before)
        if (deadline := self._deadline(job)) is not None:
            delays.append((deadline - self.clock.now()).total_seconds())
        later = [max(delay, 0.01) for delay in delays if delay > 0]
        return Result(requeue_after=min(later)) if later else None

    def _create_pods(self, job: Job, pods: Sequence[Pod], count: int) -> int:
        """Makes pods; how many. None if the Job or its pods are not as the cache has them: their events follow."""
        current = self.live.find(Job, job.name, namespace=job.namespace)
        if current is None or current.metadata.resource_version != job.metadata.resource_version:
            return 0
        live = self.live.list(Pod, namespace=job.namespace, labels={CONTROLLER_UID: job.metadata.uid})
        if {pod.metadata.uid for pod in live} - {pod.metadata.uid for pod in pods}:
            return 0
        used = {pod.name for pod in live}
        numbers = itertools.count(job.status.succeeded + job.status.failed)
        created = 0
        while created < count:
            pod = jobpods.build_pod(job, next(numbers))
            if pod.name in used:
                continue
            try:
                self.client.create(pod)
            except AlreadyExistsError:
                existing = self.live.find(Pod, pod.name, namespace=pod.namespace)
                owner = get_controller_of(existing) if existing else None
                if owner is None or owner.uid != job.metadata.uid:
                    raise
                return created
            except ApiError as error:
                if is_namespace_terminating(error):
                    return created
                self.recorder.event(job, "Warning", "FailedCreate", f"Error creating: {error}")
                raise
            created += 1
            self.recorder.event(job, "Normal", "SuccessfulCreate", f"Created pod: {pod.name}")
            log.info("created pod", job=str(job.key), pod=pod.name)
        return created

    def _delay(self, failures: int) -> float:
        return float(min(self._options.first_delay * 2 ** min(failures - 1, 30), self._options.longest_delay))

    # the end ------------------------------------------------------------------------------------------------------

    def _finish(self, job: Job, pods: Sequence[Pod], before: Json) -> Result | None:
        """Ends what still runs; the Job is Complete or Failed once nothing does. In failure what was ended counts."""
        running = [pod for pod in pods if not pod.is_finished]
        self._delete_pods(job, running)
        tracked = [pod for pod in running if jobpods.is_tracked(pod)]
        if job.has_condition("FailureTarget"):
            self._write_uncounted(job, {"succeeded": [], "failed": [pod.metadata.uid for pod in tracked]})
            job.status.failed += len(tracked)
            set_uncounted(job, {"succeeded": [], "failed": []})
        self._untrack(tracked)
        job.status.active, job.status.ready = 0, 0
        left = [pod for pod in running if self.live.find(Pod, pod.name, namespace=pod.namespace) is not None]
        job.status.terminating = len(left)
        if not left:
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

    def _suspend(self, job: Job, pods: Sequence[Pod], before: Json) -> None:
        """Ends the pods without counting them."""
        active = [pod for pod in pods if jobpods.is_active(pod)]
        self._untrack(pod for pod in pods if not pod.is_finished)
        self._delete_pods(job, active)
        if not job.has_condition("Suspended"):
            set_condition(job, "Suspended", "True", "JobSuspended", "Job suspended", self.clock.now())
            self.recorder.event(job, "Normal", "Suspended", "Job suspended")
        job.status.active, job.status.ready = 0, 0
        job.status.terminating = sum(pod.is_deleting and not pod.is_finished for pod in pods)
        self._write(job, before)

    def _resume(self, job: Job) -> None:
        if job.has_condition("Suspended"):
            now = self.clock.now()
            set_condition(job, "Suspended", "False", "JobResumed", "Job resumed", now)
            job.status.start_time = now
            self.recorder.event(job, "Normal", "Resumed", "Job resumed")

    def _delete_pods(self, job: Job, pods: Iterable[Pod]) -> None:
        for pod in pods:
            if pod.is_deleting:
                continue
            try:
                self.client.delete(pod, preconditions=Preconditions(uid=pod.metadata.uid))
            except NotFoundError:
                continue
            self.recorder.event(job, "Normal", "SuccessfulDelete", f"Deleted pod: {pod.name}")

    def _write(self, job: Job, before: Json) -> None:
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


def is_suspended(job: Job) -> bool:
    return bool(job.spec.to_dict().get("suspend"))


def completions(job: Job) -> int:
    return int(job.spec.to_dict().get("completions", 1))


def uncounted_of(job: Job) -> dict[str, list[str]]:
    """The uids of pods whose end is on its way into the counts."""
    found = job.status.to_dict().get("uncountedTerminatedPods") or {}
    return {key: list(found.get(key) or []) for key in ("succeeded", "failed")}


def set_uncounted(job: Job, uncounted: dict[str, list[str]]) -> None:
    shown = {key: uids for key, uids in uncounted.items() if uids}
    job.status = type(job.status).from_dict({**job.status.to_dict(), "uncountedTerminatedPods": shown})


def set_condition(job: Job, type_: str, status: str, reason: str, message: str, now: datetime) -> None:
    """Sets a condition; its transition time moves only with its status."""
    for condition in job.status.conditions:
        if condition.type == type_:
            if condition.status != status:
                condition.status, condition.reason, condition.message = status, reason, message
                condition.last_transition_time = now
            return
    job.status.conditions.append(
        JobCondition(type=type_, status=status, reason=reason, message=message, last_transition_time=now)
    )
