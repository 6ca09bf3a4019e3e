"""Defaults of built-in kinds, and what their strategies set when an object is created.

Only what controllers and kubectl can tell: the defaults of pods, workloads, jobs, volumes, services and storage. The
functions change the object in place; they run on every write and so set only what is missing. Sources: the
zz_generated.defaults and strategy files of Kubernetes.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from .admission.defaults import ADMISSION_DEFAULTS

Json = dict[str, Any]


def _set(obj: Json, **values: Any) -> None:
    for key, value in values.items():
        if obj.get(key) is None:
            obj[key] = value


def _spec(obj: Json) -> Json:
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        spec = obj["spec"] = {}
    return spec


def pod_spec(spec: Json) -> None:
    """core/v1 PodSpec and the containers in it."""
    _set(
        spec,
        restartPolicy="Always",
        dnsPolicy="ClusterFirst",
        schedulerName="default-scheduler",
        terminationGracePeriodSeconds=30,
        securityContext={},
    )
    if spec.get("serviceAccountName") and not spec.get("serviceAccount"):
        spec["serviceAccount"] = spec["serviceAccountName"]
    for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
        _container(container)
    for volume in spec.get("volumes") or ():
        _volume(volume)


def _container(container: Json) -> None:
    image = str(container.get("image") or "")
    tag = image.rpartition("/")[2].partition(":")[2]
    latest = "@" not in image and tag in ("", "latest")
    _set(
        container,
        imagePullPolicy="Always" if latest else "IfNotPresent",
        terminationMessagePath="/dev/termination-log",
        terminationMessagePolicy="File",
        resources={},
    )
    for port in container.get("ports") or ():
        _set(port, protocol="TCP")
    for entry in container.get("env") or ():
        reference = (entry.get("valueFrom") or {}).get("fieldRef")
        if reference:
            _set(reference, apiVersion="v1")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe := container.get(name):
            _set(probe, timeoutSeconds=1, periodSeconds=10, successThreshold=1, failureThreshold=3)
            _handler(probe)
    for name in ("preStop", "postStart"):
        _handler((container.get("lifecycle") or {}).get(name) or {})


def _handler(handler: Json) -> None:
    if handler.get("httpGet"):
        _set(handler["httpGet"], path="/", scheme="HTTP")


def _volume(volume: Json) -> None:
    if not volume.keys() - {"name"}:
        volume["emptyDir"] = {}
    projected = (volume.get("projected") or {}).get("sources") or ()
    for source in projected:
        if source.get("serviceAccountToken"):
            _set(source["serviceAccountToken"], expirationSeconds=3600)
    for downward in (volume.get("downwardAPI"), *(source.get("downwardAPI") for source in projected)):
        for item in (downward or {}).get("items") or ():
            if item.get("fieldRef"):
                _set(item["fieldRef"], apiVersion="v1")
    for source in ("configMap", "secret", "projected", "downwardAPI"):
        if isinstance(volume.get(source), dict):
            _set(volume[source], defaultMode=420)
    if isinstance(volume.get("hostPath"), dict):
        _set(volume["hostPath"], type="")


def pod(obj: Json) -> None:
    """A pod's own defaults: unlike a template's, limits stand for requests, and host networks for host ports."""
    spec = _spec(obj)
    _set(spec, enableServiceLinks=True)
    for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
        resources = container.get("resources") or {}
        if resources.get("limits"):
            resources["requests"] = {**resources["limits"], **(resources.get("requests") or {})}
        for port in (container.get("ports") or ()) if spec.get("hostNetwork") else ():
            _set(port, hostPort=port.get("containerPort"))
    pod_spec(spec)
    status = obj.get("status") or {}
    for one, all_of_them in (("podIP", "podIPs"), ("hostIP", "hostIPs")):
        if status.get(one):
            _set(status, **{all_of_them: [{"ip": status[one]}]})


def _template(spec: Json) -> None:
    template = spec.setdefault("template", {})
    template.setdefault("metadata", {}).setdefault("creationTimestamp", None)
    pod_spec(_spec(template))


def job(obj: Json) -> None:
    spec = _spec(obj)
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = spec["parallelism"] = 1
    _set(spec, parallelism=1, backoffLimit=6, completionMode="NonIndexed", suspend=False, manualSelector=False)
    policy = "Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed"
    _set(spec, podReplacementPolicy=policy)
    for rule in (spec.get("podFailurePolicy") or {}).get("rules") or ():
        for pattern in rule.get("onPodConditions") or ():
            pattern["status"] = pattern.get("status") or "True"
    _template(spec)
    _set_labels_of_template(obj)


def _set_labels_of_template(obj: Json) -> None:
    """A job without labels has those of its pods."""
    labels = ((obj["spec"].get("template") or {}).get("metadata") or {}).get("labels")
    if labels and not obj["metadata"].get("labels"):
        obj["metadata"]["labels"] = dict(labels)


def cron_job(obj: Json) -> None:
    spec = _spec(obj)
    _set(spec, concurrencyPolicy="Allow", suspend=False, successfulJobsHistoryLimit=3, failedJobsHistoryLimit=1)
    template = spec.setdefault("jobTemplate", {})
    _template(_spec(template))


def deployment(obj: Json) -> None:
    spec = _spec(obj)
    _set(spec, replicas=1, revisionHistoryLimit=10, progressDeadlineSeconds=600, strategy={})
    _set(spec["strategy"], type="RollingUpdate")
    if spec["strategy"]["type"] == "RollingUpdate":
        _set(spec["strategy"], rollingUpdate={})
        _set(spec["strategy"]["rollingUpdate"], maxUnavailable="25%", maxSurge="25%")
    _template(spec)


def daemon_set(obj: Json) -> None:
    spec = _spec(obj)
    _set(spec, revisionHistoryLimit=10, updateStrategy={})
    _set(spec["updateStrategy"], type="RollingUpdate")
    if spec["updateStrategy"]["type"] == "RollingUpdate":
        _set(spec["updateStrategy"], rollingUpdate={})
        _set(spec["updateStrategy"]["rollingUpdate"], maxUnavailable=1, maxSurge=0)
    _template(spec)


def replica_set(obj: Json) -> None:
    spec = _spec(obj)
    _set(spec, replicas=1)
    _template(spec)


def stateful_set(obj: Json) -> None:
    spec = _spec(obj)
    _set(spec, replicas=1, revisionHistoryLimit=10, podManagementPolicy="OrderedReady", updateStrategy={})
    _set(spec["updateStrategy"], type="RollingUpdate")
    if spec["updateStrategy"]["type"] == "RollingUpdate":
        _set(spec["updateStrategy"], rollingUpdate={})
        _set(spec["updateStrategy"]["rollingUpdate"], partition=0)
    _set(spec, persistentVolumeClaimRetentionPolicy={})
    _set(spec["persistentVolumeClaimRetentionPolicy"], whenDeleted="Retain", whenScaled="Retain")
    for claim in spec.get("volumeClaimTemplates") or ():
        claim.update(apiVersion="v1", kind="PersistentVolumeClaim")
        persistent_volume_claim(claim)
        _set(claim.setdefault("status", {}), phase="Pending")
    _template(spec)


def persistent_volume(obj: Json) -> None:
    spec = _spec(obj)
    _set(spec, persistentVolumeReclaimPolicy="Retain", volumeMode="Filesystem")
    if isinstance(spec.get("hostPath"), dict):
        _set(spec["hostPath"], type="")


def persistent_volume_claim(obj: Json) -> None:
    """The two ways to name a source say the same (DropDisabledFields and NormalizeDataSources)."""
    spec = _spec(obj)
    _set(spec, volumeMode="Filesystem")
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    if source and not reference:
        spec["dataSourceRef"] = dict(source)
    elif reference and not source and not reference.get("namespace"):
        spec["dataSource"] = dict(reference)


def service(obj: Json) -> None:
    spec = _spec(obj)
    _set(spec, type="ClusterIP", sessionAffinity="None")
    for port in spec.get("ports") or ():
        _set(port, protocol="TCP")
        port["targetPort"] = port.get("targetPort") or port.get("port")
    if spec["type"] != "ExternalName":
        _set(spec, internalTrafficPolicy="Cluster")
    if spec["type"] in ("NodePort", "LoadBalancer"):
        _set(spec, externalTrafficPolicy="Cluster")
    if spec["type"] == "LoadBalancer":
        _set(spec, allocateLoadBalancerNodePorts=True)
    if spec["sessionAffinity"] == "ClientIP":
        _set(spec, sessionAffinityConfig={"clientIP": {"timeoutSeconds": 10800}})
    if spec.get("clusterIP") == "None":
        both = not spec.get("selector")
        families = ["IPv4", "IPv6"] if both else ["IPv4"]
        _set(
            spec, clusterIPs=["None"], ipFamilies=families, ipFamilyPolicy="RequireDualStack" if both else "SingleStack"
        )


def node(obj: Json) -> None:
    spec, status = _spec(obj), obj.get("status") or {}
    if spec.get("podCIDR"):
        _set(spec, podCIDRs=[spec["podCIDR"]])
    if status.get("capacity"):
        _set(status, allocatable=dict(status["capacity"]))


def priority_class(obj: Json) -> None:
    _set(obj, preemptionPolicy="PreemptLowerPriority")


def secret(obj: Json) -> None:
    """stringData is written into data and never shown."""
    for key, value in (obj.pop("stringData", None) or {}).items():
        obj.setdefault("data", {})[key] = base64.b64encode(str(value).encode()).decode()
    _set(obj, type="Opaque")


def storage_class(obj: Json) -> None:
    _set(obj, reclaimPolicy="Delete", volumeBindingMode="Immediate")


def binding(obj: Json) -> None:
    """RBAC subjects and references name their group."""
    for subject in obj.get("subjects") or ():
        if subject.get("kind") in ("User", "Group"):
            _set(subject, apiGroup="rbac.authorization.k8s.io")
    if isinstance(obj.get("roleRef"), dict) and not obj["roleRef"].get("apiGroup"):
        obj["roleRef"]["apiGroup"] = "rbac.authorization.k8s.io"


def namespace(obj: Json) -> None:
    labels = obj["metadata"].get("labels") or {}
    if name := obj["metadata"].get("name"):
        obj["metadata"]["labels"] = {**labels, "kubernetes.io/metadata.name": name}


def custom_resource_definition(obj: Json) -> None:
    spec = _spec(obj)
    _set(spec, conversion={"strategy": "None"})
    names = spec.get("names")
    if isinstance(names, dict) and names.get("kind"):
        _set(names, singular=str(names["kind"]).lower(), listKind=f"{names['kind']}List")


DEFAULTS: dict[str, Callable[[Json], None]] = {
    "pods": pod,
    "namespaces": namespace,
    "secrets": secret,
    "services": service,
    "nodes": node,
    "priorityclasses.scheduling.k8s.io": priority_class,
    "persistentvolumes": persistent_volume,
    "persistentvolumeclaims": persistent_volume_claim,
    "jobs.batch": job,
    "cronjobs.batch": cron_job,
    "deployments.apps": deployment,
    "daemonsets.apps": daemon_set,
    "replicasets.apps": replica_set,
    "statefulsets.apps": stateful_set,
    "storageclasses.storage.k8s.io": storage_class,
    "rolebindings.rbac.authorization.k8s.io": binding,
    "clusterrolebindings.rbac.authorization.k8s.io": binding,
    "customresourcedefinitions.apiextensions.k8s.io": custom_resource_definition,
    **ADMISSION_DEFAULTS,
}


def _prepare_namespace(new: Json, old: Json | None) -> None:
    if old is None:
        finalizers = (new.get("spec") or {}).get("finalizers") or []
        new["spec"] = {"finalizers": finalizers if "kubernetes" in finalizers else [*finalizers, "kubernetes"]}
        new["status"] = {"phase": "Active"}


_NOT_READY = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def _prepare_pod(new: Json, old: Json | None) -> None:
    """The status of a new pod, and what the admission plugins Priority and DefaultTolerationSeconds give it."""
    spec = new["spec"]
    if old is None:
        new["status"] = {"phase": "Pending", "qosClass": _qos_class(new)}
        if spec.get("schedulingGates"):
            text = "Scheduling is blocked due to non-empty scheduling gates"
            condition = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": text}
            new["status"]["conditions"] = [{**condition, "lastProbeTime": None, "lastTransitionTime": None}]
        if not spec.get("priorityClassName"):
            _set(spec, priority=0, preemptionPolicy="PreemptLowerPriority")
    tolerations = spec.get("tolerations") or []
    for taint in _NOT_READY:
        if not any(t.get("key") in (taint, None) and t.get("effect") in ("NoExecute", None) for t in tolerations):
            wanted = {"effect": "NoExecute", "key": taint, "operator": "Exists", "tolerationSeconds": 300}
            spec["tolerations"] = [*(spec.get("tolerations") or ()), wanted]


def _qos_class(obj: Json) -> str:
    containers = (obj.get("spec") or {}).get("containers") or ()
    resources = [container.get("resources") or {} for container in containers]
    if not any(entry.get("requests") or entry.get("limits") for entry in resources):
        return "BestEffort"
    guaranteed = all(
        entry.get("limits", {}).keys() >= {"cpu", "memory"}
        and (entry.get("requests") or entry["limits"]) == entry["limits"]
        for entry in resources
    )
    return "Guaranteed" if guaranteed else "Burstable"


def _prepare_pending(new: Json, old: Json | None) -> None:
    if old is None:
        new["status"] = {"phase": "Pending"}


def _prepare_volume(new: Json, old: Json | None, now: str) -> None:
    """A new volume is pending; when its phase changes that is noted."""
    status = new["status"] = {"phase": "Pending"} if old is None else new.get("status") or {}
    if old is None or status.get("phase") != (old.get("status") or {}).get("phase"):
        status["lastPhaseTransitionTime"] = now


_GENERATION = "deprecated.daemonset.template.generation"


def _prepare_daemon_set(new: Json, old: Json | None) -> None:
    """The generation of the pod template, which is an annotation since apps/v1."""
    before = int((old["metadata"].get("annotations") or {}).get(_GENERATION, 0)) if old else 0
    changed = old is None or new["spec"].get("template") != old["spec"].get("template")
    annotations = new["metadata"].get("annotations") or {}
    new["metadata"]["annotations"] = {**annotations, _GENERATION: str(before + 1 if changed else before)}


def _prepare_job(new: Json, old: Json | None) -> None:
    """The selector and the labels that tie pods to their job (jobStrategy.generateSelector)."""
    spec = new["spec"]
    if old is not None or spec.get("manualSelector"):
        return
    new["status"] = {}
    uid, name = new["metadata"]["uid"], new["metadata"].get("name", "")
    labels = spec["template"].setdefault("metadata", {}).get("labels") or {}
    added = {
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": name,
        "controller-uid": uid,
        "job-name": name,
    }
    spec["template"]["metadata"]["labels"] = {**labels, **added}
    _set(spec, selector={"matchLabels": {"batch.kubernetes.io/controller-uid": uid}})
    # A name that is too long for a label is refused for the labels of the template.
    if len(name) <= 63:
        _set_labels_of_template(new)


PREPARE: dict[str, Callable[[Json, Json | None], None]] = {
    "namespaces": _prepare_namespace,
    "pods": _prepare_pod,
    "persistentvolumeclaims": _prepare_pending,
    "jobs.batch": _prepare_job,
    "daemonsets.apps": _prepare_daemon_set,
}
PREPARE_AT: dict[str, Callable[[Json, Json | None, str], None]] = {"persistentvolumes": _prepare_volume}
"""The same for those that note the time, which is the third argument."""
