"""The shipped DaemonSet of agents on simulated nodes: the real program, under its own service account."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from support.eventually import eventually
from support.sandbox import processes_about

from localmodel.api.node import LocalModelNode
from localmodel.runtime.kubeconfig import load_config
from localmodel.runtime.objects import DaemonSet, Node, Pod
from localmodel.runtime.rest import LiveClient
from localmodel.sandbox import install
from localmodel.sandbox.apiserver.server import ApiServer, ApiServerOptions
from localmodel.sandbox.controllers.jobs import JobOptions
from localmodel.sandbox.controllers.kubelet import KubeletOptions
from localmodel.sandbox.controllers.main import build_manager
from localmodel.sandbox.controllers.nodes import NodeOptions

NODES = ("node-1", "node-2")
MANIFEST = Path(__file__).parents[3] / "config" / "agent" / "manager.yaml"
NAME = "kserve-localmodelnode-agent"
LABELS = {"control-plane": NAME}


class World:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.kubeconfig = directory / "kubeconfig"
        self.server = ApiServer(ApiServerOptions())
        self.server.start()
        self.server.write_kubeconfig(self.kubeconfig)
        self.client = LiveClient(load_config(self.kubeconfig, user_agent="test/1"))
        install.install(self.client)
        for node in NODES:
            document = {"metadata": {"name": node}, "spec": {"localModels": []}}
            self.client.create(LocalModelNode.from_dict(document))
        manager = build_manager(
            self.client,
            nodes=NodeOptions(names=NODES),
            kubelet=KubeletOptions(nodes=NODES, directory=directory / "nodes", kubeconfig=self.kubeconfig),
            jobs=JobOptions(),
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=manager.start, args=(self._stop,))
        self._thread.start()
        eventually(lambda: [node.name for node in self.client.list(Node) if node.is_ready] == [*NODES], timeout=20)

    def close(self) -> None:
        self._stop.set()
        self._thread.join(20)
        self.client.close()
        self.server.stop()

    def apply(self) -> None:
        """The manifest as it is shipped; only the agents' probes look more often than in a cluster."""
        document = yaml.safe_load(MANIFEST.read_text())
        container = document["spec"]["template"]["spec"]["containers"][0]
        container["readinessProbe"]["periodSeconds"] = 1
        install.apply_all(self.client, [document])

    def kubectl(self, *arguments: str) -> str:
        done = subprocess.run(
            ["kubectl", "-n", install.NAMESPACE, *arguments],
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        return done.stdout + done.stderr

    def pods(self) -> list[Pod]:
        return self.client.list(Pod, namespace=install.NAMESPACE, labels=LABELS)

    def ready_on(self) -> list[str]:
        return sorted(pod.spec.node_name for pod in self.pods() if pod.is_ready and not pod.is_deleting)

    def agents(self) -> list[str]:
        """The agents' command lines."""
        return [line for line in processes_about(self.directory) if "localmodel-agent" in line]

    def reports(self, node: str) -> bool:
        """Whether the node's agent has written its status."""
        conditions = self.client.get(LocalModelNode, node).to_dict().get("status", {}).get("conditions") or []
        return any(c["type"] == "StorageReady" and c["status"] == "True" for c in conditions)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


def test_the_shipped_daemon_set_runs_updates_and_ends_its_agents(world: World) -> None:
    world.apply()
    assert "successfully rolled out" in world.kubectl("rollout", "status", f"ds/{NAME}", "--timeout=180s")
    assert world.ready_on() == [*NODES]
    assert len(world.agents()) == 2
    eventually(lambda: all(world.reports(node) for node in NODES), timeout=20)
    assert all((world.directory / "nodes" / node / "models" / "models").is_dir() for node in NODES)
    assert len({pod.status.to_dict()["podIP"] for pod in world.pods()}) == 2
    assert "agent starts" in world.kubectl("logs", f"ds/{NAME}")

    row = world.kubectl("get", "ds", NAME, "--no-headers").split()
    assert row[:7] == [NAME, "2", "2", "2", "2", "2", "kserve/localmodel=worker"]

    before = {pod.metadata.uid for pod in world.pods()}
    assert "restarted" in world.kubectl("rollout", "restart", f"ds/{NAME}")
    assert "successfully rolled out" in world.kubectl("rollout", "status", f"ds/{NAME}", "--timeout=180s")
    assert not before & {pod.metadata.uid for pod in world.pods()}
    history = world.kubectl("rollout", "history", f"ds/{NAME}").splitlines()
    assert [line.split()[0] for line in history if line[:1].isdigit()] == ["1", "2"]
    assert "rolled back" in world.kubectl("rollout", "undo", f"ds/{NAME}")
    assert "successfully rolled out" in world.kubectl("rollout", "status", f"ds/{NAME}", "--timeout=180s")
    assert len(world.agents()) == 2

    world.client.delete(world.client.get(DaemonSet, NAME, namespace=install.NAMESPACE))
    eventually(lambda: not world.pods(), timeout=20)
    eventually(lambda: not world.agents(), timeout=20)
