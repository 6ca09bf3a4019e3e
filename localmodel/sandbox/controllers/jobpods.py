"""What a Job's pod is, what became of it, and what a pod failure policy says of that.

Pure functions for `jobs`. The name of a pod is made from the Job's uid and a number, so that two passes with stale
caches ask for the same pod. The finalizer says that the pod's end is not in the Job's counts yet.
Rules: https://kubernetes.io/docs/concepts/workloads/controllers/job/.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable
from typing import Any, Literal

from localmodel.runtime.controllerutil import set_controller_reference
from localmodel.runtime.objects import Job, ObjectMeta, Pod

Json = dict[str, Any]
Action = Literal["FailJob", "Ignore", "Count"]

CONTROLLER_UID = "batch.kubernetes.io/controller-uid"
JOB_NAME = "batch.kubernetes.io/job-name"
TRACKING = "batch.kubernetes.io/job-tracking"


def pod_name(job: Job, number: int) -> str:
    """The one name that the Job's pod of this number can have."""
    digest = hashlib.sha256(f"{job.metadata.uid}/{number}".encode()).hexdigest()[:5]
    return f"{job.name[:57].rstrip('-.')}-{digest}"


def build_pod(job: Job, number: int) -> Pod:
    """The Job's template, its tracking labels and finalizer, and the Job as controlling owner."""
    template = copy.deepcopy(job.spec.template)
    metadata = ObjectMeta.from_dict(template.get("metadata") or {})
    metadata.name, metadata.namespace = pod_name(job, number), job.namespace
    metadata.generate_name = f"{job.name}-"
    metadata.labels |= {
        CONTROLLER_UID: job.metadata.uid,
        JOB_NAME: job.name,
        "controller-uid": job.metadata.uid,
        "job-name": job.name,
    }
    metadata.finalizers = [*metadata.finalizers, TRACKING]
    pod = Pod.from_dict({"metadata": metadata.to_dict(), "spec": template.get("spec") or {}})
    set_controller_reference(job, pod)
    return pod


def is_tracked(pod: Pod) -> bool:
    """The Job's counts do not have the pod's end yet."""
    return TRACKING in pod.metadata.finalizers


def is_active(pod: Pod) -> bool:
    return not pod.is_finished and not pod.is_deleting


def waits_for_end(job: Job) -> bool:
    """Whether a pod in deletion counts as running until it has ended (podReplacementPolicy Failed)."""
    policy = job.spec.pod_replacement_policy
    if policy is None:
        policy = "Failed" if job.spec.to_dict().get("podFailurePolicy") else "TerminatingOrFailed"
    return policy == "Failed"


def has_failed(job: Job, pod: Pod) -> bool:
    if pod.status.phase == "Failed":
        return True
    return pod.is_deleting and pod.status.phase != "Succeeded" and not waits_for_end(job)


def restarts(job: Job, pods: Iterable[Pod]) -> int:
    """How often the containers of running pods were started again, where the pods themselves do that."""
    if (job.spec.template.get("spec") or {}).get("restartPolicy") != "OnFailure":
        return 0
    running = [pod for pod in pods if pod.status.phase in ("Running", "Pending")]
    return sum(
        status.restart_count
        for pod in running
        for status in (*pod.status.init_container_statuses, *pod.status.container_statuses)
    )


def judge(job: Job, pod: Pod) -> tuple[Action, str]:
    """What the pod failure policy says of a failed pod, and its message where the Job fails by it."""
    policy: Json = job.spec.to_dict().get("podFailurePolicy") or {}
    for index, rule in enumerate(policy.get("rules") or []):
        reason = _matches_codes(rule["onExitCodes"], pod) if rule.get("onExitCodes") else ""
        reason = reason or _matches_conditions(rule.get("onPodConditions") or [], pod)
        if reason:
            return rule["action"], f"{reason} matching {rule['action']} rule at index {index}"
    return "Count", ""


def _matches_codes(requirement: Json, pod: Pod) -> str:
    for status in (*pod.status.container_statuses, *pod.status.init_container_statuses):
        ended = status.state.terminated
        if ended is None or ended.exit_code == 0 or requirement.get("containerName") not in (None, "", status.name):
            continue
        if (ended.exit_code in requirement["values"]) == (requirement["operator"] == "In"):
            return f"Container {status.name} for pod {pod.key} failed with exit code {ended.exit_code}"
    return ""


def _matches_conditions(patterns: Iterable[Json], pod: Pod) -> str:
    for pattern in patterns:
        for condition in pod.status.conditions:
            wanted = pattern.get("status") or "True"
            if condition.get("type") == pattern["type"] and condition.get("status") == wanted:
                return f"Pod {pod.key} has condition {pattern['type']}"
    return ""


def unsupported(job: Job) -> str:
    """What of the Job's spec this controller cannot do, or an empty string."""
    spec = job.spec.to_dict()
    if spec.get("completionMode", "NonIndexed") != "NonIndexed":
        return "the sandbox runs no indexed Jobs"
    if "completions" not in spec and spec.get("parallelism", 1) != 1:
        return "the sandbox runs no work-queue Jobs: set completions"
    for field in ("successPolicy", "backoffLimitPerIndex", "managedBy"):
        if spec.get(field):
            return f"the sandbox does not support spec.{field} of a Job"
    return ""
