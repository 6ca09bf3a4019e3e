"""What is wrong with a download's pod, in one word and a sentence that says what to do. Pure functions.

The word goes into `status.models[].reason`, the sentence into its message. A pod is read as kubelet and scheduler leave
it: why it is not scheduled, why a container does not start, how one ended. An ordinary failure has no word of its own.
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from localmodel.runtime.objects import Job, Pod

from .observation import pods_of

MAX_MESSAGE: Final = 500


class Trouble(StrEnum):
    """`status.models[].reason` of a download whose pod does not start, or was ended by others."""

    UNSCHEDULABLE = "Unschedulable"
    VOLUME_UNBOUND = "VolumeUnbound"
    MOUNT_FAILED = "MountFailed"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    CONTAINER_CONFIG_INVALID = "ContainerConfigInvalid"
    CONTAINER_NOT_STARTED = "ContainerNotStarted"
    POD_NOT_CREATED = "PodNotCreated"
    SUSPENDED = "JobSuspended"
    NOT_STARTED = "NotStarted"
    STALLED = "DownloadStalled"
    OOM_KILLED = "OOMKilled"
    POD_EVICTED = "PodEvicted"
    DEADLINE_EXCEEDED = "DeadlineExceeded"


@dataclass(frozen=True, slots=True)
class Symptom:
    """`reason` is empty for what has no word of its own, `message` where nothing is said."""

    reason: str = ""
    message: str = ""

    def __bool__(self) -> bool:
        return bool(self.reason or self.message)


HEALTHY: Final = Symptom()

_IMAGE: Final = frozenset({
    "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError",
    "RegistryUnavailable", "SignatureValidationFailed",
})  # fmt: skip
_ADVICE: Final = {
    Trouble.UNSCHEDULABLE: "taints are tolerated by the node group's spec.tolerations, requests are those of "
    "storageInitializer or of the ClusterStorageContainer",
    Trouble.VOLUME_UNBOUND: "see kubectl describe pvc {claim} -n {namespace}",
    Trouble.MOUNT_FAILED: "the node group's local.path must be the host path that this node's agent has mounted",
    Trouble.IMAGE_PULL_FAILED: "can this node pull the image? pull secrets are those of the ServiceAccount and "
    "localModel.jobImagePullSecrets",
    Trouble.CONTAINER_CONFIG_INVALID: "create what is missing in namespace {namespace}",
    Trouble.OOM_KILLED: "raise storageInitializer.memoryLimit, or the limit of the ClusterStorageContainer",
    Trouble.POD_EVICTED: "free room or memory on this node",
    Trouble.DEADLINE_EXCEEDED: "raise localModel.jobActiveDeadlineSeconds",
}
_SCHEDULING: Final = re.compile(r"\d+/\d+ nodes are available: (.*?)(?:\.? preemption: .*)?", re.DOTALL)
_OTHER_NODES: Final = "didn't match Pod's node affinity/selector"
_VOLUME: Final = re.compile(
    "persistentvolumeclaim|unbound immediate|persistent volumes? to bind|PersistentVolume's node affinity|"
    "volume node affinity",
    re.IGNORECASE,
)


def symptom_of(job: Job | None, pods: Sequence[Pod]) -> Symptom:
    """The most telling symptom of a Job: of its newest pod that has one, else its own. `pods` are sorted by age."""
    if job is None:
        return HEALTHY
    failed = next((c for c in job.status.conditions if c.type == "Failed" and c.status == "True"), None)
    if failed is not None and failed.reason == Trouble.DEADLINE_EXCEEDED:
        seconds = job.spec.active_deadline_seconds
        return advised(Trouble.DEADLINE_EXCEEDED, f"the download took longer than {seconds} s")
    for pod in reversed(pods_of(job, pods)):
        if symptom := pod_symptom(pod):
            return symptom
    if failed is None:
        return HEALTHY
    return Symptom(message=bounded(": ".join(part for part in (failed.reason, failed.message) if part)))


def pod_symptom(pod: Pod) -> Symptom:
    """Why a pod failed, or why it does not start."""
    for status in (*pod.status.init_container_statuses, *pod.status.container_statuses):
        for state in (status.state, status.last_state):
            ended = state.terminated
            if ended is not None and ended.exit_code:
                return _ended(pod, ended.reason, _last_words(ended.message) or _ending(ended.exit_code))
        waiting = status.state.waiting or {}
        if waiting.get("reason") not in (None, "", "ContainerCreating", "PodInitializing"):
            return _waiting(pod, str(waiting["reason"]), str(waiting.get("message") or ""))
    if pod.status.phase == "Failed":
        return _failed(pod)
    for condition in pod.status.conditions:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return _unscheduled(pod, str(condition.get("reason") or ""), str(condition.get("message") or ""))
    return HEALTHY


def advised(reason: str, said: str, pod: Pod | None = None) -> Symptom:
    """What was said, shortened if need be, and what to do about it."""
    said = bounded(said)
    advice = _ADVICE.get(Trouble(reason), "")
    if pod is not None:
        advice = advice.format(claim=_claim_of(pod), namespace=pod.namespace)
    return Symptom(reason, f"{said}; {advice}" if said and advice else said or advice)


def _ended(pod: Pod, reason: str, said: str) -> Symptom:
    if reason == Trouble.OOM_KILLED:
        return advised(Trouble.OOM_KILLED, f"{reason}: {said}", pod)
    return Symptom(message=bounded(said if reason in ("", "Error") else f"{reason}: {said}"))


def _waiting(pod: Pod, reason: str, said: str) -> Symptom:
    told = f"{reason}: {said}" if said else reason
    if reason in _IMAGE:
        return advised(Trouble.IMAGE_PULL_FAILED, told, pod)
    if reason == "CreateContainerConfigError":
        return advised(Trouble.CONTAINER_CONFIG_INVALID, told, pod)
    return Symptom(Trouble.CONTAINER_NOT_STARTED, bounded(told))


def _failed(pod: Pod) -> Symptom:
    told = pod.status.message or pod.status.reason
    if pod.status.reason == "Evicted":
        return advised(Trouble.POD_EVICTED, f"the pod was evicted: {told}", pod)
    return Symptom(message=bounded(told))


def _unscheduled(pod: Pod, reason: str, said: str) -> Symptom:
    """The pod can be on one node only: what the scheduler says of the others, and its counts, would hide the cause."""
    found = _SCHEDULING.fullmatch(said)
    if found:
        causes = [re.sub(r"^\d+ ", "", part).strip(" .") for part in found[1].split(", ")]
        said = ", ".join([cause for cause in causes if not cause.endswith(_OTHER_NODES)] or causes)
    told = ": ".join(part for part in (reason, said) if part)
    if _VOLUME.search(said):
        return advised(Trouble.VOLUME_UNBOUND, told, pod)
    return advised(Trouble.UNSCHEDULABLE, told, pod)


def _claim_of(pod: Pod) -> str:
    claims: Iterator[Any] = (volume.persistent_volume_claim for volume in pod.spec.volumes)
    return next((claim.claim_name for claim in claims if claim is not None), "")


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


def bounded(text: str) -> str:
    """The end of a long text: the last lines of a log say why."""
    text = text.strip()
    return text if len(text) <= MAX_MESSAGE else "..." + text[-MAX_MESSAGE + 3 :]
