"""A real agent as user 1000 on a disk of its own (a tmpfs), and the hands that take that disk away.

Needs root and mounts. The test plays the Jobs; the API server is the one of `localmodel.sandbox.envtest`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from localmodel.api import LocalModelCache, LocalModelNode, LocalModelNodeGroup
from localmodel.api.names import storage_key
from localmodel.runtime.objects import ConfigMap, Event, Job, Namespace, Pod
from localmodel.runtime.rest import LiveClient
from localmodel.sandbox.envtest import Environment

from .eventually import eventually
from .programs import QUIET
from .scripts import ROOT

USER = 1000
JOBS = "kserve-localmodel-jobs"
SIZE = 8 << 20


def why_not() -> str:
    """Why this cannot be played here; empty if it can."""
    if os.geteuid() != 0:
        return "mounting needs root"
    if shutil.which("setpriv") is None:
        return "setpriv is not installed"
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", directory], capture_output=True, text=True, check=False)
        if done.returncode:
            return f"mounting is not allowed: {done.stderr.strip()}"
        run("umount", directory)
    command = [*as_user(USER), sys.executable, "-c", "import localmodel.agent.program"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment_of_agent())
    return f"user {USER} cannot run the agent: {done.stderr.strip()[-200:]}" if done.returncode else ""


def run(*command: str | Path) -> None:
    subprocess.run([str(part) for part in command], check=True, capture_output=True)


@dataclass
class DiskAgent:
    """`disk` is where the tmpfs stays mounted all the time, `root` where the agent sees it, or does not."""

    directory: Path
    environment: Environment
    client: LiveClient = field(init=False)
    process: subprocess.Popen[bytes] | None = None
    fields: dict[str, dict[str, Any]] = field(default_factory=dict)
    """More of an entry's fields, by its name."""

    def __post_init__(self) -> None:
        self.client = self.environment.client()
        self.disk, self.root = self.directory / "disk", self.directory / "root"
        self.log = self.directory / "agent.log"

    # the cluster ----------------------------------------------------------------------------------------------

    def install(self) -> None:
        config = {"jobNamespace": JOBS, "reconcilationFrequencyInSecs": 1}
        for document in (
            Namespace.from_dict({"metadata": {"name": "kserve"}}),
            Namespace.from_dict({"metadata": {"name": JOBS}}),
            ConfigMap.from_dict({
                "metadata": {"name": "inferenceservice-config", "namespace": "kserve"},
                "data": {"localModel": json.dumps(config)},
            }),
            LocalModelNodeGroup.from_dict({
                "metadata": {"name": "gpu1"},
                "spec": {
                    "storageLimit": "1Gi",
                    "persistentVolumeSpec": {"hostPath": {"path": "/models"}},
                    "persistentVolumeClaimSpec": {"accessModes": ["ReadWriteOnce"]},
                },
            }),
            LocalModelNode.from_dict({"metadata": {"name": "node-1"}, "spec": {"localModels": []}}),
        ):  # fmt: skip
            self.client.create(document)

    def want(self, *names: str, **fields: dict[str, Any]) -> None:
        """The node's entries from now on; caches that are not named are gone. `fields`: more of the entry of a name."""
        for cache in self.client.list(LocalModelCache):
            if cache.name not in names:
                self.client.delete(cache)
        for name in names:
            if self.client.find(LocalModelCache, name) is None:
                spec = {"sourceModelUri": uri(name), "modelSize": "1Mi", "nodeGroups": ["gpu1"]}
                self.client.create(LocalModelCache.from_dict({"metadata": {"name": name}, "spec": spec}))
        entries = [
            {"modelName": name, "sourceModelUri": uri(name), "nodeGroup": "gpu1", "modelSize": "1Mi"}
            | self.fields.get(name, {})
            | fields.get(name, {})
            for name in names
        ]
        node = self.client.get(LocalModelNode, "node-1")
        self.client.patch(node, {"spec": {"localModels": entries}})

    def serve(self, name: str) -> Pod:
        """A pod of this node that has the model mounted."""
        mount = {"name": "m", "mountPath": "/m", "subPath": f"models/{storage_key(uri(name))}"}
        volume = {"name": "m", "persistentVolumeClaim": {"claimName": f"{name}-gpu1"}}
        container = {"name": "c", "image": "i", "volumeMounts": [mount]}
        spec = {"nodeName": "node-1", "volumes": [volume], "containers": [container]}
        return self.client.create(
            Pod.from_dict({"metadata": {"name": f"serves-{name}", "namespace": "default"}, "spec": spec})
        )

    def jobs(self, name: str) -> list[Job]:
        return [job for job in self.client.list(Job, namespace=JOBS) if job.metadata.labels.get("model") == name]

    def download(self, name: str, content: bytes = b"weights") -> None:
        """Plays the Job that waits: its files, as its user writes them, and its end."""
        self.eventually(lambda: any(not job.is_complete for job in self.jobs(name)))
        folder = self.root / "models" / ".staging" / storage_key(uri(name))
        script = 'mkdir "$0/sub" && cat > "$0/sub/model.bin"'
        subprocess.run([*as_user(USER), "sh", "-c", script, str(folder)], check=True, input=content)
        (job,) = [job for job in self.jobs(name) if not job.is_complete]
        complete = {"conditions": [{"type": "Complete", "status": "True"}], "succeeded": 1}
        self.client.status.patch(job, {"status": complete})

    # what has become of it ------------------------------------------------------------------------------------

    def folder(self, name: str) -> Path:
        return self.root / "models" / storage_key(uri(name))

    def status(self, name: str) -> str | None:
        return self.client.get(LocalModelNode, "node-1").status.model_status.get(name)

    def model(self, name: str) -> Any:
        return self.client.get(LocalModelNode, "node-1").status.models[name]

    def condition(self, type_: str = "StorageReady") -> tuple[str, str, str]:
        for found in self.client.get(LocalModelNode, "node-1").status.conditions:
            if found.type == type_:
                return found.status, found.reason, found.message
        return "", "", ""

    def becomes(self, reason: str) -> str:
        """Waits for the condition's reason; its message."""
        self.eventually(lambda: self.condition()[1] == reason)
        return self.condition()[2]

    def events(self, reason: str) -> list[str]:
        return [event.message for event in self.client.list(Event) if event.reason == reason]

    def eventually(self, condition: Callable[[], object]) -> None:
        eventually(condition, timeout=30, message=self.log.read_text()[-3000:])

    # the agent ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        kubeconfig = self.directory / "kubeconfig"
        kubeconfig.write_bytes(self.environment.kubeconfig().read_bytes())
        kubeconfig.chmod(0o644)
        command = [*as_user(USER), sys.executable, "-m", "localmodel.agent.main", "--kubeconfig", str(kubeconfig)]
        flags = ["--models-root", str(self.root), *QUIET]
        with self.log.open("ab") as file:
            self.process = subprocess.Popen(
                [*command, *flags], stdout=file, stderr=file, env=environment_of_agent(), cwd=self.directory
            )

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(20)
            self.process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    # the disk -------------------------------------------------------------------------------------------------

    def mount(self) -> None:
        run("mount", "--bind", self.disk, self.root)

    def unmount(self) -> None:
        """Lazily, as the agent has it open."""
        run("umount", "-l", self.root)


def environment_of_agent() -> dict[str, str]:
    return {**os.environ, "NODE_NAME": "node-1", "PYTHONPATH": str(ROOT)}


def uri(name: str) -> str:
    return f"s3://bucket/{name}"


def as_user(user: int) -> list[str]:
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]


@contextmanager
def disk_agent() -> Iterator[DiskAgent]:
    """The agent runs; nothing is wanted of it yet."""
    # Not pytest's directories, which only root may enter.
    directory = Path(tempfile.mkdtemp(prefix="localmodel-disk-"))
    directory.chmod(0o755)
    with Environment(crds=[ROOT / "config" / "crd"]) as environment:
        it = DiskAgent(directory, environment)
        it.disk.mkdir()
        it.root.mkdir()
        try:
            run("mount", "-t", "tmpfs", "-o", f"size={SIZE},uid={USER},gid={USER},mode=0755", "tmpfs", it.disk)
            # Where the disk is not, the agent could write: that it must not is the point.
            os.chown(it.root, USER, USER)
            it.mount()
            it.install()
            it.start()
            it.becomes("Ready")
            yield it
        finally:
            it.stop()
            for place in (it.root, it.disk):
                while os.path.ismount(place):
                    run("umount", "-l", place)
            shutil.rmtree(directory)
