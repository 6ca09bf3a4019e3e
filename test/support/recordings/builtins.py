"""Built-in kinds: defaults, validation, decoding errors; what a create (in dry run) answers, and updates."""

# A case is a line.
# ruff: noqa: E501

from __future__ import annotations

import copy
from typing import Any

from support.realanswers import Case, Step

from .crds import MERGE

Json = dict[str, Any]
NS = "/api/v1/namespaces/default"
PATHS = {
    "Pod": f"{NS}/pods",
    "ConfigMap": f"{NS}/configmaps",
    "Secret": f"{NS}/secrets",
    "Service": f"{NS}/services",
    "ServiceAccount": f"{NS}/serviceaccounts",
    "PersistentVolumeClaim": f"{NS}/persistentvolumeclaims",
    "Event": f"{NS}/events",
    "PersistentVolume": "/api/v1/persistentvolumes",
    "Node": "/api/v1/nodes",
    "Namespace": "/api/v1/namespaces",
    "Job": "/apis/batch/v1/namespaces/default/jobs",
    "CronJob": "/apis/batch/v1/namespaces/default/cronjobs",
    "Deployment": "/apis/apps/v1/namespaces/default/deployments",
    "DaemonSet": "/apis/apps/v1/namespaces/default/daemonsets",
    "ReplicaSet": "/apis/apps/v1/namespaces/default/replicasets",
    "StatefulSet": "/apis/apps/v1/namespaces/default/statefulsets",
    "Lease": "/apis/coordination.k8s.io/v1/namespaces/default/leases",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "StorageClass": "/apis/storage.k8s.io/v1/storageclasses",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/default/poddisruptionbudgets",
    "PriorityClass": "/apis/scheduling.k8s.io/v1/priorityclasses",
}


def thing(kind: str, name: str = "x", **more: Any) -> Json:
    group = PATHS[kind].split("/")
    api_version = group[2] if group[1] == "api" else f"{group[2]}/{group[3]}"
    metadata = {"name": name, **more.pop("metadata", {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **more}


def dry(body: Any, query: str = "") -> Step:
    return Step("POST", f"{PATHS[body['kind']]}?dryRun=All{query}", body)


def merged(base: Json, change: Json) -> Json:
    result = copy.deepcopy(base)
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        elif value is None:
            result.pop(key, None)
        else:
            result[key] = value
    return result


CONTAINER = {"name": "c", "image": "busybox:1.36"}


def pod(**spec: Any) -> Json:
    account = {"serviceAccountName": "default", "automountServiceAccountToken": False}
    return thing("Pod", spec={"containers": [CONTAINER], **account, **spec})


def with_container(**container: Any) -> Json:
    return pod(containers=[{**CONTAINER, **container}])


TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [CONTAINER]}}
JOB_TEMPLATE = {"spec": {"containers": [CONTAINER], "restartPolicy": "Never"}}
SELECTOR = {"matchLabels": {"a": "b"}}
PV = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/mnt"}}
PVC = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
PORT = {"port": 80}
LOCAL = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany"], "local": {"path": "/mnt"}}
AFFINITY = {
    "required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}]}
}
NODE_TERMS = {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}]}


def job(**spec: Any) -> Json:
    return thing("Job", spec={"template": JOB_TEMPLATE, **spec})


def workload(kind: str, **spec: Any) -> Json:
    service = {"serviceName": "s"} if kind == "StatefulSet" else {}
    return thing(kind, spec={"selector": SELECTOR, "template": TEMPLATE, **service, **spec})


OBJECTS: dict[str, Json] = {
    "pod": pod(),
    "pod of latest": with_container(image="busybox"),
    "pod with everything": pod(
        containers=[
            {
                **CONTAINER,
                "command": ["a"], "args": [], "workingDir": "/w", "tty": False, "stdin": True,
                "ports": [{"containerPort": 80}, {"containerPort": 53, "protocol": "UDP", "name": "dns", "hostPort": 0}],
                "env": [
                    {"name": "A", "value": "1"}, {"name": "B", "value": ""},
                    {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                    {"name": "D", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                    {"name": "E", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
                    {"name": "F", "valueFrom": {"configMapKeyRef": {"name": "s", "key": "k", "optional": True}}},
                ],
                "envFrom": [{"secretRef": {"name": "s"}}, {"prefix": "P_", "configMapRef": {"name": "c"}}],
                "resources": {"limits": {"cpu": "1000m", "memory": "1024Mi"}, "requests": {"cpu": 0.5}},
                "volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "a/b", "readOnly": True}],
                "livenessProbe": {"httpGet": {"port": 80}}, "readinessProbe": {"exec": {"command": ["x"]}},
                "startupProbe": {"tcpSocket": {"port": "dns"}, "periodSeconds": 3},
                "lifecycle": {"preStop": {"httpGet": {"port": 80}}},
                "securityContext": {"runAsUser": 1000, "allowPrivilegeEscalation": False},
            }
        ],
        initContainers=[{"name": "i", "image": "a/b@sha256:" + "0" * 64}],
        volumes=[
            {"name": "v"}, {"name": "cm", "configMap": {"name": "c"}}, {"name": "se", "secret": {"secretName": "s"}},
            {"name": "hp", "hostPath": {"path": "/h"}}, {"name": "ed", "emptyDir": {"sizeLimit": "1.5Gi"}},
            {"name": "pc", "persistentVolumeClaim": {"claimName": "p"}},
            {"name": "da", "downwardAPI": {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
            {"name": "pr", "projected": {"sources": [{"configMap": {"name": "c"}}]}},
        ],
        nodeSelector={"a": "b"}, hostNetwork=False, priority=0, hostAliases=[],
        securityContext={"runAsUser": 1000, "fsGroup": 1000}, automountServiceAccountToken=False,
        tolerations=[{"key": "k", "operator": "Exists"}, {"effect": "NoSchedule", "key": "a", "value": "b"}],
        affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": NODE_TERMS}},
        topologySpreadConstraints=[{"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}],
        imagePullSecrets=[{"name": "p"}], terminationGracePeriodSeconds=0,
    ),
    "pod guaranteed": with_container(resources={"limits": {"cpu": "1", "memory": "1Gi"}}),
    "pod burstable": with_container(resources={"requests": {"cpu": "1"}}),
    "pod with status": {**pod(), "status": {"phase": "Running"}},
    "pod with host network": pod(hostNetwork=True, containers=[{**CONTAINER, "ports": [{"containerPort": 80}]}]),
    "pod with empty maps": thing("Pod", metadata={"labels": {}, "annotations": {}, "finalizers": []}, spec={
        "containers": [CONTAINER], "serviceAccountName": "default", "nodeSelector": {}, "volumes": [], "tolerations": [], "affinity": {}}),
    "pod without spec": thing("Pod"),
    "pod without containers": pod(containers=[]),
    "pod without name and image": pod(containers=[{}]),
    "pod with bad name": with_container(name="My_Container"),
    "pod with two of a name": pod(containers=[CONTAINER, CONTAINER], initContainers=[CONTAINER]),
    "pod with image of spaces": with_container(image=" busybox "),
    "pod with unknown policies": merged(with_container(imagePullPolicy="Maybe", terminationMessagePolicy="X"), {"spec": {"restartPolicy": "Sometimes", "dnsPolicy": "X"}}),
    "pod with bad ports": with_container(ports=[{"containerPort": 0}, {"containerPort": 70000}, {"containerPort": 1, "protocol": "X"}, {"containerPort": 2, "name": "Not OK"}, {"containerPort": 3, "hostPort": 70000}, {"containerPort": 4, "name": "a"}, {"containerPort": 5, "name": "a"}]),
    "pod with bad env": with_container(env=[{"name": ""}, {"name": "a=b"}, {"name": "1"}, {"name": "C", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}, {"name": "D", "valueFrom": {}}, {"name": "E", "valueFrom": {"fieldRef": {"fieldPath": "spec.odd"}}}, {"name": "F", "valueFrom": {"secretKeyRef": {"name": "", "key": ""}}}]),
    "pod with env twice": with_container(env=[{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]),
    "pod with bad mounts": pod(containers=[{**CONTAINER, "volumeMounts": [{"name": "none", "mountPath": "/a"}, {"name": "v", "mountPath": ""}, {"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/b", "subPath": "/abs"}, {"name": "v", "mountPath": "/c", "subPath": "../up"}, {"name": "v", "mountPath": "/d", "subPath": "a", "subPathExpr": "b"}]}], volumes=[{"name": "v", "emptyDir": {}}]),
    "pod with bad volumes": pod(volumes=[{"name": "V!"}, {"name": "a", "emptyDir": {}, "hostPath": {"path": "/"}}, {"name": "a", "secret": {}}, {"name": "b", "hostPath": {"path": "../x"}}, {"name": "c", "persistentVolumeClaim": {"claimName": ""}}, {"name": "d", "configMap": {}}, {"name": "e", "hostPath": {"path": "/x", "type": "Odd"}}]),
    "pod with bad resources": with_container(resources={"limits": {"cpu": "1", "odd": "1", "memory": "-1"}, "requests": {"cpu": "2"}}),
    "pod with bad tolerations": pod(tolerations=[{"operator": "Odd", "key": "a"}, {"operator": "Equal"}, {"key": "a b"}, {"key": "a", "operator": "Exists", "value": "v"}, {"key": "a", "effect": "Odd"}, {"key": "a", "tolerationSeconds": 5, "effect": "NoSchedule"}]),
    "pod with bad selector": pod(nodeSelector={"a b": "c d"}),
    "pod with bad affinity": pod(affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Odd"}, {"key": "b", "operator": "In"}, {"key": "c", "operator": "Exists", "values": ["x"]}]}, {"matchFields": [{"key": "metadata.uid", "operator": "In", "values": ["a"]}]}]}}}),
    "pod with empty affinity terms": pod(affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}),
    "pod with negative times": pod(activeDeadlineSeconds=0, terminationGracePeriodSeconds=-1),
    "pod with bad names": pod(nodeName="N!", hostname="H!", subdomain="S!"),
    "pod with bad probe": with_container(livenessProbe={}, readinessProbe={"httpGet": {"port": 0}, "exec": {"command": ["a"]}}, startupProbe={"exec": {}, "timeoutSeconds": -1}),
    "pod with quantity text": with_container(resources={"limits": {"cpu": "much"}}),
    "pod with image number": with_container(image=5),
    "pod with containers object": pod(containers={"a": 1}),
    "pod with spec string": thing("Pod", spec="x"),
    "pod with port text": with_container(ports=[{"containerPort": "80"}]),
    "pod with float port": with_container(ports=[{"containerPort": 80.5}]),
    "pod with large port": with_container(ports=[{"containerPort": 2**40}]),
    "pod with labels of numbers": thing("Pod", metadata={"labels": {"a": 1}}, spec={}),
    "pod with time text": thing("Pod", metadata={"deletionTimestamp": "soon"}, spec={}),
    "pod with bool text": pod(hostNetwork="true"),
    "pod with quantity list": with_container(resources={"limits": {"cpu": []}}),
    "pod with unknown fields": merged(with_container(odd=1), {"spec": {"odd": {"a": 1}}, "odd": 1, "metadata": {"odd": 1}}),
    "pod with bad labels": thing("Pod", metadata={"labels": {"a b": "c d"}, "annotations": {"x y": "z"}}, spec={"containers": [CONTAINER]}),
    "pod named badly": thing("Pod", "Bad_Name", spec={"containers": [CONTAINER]}),
    "config map": thing("ConfigMap", data={"a": "b"}, binaryData={"c": "AAEC"}),
    "config map empty": thing("ConfigMap", data={}),
    "config map immutable": thing("ConfigMap", data={"a": "b"}, immutable=False),
    "config map bad keys": thing("ConfigMap", data={"a b": "x", "": "y", "..": "z", "." : "w"}),
    "config map key twice": thing("ConfigMap", data={"a": "b"}, binaryData={"a": "AAEC"}),
    "config map number": thing("ConfigMap", data={"a": 5}),
    "config map null value": thing("ConfigMap", data={"a": None, "b": "x"}),
    "config map bad base64": thing("ConfigMap", binaryData={"a": "AA!C"}),
    "config map too large": thing("ConfigMap", data={"a": "x" * (1024 * 1024 + 1)}),
    "secret": thing("Secret", data={"a": "YQ=="}, stringData={"b": "x", "a": "y"}),
    "secret bad base64": thing("Secret", data={"a": "not base64"}),
    "secret bad key": thing("Secret", stringData={"a b": "x"}),
    "secret docker": thing("Secret", type="kubernetes.io/dockerconfigjson", data={".dockerconfigjson": "e30="}),
    "secret docker without key": thing("Secret", type="kubernetes.io/dockerconfigjson"),
    "secret docker not json": thing("Secret", type="kubernetes.io/dockerconfigjson", data={".dockerconfigjson": "YQ=="}),
    "secret basic auth": thing("Secret", type="kubernetes.io/basic-auth"),
    "secret ssh": thing("Secret", type="kubernetes.io/ssh-auth"),
    "secret tls": thing("Secret", type="kubernetes.io/tls"),
    "secret token without annotation": thing("Secret", type="kubernetes.io/service-account-token"),
    "service account": thing("ServiceAccount", secrets=[{"name": "s"}], imagePullSecrets=[{"name": "p"}], automountServiceAccountToken=True),
    "namespace": thing("Namespace", "some-space"),
    "namespace bad": thing("Namespace", "Some.Space"),
    "namespace with finalizers": thing("Namespace", "some-space", spec={"finalizers": ["odd"]}),
    "node": thing("Node", spec={"podCIDR": "10.0.0.0/24", "taints": [{"key": "a", "effect": "NoSchedule"}]}, status={"capacity": {"cpu": "4000m"}}),
    "node bad": thing("Node", spec={"taints": [{"key": "a b", "effect": "Odd"}, {"key": "a"}], "podCIDRs": ["x"]}),
    "volume": thing("PersistentVolume", spec=PV),
    "volume local": thing("PersistentVolume", spec={**LOCAL, "nodeAffinity": AFFINITY, "storageClassName": "local", "persistentVolumeReclaimPolicy": "Delete"}),
    "volume local without affinity": thing("PersistentVolume", spec=LOCAL),
    "volume with claim": thing("PersistentVolume", spec={**PV, "claimRef": {"namespace": "default", "name": "c"}, "volumeMode": "Block"}),
    "volume without spec": thing("PersistentVolume"),
    "volume without source": thing("PersistentVolume", spec=merged(PV, {"hostPath": None})),
    "volume with two sources": thing("PersistentVolume", spec={**PV, "nfs": {"server": "s", "path": "/"}}),
    "volume with bad modes": thing("PersistentVolume", spec={**PV, "accessModes": ["Odd", "ReadWriteOncePod", "ReadWriteOnce"]}),
    "volume without capacity": thing("PersistentVolume", spec=merged(PV, {"capacity": None, "accessModes": None})),
    "volume with other capacity": thing("PersistentVolume", spec={**PV, "capacity": {"cpu": "1"}}),
    "volume of nothing": thing("PersistentVolume", spec={**PV, "capacity": {"storage": "0"}}),
    "volume with odd policy": thing("PersistentVolume", spec={**PV, "persistentVolumeReclaimPolicy": "Keep", "volumeMode": "Odd", "storageClassName": "Not OK"}),
    "volume with root path": thing("PersistentVolume", spec={**PV, "hostPath": {"path": "/"}, "persistentVolumeReclaimPolicy": "Recycle"}),
    "volume with empty path": thing("PersistentVolume", spec={**PV, "hostPath": {"path": ""}}),
    "volume with bad affinity": thing("PersistentVolume", spec={**LOCAL, "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "X"}]}]}}}),
    "volume with empty affinity": thing("PersistentVolume", spec={**LOCAL, "nodeAffinity": {}}),
    "claim": thing("PersistentVolumeClaim", spec=PVC),
    "claim with class": thing("PersistentVolumeClaim", spec={**PVC, "storageClassName": "", "volumeName": "v", "selector": SELECTOR}),
    "claim without spec": thing("PersistentVolumeClaim"),
    "claim with bad modes": thing("PersistentVolumeClaim", spec={**PVC, "accessModes": ["Odd"]}),
    "claim without size": thing("PersistentVolumeClaim", spec={**PVC, "resources": {}}),
    "claim of nothing": thing("PersistentVolumeClaim", spec={**PVC, "resources": {"requests": {"storage": "0"}}}),
    "claim with bad names": thing("PersistentVolumeClaim", spec={**PVC, "storageClassName": "Not OK", "volumeMode": "Odd"}),
    "claim with source": thing("PersistentVolumeClaim", spec={**PVC, "dataSource": {"kind": "PersistentVolumeClaim", "name": "o"}}),
    "job": job(),
    "job with numbers": job(completions=3, parallelism=2, backoffLimit=0, activeDeadlineSeconds=10, ttlSecondsAfterFinished=0),
    "job parallel": job(parallelism=2),
    "job always": thing("Job", spec={"template": {"spec": {"containers": [CONTAINER]}}}),
    "job unknown policy": thing("Job", spec={"template": {"spec": {"containers": [CONTAINER], "restartPolicy": "X"}}}),
    "job without template": thing("Job", spec={}),
    "job negative": job(completions=-1, parallelism=-1, backoffLimit=-1, activeDeadlineSeconds=-1, ttlSecondsAfterFinished=-1),
    "job indexed": job(completionMode="Indexed", completions=2),
    "job indexed without completions": job(completionMode="Indexed"),
    "job odd mode": job(completionMode="Odd", podReplacementPolicy="Odd"),
    "job with selector": job(selector=SELECTOR),
    "job with manual selector": thing("Job", spec={"manualSelector": True, "selector": SELECTOR, "template": {"metadata": {"labels": {"a": "b"}}, **JOB_TEMPLATE}}),
    "job with manual selector that misses": job(manualSelector=True, selector=SELECTOR),
    "job with failure policy": job(podFailurePolicy={"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]}),
    "job suspended": job(suspend=True),
    "job with long name": thing("Job", "a" * 64, spec={"template": JOB_TEMPLATE}),
    "cron job": thing("CronJob", spec={"schedule": "*/5 * * * *", "jobTemplate": {"spec": {"template": JOB_TEMPLATE}}}),
    "cron job bad": thing("CronJob", spec={"schedule": "often", "concurrencyPolicy": "X", "jobTemplate": {"spec": {"template": {"spec": {"containers": [CONTAINER]}}}}}),
    "deployment": workload("Deployment"),
    "deployment without selector": thing("Deployment", spec={"template": TEMPLATE}),
    "deployment that misses": thing("Deployment", spec={"selector": {"matchLabels": {"x": "y"}}, "template": TEMPLATE}),
    "deployment with expressions": workload("Deployment", selector={"matchExpressions": [{"key": "a", "operator": "In", "values": ["b", "c"]}]}),
    "deployment with bad selector": workload("Deployment", selector={"matchExpressions": [{"key": "a", "operator": "Odd"}, {"key": "b", "operator": "In"}], "matchLabels": {"a": "b"}}),
    "deployment with empty selector": workload("Deployment", selector={}),
    "deployment without template": thing("Deployment", spec={"selector": SELECTOR}),
    "deployment negative": workload("Deployment", replicas=-1, minReadySeconds=-1, revisionHistoryLimit=-1, progressDeadlineSeconds=0),
    "deployment recreate": workload("Deployment", strategy={"type": "Recreate"}),
    "deployment odd strategy": workload("Deployment", strategy={"type": "Odd"}),
    "deployment zero surge": workload("Deployment", strategy={"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}),
    "deployment never": merged(workload("Deployment"), {"spec": {"template": {"spec": {"restartPolicy": "Never"}}}}),
    "deployment zero": workload("Deployment", replicas=0, paused=False),
    "daemon set": workload("DaemonSet"),
    "daemon set on delete": workload("DaemonSet", updateStrategy={"type": "OnDelete"}),
    "daemon set that misses": thing("DaemonSet", spec={"selector": {"matchLabels": {"x": "y"}}, "template": TEMPLATE}),
    "daemon set without selector": thing("DaemonSet", spec={"template": TEMPLATE}),
    "daemon set never": merged(workload("DaemonSet"), {"spec": {"template": {"spec": {"restartPolicy": "Never"}}}}),
    "replica set": workload("ReplicaSet"),
    "replica set without selector": thing("ReplicaSet", spec={"template": TEMPLATE}),
    "stateful set": workload("StatefulSet", volumeClaimTemplates=[{"metadata": {"name": "d"}, "spec": PVC}]),
    "stateful set that misses": workload("StatefulSet", selector={"matchLabels": {"x": "y"}}),
    "service": thing("Service", spec={"ports": [PORT], "clusterIP": "None", "selector": {"a": "b"}}),
    "service without ports": thing("Service", spec={}),
    "service bad ports": thing("Service", spec={"clusterIP": "None", "ports": [{"port": 0}, {"port": 80, "name": "a"}, {"port": 80, "name": "a"}, {"port": 81, "protocol": "X", "name": "Bad"}]}),
    "service external name": thing("Service", spec={"type": "ExternalName", "externalName": "a.b.c"}),
    "service external name without": thing("Service", spec={"type": "ExternalName"}),
    "service odd": thing("Service", spec={"type": "Odd", "sessionAffinity": "Odd", "ports": [PORT], "clusterIP": "None"}),
    "service bad name": thing("Service", "1svc", spec={"ports": [PORT], "clusterIP": "None"}),
    "lease": thing("Lease", spec={"holderIdentity": "me", "leaseDurationSeconds": 15, "renewTime": "2024-01-01T00:00:00.5Z", "acquireTime": "2024-01-01T00:00:00.123456Z", "leaseTransitions": 0}),
    "lease empty": thing("Lease"),
    "lease bad": thing("Lease", spec={"leaseDurationSeconds": 0, "leaseTransitions": -1, "holderIdentity": ""}),
    "lease bad time": thing("Lease", spec={"renewTime": "2024-01-01"}),
    "event": thing("Event", involvedObject={"kind": "Pod", "name": "p", "namespace": "default"}, reason="R", message="M", type="Normal", firstTimestamp="2024-01-01T00:00:00Z", lastTimestamp=None, count=1, source={"component": "c"}),
    "event empty": thing("Event"),
    "event elsewhere": thing("Event", involvedObject={"kind": "Pod", "name": "p", "namespace": "other"}),
    "role": thing("Role", rules=[{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"], "resourceNames": []}]),
    "role empty": thing("Role"),
    "role bad": thing("Role", rules=[{}, {"verbs": ["get"]}, {"verbs": ["get"], "apiGroups": [""]}, {"verbs": ["get"], "nonResourceURLs": ["/a"]}, {"verbs": ["get"], "nonResourceURLs": ["/a"], "apiGroups": [""], "resources": ["pods"]}]),
    "cluster role": thing("ClusterRole", rules=[{"nonResourceURLs": ["/a"], "verbs": ["get"]}]),
    "cluster role aggregated": thing("ClusterRole", aggregationRule={"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}),
    "binding": thing("RoleBinding", roleRef={"kind": "Role", "name": "r"}, subjects=[{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s", "namespace": "n"}, {"kind": "Group", "name": "g"}]),
    "binding bad": thing("RoleBinding", roleRef={"kind": "Odd"}, subjects=[{"kind": "Odd", "name": "x"}, {"kind": "ServiceAccount", "name": "S!"}, {"kind": "User"}, {"kind": "User", "name": "u", "apiGroup": "x"}]),
    "binding empty": thing("RoleBinding"),
    "cluster binding": thing("ClusterRoleBinding", roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}),
    "cluster binding of a role": thing("ClusterRoleBinding", roleRef={"kind": "Role", "name": "view"}, subjects=[{"kind": "ServiceAccount", "name": "s"}]),
    "storage class": thing("StorageClass", provisioner="a.b/c"),
    "storage class full": thing("StorageClass", provisioner="a.b/c", parameters={"a": "b"}, reclaimPolicy="Retain", volumeBindingMode="WaitForFirstConsumer", allowVolumeExpansion=True, mountOptions=["ro"]),
    "storage class bad": thing("StorageClass", provisioner="", reclaimPolicy="Odd", volumeBindingMode="Odd", parameters={"": "x"}),
    "disruption budget": thing("PodDisruptionBudget", spec={"minAvailable": "50%", "selector": SELECTOR}),
    "disruption budget bad": thing("PodDisruptionBudget", spec={"minAvailable": -1, "maxUnavailable": 1}),
    "priority class": thing("PriorityClass", value=5),
    "priority class bad": thing("PriorityClass", value=2000000000, preemptionPolicy="Odd"),
}  # fmt: skip


def post(body: Json) -> Step:
    return Step("POST", PATHS[body["kind"]], body)


def patch(body: Json, change: Json, subresource: str = "") -> Step:
    return Step("PATCH", f"{PATHS[body['kind']]}/{body['metadata']['name']}{subresource}", change, MERGE)


def delete(body: Json) -> Step:
    return Step(
        "DELETE",
        f"{PATHS[body['kind']]}/{body['metadata']['name']}?gracePeriodSeconds=0&propagationPolicy=Background",
        is_told=False,
    )


def update(name: str, body: Json, *changes: Json | tuple[str, Json]) -> Case:
    patches = (patch(body, c) if isinstance(c, dict) else patch(body, c[1], c[0]) for c in changes)
    return Case(f"update: {name}", (post(body), *patches, delete(body)))


UPDATES = [
    update(
        "pod", pod(tolerations=[{"key": "a", "operator": "Exists"}]),
        {"spec": {"containers": [{**CONTAINER, "image": "other:1"}]}},
        {"spec": {"containers": [{**CONTAINER, "command": ["x"]}]}},
        {"spec": {"nodeName": "n"}},
        {"spec": {"activeDeadlineSeconds": 5}},
        {"spec": {"activeDeadlineSeconds": 50}},
        {"spec": {"tolerations": [{"key": "a", "operator": "Exists"}, {"key": "b", "operator": "Exists"}]}},
        {"spec": {"tolerations": []}},
        {"spec": {"restartPolicy": "Never"}},
        {"spec": {"terminationGracePeriodSeconds": 5}},
        {"metadata": {"labels": {"a": "b"}}},
        ("/status", {"status": {"phase": "Running", "podIP": "10.0.0.1", "containerStatuses": [{"name": "c", "ready": True, "restartCount": 0, "image": "i", "imageID": ""}]}}),
        ("/status", {"status": {"phase": "Odd", "conditions": [{"type": "Ready", "status": "True"}]}}),
        ("/status", {"spec": {"nodeName": "m"}}),
    ),
    update(
        "config map", thing("ConfigMap", data={"a": "b"}),
        {"data": {"a b": "c"}}, {"immutable": True}, {"data": {"a": "c"}}, {"immutable": False}, {"immutable": None},
        {"binaryData": {"x": "AAEC"}}, {"metadata": {"labels": {"a": "b"}}},
    ),
    update("secret", thing("Secret", stringData={"a": "b"}), {"type": "other"}, {"stringData": {"a": "c"}}, {"immutable": True}, {"data": {"a": "YQ=="}}),
    update(
        "volume", thing("PersistentVolume", "vol", spec=PV),
        {"spec": {"hostPath": {"path": "/other"}}}, {"spec": {"capacity": {"storage": "2Gi"}}},
        {"spec": {"claimRef": {"namespace": "default", "name": "c"}}}, {"spec": {"claimRef": {"uid": "u"}}}, {"spec": {"claimRef": None}},
        {"spec": {"accessModes": ["ReadOnlyMany"]}}, {"spec": {"nodeAffinity": AFFINITY}},
        {"spec": {"nodeAffinity": None}}, {"spec": {"volumeMode": "Block"}}, {"spec": {"persistentVolumeReclaimPolicy": "Delete"}},
        {"spec": {"storageClassName": "x"}}, ("/status", {"status": {"phase": "Available", "reason": "r"}}), ("/status", {"status": {"phase": "Odd"}}),
    ),
    update(
        "claim", thing("PersistentVolumeClaim", "claim", spec=PVC),
        {"spec": {"volumeName": "v"}}, {"spec": {"volumeName": "w"}}, {"spec": {"accessModes": ["ReadOnlyMany"]}},
        {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}, {"spec": {"resources": {"requests": {"storage": "500Mi"}}}},
        ("/status", {"status": {"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1024Mi"}}}),
        {"spec": {"resources": {"requests": {"storage": "500Mi"}}}}, {"spec": {"storageClassName": "x"}},
    ),
    update(
        "job", thing("Job", "job", spec={"template": JOB_TEMPLATE}),
        {"spec": {"template": {"spec": {"containers": [{**CONTAINER, "image": "other"}]}}}}, {"spec": {"completions": 2}},
        {"spec": {"parallelism": 3}}, {"spec": {"selector": {"matchLabels": {"x": "y"}}}}, {"spec": {"completionMode": "Indexed"}},
        {"spec": {"ttlSecondsAfterFinished": 5, "activeDeadlineSeconds": 5, "backoffLimit": 2}}, {"spec": {"suspend": True}},
        {"spec": {"podReplacementPolicy": "Failed"}},
        ("/status", {"status": {"active": 1, "startTime": "2024-01-01T00:00:00Z"}}),
        ("/status", {"status": {"active": -1}}),
    ),
    update(
        "deployment", workload("Deployment"),
        {"spec": {"selector": {"matchLabels": {"x": "y"}}}}, {"spec": {"replicas": 3}},
        {"spec": {"template": {"metadata": {"labels": {"a": "z"}}}}}, ("/status", {"status": {"replicas": 1, "readyReplicas": 1}}),
        ("/status", {"status": {"replicas": -1}}), ("/scale", {"spec": {"replicas": 5}}), ("/scale", {"spec": {"replicas": -5}}),
    ),
    update(
        "daemon set", workload("DaemonSet"), {"spec": {"selector": {"matchLabels": {"x": "y"}}}},
        {"spec": {"template": {"spec": {"nodeSelector": {"a": "b"}}}}},
        ("/status", {"status": {"currentNumberScheduled": 1, "numberMisscheduled": 0, "desiredNumberScheduled": 1, "numberReady": 1}}),
    ),
    update("binding", thing("RoleBinding", roleRef={"kind": "Role", "name": "r"}), {"roleRef": {"name": "other"}}, {"subjects": [{"kind": "User", "name": "u"}]}),
    update("storage class", thing("StorageClass", "cls", provisioner="a.b/c"), {"provisioner": "x"}, {"parameters": {"a": "b"}}, {"reclaimPolicy": "Retain"}, {"volumeBindingMode": "WaitForFirstConsumer"}, {"allowVolumeExpansion": True}),
    update("node", thing("Node", "node"), {"spec": {"unschedulable": True}}, {"spec": {"podCIDR": "10.0.0.0/24"}}, {"spec": {"providerID": "a"}}, {"spec": {"providerID": "b"}}, ("/status", {"status": {"conditions": [{"type": "Ready", "status": "True"}]}})),
    update("lease", thing("Lease", "lease"), {"spec": {"holderIdentity": "a", "leaseDurationSeconds": 5}}, {"spec": {"leaseDurationSeconds": 0}}),
    update("service", thing("Service", "svc", spec={"ports": [PORT], "clusterIP": "None", "selector": {"c": "d"}}), {"spec": {"clusterIP": "10.0.0.9"}}, {"spec": {"selector": {"a": "b"}}}),
]  # fmt: skip

CASES = [
    *(Case(f"create: {name}", (dry(body),)) for name, body in OBJECTS.items()),
    Case("strict: pod with unknown fields", (dry(OBJECTS["pod with unknown fields"], "&fieldValidation=Strict"),)),
    *UPDATES,
]
