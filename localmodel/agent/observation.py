"""Reading Jobs and Pods: which download a Job belongs to, how it stands, what its pod last said. Pure functions."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterable, Sequence

from localmodel.runtime.controllerutil import get_controller_of
from localmodel.runtime.objects import Job, ObjectKey, Pod

from .decisions import JobState
from .jobs import ATTEMPT_ANNOTATION, MODEL_ANNOTATION, MODEL_NAMESPACE_ANNOTATION, STORAGE_KEY_LABEL

MAX_MESSAGE = 500


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


def find_job(jobs: Iterable[Job], key: str, attempt: int) -> Job | None:
    """The Job of one attempt at a storage key."""
    number = str(attempt)
    matching = (
        job for job in jobs if storage_key_of(job) == key and job.metadata.annotations.get(ATTEMPT_ANNOTATION) == number
    )
    return min(matching, key=lambda job: job.name, default=None)


def job_state(job: Job | None) -> JobState:
    """How the Job stands. A failed pod alone is no failure: the Job may try again (D-40)."""
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
    return JobState.RUNNING if job.status.ready else JobState.PENDING


def download_pods(pods: Iterable[Pod], key: str, namespace: str) -> list[Pod]:
    """The pods of all downloads of a storage key, oldest first."""
    found = [p for p in pods if p.namespace == namespace and p.metadata.labels.get(STORAGE_KEY_LABEL) == key]
    return sorted(found, key=lambda pod: (str(pod.metadata.creation_timestamp), pod.name))


def job_message(job: Job | None, pods: Sequence[Pod]) -> str:
    """The most telling words about a Job that is not done: of its newest pod that says something, else its own."""
    if job is None:
        return ""
    own = [pod for pod in pods if any(owner.uid == job.metadata.uid for owner in pod.metadata.owner_references)]
    for pod in reversed(own):
        message = pod_message(pod)
        if message:
            return _bounded(message)
    failed = next((c for c in job.status.conditions if c.type == "Failed" and c.status == "True"), None)
    return _bounded(": ".join(part for part in (failed.reason, failed.message) if part)) if failed else ""


def pod_message(pod: Pod) -> str:
    """Why a pod failed, or why it does not start; empty while nothing is wrong with it."""
    for status in (*pod.status.init_container_statuses, *pod.status.container_statuses):
        for state in (status.state, status.last_state):
            ended = state.terminated
            if ended is not None and ended.exit_code:
                said = _last_words(ended.message) or _ending(ended.exit_code)
                return f"{ended.reason}: {said}" if ended.reason not in ("", "Error") else said
        waiting = status.state.waiting or {}
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            return ": ".join(str(part) for part in (waiting["reason"], waiting.get("message")) if part)
    if pod.status.phase == "Failed":
        return pod.status.message or pod.status.reason
    for condition in pod.status.conditions:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return f"{condition.get('reason', '')}: {condition.get('message', '')}".strip(": ")
    return ""


def _last_words(message: str) -> str:
    """A container's termination message. What killed it without one left its log there instead: of JSON log lines only
    errors tell anything."""
    lines = (_of_log_line(line) for line in message.splitlines())
    return "\n".join(line for line in lines if line.strip()).strip()


def _of_log_line(line: str) -> str:
    if not line.startswith("{"):
        return line
    try:
        entry = json.loads(line)
    except ValueError:
        return line
    if not isinstance(entry, dict) or "event" not in entry or "level" not in entry:
        return line
    return str(entry["event"]) if entry["level"] in ("error", "critical") else ""


def _ending(exit_code: int) -> str:
    try:
        return f"exit code {exit_code}, ended by {signal.Signals(exit_code - 128).name}"
    except ValueError:
        return f"exit code {exit_code}"


def _bounded(text: str) -> str:
    """The end of a long text: the last lines of a log say why."""
    text = text.strip()
    return text if len(text) <= MAX_MESSAGE else "..." + text[-MAX_MESSAGE + 3 :]
