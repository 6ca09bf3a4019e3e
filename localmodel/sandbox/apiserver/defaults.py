"""Defaults of built-in kinds, and what their strategies set when an object is created.

Only what controllers and kubectl can tell: the defaults of pods, workloads, jobs, volumes, services and storage. The
functions change the object in place; they run on every write and so set only what is missing. Sources: the
zz_generated.defaults and strategy files of Kubernetes.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

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
            if probe.get("httpGet"):
                _set(probe["httpGet"], path="/", scheme="HTTP")


def _volume(volume: Json) -> None:
    for source in ("configMap", "secret", "projected", "downwardAPI"):
        if isinstance(volume.get(source), dict):
            _set(volume[source], defaultMode=420)
    if isinstance(volume.get("hostPath"), dict):
        _set(volume["hostPath"], type="")


def pod(obj: Json) -> None:
    spec = _spec(obj)
    pod_spec(spec)
    _set(spec, enableServiceLinks=True)


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
    if not spec["manualSelector"]:
        del spec["manualSelector"]
    _template(spec)


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
    _template(spec)


def persistent_volume(obj: Json) -> None:
    spec = _spec(obj)
    _set(spec, persistentVolumeReclaimPolicy="Retain", volumeMode="Filesystem")
    if isinstance(spec.get("hostPath"), dict):
        _set(spec["hostPath"], type="")


def persistent_volume_claim(obj: Json) -> None:
    _set(_spec(obj), volumeMode="Filesystem")


def service(obj: Json) -> None:
    spec = _spec(obj)
    _set(spec, type="ClusterIP", sessionAffinity="None")
    for port in spec.get("ports") or ():
        _set(port, protocol="TCP", targetPort=port.get("port"))
    if spec["type"] != "ExternalName":
        _set(spec, internalTrafficPolicy="Cluster")


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
}


def _prepare_namespace(new: Json, old: Json | None) -> None:
    if old is None:
        new["spec"] = {"finalizers": ["kubernetes"]}
        new["status"] = {"phase": "Active"}


def _prepare_pod(new: Json, old: Json | None) -> None:
    if old is None:
        new["status"] = {"phase": "Pending", "qosClass": _qos_class(new)}


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


def _prepare_job(new: Json, old: Json | None) -> None:
    """The selector and the labels that tie pods to their job (jobStrategy.generateSelector)."""
    spec = new["spec"]
    if old is not None or spec.get("manualSelector"):
        return
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
    new["status"] = {}


PREPARE: dict[str, Callable[[Json, Json | None], None]] = {
    "namespaces": _prepare_namespace,
    "pods": _prepare_pod,
    "persistentvolumes": _prepare_pending,
    "persistentvolumeclaims": _prepare_pending,
    "jobs.batch": _prepare_job,
}
