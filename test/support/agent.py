"""One node with its agent, for tests: a real directory, an API server in memory, and the cluster that a test plays."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from localmodel.agent import tree
from localmodel.agent.filesystem import FileSystem
from localmodel.agent.metrics import AgentMetrics
from localmodel.agent.probe import DiskProbe
from localmodel.agent.reconciler import LocalModelNodeReconciler
from localmodel.agent.status import ProgressPolicy
from localmodel.agent.store import ModelStore
from localmodel.api import LocalModelCache, LocalModelNode, LocalModelNodeGroup
from localmodel.api.names import storage_key
from localmodel.api.node import NodeModel
from localmodel.runtime.listwatch import ListPage
from localmodel.runtime.objects import ConfigMap, Job, Pod
from localmodel.runtime.reconcile import Request, Result
from localmodel.runtime.testing.fake import FakeClient
from localmodel.runtime.testing.fake_clock import FakeClock
from localmodel.runtime.testing.recorder import FakeRecorder

from .children import PlayedChildren

URI = "s3://mybucket/mymodel"
KEY = storage_key(URI)
JOBS = "kserve-localmodel-jobs"
CONFIG_MAP = {"name": "inferenceservice-config", "namespace": "kserve"}
FILES = {"config.json": b"{}", "weights/model.safetensors": b"\0" * 1000}


class RoomyDisk(FileSystem):
    """Has the room that a test says, in bytes, whatever the disk below has; what the models root holds is taken."""

    capacity = 100 << 30
    foreign = 10 << 30
    """What others took."""

    def room(self, path: Path) -> tuple[int, int]:
        return self.capacity, max(self.capacity - self.foreign - tree.disk_size(path), 0)


class DeathError(Exception):
    """The agent's process ends here."""


class Mortal(RoomyDisk):
    """Dies before the step that `left` counts down to."""

    left = -1

    def step(self, name: str, path: Path) -> None:
        if self.left == 0:
            self.left = -1
            raise DeathError
        self.left -= self.left > 0


class JumpingClock(FakeClock):
    """A clock whose time of day somebody sets."""

    def jump(self, by: timedelta) -> None:
        """Time of day moves, without any time going by."""
        self._start += by


class World:
    """One node: its agent, its disk, the API server, and the parts of the cluster that a test plays."""

    def __init__(
        self,
        root: Path,
        *,
        filesystem: FileSystem | None = None,
        children: bool = False,
        metrics: AgentMetrics | None = None,
    ) -> None:
        """`children`: the agent's own downloads are played, too (`downloadMode: Agent`)."""
        self.metrics = metrics
        self.filesystem = filesystem or RoomyDisk()
        self.plays_children = children
        self.clock = JumpingClock()
        self.client = FakeClient(clock=self.clock)
        self.recorder = FakeRecorder()
        self.root = root
        self.start()
        self.client.create(ConfigMap.from_dict({"metadata": CONFIG_MAP, "data": self._config()}))
        if children:
            self.set_config(downloadMode="Agent")
        self.client.create(
            LocalModelNodeGroup.from_dict({"metadata": {"name": "gpu1"}, "spec": {"storageLimit": "10Mi"}})
        )

    @staticmethod
    def _config(storage_initializer: dict[str, Any] | None = None, **local_model: Any) -> dict[str, str]:
        config = {"jobNamespace": JOBS, "reconcilationFrequencyInSecs": 60, **local_model}
        return {"localModel": json.dumps(config), "storageInitializer": json.dumps(storage_initializer or {})}

    def set_config(self, storage_initializer: dict[str, Any] | None = None, **local_model: Any) -> None:
        """Sets these keys of the configuration, and no others."""
        found = self.client.get(ConfigMap, CONFIG_MAP["name"], namespace=CONFIG_MAP["namespace"])
        self.client.patch(found, {"data": self._config(storage_initializer, **local_model)})

    def start(self) -> None:
        """A fresh agent process on the same disk."""
        self.store = ModelStore(self.root, owner="node-1", filesystem=self.filesystem, clock=self.clock)
        self.children = PlayedChildren(self.store.notes)
        self.agent = LocalModelNodeReconciler(
            node_name="node-1",
            namespace="kserve",
            jobs_namespace=JOBS,
            store=self.store,
            probe=DiskProbe(self.store, clock=self.clock),
            progress=ProgressPolicy.every(1),
            children=self.children if self.plays_children else None,
            metrics=self.metrics,
        )
        self.agent.client = self.agent.live = self.client
        self.agent.clock = self.clock
        self.agent.recorder = self.recorder

    def restart(self) -> None:
        self.store.close()
        self.start()

    def configure(self, **changes: Any) -> None:
        """Changes keys of `localModel` in the configuration."""
        config = self.client.get(ConfigMap, "inferenceservice-config", namespace="kserve")
        document = json.loads(config.data["localModel"]) | changes
        self.client.patch(config, {"data": {"localModel": json.dumps(document)}})

    def want(self, *entries: dict[str, Any]) -> None:
        """Sets the entries, each with its cache."""
        for entry in entries:
            entry.setdefault("nodeGroup", "gpu1")
            entry.setdefault("modelSize", "1Mi")
            if not entry.get("namespace") and self.client.find(LocalModelCache, entry["modelName"]) is None:
                self.client.create(
                    LocalModelCache.from_dict(
                        {
                            "metadata": {"name": entry["modelName"]},
                            "spec": {
                                "sourceModelUri": entry["sourceModelUri"],
                                "modelSize": "1Mi",
                                "nodeGroups": ["gpu1"],
                            },
                        }
                    )
                )
        node = self.client.find(LocalModelNode, "node-1")
        spec = {"localModels": list(entries)}
        if node is None:
            self.client.create(LocalModelNode.from_dict({"metadata": {"name": "node-1"}, "spec": spec}))
        else:
            self.client.patch(node, {"spec": spec})

    def run(self) -> Result | None:
        return self.agent.reconcile(Request("", "node-1"))

    def cache(self, name: str = "iris") -> LocalModelCache:
        return self.client.get(LocalModelCache, name)

    @property
    def node(self) -> LocalModelNode:
        return self.client.get(LocalModelNode, "node-1")

    def status(self, key: str = "iris") -> str | None:
        return self.node.status.model_status.get(key)

    def model(self, key: str = "iris") -> NodeModel:
        return self.node.status.models[key]

    @property
    def jobs(self) -> list[Job]:
        return self.client.list(Job)

    def finish(self, job: Job, condition: str, **counts: int) -> None:
        conditions = [{"type": condition, "status": "True", "reason": "Test", "message": "said the Job"}]
        self.client.status.patch(job, {"status": {"conditions": conditions, **counts}})

    def download(self, job: Job, files: dict[str, bytes] = FILES) -> None:
        """Plays the download's container."""
        mount = job.spec.template["spec"]["containers"][0]["volumeMounts"][0]
        for name, content in files.items():
            path = self.root / mount["subPath"] / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        self.finish(job, "Complete", succeeded=1)

    def publish(self) -> None:
        self.want({"modelName": "iris", "sourceModelUri": URI})
        self.run()
        self.download(self.jobs[0])
        self.run()
        assert self.status() == "ModelDownloaded"

    def download_pod(self, job: Job, **status: Any) -> Pod:
        pod = self.client.create(Pod.from_dict({
            "metadata": {"name": f"{job.name}-x", "namespace": JOBS, "labels": job.metadata.labels,
                         "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": job.name,
                                              "uid": job.metadata.uid, "controller": True}]},
            "spec": {"nodeName": "node-1", "containers": [{"name": "download", "image": "i"}]},
        }))  # fmt: skip
        return self.client.status.patch(pod, {"status": {"phase": "Running", **status}})

    def serving_pod(self, *, sub_path: str = f"models/{KEY}", claim: str = "iris-gpu1") -> Pod:
        mount = {"name": "m", "mountPath": "/m", "subPath": sub_path}
        return self.client.create(Pod.from_dict({
            "metadata": {"name": "server", "namespace": "default"},
            "spec": {
                "nodeName": "node-1",
                "volumes": [{"name": "m", "persistentVolumeClaim": {"claimName": claim}}],
                "containers": [{"name": "c", "image": "i", "volumeMounts": [mount]}],
            },
        }))  # fmt: skip

    def reasons(self) -> list[str]:
        return self.recorder.reasons


def without_seeing_jobs(world: World) -> None:
    """From now on the agent's cache shows no Job; live reads do."""

    def stale(action: Any, proceed: Callable[[], Any]) -> Any:
        return ListPage([], "1") if action.verb == "list" and action.kind is Job else proceed()

    world.agent.client = FakeClient(registry=world.client.registry, interceptors=[stale])
