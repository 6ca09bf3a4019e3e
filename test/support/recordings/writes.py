"""What a write of a built-in kind may do: patches that fit no type, what deletes answer, addresses, priorities, sizes."""

# A case is a line.
# ruff: noqa: E501

from __future__ import annotations

from typing import Any

from support.realanswers import Case, Step

from .builtins import JOB_TEMPLATE, PATHS, PVC, delete, merged, patch, pod, post, thing, workload
from .crds import CRDS, crd, version

Json = dict[str, Any]
STRATEGIC = (("Content-Type", "application/strategic-merge-patch+json"),)
JSON_PATCH = (("Content-Type", "application/json-patch+json"),)
MERGE = (("Content-Type", "application/merge-patch+json"),)


def path(body: Json, tail: str = "") -> str:
    return f"{PATHS[body['kind']]}/{body['metadata']['name']}{tail}"


def send(method: str, body: Json, sent: Any = None, headers: tuple[tuple[str, str], ...] = (), tail: str = "") -> Step:
    return Step(method, path(body, tail), sent, headers)


SPACE = thing("Namespace", "kept", metadata={"labels": {"a": "b"}})
HELD = {"spec": {"finalizers": ["a/b"]}, "metadata": {"labels": {"a": "c"}}}
NAMESPACES = [
    Case("namespace: finalizers are changed by finalize alone", (
        post(SPACE), patch(SPACE, HELD), patch(SPACE, {"spec": None}), patch(SPACE, {"status": {"phase": "Terminating"}}), send("PUT", SPACE, merged(SPACE, HELD)), send("PUT", SPACE, merged(SPACE, HELD), tail="/finalize"), send("PUT", SPACE, SPACE), send("PUT", SPACE, SPACE, tail="/finalize"), send("GET", SPACE),
    )),
    Case("namespace: its phase follows its deletion", (post(thing("Namespace", "phased")), patch(thing("Namespace", "phased"), {"status": {"phase": "Terminating"}}, "/status"), patch(thing("Namespace", "phased"), {"status": {"phase": "Active", "conditions": []}}, "/status"))),
]  # fmt: skip

MAP = thing("ConfigMap", "patched", data={"a": "b"})
DEPLOYMENT = workload("Deployment", replicas=1)
WRONG: list[Json] = [{"data": 5}, {"data": {"a": 5}}, {"data": []}, {"metadata": {"labels": {"a": 1}}}, {"immutable": "yes"}, {"metadata": 5}, {"binaryData": {"x": "%"}}, {"kind": "Pod"}, {"apiVersion": "v2"}, {"metadata": {"name": "other"}}, {"odd": 1}]  # fmt: skip
DEEP: list[Json] = [{"spec": {"replicas": "x"}}, {"spec": {"replicas": 1.5}}, {"spec": {"template": {"spec": {"containers": "x"}}}}, {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": 5}]}}}}, {"spec": "x"}, {"spec": {"strategy": []}}]  # fmt: skip
PATCHES = [
    Case("patch: a config map of wrong types", (post(MAP), *(send("PATCH", MAP, change, kind) for change in WRONG for kind in (MERGE, STRATEGIC)), delete(MAP))),
    Case("patch: a config map, with operations", (post(MAP), *(send("PATCH", MAP, [{"op": "add", "path": place, "value": value}], JSON_PATCH) for place, value in (("/data/a", 5), ("/data", "x"), ("/metadata", []), ("/x", 1), ("/metadata/labels", {"a": None}))), delete(MAP))),
    Case("patch: a deployment of wrong types", (post(DEPLOYMENT), *(send("PATCH", DEPLOYMENT, change, kind) for change in DEEP for kind in (MERGE, STRATEGIC)), delete(DEPLOYMENT))),
    Case("patch: a deployment's status and scale of wrong types", (post(DEPLOYMENT), send("PATCH", DEPLOYMENT, {"status": {"replicas": "x"}}, MERGE, "/status"), send("PATCH", DEPLOYMENT, {"spec": {"replicas": "x"}}, MERGE, "/scale"), send("PATCH", DEPLOYMENT, {"spec": []}, MERGE, "/scale"), delete(DEPLOYMENT))),
]  # fmt: skip

DELETED: list[Json] = [
    MAP, thing("Secret", "gone"), thing("ServiceAccount", "gone"), thing("Service", "gone", spec={"ports": [{"port": 80}], "clusterIP": "None"}), thing("StorageClass", "gone", provisioner="a.b/c"), thing("PersistentVolume", "gone", spec={"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}), thing("PersistentVolumeClaim", "gone", spec=PVC),
    merged(pod(), {"metadata": {"name": "gone"}}), thing("Role", "gone"), thing("ClusterRole", "gone"), thing("RoleBinding", "gone", roleRef={"kind": "Role", "name": "r"}), thing("Lease", "gone"), thing("PriorityClass", "gone", value=5), thing("Node", "gone"), thing("PodDisruptionBudget", "gone", spec={"minAvailable": 1, "selector": {}}), workload("Deployment"), workload("ReplicaSet"), workload("StatefulSet"), workload("DaemonSet"),
    thing("Event", "gone", involvedObject={"kind": "Pod", "name": "p", "namespace": "default"}, reason="R", message="M", type="Normal"), thing("CronJob", "gone", spec={"schedule": "* * * * *", "jobTemplate": {"spec": {"template": JOB_TEMPLATE}}}),
]  # fmt: skip
JOB = thing("Job", "gone", spec={"template": JOB_TEMPLATE})
DELETES = [
    *(Case(f"delete: {body['kind']}", (Step("POST", PATHS[body["kind"]], body, is_told=False), send("DELETE", body, tail="?gracePeriodSeconds=0"))) for body in DELETED),
    Case("delete: Job without a policy", (Step("POST", PATHS["Job"], JOB, is_told=False), send("DELETE", JOB), send("GET", JOB), send("PATCH", JOB, {"metadata": {"finalizers": None}}, MERGE), send("GET", JOB))),
    Case("delete: Job in the background", (Step("POST", PATHS["Job"], JOB, is_told=False), send("DELETE", JOB, tail="?propagationPolicy=Background"))),
]  # fmt: skip


def with_priority(name: str, **spec: Any) -> Json:
    return merged(pod(**spec), {"metadata": {"name": name}})


HIGH, USUAL = (
    thing("PriorityClass", "high", value=1000, preemptionPolicy="Never"),
    thing("PriorityClass", "usual", value=7, globalDefault=True),
)
PRIORITIES = [
    Case("priority: of the class that a pod names", (post(HIGH), post(with_priority("p1", priorityClassName="high")), post(with_priority("p2", priorityClassName="absent")), post(with_priority("p3", priorityClassName="high", priority=5)), post(with_priority("p4", priority=5)), post(with_priority("p5", priorityClassName="system-node-critical")), post(with_priority("p6", priorityClassName="high", preemptionPolicy="PreemptLowerPriority")), post(with_priority("p7", priority=0)), delete(HIGH))),
    Case("priority: of the default class", (post(USUAL), post(with_priority("q1")), post(with_priority("q2", priority=7)), post(merged(USUAL, {"metadata": {"name": "second"}})), delete(USUAL), post(with_priority("q3")))),
]  # fmt: skip

FIXED, GROWS = (
    thing("StorageClass", "fixed", provisioner="a.b/c"),
    thing("StorageClass", "grows", provisioner="a.b/c", allowVolumeExpansion=True),
)
BOUND = {"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}, "spec": {"volumeName": "v"}}


def claim(name: str) -> Json:
    return thing("PersistentVolumeClaim", name, spec={**PVC, "storageClassName": name, "volumeName": "v"})


def resize(name: str, *sizes: str) -> tuple[Step, ...]:
    bound = {"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}}
    sized = ({"spec": {"resources": {"requests": {"storage": size}}}} for size in sizes)
    return (
        post(claim(name)),
        patch(claim(name), bound, "/status"),
        *(patch(claim(name), change) for change in sized),
        delete(claim(name)),
    )


SIZES = [
    Case("size: a claim of a class that does not grow", (post(FIXED), *resize("fixed", "2Gi", "1Gi"), delete(FIXED))),
    Case("size: a claim of a class that grows", (post(GROWS), *resize("grows", "2Gi", "1Gi", "3Gi"), delete(GROWS))),
    Case("size: a claim of no class", resize("absent", "2Gi")),
]  # fmt: skip

PORTS = {"ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "b"}]}


def service(name: str, **spec: Any) -> Json:
    return thing("Service", name, spec={**PORTS, **spec})


def spec(**more: Any) -> Json:
    return {"spec": more}


ADDRESSES = [
    Case("service: with an address of its own", (post(service("s1", clusterIP="10.96.0.50")), post(service("s2", clusterIP="10.96.0.50")), post(service("s3", clusterIP="192.168.0.1")), post(service("s4", clusterIP="bad")), patch(service("s1"), spec(clusterIP="10.96.0.51")), patch(service("s1"), spec(clusterIP="None")), patch(service("s1"), spec(clusterIP="")), patch(service("s1"), spec(clusterIPs=["10.96.0.52"])), send("PUT", service("s1"), service("s1")), patch(service("s1"), spec(type="ExternalName", externalName="a.b")), delete(service("s1")), post(service("s5", clusterIP="10.96.0.50")), delete(service("s5")))),
    Case("service: without an address", (post(service("h1", clusterIP="None", selector={"a": "b"})), patch(service("h1"), spec(clusterIP="10.96.0.60")), patch(service("h1"), spec(type="NodePort")), post(service("h2", clusterIP="None", type="NodePort")), post(service("h3", type="ExternalName", externalName="a.b", clusterIP="10.96.0.61")), post(service("h4", type="ExternalName", externalName="a.b")), patch(service("h4"), spec(type="ClusterIP", clusterIP="10.96.0.62")), delete(service("h1")), delete(service("h4")))),
    Case("service: node ports", (post(service("n1", type="NodePort", clusterIP="10.96.0.70", ports=[{"port": 80, "nodePort": 30080}])), post(service("n2", type="NodePort", clusterIP="10.96.0.71", ports=[{"port": 80, "nodePort": 30080}])), post(service("n3", type="NodePort", clusterIP="10.96.0.71", ports=[{"port": 80, "nodePort": 80}])), post(service("n4", clusterIP="10.96.0.72", ports=[{"port": 80, "nodePort": 30081}])), post(service("n4", type="NodePort", clusterIP="10.96.0.72", ports=[{"port": 80, "nodePort": 30082, "protocol": "UDP", "name": "a"}, {"port": 80, "nodePort": 30082, "name": "b"}])), patch(service("n1"), spec(type="ClusterIP")), post(service("n5", type="LoadBalancer", clusterIP="10.96.0.73", ports=[{"port": 80, "nodePort": 30084}])), patch(service("n5"), spec(ports=[{"port": 80, "nodePort": 30085}])), patch(service("n5"), spec(type="ClusterIP", ports=None)), delete(service("n1")), delete(service("n4")), delete(service("n5")))),
]  # fmt: skip

GROUP = "statusless.example.com"
STATUSLESS = crd(GROUP, version(subresources={"status": {}}))
COG = {"apiVersion": f"{GROUP}/v1", "kind": "Cog", "metadata": {"name": "a"}, "spec": {"a": "x"}, "status": {"b": 1}}
COGS = f"/apis/{GROUP}/v1/namespaces/default/cogs"
STATUSES = [
    Case("status: of a definition that has no schema of it", (Step("POST", CRDS, STATUSLESS, is_told=False), Step("POST", COGS, COG), Step("POST", f"{COGS}?fieldValidation=Strict", merged(COG, {"metadata": {"name": "b"}})), Step("PATCH", f"{COGS}/a", {"status": {"b": 2}}, MERGE), Step("PATCH", f"{COGS}/a/status", {"status": {"b": 2}}, MERGE), Step("DELETE", f"{CRDS}/cogs.{GROUP}", is_told=False))),
]  # fmt: skip

CASES = [*NAMESPACES, *PATCHES, *DELETES, *PRIORITIES, *SIZES, *ADDRESSES, *STATUSES]
