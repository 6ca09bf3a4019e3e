"""Tables of built-in kinds: the columns, and the cells of objects in various states (ages aside)."""

# A case is a line.
# ruff: noqa: E501

from __future__ import annotations

from typing import Any

from support.realanswers import Case, Step

from .builtins import AFFINITY, CONTAINER, JOB_TEMPLATE, LOCAL, PATHS, PORT, PV, PVC, delete, patch, thing, workload

Json = dict[str, Any]
TABLE = (("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io"),)
OLD = "2020-01-01T00:00:00Z"


def pod(name: str, **spec: Any) -> Json:
    return thing(
        "Pod",
        name,
        spec={
            "containers": [CONTAINER],
            "serviceAccountName": "default",
            "automountServiceAccountToken": False,
            **spec,
        },
    )


def status(**more: Any) -> tuple[str, Json]:
    return "/status", {"status": more}


def container(ready: bool = False, restarts: int = 0, **state: Any) -> Json:
    return {
        "name": "c",
        "image": "i",
        "imageID": "",
        "ready": ready,
        "restartCount": restarts,
        "state": state,
        "lastState": {},
    }


READY = [{"type": "Ready", "status": "True"}]
RUNNING = {"startedAt": OLD}
STATES: list[tuple[Json, list[tuple[str, Json]]]] = [
    (pod("pending"), []),
    (pod("running"), [status(phase="Running", podIP="10.1.2.3", conditions=READY, containerStatuses=[container(True, running=RUNNING)])]),
    (pod("crashing"), [status(phase="Running", containerStatuses=[container(False, 5, waiting={"reason": "CrashLoopBackOff"})])]),
    (pod("completed"), [status(phase="Succeeded", containerStatuses=[container(terminated={"exitCode": 0, "reason": "Completed"})])]),
    (pod("failed"), [status(phase="Failed", containerStatuses=[container(terminated={"exitCode": 3})])]),
    (pod("killed"), [status(phase="Failed", containerStatuses=[container(terminated={"exitCode": 137, "signal": 9})])]),
    (pod("evicted"), [status(phase="Failed", reason="Evicted")]),
    (pod("initializing", initContainers=[{"name": "i", "image": "i"}, {"name": "j", "image": "i"}]), [status(phase="Pending", initContainerStatuses=[container(terminated={"exitCode": 0}), container(running=RUNNING)])]),
    (pod("badinit", initContainers=[{"name": "i", "image": "i"}]), [status(phase="Pending", initContainerStatuses=[container(waiting={"reason": "ErrImagePull"})])]),
    (pod("failedinit", initContainers=[{"name": "i", "image": "i"}]), [status(phase="Pending", initContainerStatuses=[container(terminated={"exitCode": 1, "reason": "Error"})])]),
    (pod("gated", readinessGates=[{"conditionType": "x/y"}, {"conditionType": "a/b"}]), [status(phase="Running", conditions=[{"type": "x/y", "status": "True"}], nominatedNodeName="n")]),
    (pod("waits", schedulingGates=[{"name": "a/b"}]), []),
    (pod("unschedulable"), [status(phase="Pending", conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}])]),
    (thing("ConfigMap", "cm", data={"a": "b"}, binaryData={"c": "AAEC"}), []),
    (thing("Secret", "sec", data={"a": "YQ=="}), []),
    (thing("ServiceAccount", "acc", secrets=[{"name": "s"}]), []),
    (thing("Service", "headless", spec={"ports": [PORT, {"port": 53, "protocol": "UDP", "name": "dns"}], "clusterIP": "None", "selector": {"a": "b", "c": "d"}} | {"ports": [{"port": 80, "name": "h"}, {"port": 53, "protocol": "UDP", "name": "dns"}]}), []),
    (thing("Service", "external", spec={"type": "ExternalName", "externalName": "a.b.c"}), []),
    (thing("PersistentVolume", "free", spec=PV), [status(phase="Available")]),
    (thing("PersistentVolume", "bound", spec={**LOCAL, "nodeAffinity": AFFINITY, "storageClassName": "local", "claimRef": {"namespace": "default", "name": "c"}}), [status(phase="Bound", reason="why")]),
    (thing("PersistentVolume", "many", spec={**PV, "accessModes": ["ReadWriteMany", "ReadOnlyMany", "ReadWriteOnce"], "volumeMode": "Block"}), []),
    (thing("PersistentVolumeClaim", "waiting", spec=PVC), []),
    (thing("PersistentVolumeClaim", "bound", spec={**PVC, "volumeName": "v", "storageClassName": "s"}), [status(phase="Bound", accessModes=["ReadWriteOnce"], capacity={"storage": "2Gi"})]),
    (thing("Job", "new", spec={"template": JOB_TEMPLATE}), []),
    (thing("Job", "running", spec={"template": JOB_TEMPLATE, "parallelism": 3}), [status(active=1, startTime=OLD)]),
    (thing("Job", "done", spec={"template": JOB_TEMPLATE}), [status(succeeded=1, startTime=OLD, completionTime="2020-01-01T00:02:05Z", conditions=[{"type": "SuccessCriteriaMet", "status": "True"}, {"type": "Complete", "status": "True"}])]),
    (thing("Job", "failed", spec={"template": JOB_TEMPLATE}), [status(failed=1, startTime=OLD, conditions=[{"type": "FailureTarget", "status": "True"}, {"type": "Failed", "status": "True"}])]),
    (thing("Job", "failing", spec={"template": JOB_TEMPLATE}), [status(failed=1, startTime=OLD, conditions=[{"type": "FailureTarget", "status": "True"}])]),
    (thing("Job", "suspended", spec={"template": JOB_TEMPLATE, "suspend": True}), [status(conditions=[{"type": "Suspended", "status": "True"}])]),
    (thing("CronJob", "cron", spec={"schedule": "*/5 * * * *", "timeZone": "Etc/UTC", "suspend": True, "jobTemplate": {"spec": {"template": JOB_TEMPLATE}}}), []),
    (workload("Deployment", replicas=3), [status(replicas=3, readyReplicas=2, updatedReplicas=3, availableReplicas=1)]),
    (workload("ReplicaSet", replicas=2), [status(replicas=2, readyReplicas=1)]),
    (workload("StatefulSet", replicas=2), []),
    (workload("DaemonSet"), [status(currentNumberScheduled=2, numberMisscheduled=0, desiredNumberScheduled=3, numberReady=1, updatedNumberScheduled=2, numberAvailable=1)]),
    (thing("Node", "bare"), []),
    (thing("Node", "ready", metadata={"labels": {"node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "odd"}}, spec={"unschedulable": True}), [status(conditions=READY, addresses=[{"type": "InternalIP", "address": "10.0.0.1"}, {"type": "ExternalIP", "address": "1.2.3.4"}], nodeInfo={"kubeletVersion": "v1.32.4", "osImage": "os", "kernelVersion": "k", "containerRuntimeVersion": "c://1"})]),
    (thing("Node", "notready"), [status(conditions=[{"type": "Ready", "status": "Unknown"}])]),
    (thing("Lease", "lease", spec={"holderIdentity": "me"}), []),
    (thing("Role", "role", rules=[]), []),
    (thing("RoleBinding", "binding", roleRef={"kind": "Role", "name": "r"}, subjects=[{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s", "namespace": "n"}, {"kind": "Group", "name": "g"}, {"kind": "User", "name": "v"}]), []),
    (thing("ClusterRole", "zz-role"), []),
    (thing("ClusterRoleBinding", "zz-binding", roleRef={"kind": "ClusterRole", "name": "view"}), []),
    (thing("StorageClass", "plain", provisioner="a.b/c"), []),
    (thing("StorageClass", "default", metadata={"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}, provisioner="a.b/c", allowVolumeExpansion=True), []),
    (thing("PodDisruptionBudget", "pdb", spec={"minAvailable": "50%", "selector": {}}), []),
    (thing("PriorityClass", "prio", value=5, globalDefault=False), []),
    (thing("Event", "ev", involvedObject={"kind": "Pod", "name": "p", "namespace": "default", "fieldPath": "spec.containers{c}"}, reason="R", message=" M ", type="Normal", count=3, source={"component": "c", "host": "h"}, firstTimestamp=OLD, lastTimestamp=OLD), []),
    (thing("Namespace", "table-space"), []),
]  # fmt: skip

CASES = [
    Case(f"{body['kind']} {body['metadata']['name']}", (
        Step("POST", PATHS[body["kind"]], body, is_told=False),
        *(Step("PATCH", patch(body, change, place).target, change, patch(body, change, place).headers, is_told=False) for place, change in changes),
        Step("GET", f"{PATHS[body['kind']]}/{body['metadata']['name']}", None, TABLE),
        delete(body),
    ))
    for body, changes in STATES
]  # fmt: skip
