"""The download Job of one model on one node: its name, its labels, its specification, its end.

The shape is KServe's (kserve-behaviour.md 8), so that what users configured for it goes on working, with design.md's
changes: the name is a function of what is downloaded, so no stale cache can start one download twice; the pod is pinned
by the node's name, not by a label that may differ from it; and the container writes to the model's staging directory
only. No secret value ever stands in a Job: it refers to Secrets.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import structlog

from localmodel.api.config import InferenceServiceConfig
from localmodel.api.names import (
    JOB_MODEL_LABEL,
    JOB_MODEL_NAMESPACE_LABEL,
    JOB_NODE_LABEL,
    MODELS_DIRECTORY,
    download_pvc_name,
)
from localmodel.api.node import LocalModelInfo, LocalModelNode
from localmodel.runtime.client import Client, Preconditions
from localmodel.runtime.controllerutil import set_controller_reference
from localmodel.runtime.errors import ConflictError, NotFoundError
from localmodel.runtime.objects import Job, JobSpec, ObjectMeta

from .additions import Credentials, escaped
from .containers import base_container, selection
from .credentials import fingerprint
from .errors import DownloadSetupError
from .sharing import storage_key_of

if TYPE_CHECKING:
    from localmodel.api.container import ClusterStorageContainer

STORAGE_KEY_LABEL: Final = "localmodel.kserve.io/storage-key"
"""On Jobs and their pods: the model's storage key. Every cache that names the URI shares it."""
MODEL_ANNOTATION: Final = "localmodel.kserve.io/model"
MODEL_NAMESPACE_ANNOTATION: Final = "localmodel.kserve.io/model-namespace"
NODE_ANNOTATION: Final = "localmodel.kserve.io/node"
SOURCE_URI_ANNOTATION: Final = "localmodel.kserve.io/source-uri"
ATTEMPT_ANNOTATION: Final = "localmodel.kserve.io/attempt"
CREDENTIALS_ANNOTATION: Final = "localmodel.kserve.io/credentials"
"""The fingerprint of the credentials and the selection of files that the Job downloads with."""

VOLUME_NAME: Final = "kserve-pvc-source"
MOUNT_PATH: Final = "/mnt/models"
MINIMUM_TTL_SECONDS: Final = 600
"""A finished Job must outlive a short absence of the agent, which reads its result."""

_MAX_NAME = 63
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
Json = dict[str, Any]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadRequest:
    """All that a Job is made of. `attempt` counts from 1; `tolerations` are those of the entry's node group."""

    node: LocalModelNode
    entry: LocalModelInfo
    attempt: int
    config: InferenceServiceConfig = field(default_factory=InferenceServiceConfig)
    container: ClusterStorageContainer | None = None
    credentials: Credentials = field(default_factory=Credentials)
    tolerations: Sequence[Json] = ()
    claim: str = ""
    """What the Job mounts; by the plain name when empty."""
    image_pull_secrets: Sequence[str] = ()
    """Names of Secrets in the job namespace; without any, Kubernetes takes those of the pod's ServiceAccount."""


def job_name(*, model: str, namespace: str, node: str, node_uid: str, uri: str, attempt: int) -> str:
    """`<model>-<node>`, shortened, and a hash of all that makes this download another one; at most 63 characters.

    `node_uid` is the LocalModelNode's: one that was made anew owns its own Jobs.
    """
    digest = _hash(json.dumps([namespace, model, uri, node_uid, attempt]))
    prefix = re.sub(r"[^a-z0-9-]", "-", f"{model}-{node}".lower())[: _MAX_NAME - len(digest) - 1].strip("-")
    return f"{prefix}-{digest}"


def label_value(text: str) -> str:
    """The text where it can be a label's value, else its beginning and a hash of it (D-43)."""
    if _LABEL_VALUE.fullmatch(text):
        return text
    digest = _hash(text)
    return f"{re.sub(r'[^A-Za-z0-9-]', '-', text)[: _MAX_NAME - len(digest) - 1].strip('-')}-{digest}".lstrip("-")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def build_job(request: DownloadRequest) -> Job:
    """The Job; raises DownloadSetupError where the entry lacks what it needs."""
    entry, node, local_model = request.entry, request.node, request.config.local_model
    if not entry.node_group:
        raise DownloadSetupError(
            f"the entry of {entry.model_name} on LocalModelNode {node.name} names no node group, so the claim to mount "
            "is not known; set nodeGroup"
        )
    key = storage_key_of(entry, local_model.storage_isolation)
    labels, annotations = _labels(request, key), _annotations(request)
    job = Job(
        metadata=ObjectMeta(
            name=job_name(
                model=entry.model_name,
                namespace=entry.namespace,
                node=node.name,
                node_uid=node.metadata.uid,
                # What has a folder of its own is another download than before its namespace had one.
                uri=f"{key} {entry.source_model_uri}"
                if local_model.storage_isolation == "namespace"
                else entry.source_model_uri,
                attempt=request.attempt,
            ),
            namespace=local_model.jobs_namespace,
            labels=labels,
            annotations=annotations,
        ),
        spec=JobSpec(
            backoff_limit=local_model.job_backoff_limit,
            active_deadline_seconds=local_model.job_active_deadline_seconds or None,
            ttl_seconds_after_finished=max(MINIMUM_TTL_SECONDS, local_model.job_ttl_seconds_after_finished),
            pod_replacement_policy="Failed",
            template={
                "metadata": {"labels": {**labels, **request.credentials.pod_labels}, "annotations": annotations},
                "spec": _pod_spec(request, key),
            },
        ),
    )
    set_controller_reference(node, job)
    return job


def _labels(request: DownloadRequest, key: str) -> dict[str, str]:
    labels = {
        JOB_MODEL_LABEL: label_value(request.entry.model_name),
        JOB_NODE_LABEL: label_value(request.node.name),
        STORAGE_KEY_LABEL: key,
    }
    if request.entry.namespace:
        labels[JOB_MODEL_NAMESPACE_LABEL] = label_value(request.entry.namespace)
    return labels


def _annotations(request: DownloadRequest) -> dict[str, str]:
    entry = request.entry
    annotations = {
        MODEL_ANNOTATION: entry.model_name,
        NODE_ANNOTATION: request.node.name,
        SOURCE_URI_ANNOTATION: entry.source_model_uri,
        ATTEMPT_ANNOTATION: str(request.attempt),
        CREDENTIALS_ANNOTATION: fingerprint(entry),
    }
    if entry.namespace:
        annotations[MODEL_NAMESPACE_ANNOTATION] = entry.namespace
    return annotations


def delete_job(client: Client, job: Job) -> None:
    """Deletes this very Job, with its pods; nothing to do where it is gone, or going. Raises ApiError."""
    if job.is_deleting:
        return
    try:
        client.delete(job, propagation="Background", preconditions=Preconditions(uid=job.metadata.uid))
    except (NotFoundError, ConflictError):
        log.debug("a Job is gone already", job=job.name)


def _pod_spec(request: DownloadRequest, key: str) -> Json:
    entry, fs_group = request.entry, request.config.local_model.fs_group
    claim = request.claim or download_pvc_name(entry.model_name, entry.node_group, entry.namespace)
    security: Json = {"seccompProfile": {"type": "RuntimeDefault"}}
    if fs_group is not None:
        # Without the policy every download would change the group of all models on the volume.
        security |= {"fsGroup": fs_group, "fsGroupChangePolicy": "OnRootMismatch"}
    named = {"key": "metadata.name", "operator": "In", "values": [request.node.name]}
    spec: Json = {
        "restartPolicy": "Never",
        # Clouds bring tokens of their own for a workload's identity; that of the cluster is for nobody.
        "automountServiceAccountToken": False,
        "securityContext": security,
        # Not nodeName: the scheduler must see the pod, it binds the claim.
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchFields": [named]}]}
            }
        },
        "containers": [_container(request, key)],
        "volumes": [
            {"name": VOLUME_NAME, "persistentVolumeClaim": {"claimName": claim}},
            *copy.deepcopy(request.credentials.volumes),
        ],
    }
    if request.credentials.service_account:
        spec["serviceAccountName"] = request.credentials.service_account
    if request.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in request.image_pull_secrets]
    if request.config.local_model.job_priority_class_name:
        spec["priorityClassName"] = request.config.local_model.job_priority_class_name
    if request.tolerations:
        spec["tolerations"] = [dict(toleration) for toleration in request.tolerations]
    return spec


def _container(request: DownloadRequest, key: str) -> Json:
    container = base_container(request.container, request.entry, request.config)
    container["args"] = [escaped(request.entry.source_model_uri), MOUNT_PATH]
    container["volumeMounts"] = [
        {"name": VOLUME_NAME, "mountPath": MOUNT_PATH, "subPath": f"{MODELS_DIRECTORY}/.staging/{key}"},
        *copy.deepcopy(request.credentials.volume_mounts),
    ]
    # The last value of a name wins: the entry's own settings over its credentials over the container's.
    env = [*container.pop("env"), *request.credentials.env, *selection(request.entry)]
    if env:
        container["env"] = list({item.get("name"): copy.deepcopy(item) for item in env}.values())
    return container
