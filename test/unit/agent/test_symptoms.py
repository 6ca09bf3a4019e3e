"""What is wrong with a download's pod, in one word and a sentence that says what to do."""

from __future__ import annotations

from typing import Any

import pytest

from localmodel.agent.observation import job_state
from localmodel.agent.symptoms import HEALTHY, MAX_MESSAGE, pod_symptom, symptom_of
from localmodel.runtime.objects import Job, Pod


def pod(name: str = "p", *, job: str = "j", created: str = "2026-01-01T00:00:00Z", **status: Any) -> Pod:
    return Pod.from_dict({
        "metadata": {"name": name, "namespace": "jobs", "creationTimestamp": created,
                     "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": job, "uid": job}]},
        "spec": {"volumes": [{"name": "m", "persistentVolumeClaim": {"claimName": "iris-gpu1"}}]},
        "status": status,
    })  # fmt: skip


def unscheduled(message: str) -> dict[str, Any]:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return {"phase": "Pending", "conditions": [condition]}


def container(**state: dict[str, Any]) -> dict[str, Any]:
    return {"containerStatuses": [{"name": "c", "state": state}]}


NODES = (
    "0/1000 nodes are available: 1 {}, 999 node(s) didn't match Pod's node affinity/selector. preemption: 0/1000 nodes"
)


@pytest.mark.parametrize(
    ("status", "reason", "words"),
    [
        (
            unscheduled(NODES.format("node(s) had untolerated taint {nvidia.com/gpu: true}")),
            "Unschedulable",
            "Unschedulable: node(s) had untolerated taint {nvidia.com/gpu: true}; taints are tolerated by",
        ),
        (unscheduled(NODES.format("Insufficient memory")), "Unschedulable", "Unschedulable: Insufficient memory; "),
        (
            unscheduled("0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."),
            "Unschedulable",
            "Unschedulable: node(s) didn't match Pod's node affinity/selector; ",
        ),
        (unscheduled("words of another scheduler"), "Unschedulable", "Unschedulable: words of another scheduler; "),
        (
            unscheduled('persistentvolumeclaim "iris-gpu1" not found'),
            "VolumeUnbound",
            'Unschedulable: persistentvolumeclaim "iris-gpu1" not found; see kubectl describe pvc iris-gpu1 -n jobs',
        ),
        (
            unscheduled(NODES.format("node(s) didn't find available persistent volumes to bind")),
            "VolumeUnbound",
            "Unschedulable: node(s) didn't find available persistent volumes to bind; see kubectl describe pvc",
        ),
        (
            unscheduled("0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. preemption: no"),
            "VolumeUnbound",
            "Unschedulable: pod has unbound immediate PersistentVolumeClaims; see kubectl describe pvc",
        ),
        (
            container(waiting={"reason": "ErrImagePull", "message": "401 Unauthorized"}),
            "ImagePullFailed",
            "ErrImagePull: 401 Unauthorized; can this node pull the image? pull secrets are those of",
        ),
        (
            container(waiting={"reason": "CreateContainerConfigError", "message": 'secret "hf" not found'}),
            "ContainerConfigInvalid",
            'CreateContainerConfigError: secret "hf" not found; create what is missing in namespace jobs',
        ),
        (
            container(waiting={"reason": "CreateContainerError", "message": "no such file"}),
            "ContainerNotStarted",
            "CreateContainerError: no such file",
        ),
        (
            container(terminated={"exitCode": 137, "reason": "OOMKilled"}),
            "OOMKilled",
            "OOMKilled: exit code 137, ended by SIGKILL; raise storageInitializer.memoryLimit, or the limit of the",
        ),
        (
            {"phase": "Failed", "reason": "Evicted", "message": "low on resource: memory"},
            "PodEvicted",
            "the pod was evicted: low on resource: memory; free room or memory on this node",
        ),
        ({"phase": "Failed", "message": "node shuts down"}, "", "node shuts down"),
        (container(terminated={"exitCode": 1, "reason": "Error", "message": "404"}), "", "404"),
        (container(waiting={"reason": "ContainerCreating"}), "", ""),
        (container(running={}), "", ""),
    ],
)
def test_a_pod_tells_its_trouble(status: dict[str, Any], reason: str, words: str) -> None:
    found = pod_symptom(pod(**status))
    assert found.reason == reason
    assert found.message.startswith(words)


def test_the_newest_pod_of_the_job_itself_counts() -> None:
    job = Job.from_dict({"metadata": {"name": "j", "uid": "j"}})
    killed = pod("a", **container(terminated={"exitCode": 137, "reason": "OOMKilled"}))
    later = pod("b", created="2026-01-02T00:00:00Z", **unscheduled("no room"))
    other = pod("c", job="other", created="2026-01-03T00:00:00Z", phase="Failed", reason="Evicted")
    assert symptom_of(job, [killed, later, other]).reason == "Unschedulable"
    assert symptom_of(job, [other]) == HEALTHY
    assert symptom_of(None, [killed]) == HEALTHY


def test_a_job_past_its_deadline_says_so_whatever_its_pod_said_d41() -> None:
    failed = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "too long"}
    job = Job.from_dict({
        "metadata": {"name": "j", "uid": "j"},
        "spec": {"activeDeadlineSeconds": 60},
        "status": {"conditions": [failed]},
    })  # fmt: skip
    found = symptom_of(job, [pod(**container(terminated={"exitCode": 143, "reason": "Error"}))])
    assert found.reason == "DeadlineExceeded"
    assert found.message == "the download took longer than 60 s; raise localModel.jobActiveDeadlineSeconds"


# messages -----------------------------------------------------------------------------------------------------------


def status_of(**status: Any) -> Pod:
    return Pod.from_dict({"metadata": {"name": "p"}, "status": status})


def state(**state: dict[str, Any]) -> dict[str, Any]:
    return {"containerStatuses": [{"name": "c", "state": state}]}


LOGGED = '{"files": 13, "event": "resolved", "level": "info"}\n'
UNSCHEDULABLE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no claim"}


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ({}, ""),
        (state(terminated={"exitCode": 1, "reason": "Error", "message": "401"}), "401"),
        (state(terminated={"exitCode": 137, "reason": "OOMKilled"}), "OOMKilled: exit code 137, ended by SIGKILL"),
        (state(terminated={"exitCode": 3, "reason": "Error"}), "exit code 3"),
        (state(terminated={"exitCode": 137, "message": LOGGED}), "exit code 137, ended by SIGKILL"),
        (state(terminated={"exitCode": 1, "message": LOGGED + '{"event": "404", "level": "error"}'}), "404"),
        (state(terminated={"exitCode": 1, "message": '{"code": 5}\n{half'}), '{"code": 5}\n{half'),
        (state(terminated={"exitCode": 0}), ""),
        (state(waiting={"reason": "ContainerCreating"}), ""),
        (state(waiting={"reason": "ImagePullBackOff", "message": "no"}), "ImagePullBackOff: no"),
        ({"conditions": [UNSCHEDULABLE]}, "Unschedulable: no claim"),
        ({"phase": "Failed", "reason": "Evicted", "message": "disk pressure"}, "the pod was evicted: disk pressure"),
    ],
)
def test_what_a_pod_says(status: dict[str, Any], message: str) -> None:
    assert pod_symptom(status_of(**status)).message.partition(";")[0] == message


def test_long_messages_keep_their_end() -> None:
    failed = Job.from_dict({
        "metadata": {"name": "j", "uid": "u"},
        "status": {"conditions": [{"type": "Failed", "status": "True", "message": "x" * 2000 + "the cause"}]},
    })  # fmt: skip
    message = symptom_of(failed, []).message
    assert len(message) == MAX_MESSAGE
    assert message.endswith("the cause")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({}, "pending"),
        ({"active": 1}, "pending"),
        ({"active": 1, "ready": 1}, "running"),
        ({"active": 1, "failed": 1}, "retrying"),
        ({"failed": 3, "conditions": [{"type": "Failed", "status": "True"}]}, "failed"),
        ({"succeeded": 1, "failed": 1, "conditions": [{"type": "Complete", "status": "True"}]}, "succeeded"),
    ],
)
def test_how_a_job_stands(status: dict[str, Any], expected: str) -> None:
    assert job_state(Job.from_dict({"metadata": {"name": "j"}, "status": status})) == expected
