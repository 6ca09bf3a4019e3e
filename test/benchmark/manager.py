"""Measures the manager's program on the embedded API server: a roll-out of models to many nodes, from the first cache
to the last label, and what it costs when little or nothing happens.

The manager runs with its shipped role and default flags. This process plays the nodes: each reports its models in
`REPORTS` steps, as agents do whose downloads end in groups, as fast as the server takes it. What the manager wrote is
counted in the server's audit log, what it used in /proc, how often it reconciled by its metrics.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from localmodel.api import LocalModelCache, LocalModelNode, LocalModelNodeGroup
from localmodel.api.names import AGENT_LABEL, AGENT_LABEL_VALUE, storage_key
from localmodel.runtime.kubeconfig import load_config
from localmodel.runtime.objects import Node, Pod
from localmodel.runtime.rest import LiveClient
from localmodel.runtime.typedwatch import watch
from localmodel.sandbox import install
from localmodel.sandbox.apiserver.kubeconfig import token_credentials, write_kubeconfig
from localmodel.sandbox.cluster import free_port
from localmodel.sandbox.kubeconfig import other_kubeconfig
from localmodel.sandbox.supervisor import Child, Program, Supervisor

from .case import Context
from .measure import DEADLINE, MIB

MODELS = 100
GROUPS = ("a", "b")
REPORTS = 20
"""Status writes of each node's agent for the whole roll-out."""
LIMIT = 10
"""`maxConcurrentDownloads` of each group, where there is one."""
SIZE = 10 << 30
QUIET_SECONDS = 12.0
"""Longer than any interval at which the manager coalesces writes."""
SMALL = 50
"""With fewer nodes a roll-out is only to run: it has few models, and little time to become quiet."""
AGENT = "localmodel-manager/"
_TICKS = os.sysconf("SC_CLK_TCK")

Json = dict[str, Any]


@dataclass
class Bench:
    """An API server with nodes, and a manager's program on it."""

    directory: Path
    supervisor: Supervisor
    client: LiveClient
    quiet: float
    """Seconds without a write after which there are no more."""
    metrics_port: int = 0
    runs: int = 0
    read_to: int = 0
    """How far the audit log has been read, in bytes."""

    def start_manager(self) -> Child:
        """With a kubeconfig that has its service account's token."""
        self.metrics_port = free_port()
        self.runs += 1
        command = (sys.executable, "-m", "localmodel.manager.main", f"--kubeconfig={self.directory / 'manager'}")
        flags = (f"--metrics-addr=127.0.0.1:{self.metrics_port}", "--health-probe-addr=0", "--webhook-port=0")
        program = Program(name=f"manager-{self.runs}", command=(*command, *flags), env=dict(os.environ))
        return self.supervisor.start(program)

    def new_writes(self) -> list[Json]:
        """The manager's writes since the last call, from the audit log."""
        with (self.directory / "audit.jsonl").open("rb") as log:
            log.seek(self.read_to)
            text = log.read()
        text = text[: text.rfind(b"\n") + 1]
        self.read_to += len(text)
        lines = [json.loads(line) for line in text.splitlines()]
        return [
            line
            for line in lines
            if line["userAgent"].startswith(AGENT) and line["verb"] not in ("get", "list", "watch")
        ]

    def until_quiet(self) -> list[Json]:
        """The manager's writes until it has made none for a while."""
        writes, last = self.new_writes(), time.monotonic()
        while time.monotonic() - last < self.quiet:
            time.sleep(0.2)
            if new := self.new_writes():
                writes += new
                last = time.monotonic()
        return writes

    def reconciles(self, controller: str = "") -> int:
        """How often the controller, or all of them, have run."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=DEADLINE) as answer:
            text = answer.read().decode()
        pattern = rf'^controller_runtime_reconcile_total{{controller="({controller or "[a-z]+"})",.*}} (\S+)$'
        return sum(int(float(found[1])) for found in re.findall(pattern, text, re.MULTILINE))


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB


def wait_for(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {DEADLINE:.0f} s")
        time.sleep(0.2)


@contextmanager
def running(nodes: int, *, limit: int = 0) -> Iterator[Bench]:
    """A server with that many nodes, an agent on each, and two groups that share them, each with that limit."""
    with tempfile.TemporaryDirectory() as name, Supervisor(log_directory=Path(name) / "logs") as supervisor:
        directory = Path(name)
        kubeconfig = directory / "kubeconfig"
        command = (sys.executable, "-m", "localmodel.cli.main", "sandbox", "apiserver")
        flags = (f"--kubeconfig={kubeconfig}", f"--audit-log={directory / 'audit.jsonl'}")
        supervisor.start(Program(name="apiserver", command=(*command, *flags), env=dict(os.environ)))
        wait_for(kubeconfig.exists, "the API server is ready")
        client = LiveClient(load_config(kubeconfig, user_agent="benchmark/1"))
        install.install(client)
        token = install.service_account_token(client, install.NAMESPACE, install.MANAGER_ACCOUNT)
        other = other_kubeconfig(kubeconfig, install.MANAGER_ACCOUNT, token_credentials(token))
        write_kubeconfig(directory / "manager", other)
        for group in GROUPS:
            client.create(node_group(group, limit))
        in_parallel(lambda index: add_node(client, index), range(nodes))
        yield Bench(directory, supervisor, client, QUIET_SECONDS if nodes >= SMALL else 1.5)
        client.close()


def in_parallel(function: Callable[[int], object], numbers: Iterable[int]) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(function, numbers))


def node_name(index: int) -> str:
    return f"node-{index:04d}"


def add_node(client: LiveClient, index: int) -> None:
    """A node that is ready, with an agent that is."""
    name, ready = node_name(index), {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    labels = {"pool": GROUPS[index % len(GROUPS)], "kubernetes.io/hostname": name}
    client.status.patch(client.create(Node.from_dict({"metadata": {"name": name, "labels": labels}})), ready)
    metadata = {
        "name": f"agent-{name}",
        "namespace": install.NAMESPACE,
        "labels": {AGENT_LABEL: AGENT_LABEL_VALUE},
    }
    spec = {"nodeName": name, "containers": [{"name": "manager", "image": "agent"}]}
    client.status.patch(client.create(Pod.from_dict({"metadata": metadata, "spec": spec})), ready)


def node_group(name: str, limit: int) -> LocalModelNodeGroup:
    expression = {"key": "pool", "operator": "In", "values": [name]}
    volume = {
        "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": "2Ti"},
        "local": {"path": "/mnt/models"},
        "storageClassName": "local-storage",
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}},
    }
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Ti"}}}
    return LocalModelNodeGroup.from_dict(
        {
            "metadata": {"name": name},
            "spec": {
                "storageLimit": "2Ti",
                "maxConcurrentDownloads": limit,
                "persistentVolumeSpec": volume,
                "persistentVolumeClaimSpec": {**claim, "storageClassName": "local-storage"},
            },
        }
    )


def model_name(index: int) -> str:
    return f"model-{index:03d}"


def cache(index: int) -> LocalModelCache:
    spec = {"sourceModelUri": f"hf://org/{model_name(index)}", "modelSize": "10Gi", "nodeGroups": list(GROUPS)}
    return LocalModelCache.from_dict({"metadata": {"name": model_name(index)}, "spec": spec})


def report(client: LiveClient, node: str, models: Iterable[int]) -> None:
    """The node's agent says that it has these models."""
    status: Json = {"modelStatus": {}, "models": {}}
    for index in models:
        name = model_name(index)
        status["modelStatus"][name] = "ModelDownloaded"
        status["models"][name] = {
            "storageKey": storage_key(f"hf://org/{name}"),
            "sizeBytes": SIZE,
            "bytesDownloaded": SIZE,
            "digest": f"sha256:{index:064x}",
            "attempts": 1,
            "reason": "Published",
            "downloadedTime": "2026-01-01T00:00:00Z",
        }
    client.status.patch(LocalModelNode.from_dict({"metadata": {"name": node}}), {"status": status})


def in_waves(context: Context) -> dict[str, float]:
    """The same by CPU time, with `LIMIT` nodes of each group at a time: a node that has entries reports on them."""
    nodes, models = context.size, MODELS if context.size >= SMALL else 6
    step = max(1, models // REPORTS)
    with running(nodes, limit=LIMIT) as bench, ThreadPoolExecutor(4) as agents:
        client = bench.client
        child = bench.start_manager()
        wait_for(lambda: is_served(bench), "the manager is ready")
        bench.until_quiet()
        before = cpu_seconds(child.pid)
        seen: set[str] = set()

        def work(node: str) -> None:
            for first in range(0, models, step):
                report(client, node, range(first, min(first + step, models)))

        with watch(client, LocalModelNode) as changes:
            in_parallel(lambda index: client.create(cache(index)), range(models))
            for change in changes:
                if change.object.name not in seen and len(change.object.spec.local_models) == models:
                    seen.add(change.object.name)
                    agents.submit(work, change.object.name)
                if len(seen) == nodes:
                    break
        wait_for(lambda: all(is_available(it, nodes) for it in client.list(LocalModelCache)), "all copies are there")
        writes = bench.until_quiet()
        cpu = cpu_seconds(child.pid) - before
        numbers = {"cpu_seconds": cpu, "cpu_us_per_copy": cpu / (nodes * models) * 1e6}
        return numbers | counts(writes)


def in_waves_on_half(context: Context) -> dict[str, float]:
    return in_waves(replace(context, size=context.size // 2))


def rollout(context: Context) -> dict[str, float]:
    """`size` nodes, 100 models, two groups."""
    nodes, models = context.size, MODELS if context.size >= SMALL else 6
    with running(nodes) as bench:
        client = bench.client
        child = bench.start_manager()
        wait_for(lambda: bench.metrics_port and is_served(bench), "the manager is ready")
        bench.until_quiet()
        numbers = {"idle_mib": resident_mib(child.pid)}
        before, began = cpu_seconds(child.pid), time.monotonic()

        in_parallel(lambda index: client.create(cache(index)), range(models))
        wait_for(lambda: len(client.list(LocalModelNode)) == nodes, "every node has its entries")
        wait_for(lambda: all(len(it.spec.local_models) == models for it in client.list(LocalModelNode)), "all entries")
        numbers["placed_seconds"] = time.monotonic() - began
        numbers["placed_cpu_seconds"] = cpu_seconds(child.pid) - before
        step = max(1, models // REPORTS)
        for first in range(0, models, step):
            batch = range(first, min(first + step, models))
            in_parallel(lambda index, batch=batch: report(client, node_name(index), batch), range(nodes))  # type: ignore[misc]
        reported = time.monotonic() - began
        wait_for(lambda: all(is_available(it, nodes) for it in client.list(LocalModelCache)), "all copies are there")
        numbers["converged_seconds"] = time.monotonic() - began - reported
        writes = bench.until_quiet()
        duration = time.monotonic() - began
        numbers["cpu_seconds"] = cpu_seconds(child.pid) - before
        numbers["cpu_us_per_copy"] = numbers["cpu_seconds"] / (nodes * models) * 1e6
        numbers["resident_mib"] = resident_mib(child.pid)
        numbers |= counts(writes)
        numbers["allowed_writes"] = nodes + 6 * models * len(GROUPS)
        numbers["unpaced_writes_share"] = numbers["unpaced_writes"] / numbers["allowed_writes"]
        interval = 1.0 if nodes <= 500 else 10.0
        numbers["status_writes_share"] = numbers["status_writes"] / (models * (1 + duration / interval))
        numbers["label_writes_share"] = numbers["label_writes"] / (nodes * (1 + duration / 10))
        numbers |= one_change(bench, nodes)
        numbers |= restart(bench, child)
        return numbers


def rollout_to_half(context: Context) -> dict[str, float]:
    return rollout(replace(context, size=context.size // 2))


def rollout_to_a_quarter(context: Context) -> dict[str, float]:
    return rollout(replace(context, size=context.size // 4))


def is_served(bench: Bench) -> bool:
    try:
        return bench.reconciles() >= 0
    except OSError:
        return False


def is_available(found: LocalModelCache, nodes: int) -> bool:
    copies = found.status.copies
    return copies is not None and copies.available == copies.total == nodes


def counts(writes: list[Json]) -> dict[str, float]:
    """Those that the manager spreads over time, and the others."""
    by_kind: Counter[str] = Counter()
    for write in writes:
        path = write["path"].partition("?")[0]
        if "/events" in path:
            by_kind["event_writes"] += 1
        elif path.endswith("/status"):
            by_kind["status_writes"] += 1
        elif "/api/v1/nodes/" in path:
            by_kind["label_writes"] += 1
        else:
            by_kind["unpaced_writes"] += 1
            by_kind[f"{write['verb']} {path.split('/')[-2]}"] += 1
    sys.stderr.write(f"{dict(by_kind)}\n")
    return {name: float(by_kind[name]) for name in ("event_writes", "status_writes", "label_writes", "unpaced_writes")}


def one_change(bench: Bench, nodes: int) -> dict[str, float]:
    """One node loses one model, and then reports that the new download has got on."""
    key, client = model_name(0), bench.client
    node = LocalModelNode.from_dict({"metadata": {"name": node_name(nodes // 2)}})
    client.status.patch(node, {"status": {"modelStatus": {key: "ModelDownloading"}}})
    bench.until_quiet()
    runs, everything = bench.reconciles("localmodelcache"), bench.reconciles()
    client.status.patch(node, {"status": {"models": {key: {"bytesDownloaded": SIZE // 2}}}})
    writes = bench.until_quiet()
    return {
        "change_cache_reconciles": bench.reconciles("localmodelcache") - runs,
        "change_reconciles": bench.reconciles() - everything,
        "change_writes": len(writes),
    }


def restart(bench: Bench, child: Child) -> dict[str, float]:
    """The manager ends and starts again, and finds everything as it left it."""
    child.stop()
    bench.new_writes()
    began = time.monotonic()
    again = bench.start_manager()
    wait_for(lambda: is_served(bench) and bench.reconciles() > 0, "the manager is ready again")
    writes = bench.until_quiet()
    return {
        "restart_writes": len(writes),
        "restart_seconds": time.monotonic() - began - bench.quiet,
        "restart_cpu_seconds": cpu_seconds(again.pid),
        "restart_mib": resident_mib(again.pid),
    }
