"""The simulated nodes: makes them, and says regularly that they are Ready.

`NodeReconciler` keeps each Node there with its labels, its Ready condition and its lease; a deleted one comes back, as
a kubelet registers again. Two annotations on a Node are switches, to try what happens then:

- `sandbox.localmodel.kserve.io/ready: "false"`: the kubelet says that the node is not Ready.
- `sandbox.localmodel.kserve.io/silent: "true"`: the kubelet says nothing any more, as if the machine were gone: no
  heartbeats, no status of pods; deleted, the Node stays away until somebody creates it, or the controllers start again.

Neighbour: `nodelifecycle`, which draws the conclusions.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import structlog

from localmodel import __version__
from localmodel.runtime.errors import AlreadyExistsError, ApiError, NotFoundError, TransportError
from localmodel.runtime.objects import Lease, LeaseSpec, ObjectMeta, OwnerReference, format_time
from localmodel.runtime.reconcile import Reconciler, Request, Result

from .kinds import Node

if TYPE_CHECKING:
    from localmodel.runtime.builder import Builder
    from localmodel.runtime.client import Client

log = structlog.get_logger(__name__)

READY_ANNOTATION = "sandbox.localmodel.kserve.io/ready"
SILENT_ANNOTATION = "sandbox.localmodel.kserve.io/silent"
HEARTBEAT = 60.0
"""Seconds between two heartbeats in a node's status."""
LEASE_SECONDS = 40
RENEWAL = LEASE_SECONDS / 4
"""Seconds between two renewals of a node's lease, the usual heartbeat."""

LEASE_NAMESPACE = "kube-node-lease"

DEFAULT_LABELS: Mapping[str, str] = {
    "kubernetes.io/os": "linux",
    "kserve/localmodel": "worker",
    "nvidia.com/gpu-product": "NVIDIA-A100-SXM4-80GB",
}


@dataclass(frozen=True, kw_only=True)
class NodeOptions:
    """The nodes to simulate."""

    names: Sequence[str]
    labels: Mapping[str, str] = field(default_factory=lambda: dict(DEFAULT_LABELS))
    """Labels of every node, beside kubernetes.io/hostname."""
    kubelet_port: int = 0
    """Where an API server reaches the kubelet, at the node's address; 0 announces none."""


class NodeReconciler(Reconciler):
    """Keeps the simulated nodes registered and their Ready condition fresh."""

    def __init__(self, options: NodeOptions) -> None:
        self._options = options
        self._silent: set[str] = set()
        """Nodes that were silent when they were last seen."""
        self._renewed: dict[str, float] = {}
        """Monotonic time of the last renewal of a node's lease."""

    def setup(self, builder: Builder) -> None:
        builder.named("node").for_(Node)

    def reconcile(self, request: Request) -> Result | None:
        if request.name not in self._options.names:
            return None
        node = self.client.find(Node, request.name)
        if node is None:
            if request.name in self._silent:
                return None
            node = register(self.client, request.name, self._options)
        if node.is_deleting:
            return None
        if is_silent(node):
            self._silent.add(node.name)
            return None
        self._silent.discard(node.name)
        status = self._status(node)
        if status != node.status:
            self.client.status.patch(node, {"status": status})
        if self.clock.monotonic() - self._renewed.get(node.name, -RENEWAL) >= RENEWAL:
            self._renew_lease(node)
        return Result(requeue_after=RENEWAL)

    def _renew_lease(self, node: Node) -> None:
        owner = OwnerReference(api_version="v1", kind="Node", name=node.name, uid=node.metadata.uid)
        spec = LeaseSpec(holder_identity=node.name, lease_duration_seconds=LEASE_SECONDS, renew_time=self.clock.now())
        metadata = ObjectMeta(name=node.name, namespace=LEASE_NAMESPACE, owner_references=[owner])
        try:
            self.client.apply(Lease(metadata=metadata, spec=spec), field_owner="kubelet", force=True)
        except NotFoundError:
            log.debug("no namespace for node leases", namespace=LEASE_NAMESPACE)
        self._renewed[node.name] = self.clock.monotonic()

    def _status(self, node: Node) -> dict[str, Any]:
        """The node's status; its heartbeat moves only when the last one is old, so that writing it causes no loop."""
        ready = says_ready(node)
        now = format_time(self.clock.now())
        old: dict[str, Any] = next((c for c in node.status.get("conditions") or [] if c.get("type") == "Ready"), {})
        condition = {
            "type": "Ready",
            "status": "True" if ready else "False",
            "reason": "KubeletReady" if ready else "SandboxNotReady",
            "message": "kubelet is posting ready status" if ready else f"annotated {READY_ANNOTATION}=false",
        }
        unchanged = all(old.get(key) == value for key, value in condition.items())
        fresh = unchanged and str(old.get("lastHeartbeatTime", "")) > self._stale_before()
        condition["lastHeartbeatTime"] = old["lastHeartbeatTime"] if fresh else now
        same_status = old.get("status") == condition["status"]
        condition["lastTransitionTime"] = old.get("lastTransitionTime", now) if same_status else now
        others = [c for c in node.status.get("conditions") or [] if c.get("type") != "Ready"]
        return {**node.status, **description(node.name, self._options.kubelet_port), "conditions": [*others, condition]}

    def _stale_before(self) -> str:
        """Times of one format compare as text."""
        return format_time(self.clock.now() - timedelta(seconds=HEARTBEAT - 1))


def says_ready(node: Node) -> bool:
    """Whether the node's kubelet says, or would say, that it is Ready."""
    return node.metadata.annotations.get(READY_ANNOTATION) != "false"


def is_silent(node: Node) -> bool:
    return node.metadata.annotations.get(SILENT_ANNOTATION) == "true"


class NodeRegistration:
    """Registers the nodes when the controllers start; the reconciler then sees them."""

    need_leader_election = False

    def __init__(self, client: Client, options: NodeOptions) -> None:
        self._client = client
        self._options = options

    def start(self, stop: threading.Event) -> None:
        """Tries until all nodes are there, or until it is told to stop."""
        missing = list(self._options.names)
        while missing and not stop.is_set():
            try:
                register(self._client, missing[0], self._options)
            except (ApiError, TransportError) as error:
                log.warning("cannot register the node yet", node=missing[0], error=str(error))
                stop.wait(1.0)
            else:
                missing.pop(0)
        stop.wait()


def register(client: Client, name: str, options: NodeOptions) -> Node:
    """Creates the Node, or finds it there (then its labels are left as somebody may have changed them)."""
    labels = {"kubernetes.io/hostname": name, **options.labels}
    try:
        status = description(name, options.kubelet_port)
        node = client.create(Node(metadata=ObjectMeta(name=name, labels=labels), status=status))
    except AlreadyExistsError:
        return client.get(Node, name)
    log.info("registered node", node=name)
    return node


def description(name: str, kubelet_port: int = 0) -> dict[str, Any]:
    """The constant part of a node's status.

    Without an address of the type Hostname: a kube-apiserver would take that first, and it could not be resolved.
    """
    capacity = {"cpu": "64", "memory": "512Gi", "pods": "110", "ephemeral-storage": "1800G"}
    return {
        "capacity": capacity,
        "allocatable": capacity,
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet_port}} if kubelet_port else {},
        "nodeInfo": {
            "architecture": "amd64",
            "bootID": "",
            "containerRuntimeVersion": "localmodel://" + __version__,
            "kernelVersion": "",
            "kubeProxyVersion": "",
            "kubeletVersion": "v1.32.0-localmodel",
            "machineID": name,
            "operatingSystem": "linux",
            "osImage": "localmodel sandbox",
            "systemUUID": name,
        },
    }
