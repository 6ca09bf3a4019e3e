"""A whole simulated cluster and a hub for the end-to-end tests, and questions to ask them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from localmodel.api import LocalModelCache, names
from localmodel.runtime.errors import TransportError
from localmodel.runtime.objects import ConfigMap, Event, Job, Node
from localmodel.sandbox import demo_objects, install
from localmodel.sandbox.cluster import Cluster, ClusterOptions
from localmodel.sandbox.demo_model import Model
from localmodel.sandbox.hub import HubServer, make_synthetic_model
from localmodel.sandbox.hub.synthetic import MAX_SHARD_BYTES

from .eventually import eventually

TOKEN = "hf_secret"


@dataclass
class Sandbox:
    """A running cluster, and a hub that serves one synthetic model under any name it is told."""

    cluster: Cluster
    hub: HubServer
    model: Model
    _numbers: Iterator[int] = field(default_factory=count)

    # what is applied ------------------------------------------------------------------------------------------

    def apply(self, *documents: dict[str, Any]) -> None:
        install.apply_all(self.cluster.client, documents)

    def cache(self, name: str, repository: str, *, group: str = demo_objects.GROUP_NAME, size: int = 0) -> None:
        """A LocalModelCache for hf://REPOSITORY."""
        size = size or self.model.size
        self.apply(demo_objects.cache(f"hf://{repository}", size, name=name, group=group))

    def configure(self, **changes: Any) -> None:
        """Changes keys of `localModel` in the configuration."""
        config = self.cluster.client.get(ConfigMap, names.CONFIG_MAP_NAME, namespace=install.NAMESPACE)
        changed = json.loads(config.data["localModel"]) | changes
        self.cluster.client.patch(config, {"data": {"localModel": json.dumps(changed)}})

    def another(self) -> tuple[str, str]:
        """A name for a cache and a repository that no other test of this cluster has. There are 16."""
        number = next(self._numbers)
        return f"model-{number}", f"org/model-{number}"

    def forget(self, name: str) -> None:
        """Deletes a cache."""
        self.cluster.client.delete(self.cluster.client.get(LocalModelCache, name))

    # what has become of it ------------------------------------------------------------------------------------

    def status(self, name: str) -> Any:
        return self.cluster.client.get(LocalModelCache, name).status

    def condition(self, name: str, type_: str) -> tuple[str, str, str]:
        """Status, reason and message of a cache's condition; empty while it is not there."""
        found = [c for c in self.status(name).conditions if c.type == type_]
        return (found[0].status, found[0].reason, found[0].message) if found else ("", "", "")

    def events(self, name: str) -> list[tuple[str, str, str]]:
        """Type, reason and message of the events about a cache."""
        events = self.cluster.client.list(Event)
        return [(e.type, e.reason, e.message) for e in events if e.involved_object.name == name]

    def answers(self) -> bool:
        """Whether its API server does."""
        try:
            self.cluster.client.list(Node)
        except TransportError:
            return False
        return True

    def is_available(self, name: str) -> bool:
        copies = self.status(name).copies
        return copies is not None and copies.available == copies.total == len(self.cluster.nodes)

    def node_models(self, node: str) -> Path:
        """The directory of all models on a node."""
        return self.cluster.node_root(node) / "mnt" / "models" / "models"

    def folder(self, node: str, repository: str) -> Path:
        root = self.cluster.node_root(node) / "mnt" / "models"
        return root / names.storage_sub_path(f"hf://{repository}")

    def problems(self, repository: str) -> list[str]:
        """What is wrong with the copies on all nodes."""
        return [
            f"{node}: {problem}"
            for node in self.cluster.nodes
            for problem in self.model.differences(self.folder(node, repository))
        ]

    def agent_log(self, node: str, event: str) -> list[dict[str, Any]]:
        """The lines of a node's agent with this message, also of agents that were killed."""
        lines = (self.cluster.logs / f"agent-{node}.log").read_text().splitlines()
        entries = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return [entry for entry in entries if entry["event"] == event]

    def ask_agent(self, node: str, path: str) -> str:
        """What a node's agent serves beside its metrics; its address is in its log."""
        served = [line for line in self.agent_log(node, "Serving HTTP") if path in line["paths"]]
        with urllib.request.urlopen(f"{served[-1]['url']}{path}", timeout=10) as answer:
            return str(answer.read().decode())

    def metric(self, node: str, name: str, label: str = "") -> float:
        """The sum of an agent's series whose line begins with the name, and has the label."""
        lines = self.ask_agent(node, "/metrics").splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name) and label in line)

    def jobs(self, name: str) -> dict[str, int]:
        """Download Jobs of a cache, counted by node."""
        counts: dict[str, int] = {}
        for job in self.cluster.client.list(Job, namespace=install.JOB_NAMESPACE):
            if job.metadata.labels.get(names.JOB_MODEL_LABEL) == name:
                node = job.metadata.labels[names.JOB_NODE_LABEL]
                counts[node] = counts.get(node, 0) + 1
        return counts

    def eventually(self, condition: Callable[[], object], *, timeout: float = 30.0) -> None:
        try:
            eventually(condition, timeout=timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\nlogs: {self.cluster.logs}") from error

    # violence -------------------------------------------------------------------------------------------------

    def kill(self, program: str) -> None:
        os.kill(self.cluster.supervisor[program].pid, signal.SIGKILL)

    def downloads(self, node: str) -> list[int]:
        """Process ids of the download programs that run on a node."""
        root = str(self.cluster.node_root(node))
        return [pid for pid, command in processes().items() if "localmodel.download" in command and root in command]


@contextlib.contextmanager
def sandbox(
    directory: Path,
    *,
    nodes: int = 2,
    size: int = 24 << 20,
    shard: int = MAX_SHARD_BYTES,
    config: dict[str, Any] | None = None,
) -> Iterator[Sandbox]:
    """Starts everything; the group `workers`, the secret and the storage container are applied. `size` and `shard`: the
    bytes of the model, and the most that one of its files has."""
    make_synthetic_model(directory / "model", size, max_shard_bytes=shard)
    model = Model.of(directory / "model")
    repositories = {f"org/model-{number}": model.directory for number in range(16)}
    options = ClusterOptions(
        workdir=directory, nodes=nodes, job_backoff=0.1, progress_interval=0.2, config=config or {}
    )
    hub = HubServer(repositories, token=TOKEN)
    with hub, Cluster(options) as cluster:
        it = Sandbox(cluster, hub, model)
        it.apply(
            demo_objects.hf_secret(TOKEN, install.JOB_NAMESPACE),
            storage_container("hf-hub", "hf://org/", hub.url),
            demo_objects.node_group(),
        )
        yield it


def lent_credentials(namespace: str, token: str) -> list[dict[str, Any]]:
    """The ServiceAccount `reader` of a namespace with a token in its Secret `hf`, and the manager's right to get both.

    Of what is in config/samples/credentials.yaml, in the same shape.
    """
    metadata = {"name": "reader", "namespace": namespace}
    group = "rbac.authorization.k8s.io"
    lent = {"apiGroups": [""], "resources": ["secrets", "serviceaccounts"], "resourceNames": ["reader", "hf"]}
    manager = {"kind": "ServiceAccount", "name": install.MANAGER_ACCOUNT, "namespace": install.NAMESPACE}
    return [
        {**demo_objects.hf_secret(token, namespace), "metadata": {"name": "hf", "namespace": namespace}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata, "secrets": [{"name": "hf"}]},
        {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": metadata, "rules": [{**lent, "verbs": ["get"]}]},
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": "reader"},
            "subjects": [manager],
        },
    ]


def storage_container(name: str, prefix: str, endpoint: str, *, secret: str = "hf-secret") -> dict[str, Any]:
    """The demo's ClusterStorageContainer for URIs with this prefix; its download gives up soon."""
    document = demo_objects.storage_container(endpoint)
    document["metadata"]["name"] = name
    document["spec"]["supportedUriFormats"] = [{"prefix": prefix}]
    env = document["spec"]["container"]["env"]
    env[0]["valueFrom"]["secretKeyRef"]["name"] = secret
    env += [
        {"name": "LOCALMODEL_DOWNLOAD_MAX_ATTEMPTS", "value": "2"},
        {"name": "LOCALMODEL_DOWNLOAD_RETRY_SECONDS", "value": "0.1"},
    ]
    return document


def processes() -> dict[int, str]:
    """Command lines of all live processes; one that ends while it is looked at is left out."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                if command:
                    found[int(entry.name)] = command
    return found


def processes_about(directory: Path) -> list[str]:
    """Command lines of the processes that mention a directory."""
    own = os.getpid()
    return [command for pid, command in processes().items() if str(directory) in command and pid != own]
