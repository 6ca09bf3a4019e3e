"""A cluster in memory for tests of the manager's reconcilers: reads see every write at once, indexes work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from localmodel.api import (
    LocalModelCache,
    LocalModelNamespaceCache,
    LocalModelNode,
    LocalModelNodeGroup,
    NodeModel,
)
from localmodel.manager.caches import LocalModelCacheReconciler, LocalModelNamespaceCacheReconciler
from localmodel.manager.indexes import InferenceService, add_indexes
from localmodel.manager.nodegroups import LocalModelNodeGroupReconciler
from localmodel.manager.nodes import NodeReconciler
from localmodel.manager.settings import Settings
from localmodel.runtime.delegating_client import DelegatingClient
from localmodel.runtime.objects import ConfigMap, DaemonSet, Node, Object, ObjectMeta, Pod, T
from localmodel.runtime.reconcile import Reconciler, Request, Result
from localmodel.runtime.testing import FakeClient, FakeClock, FakeRecorder

JOBS = "kserve-localmodel-jobs"
R = TypeVar("R", bound=Reconciler)


class IndexedClient(FakeClient):
    """A FakeClient that takes the indexes of a manager's cache."""

    def index_parts(self, kind: type[T], extract: Callable[[T], Mapping[str, Any]], *, decode: Any = None) -> None:
        """Nothing to do: parts are computed when they are read."""


class Cluster:
    """The client, the clock, the events, and the reconcilers on them."""

    def __init__(self, *objects: Object, **options: Any) -> None:
        self.clock = FakeClock()
        self.client = IndexedClient(*objects, clock=self.clock, **options)
        add_indexes(self.client)  # type: ignore[arg-type]
        self.recorder = FakeRecorder()
        self.settings = Settings()
        self.nodes = self.wired(NodeReconciler(self.settings))
        self.caches = self.wired(LocalModelCacheReconciler(self.settings))
        self.namespace_caches = self.wired(LocalModelNamespaceCacheReconciler(self.settings))
        self.groups = self.wired(LocalModelNodeGroupReconciler(self.settings))

    def wired(self, reconciler: R) -> R:
        reconciler.client = reconciler.live = self.client
        reconciler.recorder = self.recorder
        reconciler.clock = self.clock
        return reconciler

    def reconcile_node(self, name: str = "node-1") -> Result | None:
        return self.nodes.reconcile(Request("", name))

    def reconcile_cache(self, name: str = "iris", namespace: str = "") -> Result | None:
        reconciler = self.namespace_caches if namespace else self.caches
        return reconciler.reconcile(Request(namespace, name))

    def reconcile_group(self, name: str = "gpu") -> Result | None:
        """A minute later, so that the status may be written again."""
        self.clock.advance(60.0)
        return self.groups.reconcile(Request("", name))

    def local_model_node(self, name: str = "node-1") -> LocalModelNode:
        return self.client.get(LocalModelNode, name)

    def entries(self, node: str = "node-1") -> list[str]:
        found = self.client.find(LocalModelNode, node)
        return [f"{e.namespace}/{e.model_name}".lstrip("/") for e in found.spec.local_models] if found else []

    def cache(self, name: str = "iris") -> LocalModelCache:
        return self.client.get(LocalModelCache, name)

    def namespace_cache(self, name: str = "iris", namespace: str = "team-a") -> LocalModelNamespaceCache:
        return self.client.get(LocalModelNamespaceCache, name, namespace=namespace)

    def report(self, node: str = "node-1", **model_status: str) -> None:
        """Plays the agent; in a key __ stands for the slash of namespace/name, and _ for a hyphen."""
        found = self.local_model_node(node)
        keys = {key: key.replace("__", "/").replace("_", "-") for key in model_status}
        found.status.model_status = {keys[key]: value for key, value in model_status.items()}
        self.client.status.update(found)

    def say(self, key: str, status: str, *, node: str = "node-1", **fields: Any) -> None:
        """Plays an agent that tells all: `fields` are those of status.models[key]."""
        found = self.local_model_node(node)
        detailed(found, key, status, **fields)
        self.client.status.update(found)

    def start_agent(self, node: str) -> None:
        """A create takes no status: it comes after it, as from a kubelet."""
        pod = agent_pod(node)
        self.client.create(pod)
        self.client.status.patch(pod, {"status": pod.status.to_dict()})

    def labels(self, name: str = "node-1") -> dict[str, str]:
        """Those of our prefix."""
        labels = self.client.get(Node, name).metadata.labels
        return {key: value for key, value in labels.items() if key.startswith("localmodel.kserve.io/")}


class Behind(DelegatingClient):
    """Reads that show no LocalModelNode, as a cache that has not seen its making."""

    def get(self, kind: Any, name: str, *, namespace: str = "") -> Any:
        return self.inner.get(kind, "unseen" if kind is LocalModelNode else name, namespace=namespace)

    def list(self, kind: Any, **options: Any) -> Any:
        return [] if kind is LocalModelNode else self.inner.list(kind, **options)

    def parts(self, kind: Any, extract: Any, value: str) -> Any:
        return {} if kind is LocalModelNode else self.inner.parts(kind, extract, value)


class Queue:
    """Keeps what handlers queue, with the delays."""

    def __init__(self) -> None:
        self.added: dict[str, float] = {}

    def add(self, item: Request) -> None:
        self.add_after(item, 0.0)

    def add_after(self, item: Request, delay: float) -> None:
        self.added.setdefault(str(item), delay)


def node(name: str = "node-1", *, ready: bool = True, pool: str = "gpu") -> Node:
    return Node.from_dict(
        {
            "metadata": {"name": name, "labels": {"pool": pool}},
            "status": {"conditions": [{"type": "Ready", "status": "True" if ready else "False"}]},
        }
    )


def group(name: str = "gpu", *, operator: str = "In", path: str = "/mnt/models", **spec: Any) -> LocalModelNodeGroup:
    """The nodes whose label pool is the group's name; `spec` are further fields of it."""
    expression = {"key": "pool", "operator": operator, "values": [name]}
    return LocalModelNodeGroup.from_dict(
        {
            "metadata": {"name": name},
            "spec": {
                "storageLimit": "10Gi",
                **spec,
                "persistentVolumeClaimSpec": {
                    "accessModes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": "10Gi"}},
                    "storageClassName": "local-storage",
                },
                "persistentVolumeSpec": {
                    "accessModes": ["ReadWriteOnce"],
                    "capacity": {"storage": "10Gi"},
                    "local": {"path": path},
                    "storageClassName": "local-storage",
                    "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}},
                },
            },
        }
    )


def cache(name: str = "iris", *groups: str, **spec: Any) -> LocalModelCache:
    return LocalModelCache.from_dict({"metadata": {"name": name}, "spec": _spec(groups, spec)})


def namespace_cache(
    name: str = "iris", *groups: str, namespace: str = "team-a", **spec: Any
) -> LocalModelNamespaceCache:
    metadata = {"name": name, "namespace": namespace}
    return LocalModelNamespaceCache.from_dict({"metadata": metadata, "spec": _spec(groups, spec)})


def detailed(node: LocalModelNode, key: str, status: str, **fields: Any) -> None:
    """Puts what an agent says of one model into the status."""
    node.status.model_status[key] = status
    node.status.models[key] = NodeModel.from_dict(fields)


def _spec(groups: tuple[str, ...], spec: dict[str, Any]) -> dict[str, Any]:
    return {"sourceModelUri": "hf://o/m", "modelSize": "1Gi", "nodeGroups": list(groups or ("gpu",)), **spec}


def service(name: str, namespace: str, model: str = "iris", *, of: str = "", node_group: str = "") -> Object:
    """An InferenceService with the labels that KServe's defaulting sets; `of`: the cache's namespace."""
    labels = {"internal.serving.kserve.io/localmodel": model}
    if of:
        labels["internal.serving.kserve.io/localmodel-namespace"] = of
    annotations = {"serving.kserve.io/nodegroup": node_group} if node_group else {}
    return InferenceService(metadata=ObjectMeta(name=name, namespace=namespace, labels=labels, annotations=annotations))


def agent_pod(node_name: str = "node-1", *, ready: bool = True) -> Pod:
    return Pod.from_dict(
        {
            "metadata": {
                "name": f"agent-{node_name}",
                "namespace": "kserve",
                "labels": {"control-plane": "kserve-localmodelnode-agent"},
            },
            "spec": {"nodeName": node_name, "containers": [{"name": "manager", "image": "agent"}]},
            "status": {"conditions": [{"type": "Ready", "status": "True" if ready else "False"}]},
        }
    )


def agent_daemon_set(
    path: str = "/mnt/models", *, name: str = "kserve-localmodelnode-agent", selector: dict[str, str] | None = None
) -> DaemonSet:
    """One that was installed by hand, in the shape of KServe's manifest."""
    labels = {"control-plane": "kserve-localmodelnode-agent"}
    container = {"name": "manager", "image": "agent", "volumeMounts": [{"name": "models", "mountPath": "/mnt/models"}]}
    pod = {
        "nodeSelector": selector or {},
        "containers": [container],
        "volumes": [{"name": "models", "hostPath": {"path": path, "type": "DirectoryOrCreate"}}],
    }
    return DaemonSet.from_dict(
        {
            "metadata": {"name": name, "namespace": "kserve", "labels": labels},
            "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}},
        }
    )


def config_map(local_model: str) -> ConfigMap:
    return ConfigMap(
        metadata=ObjectMeta(name="inferenceservice-config", namespace="kserve"), data={"localModel": local_model}
    )
