"""`downloadMode: Agent` on a simulated cluster: agents download themselves, and survive what Jobs survive."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.gate import Gate
from support.held import HeldDownload
from support.sandbox import TOKEN, Sandbox, processes, sandbox

from localmodel.api import LocalModelCache, LocalModelNode
from localmodel.runtime.objects import (
    ConfigMap,
    Event,
    Job,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
)
from localmodel.sandbox import demo_objects, install

NODES = ("node-1", "node-2")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    directory = tmp_path_factory.mktemp("agents")
    with sandbox(directory, size=12 << 20, config={"downloadMode": "Agent"}) as it:
        yield it


def ends_verified_at_its_first_attempt(cluster: Sandbox, download: HeldDownload) -> None:
    download.ends_verified()
    assert [reported(cluster, node).models[download.name].attempts for node in NODES] == [1, 1]


def reported(cluster: Sandbox, node: str) -> Any:
    return cluster.cluster.client.get(LocalModelNode, node).status


def test_a_model_is_downloaded_and_served_without_a_job_or_its_volumes(cluster: Sandbox, gate: Gate) -> None:
    client = cluster.cluster.client
    _, repository = cluster.another()
    gate.close_at(6 << 20)
    cluster.cache(demo_objects.CACHE_NAME, repository)
    cluster.apply(demo_objects.inference_service(f"hf://{repository}"))
    cluster.eventually(lambda: gate.held == len(NODES))
    (pid,) = cluster.downloads("node-1")
    assert TOKEN not in " ".join(processes().values())
    assert f"HF_TOKEN={TOKEN}" in Path(f"/proc/{pid}/environ").read_text()
    (model,) = json.loads(cluster.ask_agent("node-1", "/progress"))["models"]
    assert (model["key"], model["status"], model["state"]) == (
        demo_objects.CACHE_NAME,
        "ModelDownloading",
        "downloading",
    )
    assert model["bytesDone"] < model["bytesTotal"] == cluster.model.size

    gate.open()
    cluster.eventually(lambda: cluster.is_available(demo_objects.CACHE_NAME), timeout=60)
    assert cluster.problems(repository) == []
    cluster.eventually(lambda: client.list(PersistentVolumeClaim, namespace=demo_objects.SERVICE_NAMESPACE))
    assert client.list(Job) == []
    assert client.list(PersistentVolumeClaim, namespace=install.JOB_NAMESPACE) == []
    assert [volume.name for volume in client.list(PersistentVolume) if volume.name.endswith("-download")] == []
    assert [child for child in processes().values() if "localmodel.agent.child" in child] == []


@pytest.mark.parametrize("share", [0, 0.3, 0.8])
def test_a_killed_agent_goes_on_where_it_was(cluster: Sandbox, gate: Gate, share: float) -> None:
    download = HeldDownload(cluster, gate, share)
    agent = cluster.cluster.supervisor["agent-node-1"]
    restarts = agent.restarts
    cluster.kill("agent-node-1")
    cluster.eventually(lambda: not Path(f"/proc/{download.pid}").exists(), timeout=5)
    cluster.eventually(lambda: agent.restarts > restarts)
    cluster.eventually(lambda: cluster.downloads("node-1"))
    ends_verified_at_its_first_attempt(cluster, download)


def test_a_killed_download_is_a_failed_attempt_that_says_what_it_may_have_lacked(cluster: Sandbox, gate: Gate) -> None:
    download = HeldDownload(cluster, gate, 0.3)
    os.kill(download.pid, signal.SIGKILL)
    cluster.eventually(lambda: reported(cluster, "node-1").models[download.name].reason == "OOMKilled", timeout=5)
    model = reported(cluster, "node-1").models[download.name]
    assert "raise storageInitializer.memoryLimit" in model.message
    assert model.next_retry_time is not None
    folder = cluster.cluster.node_root("node-1") / "mnt" / "models" / "models" / ".staging" / model.storage_key
    assert folder.is_dir()
    cluster.cluster.client.delete(cluster.cluster.client.get(LocalModelCache, download.name))
    cluster.eventually(lambda: not folder.exists(), timeout=30)


def test_a_cache_that_goes_ends_its_download(cluster: Sandbox, gate: Gate) -> None:
    download = HeldDownload(cluster, gate, 0.3)
    cluster.cluster.client.delete(cluster.cluster.client.get(LocalModelCache, download.name))
    cluster.eventually(lambda: not Path(f"/proc/{download.pid}").exists(), timeout=30)
    cluster.eventually(lambda: download.name not in reported(cluster, "node-1").model_status, timeout=30)


def test_after_a_change_of_the_mode_what_runs_goes_on_and_what_comes_is_a_job(cluster: Sandbox, gate: Gate) -> None:
    download = HeldDownload(cluster, gate, 0.3)
    cluster.configure(downloadMode="Job")
    other, repository = cluster.another()
    cluster.cache(other, repository)
    cluster.eventually(lambda: cluster.jobs(other) == {"node-1": 1, "node-2": 1})
    ends_verified_at_its_first_attempt(cluster, download)
    cluster.eventually(lambda: cluster.is_available(other), timeout=60)
    assert cluster.problems(repository) == []
    cluster.configure(downloadMode="Agent")
    cluster.eventually(
        lambda: not cluster.cluster.client.list(PersistentVolumeClaim, namespace=install.JOB_NAMESPACE), timeout=60
    )


def test_no_secret_is_anywhere_but_in_its_secret(cluster: Sandbox) -> None:
    """After all that the tests above have done: no log, no object, no file of a node has it."""
    client = cluster.cluster.client
    for kind in (Event, Job, Pod, LocalModelNode, ConfigMap):
        assert not [str(it) for it in client.list(kind) if TOKEN in json.dumps(it.to_dict())]
    roots = [cluster.cluster.logs, *(cluster.cluster.node_root(node) / "mnt" for node in NODES)]
    found = [path for root in roots for path in root.rglob("*") if path.is_file() and has_token(path)]
    assert found == []


def has_token(path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return TOKEN.encode() in path.read_bytes()
    return False
