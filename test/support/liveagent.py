"""An agent's program with the shipped roles, over HTTPS, on an API server of its own; a test plays the cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from localmodel import __version__
from localmodel.agent.jobs import STORAGE_KEY_LABEL
from localmodel.api import LocalModelCache, LocalModelNode, LocalModelNodeGroup
from localmodel.api.names import storage_key
from localmodel.runtime.client import Client, WriteOptions
from localmodel.runtime.errors import ForbiddenError
from localmodel.runtime.objects import Job, Node, ObjectMeta, Pod, ServiceAccount
from localmodel.runtime.objects.subresources import TokenRequest, TokenRequestSpec
from localmodel.runtime.rest import LiveClient
from localmodel.sandbox import install
from localmodel.sandbox.cluster import free_port
from localmodel.sandbox.controlplane.choice import choose
from localmodel.sandbox.envtest import Environment

Json = dict[str, Any]

ROOT = Path(__file__).parents[2]
URI = "s3://mybucket/mymodel"
KEY = storage_key(URI)
AGENT = f"localmodel-agent/{__version__}"
FILES = {"config.json": b"{}", "weights/model.safetensors": b"\0" * 1000}


def policies() -> list[Json]:
    """The agents' admission policies and their bindings."""
    directory = ROOT / "config" / "policy"
    names = yaml.safe_load((directory / "kustomization.yaml").read_text())["resources"]
    return [document for name in names for document in yaml.safe_load_all((directory / name).read_text())]


def entry(name: str = "iris", uri: str = URI, **fields: Any) -> Json:
    return {"modelName": name, "sourceModelUri": uri, "nodeGroup": "gpu1", "modelSize": "1Mi", **fields}


class LiveAgent:
    """Usage: `with LiveAgent(tmp_path) as it: it.start(); ...`. What it tests is done as an administrator, by `client`.

    The agent is that of `node-1`; its token is bound to its pod there, as the kubelet's are.
    """

    def __init__(
        self, directory: Path, *, definitions: Iterable[Json] = (), audit: bool = False, with_policies: bool = False
    ) -> None:
        """`definitions` replace those of localmodel."""
        # Not the server that other tests share: what lies on it would be theirs.
        self.environment = Environment(control_plane=choose(os.environ, audit=audit))
        self.root = directory / "models-root"
        self._directory = directory
        self._definitions = list(definitions)
        self._with_policies = with_policies
        self._process: subprocess.Popen[bytes] | None = None
        self.metrics_port = 0
        self.pruning = False
        """For a test to note: fields that we added do not survive."""

    def __enter__(self) -> Self:
        self.root.mkdir()
        self.environment.start()
        try:
            self._prepare()
        except BaseException:
            self.environment.stop()
            raise
        return self

    def _prepare(self) -> None:
        self.client: LiveClient = self.environment.client()
        if self._definitions:
            install.install_cluster(self.client, self._definitions)
        else:
            install.install(self.client)
        self.client = self.environment.client()
        self.client.create(LocalModelNodeGroup.from_dict({"metadata": {"name": "gpu1"}, "spec": group_spec()}))
        self.add_node("node-1")
        self.token = self.bound_token("node-1")
        if self._with_policies:
            self.environment.install(*policies())
            stranger = self.environment.client(token=self.token)
            self.until("the policies are asked", lambda: _is_guarded(stranger))

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            self.environment.stop()

    # the agent ---------------------------------------------------------------------------------------------------

    def start(self, *flags: str) -> None:
        """The program. Its output is kept in the directory."""
        kubeconfig = self.environment.kubeconfig("agent", token=self.token)
        self.metrics_port = free_port()
        command = [sys.executable, "-m", "localmodel.agent.main", f"--kubeconfig={kubeconfig}"]
        command += [f"--models-root={self.root}", f"--metrics-addr=127.0.0.1:{self.metrics_port}"]
        command += ["--health-probe-addr=0", *flags]
        env = {**os.environ, "NODE_NAME": "node-1", "PYTHONPATH": str(ROOT)}
        with (self._directory / "agent.log").open("ab") as log:
            self._process = subprocess.Popen(command, env=env, stdout=log, stderr=log)

    def stop(self) -> None:
        """Idempotent."""
        if self._process is not None:
            self._process.terminate()
            assert self._process.wait(30) == 0, self.log()
            self._process = None

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(30)
        self._process = None

    def log(self) -> str:
        path = self._directory / "agent.log"
        return path.read_text() if path.exists() else ""

    def metric(self, name: str) -> float:
        """The sum of all series whose line begins with this text."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    def metrics_are_served(self) -> bool:
        try:
            return self.metric("controller_runtime") >= 0
        except OSError:
            return False

    def reconciles(self) -> int:
        return int(self.metric("controller_runtime_reconcile_total"))

    # what others do ----------------------------------------------------------------------------------------------

    def add_node(self, name: str) -> Node:
        """A node with its agent's pod."""
        node = self.client.create(Node.from_dict({"metadata": {"name": name, "labels": {"pool": "gpu"}}}))
        containers = [{"name": "manager", "image": "agent"}]
        spec = {"nodeName": name, "serviceAccountName": install.AGENT_ACCOUNT, "containers": containers}
        metadata = {"name": f"agent-{name}", "namespace": install.NAMESPACE}
        self.client.create(Pod.from_dict({"metadata": metadata, "spec": spec}))
        return node

    def bound_token(self, node: str) -> str:
        """A token as the kubelet of the node asks for: bound to the agent's pod, which names the node."""
        request = TokenRequest(
            spec=TokenRequestSpec(
                expiration_seconds=3600,
                bound_object_ref={"kind": "Pod", "apiVersion": "v1", "name": f"agent-{node}"},
            )
        )
        answer = self.client.subresource("token").create(account(), request)
        assert answer.status is not None
        return answer.status.token

    def want(self, *entries: Json, node: str = "node-1") -> LocalModelNode:
        """Sets the node's entries, each with its cache."""
        for one in entries:
            if self.client.find(LocalModelCache, one["modelName"]) is None:
                spec = {"sourceModelUri": one["sourceModelUri"], "modelSize": "1Mi", "nodeGroups": ["gpu1"]}
                self.client.create(LocalModelCache.from_dict({"metadata": {"name": one["modelName"]}, "spec": spec}))
        found = self.client.find(LocalModelNode, node)
        if found is None:
            found = LocalModelNode.from_dict({"metadata": {"name": node}, "spec": {"localModels": list(entries)}})
            return self.client.create(found)
        return self.client.patch(found, {"spec": {"localModels": list(entries)}})

    def want_nothing(self) -> None:
        self.client.patch(self.node(), {"spec": {"localModels": []}})

    def jobs(self) -> list[Job]:
        return self.client.list(Job, namespace=install.JOB_NAMESPACE)

    def download(self, job: Job, files: dict[str, bytes] = FILES) -> None:
        """Plays the download: its files, and the Job's end."""
        folder = self.root / "models" / ".staging" / job.metadata.labels[STORAGE_KEY_LABEL]
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        self.finish(job)

    def finish(self, job: Job, condition: str = "Complete") -> None:
        """Ends the Job, in a status that stock servers accept."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        before = "SuccessCriteriaMet" if condition == "Complete" else "FailureTarget"
        told = {"status": "True", "lastProbeTime": now, "lastTransitionTime": now, "reason": "Test", "message": "said"}
        status: Json = {"startTime": now, "conditions": [{"type": name, **told} for name in (before, condition)]}
        status |= {"completionTime": now, "succeeded": 1} if condition == "Complete" else {"failed": 1}
        self.client.status.patch(job, {"status": status})

    def node(self, name: str = "node-1") -> LocalModelNode:
        return self.client.get(LocalModelNode, name)

    def status(self, key: str = "iris") -> str:
        found = self.client.find(LocalModelNode, "node-1")
        return found.status.model_status.get(key, "") if found is not None else ""

    def until(self, what: str, probe: Callable[[], object], deadline: float = 20.0) -> None:
        end = time.monotonic() + deadline
        while not probe():
            assert time.monotonic() < end, f"not within {deadline:.0f} s: {what}\n{self.log()[-4000:]}"
            time.sleep(0.02)

    def until_quiet(self, seconds: float = 0.5) -> int:
        """How often the agent had reconciled when it stopped to."""
        last, since = self.reconciles(), time.monotonic()
        while time.monotonic() - since < seconds:
            time.sleep(0.05)
            if (now := self.reconciles()) != last:
                last, since = now, time.monotonic()
        return last


def _is_guarded(agent: Client) -> bool:
    """A server takes a moment to follow new policies. Asked by a write that they all refuse."""
    pod = {"restartPolicy": "Never", "hostNetwork": True, "containers": [{"name": "c", "image": "i"}]}
    metadata = {"name": "asking", "namespace": install.JOB_NAMESPACE}
    job = Job.from_dict({"metadata": metadata, "spec": {"template": {"spec": pod}}})
    try:
        agent.create(job, options=WriteOptions(dry_run=True))
    except ForbiddenError:
        return True
    return False


def account() -> ServiceAccount:
    """The agents'."""
    return ServiceAccount(metadata=ObjectMeta(name=install.AGENT_ACCOUNT, namespace=install.NAMESPACE))


def group_spec() -> Json:
    """A LocalModelNodeGroup's, for nodes of the pool gpu."""
    expression = {"key": "pool", "operator": "In", "values": ["gpu"]}
    return {
        "storageLimit": "10Mi",
        "persistentVolumeSpec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "1Gi"},
            "local": {"path": "/mnt/models"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}},
        },
        "persistentVolumeClaimSpec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }


def config_text(**changes: Any) -> str:
    """The value of the key `localModel` of the configuration."""
    return json.dumps(install.local_model_config(**changes))
