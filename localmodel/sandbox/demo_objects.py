"""The objects that the demo applies, in the shape of KServe's documentation, and the pods that KServe would make.

KServe itself is not part of the sandbox, so the demo plays its two webhooks: the labels and annotations that
InferenceService defaulting sets, and the volume that pod mutation mounts (kserve-behaviour.md 11 and 12). The pods
belong to the InferenceService, as KServe's do by way of a Deployment, and go with it.
"""

from __future__ import annotations

from typing import Any

from localmodel.api import names
from localmodel.api.uri import sub_path
from localmodel.runtime.objects import Object, OwnerReference

Json = dict[str, Any]

GROUP_NAME = "workers"
CACHE_NAME = "all-minilm-l6-v2"
SERVICE_NAME = "minilm"
SERVICE_NAMESPACE = "default"
SERVER_IMAGE = "kserve/huggingfaceserver:latest"
MODEL_PATH = "/mnt/models"
READY_FILE = "/run/serving/ready"
_API = "serving.kserve.io/v1alpha1"


def hf_secret(token: str, namespace: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "hf-secret", "namespace": namespace},
        "type": "Opaque",
        "stringData": {"HF_TOKEN": token},
    }


def storage_container(endpoint: str) -> Json:
    """The download container of hf:// models, as documented, and HF_ENDPOINT to reach the demo's hub."""
    return {
        "apiVersion": _API,
        "kind": "ClusterStorageContainer",
        "metadata": {"name": "hf-hub"},
        "spec": {
            "container": {
                "name": "storage-initializer",
                "image": "kserve/storage-initializer:latest",
                "env": hf_environment(endpoint),
                "resources": {
                    "requests": {"memory": "100Mi", "cpu": "100m"},
                    "limits": {"memory": "1Gi", "cpu": "1"},
                },
            },
            "supportedUriFormats": [{"prefix": "hf://"}],
            "workloadType": "localModelDownloadJob",
        },
    }


def hf_environment(endpoint: str) -> list[Json]:
    token = {"secretKeyRef": {"name": "hf-secret", "key": "HF_TOKEN", "optional": False}}
    return [{"name": "HF_TOKEN", "valueFrom": token}, {"name": "HF_ENDPOINT", "value": endpoint}]


def node_group() -> Json:
    affinity = {"key": "nvidia.com/gpu-product", "operator": "In", "values": ["NVIDIA-A100-SXM4-80GB"]}
    return {
        "apiVersion": _API,
        "kind": "LocalModelNodeGroup",
        "metadata": {"name": GROUP_NAME},
        "spec": {
            "storageLimit": "1.7T",
            "persistentVolumeClaimSpec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1700G"}},
                "storageClassName": "local-storage",
                "volumeMode": "Filesystem",
            },
            "persistentVolumeSpec": {
                "accessModes": ["ReadWriteOnce"],
                "volumeMode": "Filesystem",
                "capacity": {"storage": "1700G"},
                "local": {"path": MODEL_PATH},
                "storageClassName": "local-storage",
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [affinity]}]}},
            },
        },
    }


def cache(uri: str, size: int, *, name: str = CACHE_NAME, group: str = GROUP_NAME) -> Json:
    """`size`: of the model in bytes; rounded up to whole mebibytes."""
    return {
        "apiVersion": _API,
        "kind": "LocalModelCache",
        "metadata": {"name": name},
        "spec": {"sourceModelUri": uri, "modelSize": f"{-(-size // 2**20)}Mi", "nodeGroups": [group]},
    }


def inference_service(uri: str) -> Json:
    """With what KServe's defaulting adds when a cache matches the URI."""
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": SERVICE_NAME,
            "namespace": SERVICE_NAMESPACE,
            "labels": {names.LOCAL_MODEL_LABEL: CACHE_NAME},
            "annotations": _cache_annotations(uri),
        },
        "spec": {
            "predictor": {
                "model": {
                    "modelFormat": {"name": "huggingface"},
                    "args": [f"--model_name={SERVICE_NAME}"],
                    "storageUri": uri,
                    "resources": {"limits": {"cpu": "1", "memory": "2Gi"}, "requests": {"cpu": "1", "memory": "2Gi"}},
                }
            }
        },
    }


def cached_pod(uri: str, *, service: Object) -> Json:
    """The predictor's pod after KServe's mutation: the manager's claim, the model's sub-path, read-only."""
    pod = _pod(f"{SERVICE_NAME}-predictor", {names.LOCAL_MODEL_LABEL: CACHE_NAME}, service)
    pod["metadata"]["annotations"] = _cache_annotations(uri) | {names.STORAGE_URI_ANNOTATION: uri}
    claim = names.serving_pvc_name(CACHE_NAME, GROUP_NAME)
    pod["spec"]["volumes"].append({"name": "kserve-pvc-source", "persistentVolumeClaim": {"claimName": claim}})
    path = f"{names.storage_sub_path(uri)}/{sub_path(uri, uri)}"
    pod["spec"]["containers"][0]["volumeMounts"].append(
        {"name": "kserve-pvc-source", "mountPath": MODEL_PATH, "subPath": path, "readOnly": True}
    )
    return pod


def downloading_pod(uri: str, endpoint: str, *, service: Object) -> Json:
    """The same without a cache: an init container downloads the model into the pod."""
    pod = _pod(f"{SERVICE_NAME}-without-cache", {}, service)
    mount = {"name": "kserve-provision-location", "mountPath": MODEL_PATH}
    pod["spec"]["volumes"].append({"name": "kserve-provision-location", "emptyDir": {}})
    pod["spec"]["initContainers"] = [
        {
            "name": "storage-initializer",
            "image": "kserve/storage-initializer:latest",
            "args": [uri, MODEL_PATH],
            "env": hf_environment(endpoint),
            "volumeMounts": [mount],
            "terminationMessagePolicy": "FallbackToLogsOnError",
        }
    ]
    pod["spec"]["containers"][0]["volumeMounts"].append(mount | {"readOnly": True})
    return pod


def _cache_annotations(uri: str) -> Json:
    claim = names.serving_pvc_name(CACHE_NAME, GROUP_NAME)
    return {names.SOURCE_URI_ANNOTATION: uri, names.PVC_NAME_ANNOTATION: claim}


def _pod(name: str, labels: Json, service: Object) -> Json:
    owner = OwnerReference(
        api_version=service.mapping.gvk.api_version,
        kind=service.mapping.gvk.kind,
        name=service.name,
        uid=service.metadata.uid,
        controller=True,
        block_owner_deletion=True,
    )
    container = {
        "name": "kserve-container",
        "image": SERVER_IMAGE,
        "args": [f"--model_name={SERVICE_NAME}", f"--model_dir={MODEL_PATH}", f"--ready_file={READY_FILE}"],
        "volumeMounts": [{"name": "serving", "mountPath": "/run/serving"}],
        "readinessProbe": {"exec": {"command": ["test", "-e", READY_FILE]}, "periodSeconds": 1},
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": SERVICE_NAMESPACE,
            "labels": {"serving.kserve.io/inferenceservice": SERVICE_NAME, "component": "predictor"} | labels,
            "ownerReferences": [owner.to_dict()],
        },
        "spec": {
            "restartPolicy": "Never",
            "containers": [container],
            "volumes": [{"name": "serving", "emptyDir": {}}],
        },
    }
