"""Measures the agent's program on the embedded API server: how small it is when idle, what a pass over many models
costs, and how soon it says what is true.

The agent runs with its shipped role and default flags; this process plays the manager, the kubelet and the downloads.
Models on the disk have few and small files, but those of the large download, which are sparse: whoever reads them reads
their whole length.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from localmodel.agent.jobs import STORAGE_KEY_LABEL
from localmodel.agent.store import ModelStore
from localmodel.agent.verification import Publication
from localmodel.api import LocalModelCache, LocalModelNode, LocalModelNodeGroup
from localmodel.api.names import storage_key
from localmodel.api.node import LocalModelNodeStatus
from localmodel.download.manifest import FileEntry, Manifest, manifest_path
from localmodel.runtime.kubeconfig import load_config
from localmodel.runtime.objects import Job, Node, Pod
from localmodel.runtime.rest import LiveClient
from localmodel.runtime.typedwatch import watch
from localmodel.sandbox import install
from localmodel.sandbox.apiserver.kubeconfig import token_credentials, write_kubeconfig
from localmodel.sandbox.cluster import free_port
from localmodel.sandbox.kubeconfig import other_kubeconfig
from localmodel.sandbox.supervisor import Child, Program, Supervisor

from .case import Context
from .manager import cpu_seconds, in_parallel, node_group, report, resident_mib, wait_for

NODE = "node-own"
MODELS = 100
FILES = 5
"""Of each model on the disk."""
SERVERS = 8
"""Pods that serve models on the node, as it has GPUs."""
SETTLE_SECONDS = 5.0
"""Until an agent counts as idle."""
LARGE = 8 << 30
SMALL = 1 << 20
SHARDS = 4
"""Files of a download."""
TINY = 10
"""With a size below it a case is only to run."""

Json = dict[str, Any]


@dataclass
class Bench:
    """An API server with one node of interest, and an agent's program on it."""

    directory: Path
    supervisor: Supervisor
    client: LiveClient
    metrics_port: int = 0
    runs: int = 0

    @property
    def root(self) -> Path:
        return self.directory / "models-root"

    def start_agent(self) -> Child:
        """With a kubeconfig that has its service account's token."""
        self.metrics_port = free_port()
        self.runs += 1
        command = (sys.executable, "-m", "localmodel.agent.main", f"--kubeconfig={self.directory / 'agent'}")
        flags = (f"--models-root={self.root}", f"--metrics-addr=127.0.0.1:{self.metrics_port}")
        env = {**self.environment(), "NODE_NAME": NODE}
        program = Program(name=f"agent-{self.runs}", command=(*command, *flags, "--health-probe-addr=0"), env=env)
        return self.supervisor.start(program)

    def environment(self) -> dict[str, str]:
        """Modules are compiled, as in the image, into a place of their own."""
        env = {**os.environ, "PYTHONPYCACHEPREFIX": str(self.directory / "compiled"), "MALLOC_ARENA_MAX": "2"}
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        return env

    def compile(self) -> None:
        command = [sys.executable, "-c", "import localmodel.agent.program, localmodel.runtime.serving"]
        subprocess.run(command, env=self.environment(), check=True)

    def metric(self, name: str) -> float:
        """The sum of the series of that name; 0 while the agent does not serve yet."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            return 0.0
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    def reconciles(self) -> float:
        return self.metric("controller_runtime_reconcile_total")

    def until_idle(self, seconds: float) -> None:
        """Until it has reconciled nothing for so long."""
        last, since = self.reconciles(), time.monotonic()
        while time.monotonic() - since < seconds:
            time.sleep(0.1)
            if (now := self.reconciles()) != last:
                last, since = now, time.monotonic()

    def status(self) -> Json:
        return dict(self.client.get(LocalModelNode, NODE).status.model_status)


@contextmanager
def running() -> Iterator[Bench]:
    with tempfile.TemporaryDirectory() as name, Supervisor(log_directory=Path(name) / "logs") as supervisor:
        directory = Path(name)
        kubeconfig = directory / "kubeconfig"
        command = (sys.executable, "-m", "localmodel.cli.main", "sandbox", "apiserver", f"--kubeconfig={kubeconfig}")
        supervisor.start(Program(name="apiserver", command=command, env=dict(os.environ)))
        wait_for(kubeconfig.exists, "the API server is ready")
        client = LiveClient(load_config(kubeconfig, user_agent="benchmark/1"))
        install.install(client)
        token = install.service_account_token(client, install.NAMESPACE, install.AGENT_ACCOUNT)
        credentials = token_credentials(token)
        write_kubeconfig(directory / "agent", other_kubeconfig(kubeconfig, install.AGENT_ACCOUNT, credentials))
        client.create(group())
        client.create(Node.from_dict({"metadata": {"name": NODE, "labels": {"pool": "a"}}}))
        bench = Bench(directory, supervisor, client)
        bench.root.mkdir()
        bench.compile()
        yield bench
        client.close()


def group() -> LocalModelNodeGroup:
    return node_group("a", 0)


def uri(index: int) -> str:
    return f"hf://org/model-{index:04d}"


def entry(index: int) -> Json:
    return {
        "modelName": f"model-{index:04d}",
        "sourceModelUri": uri(index),
        "nodeGroup": "a",
        "modelSize": "1Mi",
        "priority": index % 3,
        "evictionPolicy": "LeastRecentlyUsed",
    }


def fill(root: Path, models: int) -> None:
    """Models on the disk as the agent published them."""
    store = ModelStore(root, owner=NODE)
    store.open()
    for index in range(models):
        staging = store.prepare_staging(storage_key(uri(index)), uri(index))
        for number in range(FILES):
            (staging / f"file-{number}").write_bytes(b"w" * 100)
        store.publish(storage_key(uri(index)), Publication(uri=uri(index)))
    store.close()


def with_models(bench: Bench, models: int) -> None:
    """The node's entries and their folders; nothing is reported yet."""
    fill(bench.root, models)
    spec = {"localModels": [entry(index) for index in range(models)]}
    bench.client.create(LocalModelNode.from_dict({"metadata": {"name": NODE}, "spec": spec}))


def is_reported(bench: Bench, models: int) -> Callable[[], bool]:
    return lambda: list(bench.status().values()).count("ModelDownloaded") == models


# cases ---------------------------------------------------------------------------------------------------------------


def idle(context: Context) -> dict[str, float]:
    """100 models, and so many nodes in the cluster, each with models, a pod and a Job."""
    is_real = context.size >= TINY or context.size == 1
    models = MODELS if is_real else 5
    with running() as bench:
        in_parallel(lambda index: add_other(bench.client, index), range(context.size - 1))
        with_models(bench, models)
        child = bench.start_agent()
        wait_for(is_reported(bench, models), "all models are reported")
        bench.until_idle(SETTLE_SECONDS if is_real else 0.5)
        # With the first answer a server of metrics costs more than without: that is part of an agent at work.
        return {"resident_mib": resident_mib(child.pid)}


def idle_alone(context: Context) -> dict[str, float]:
    return idle(replace(context, size=1 if context.size >= TINY else 2))


def add_other(client: LiveClient, index: int) -> None:
    """A node with a LocalModelNode, a pod and a download."""
    name = f"node-{index:05d}"
    client.create(Node.from_dict({"metadata": {"name": name, "labels": {"pool": "a"}}}))
    entries = {"localModels": [entry(number) for number in range(5)]}
    client.create(LocalModelNode.from_dict({"metadata": {"name": name}, "spec": entries}))
    report(client, name, range(5))
    pod = {"containers": [{"name": "c", "image": "i"}]}
    metadata = {"name": f"server-{name}", "namespace": "default"}
    client.create(Pod.from_dict({"metadata": metadata, "spec": {"nodeName": name, **pod}}))
    metadata = {"name": f"download-{name}", "namespace": install.JOB_NAMESPACE, "labels": {"node": name}}
    spec = {"template": {"spec": {"restartPolicy": "Never", **pod}}}
    client.create(Job.from_dict({"metadata": metadata, "spec": spec}))


def start(context: Context) -> dict[str, float]:
    """From the start of the process to the first status, which says what is on the disk: 100 models, which an agent of
    before has left in order, and a status that somebody has emptied."""
    models = context.size
    with running() as bench:
        with_models(bench, models)
        before = bench.start_agent()
        wait_for(is_reported(bench, models), "all models are reported")
        before.stop()
        found = bench.client.get(LocalModelNode, NODE)
        found.status = LocalModelNodeStatus()
        bench.client.status.update(found)
        with watch(bench.client, LocalModelNode) as changes:
            began = time.monotonic()
            child = bench.start_agent()
            seconds = until_said(bench, changes, models, began)
        return {"seconds": seconds, "cpu_seconds": cpu_seconds(child.pid)}


def until_said(bench: Bench, changes: Any, models: int, began: float) -> float:
    """Seconds until a LocalModelNode comes whose status calls so many models downloaded."""
    for change in changes:
        said = change.object.status.model_status
        if change.object.name == NODE and list(said.values()).count("ModelDownloaded") == models:
            return time.monotonic() - began
    raise RuntimeError("the watch ended")


def passes(context: Context) -> dict[str, float]:
    """A pass that finds nothing new, in the agent's own process: its metrics say how long. Milliseconds."""
    models, rounds = context.size, 10 if context.size >= TINY else 2
    with running() as bench:
        with_models(bench, models)
        for index in range(SERVERS):
            bench.client.create(server(index))
        bench.start_agent()
        wait_for(is_reported(bench, models), "all models are reported")
        bench.until_idle(1.0 if models >= TINY else 0.3)
        times = [one_pass(bench, number) for number in range(rounds)]
        walks = [walk(bench.root) for _ in range(rounds)]
        return {"milliseconds": min(times) * 1000, "walk_milliseconds": min(walks) * 1000}


def server(index: int) -> Pod:
    """A pod of the node that serves a model, as KServe's webhook writes it."""
    name, mount = f"server-{index}", {"name": "m", "mountPath": "/mnt/models", "readOnly": True}
    volume = {"name": "m", "persistentVolumeClaim": {"claimName": f"model-{index:04d}-a"}}
    container = {"name": "c", "image": "i", "volumeMounts": [{**mount, "subPath": f"models/{storage_key(uri(index))}"}]}
    spec = {"nodeName": NODE, "volumes": [volume], "containers": [container]}
    return Pod.from_dict({"metadata": {"name": name, "namespace": "default"}, "spec": spec})


def one_pass(bench: Bench, number: int) -> float:
    """Seconds, of a pass that a changed annotation causes."""
    name = "controller_runtime_reconcile_time_seconds"
    before, count = bench.metric(f"{name}_sum"), bench.metric(f"{name}_count")
    node = bench.client.get(LocalModelNode, NODE)
    bench.client.patch(node, {"metadata": {"annotations": {"benchmark": str(number)}}})
    wait_for(lambda: bench.metric(f"{name}_count") > count, "a pass")
    return (bench.metric(f"{name}_sum") - before) / (bench.metric(f"{name}_count") - count)


def walk(root: Path) -> float:
    """Seconds that it takes to look at every file once, which any check must."""
    began = time.perf_counter()
    pending = [os.fspath(root / "models")]
    while pending:
        with os.scandir(pending.pop()) as found:
            for item in found:
                if item.is_dir(follow_symlinks=False):
                    pending.append(item.path)
                else:
                    item.stat(follow_symlinks=False)
    return time.perf_counter() - began


def bare_walk(context: Context) -> dict[str, float]:
    """What a pass is compared with."""
    with tempfile.TemporaryDirectory() as name:
        fill(Path(name), context.size)
        return {"milliseconds": min(walk(Path(name)) for _ in range(10)) * 1000}


def large(context: Context) -> dict[str, float]:
    return publication(LARGE, 5 if context.size >= TINY else 1)


def small(context: Context) -> dict[str, float]:
    return publication(SMALL, 5 if context.size >= TINY else 1)


def publication(size: int, models: int) -> dict[str, float]:
    """From the end of a Job of our image to Downloaded, one model after the other; seconds."""
    with running() as bench, watch(bench.client, LocalModelNode) as changes:
        client = bench.client
        bench.start_agent()
        times = []
        for index in range(models):
            cache = {"sourceModelUri": uri(index), "modelSize": str(size), "nodeGroups": ["a"]}
            client.create(LocalModelCache.from_dict({"metadata": {"name": f"model-{index:04d}"}, "spec": cache}))
            spec = {"localModels": [{**entry(number), "modelSize": str(size)} for number in range(index + 1)]}
            if index == 0:
                client.create(LocalModelNode.from_dict({"metadata": {"name": NODE}, "spec": spec}))
            else:
                client.patch(LocalModelNode.from_dict({"metadata": {"name": NODE}}), {"spec": spec})
            key = storage_key(uri(index))
            wait_for(lambda key=key: job_of(client, key), "the Job")  # type: ignore[misc]
            download(bench.root / "models" / ".staging" / key, uri(index), size)
            found = job_of(client, key)
            assert found is not None
            began = time.monotonic()
            client.status.patch(found, {"status": done()})
            times.append(until_said(bench, changes, index + 1, began))
        return {"seconds": min(times), "slowest_seconds": max(times)}


def job_of(client: LiveClient, key: str) -> Job | None:
    found = client.list(Job, namespace=install.JOB_NAMESPACE, labels={STORAGE_KEY_LABEL: key})
    return found[0] if found else None


def download(folder: Path, source: str, size: int) -> None:
    """What our image leaves: the files, and their manifest. Their digests are none: nobody is to read the files."""
    files = []
    for number in range(SHARDS):
        path = f"model-{number}.safetensors"
        with (folder / path).open("wb") as file:
            file.truncate(size // SHARDS)
        files.append(FileEntry(path=path, size=size // SHARDS, sha256=f"{number:064x}"))
    manifest_path(folder).parent.mkdir(exist_ok=True)
    Manifest.of(uri=source, revision="r", files=files).write(manifest_path(folder))


def done() -> Json:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    told = [{"type": name, "status": "True"} for name in ("SuccessCriteriaMet", "Complete")]
    return {"startTime": now, "completionTime": now, "succeeded": 1, "conditions": told}
