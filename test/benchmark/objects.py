"""What the benchmarks list, watch and patch: Nodes of about 10 KB and custom resources of about 2 KB, as JSON.

A Node has what a kubelet reports: 40 to 50 images, conditions, addresses and managedFields. The custom resource is
shaped like a LocalModelNode: eight models in the specification and the state of each in the status. Every object
carries an annotation, `SENT`, in which the server writes when it sends an event: nanoseconds of CLOCK_MONOTONIC, which
all processes of one machine share.
"""

from __future__ import annotations

import hashlib
from typing import Any, ClassVar

import msgspec
from pydantic import ConfigDict, Field

from localmodel.runtime.objects import Model, Object, RESTMapping, Unstructured

SENT = "benchmark/sent"
GROUP = "benchmark.localmodel.dev"
VERSION = "v1"
CUSTOM_PLURAL = "modelnodes"
NAMESPACE = "default"
FIRST_VERSION = 1_000_000_000
"""Resource versions have ten digits, so that all events of an object have one length."""

_VERSION_MARK = "@version@"
_SENT_MARK = "@sent@"


class ModelReference(Model):
    model_config = ConfigDict(extra="ignore")

    model_name: str = ""
    source_model_uri: str = ""


class ModelNodeSpec(Model):
    model_config = ConfigDict(extra="ignore")

    node_name: str = ""
    local_models: list[ModelReference] = Field(default_factory=list)


class ModelNodeStatus(Model):
    model_config = ConfigDict(extra="ignore")

    model_status: dict[str, str] = Field(default_factory=dict)


class ModelNode(Object):
    """The custom resource, typed in full."""

    model_config = ConfigDict(extra="ignore")
    mapping: ClassVar[RESTMapping] = RESTMapping.of(GROUP, VERSION, "ModelNode")
    spec: ModelNodeSpec = Field(default_factory=ModelNodeSpec)
    status: ModelNodeStatus = Field(default_factory=ModelNodeStatus)


UnstructuredModelNode = Unstructured.of(ModelNode.mapping)
UnstructuredNode = Unstructured.of(RESTMapping.of("", "v1", "Node", namespaced=False))


class Encoded:
    """The JSON of one object, to be completed by a resource version and a time."""

    def __init__(self, data: dict[str, Any]) -> None:
        text = msgspec.json.encode(data).decode()
        head, _, rest = text.partition(_VERSION_MARK)
        middle, _, tail = rest.partition(_SENT_MARK)
        self._parts = head.encode(), middle.encode(), tail.encode()

    def at(self, version: int, sent: int = 0) -> bytes:
        head, middle, tail = self._parts
        return b"".join((head, b"%d" % version, middle, b"%020d" % sent, tail))


def node(index: int, *, in_list: bool = False) -> Encoded:
    """A Node; items of a list of built-in kinds come without apiVersion and kind."""
    name = f"node-{index:05d}.eu-central-1.compute.internal"
    type_meta = {} if in_list else {"kind": "Node", "apiVersion": "v1"}
    zone = f"eu-central-1{'abc'[index % 3]}"
    metadata = _metadata(name) | {
        "labels": {
            "beta.kubernetes.io/arch": "amd64",
            "beta.kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
            "kubernetes.io/hostname": name,
            "kubernetes.io/os": "linux",
            "node.kubernetes.io/instance-type": "g5.12xlarge",
            "nvidia.com/gpu.product": "NVIDIA-A10G",
            "topology.kubernetes.io/region": "eu-central-1",
            "topology.kubernetes.io/zone": zone,
        },
        "managedFields": [
            _managed("kube-controller-manager", {"f:metadata": {"f:labels": {".": {}, "f:a": {}}}, "f:spec": {}}),
            _managed("kubelet", {"f:status": {f"f:field{n}": {".": {}, f"f:part{n}": {}} for n in range(12)}}),
        ],
    }
    spec = {"podCIDR": f"10.{index % 250}.0.0/24", "providerID": f"aws:///{zone}/i-{_digest(index, 17)}"}
    return Encoded({**type_meta, "metadata": metadata, "spec": spec, "status": _node_status(name, index)})


def model_node(index: int, *, in_list: bool = False) -> Encoded:
    """A custom resource, which has apiVersion and kind in lists too."""
    name = f"node-{index:05d}"
    models = [f"model-{_digest(index * 8 + n, 6)}" for n in range(8)]
    metadata = _metadata(name) | {
        "namespace": NAMESPACE,
        "generation": 3,
        "labels": {"app.kubernetes.io/managed-by": "localmodel", "topology.kubernetes.io/zone": "eu-central-1a"},
        "ownerReferences": [
            {"apiVersion": "v1", "kind": "Node", "name": name, "uid": _uid(f"node{index}"), "controller": True}
        ],
        "managedFields": [
            _managed("localmodel-manager", {"f:spec": {".": {}, "f:localModels": {}, "f:nodeName": {}}}),
            _managed("localmodel-agent", {"f:status": {".": {}, "f:modelStatus": {}}}),
        ],
    }
    return Encoded(
        {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "ModelNode",
            "metadata": metadata,
            "spec": {
                "nodeName": name,
                "localModels": [{"modelName": m, "sourceModelUri": f"s3://models/{m}/v1"} for m in models],
            },
            "status": {"modelStatus": dict.fromkeys(models, "ModelDownloaded")},
        }
    )


def _metadata(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "uid": _uid(name),
        "resourceVersion": _VERSION_MARK,
        "creationTimestamp": "2026-11-20T10:00:00Z",
        "annotations": {
            SENT: _SENT_MARK,
            "node.alpha.kubernetes.io/ttl": "0",
            "volumes.kubernetes.io/controller-managed-attach-detach": "true",
        },
    }


def _node_status(name: str, index: int) -> dict[str, Any]:
    amounts = {"cpu": "48", "memory": "195687Mi", "nvidia.com/gpu": "4", "pods": "234", "ephemeral-storage": "1843Gi"}
    reasons = {
        "MemoryPressure": "KubeletHasSufficientMemory",
        "DiskPressure": "KubeletHasNoDiskPressure",
        "PIDPressure": "KubeletHasSufficientPID",
        "Ready": "KubeletReady",
    }
    return {
        "capacity": amounts,
        "allocatable": amounts,
        "conditions": [
            {
                "type": kind,
                "status": "True" if kind == "Ready" else "False",
                "lastHeartbeatTime": "2026-11-20T11:00:00Z",
                "lastTransitionTime": "2026-11-20T10:00:00Z",
                "reason": reason,
                "message": f"kubelet reports {reason}",
            }
            for kind, reason in reasons.items()
        ],
        "addresses": [
            {"type": "InternalIP", "address": f"10.0.{index // 250 % 250}.{index % 250}"},
            {"type": "Hostname", "address": name},
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        "nodeInfo": {
            "machineID": _digest(index, 32),
            "systemUUID": _uid(f"system{index}"),
            "bootID": _uid(f"boot{index}"),
            "kernelVersion": "6.1.112-122.189.amzn2023.x86_64",
            "osImage": "Amazon Linux 2023",
            "containerRuntimeVersion": "containerd://1.7.22",
            "kubeletVersion": "v1.35.1",
            "kubeProxyVersion": "v1.35.1",
            "operatingSystem": "linux",
            "architecture": "amd64",
        },
        "images": [
            {
                "names": [f"ghcr.io/team{n % 7}/image@sha256:{_digest(n, 64)}", f"ghcr.io/team{n % 7}/image:v1.{n}"],
                "sizeBytes": 100_000_000 + n,
            }
            for n in range(40 + index % 11)
        ],
    }


def _managed(manager: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "manager": manager,
        "operation": "Update",
        "apiVersion": "v1",
        "time": "2026-11-20T10:00:00Z",
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }


def _digest(seed: object, length: int) -> str:
    return hashlib.sha256(str(seed).encode()).hexdigest()[:length]


def _uid(seed: object) -> str:
    text = _digest(seed, 32)
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
