"""Reading Jobs and Pods: which download a Job belongs to, how it stands. Pure functions; see also `symptoms`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from localmodel.runtime.controllerutil import get_controller_of
from localmodel.runtime.objects import Job, ObjectKey, Pod

from .decisions import JobState
from .jobs import ATTEMPT_ANNOTATION, MODEL_ANNOTATION, MODEL_NAMESPACE_ANNOTATION, STORAGE_KEY_LABEL


def is_ours(job: Job, node_uid: str) -> bool:
    """The Job belongs to the LocalModelNode of this uid, and so to this agent."""
    owner = get_controller_of(job)
    return owner is not None and owner.uid == node_uid and STORAGE_KEY_LABEL in job.metadata.labels


def is_unfinished(job: Job) -> bool:
    """The Job may still run pods."""
    return not (job.is_complete or job.is_failed)


def storage_key_of(job: Job) -> str:
    return job.metadata.labels.get(STORAGE_KEY_LABEL, "")


def cache_of(job: Job) -> ObjectKey:
    """The cache that the Job was made for: its namespace (empty for a LocalModelCache) and name."""
    annotations = job.metadata.annotations
    return ObjectKey(annotations.get(MODEL_NAMESPACE_ANNOTATION, ""), annotations.get(MODEL_ANNOTATION, ""))


def attempt_of(job: Job) -> int:
    """Which attempt at the model the Job is."""
    number = job.metadata.annotations.get(ATTEMPT_ANNOTATION, "")
    return int(number) if number.isdecimal() else 1


def find_job(jobs: Iterable[Job], attempt: int) -> Job | None:
    """The one of one attempt, among the Jobs of a storage key."""
    number = str(attempt)
    matching = (job for job in jobs if job.metadata.annotations.get(ATTEMPT_ANNOTATION) == number)
    return min(matching, key=lambda job: job.name, default=None)


def job_state(job: Job | None, pods: Iterable[Pod] = ()) -> JobState:
    """How the Job stands. A failed pod alone is no failure: the Job may try again (D-40).

    One of `pods` that runs shows that it has started, also where the Job's own count comes later.
    """
    if job is None:
        return JobState.NONE
    if job.is_complete:
        return JobState.SUCCEEDED
    if job.is_failed:
        return JobState.FAILED
    if job.is_deleting:
        return JobState.TERMINATING
    if job.status.failed:
        return JobState.RETRYING
    runs = job.status.ready or any(pod.status.phase == "Running" for pod in pods_of(job, pods))
    return JobState.RUNNING if runs else JobState.PENDING


def pods_of(job: Job, pods: Iterable[Pod]) -> list[Pod]:
    """Those of the pods that the Job made."""
    return [pod for pod in pods if any(owner.uid == job.metadata.uid for owner in pod.metadata.owner_references)]


def running_since(pods: Iterable[Pod]) -> datetime | None:
    """When the container was started that was so last, by this node's clock; None where none runs or nobody says."""
    running = [status.state.running for pod in pods for status in pod.status.container_statuses]
    return max(
        (time for state in running if (time := _time_of((state or {}).get("startedAt"))) is not None), default=None
    )


def _time_of(text: object) -> datetime | None:
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return time if time.tzinfo is not None else None


def pods_by_key(pods: Iterable[Pod], namespace: str) -> dict[str, list[Pod]]:
    """The pods of all downloads by storage key, oldest first."""
    found: dict[str, list[Pod]] = {}
    for pod in sorted(pods, key=lambda pod: (str(pod.metadata.creation_timestamp), pod.name)):
        key = pod.metadata.labels.get(STORAGE_KEY_LABEL)
        if key and pod.namespace == namespace:
            found.setdefault(key, []).append(pod)
    return found
