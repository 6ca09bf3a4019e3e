"""DaemonSets of agents on simulated nodes, the shipped one and a group's own: the real program and service accounts."""

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

from localmodel.api import LocalModelConfig, LocalModelNode, LocalModelNodeGroup
from localmodel.api.names import agent_daemon_set_name
from localmodel.manager.agents import agent_request, has_what_is_wanted, wanted_daemon_set
from localmodel.manager.main import add_reconcilers, cache_options
from localmodel.manager.settings import Settings
from localmodel.runtime.conditions import find_status_condition
from localmodel.runtime.kubeconfig import load_config
from localmodel.runtime.manager import Manager
from localmodel.runtime.manager_options import ManagerOptions
from localmodel.runtime.objects import DaemonSet, Node, Pod
from localmodel.runtime.rest import LiveClient
from localmodel.sandbox import demo_objects, install
from localmodel.sandbox.apiserver.kubeconfig import token_credentials, write_kubeconfig
from localmodel.sandbox.apiserver.server import ApiServer, ApiServerOptions
from localmodel.sandbox.controllers.jobs import JobOptions
from localmodel.sandbox.controllers.kubelet import KubeletOptions
from localmodel.sandbox.controllers.main import build_manager
from localmodel.sandbox.controllers.nodes import NodeOptions
from localmodel.sandbox.kubeconfig import other_kubeconfig

NODES = ("node-1", "node-2")
MANIFEST = Path(__file__).parents[3] / "config" / "agent" / "manager.yaml"
NAME = "kserve-localmodelnode-agent"
LABELS = {"control-plane": NAME}


class World:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.kubeconfig = directory / "kubeconfig"
        self._closing: list[LiveClient] = []
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
        self._threads: list[threading.Thread] = []
        self._run(manager)
        eventually(lambda: [node.name for node in self.client.list(Node) if node.is_ready] == [*NODES], timeout=20)

    def _run(self, manager: Manager) -> None:
        self._threads.append(threading.Thread(target=manager.start, args=(self._stop,)))
        self._threads[-1].start()

    def start_manager(self) -> None:
        """localmodel-manager, under its own service account and with the shipped roles."""
        token = install.service_account_token(self.client, install.NAMESPACE, install.MANAGER_ACCOUNT)
        own = self.directory / "kubeconfig-manager"
        write_kubeconfig(own, other_kubeconfig(self.kubeconfig, install.MANAGER_ACCOUNT, token_credentials(token)))
        client = LiveClient(load_config(own, user_agent="localmodel-manager/test"))
        self._closing.append(client)
        options = ManagerOptions(metrics_addr="0", health_probe_addr="0", cache=cache_options(install.NAMESPACE))
        manager = Manager(client, options)
        add_reconcilers(manager, Settings())
        self._run(manager)

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)
        for client in self._closing:
            client.close()
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

    def agent_ready(self, group: str) -> tuple[str, str]:
        """Status and reason of the group's condition; empty while it is not there."""
        found = find_status_condition(self.client.get(LocalModelNodeGroup, group).status.conditions, "AgentReady")
        return (found.status, found.reason) if found else ("", "")

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


def test_a_group_that_asks_for_agents_gets_them_in_its_own_path_on_its_own_nodes_d12_d39(world: World) -> None:
    world.start_manager()
    group = demo_objects.node_group()
    group["spec"]["persistentVolumeSpec"]["local"]["path"] = "/data/models"
    install.apply_all(world.client, [group])
    name = group["metadata"]["name"]
    eventually(lambda: world.agent_ready(name) == ("False", "NoAgentOnNode"), timeout=20)

    group["spec"]["agent"] = {"image": "kserve/kserve-localmodelnode-agent:latest"}
    install.apply_all(world.client, [group])
    eventually(lambda: world.ready_on() == [*NODES], timeout=120)
    eventually(lambda: world.agent_ready(name) == ("True", "AgentsReady"), timeout=20)
    eventually(lambda: all(world.reports(node) for node in NODES), timeout=20)
    assert all((world.directory / "nodes" / node / "data" / "models" / "models").is_dir() for node in NODES)
    assert len(world.agents()) == 2

    daemon_set = world.client.get(DaemonSet, agent_daemon_set_name(name), namespace=install.NAMESPACE)
    assert daemon_set.metadata.generation == 1
    stored = world.client.get(LocalModelNodeGroup, name)
    request = agent_request(stored, LocalModelConfig())
    assert request is not None
    assert has_what_is_wanted(daemon_set, wanted_daemon_set(stored, request, install.NAMESPACE))
    world.client.delete(world.client.get(LocalModelNodeGroup, name))
    eventually(lambda: not world.client.list(DaemonSet, namespace=install.NAMESPACE), timeout=20)
    eventually(lambda: not world.agents(), timeout=20)
