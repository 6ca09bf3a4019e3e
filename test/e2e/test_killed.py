"""Kill -9 of any one process in the middle of a download: it still ends whole, with one Job per node.

The hub holds every download at a share of its bytes, so that the process to be killed is there at each moment. What a
store does at each of its steps is the matter of test/integration/agent/test_killed_store.py.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from support.gate import Gate
from support.held import HeldDownload
from support.sandbox import Sandbox, sandbox


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with sandbox(tmp_path_factory.mktemp("killed"), size=12 << 20) as it:
        yield it


def ends_verified_with_one_job_per_node(cluster: Sandbox, download: HeldDownload) -> None:
    download.ends_verified()
    assert cluster.jobs(download.name) == {"node-1": 1, "node-2": 1}


@pytest.mark.parametrize("share", [0, 0.3, 0.8])
@pytest.mark.parametrize("victim", ["manager", "agent-node-1"])
def test_a_killed_program_is_started_again(cluster: Sandbox, gate: Gate, victim: str, share: float) -> None:
    download = HeldDownload(cluster, gate, share)
    child = cluster.cluster.supervisor[victim]
    restarts = child.restarts
    cluster.kill(victim)
    cluster.eventually(lambda: child.restarts > restarts)
    ends_verified_with_one_job_per_node(cluster, download)


@pytest.mark.parametrize("share", [0, 0.3, 0.8])
def test_a_killed_download_is_tried_again_by_its_job(cluster: Sandbox, gate: Gate, share: float) -> None:
    download = HeldDownload(cluster, gate, share)
    os.kill(download.pid, signal.SIGKILL)
    cluster.eventually(lambda: set(cluster.downloads("node-1")) - {download.pid})
    ends_verified_with_one_job_per_node(cluster, download)


@pytest.mark.parametrize("part", ["controllers", "apiserver"])
def test_a_killed_part_of_the_cluster_is_survived_too(cluster: Sandbox, gate: Gate, part: str) -> None:
    """Containers die with the controllers: the kubelet that follows finds the pod lost, and the Job makes another."""
    download = HeldDownload(cluster, gate, 0.3)
    cluster.kill(part)
    if part == "controllers":
        cluster.eventually(lambda: not Path(f"/proc/{download.pid}").exists(), timeout=5)
    ends_verified_with_one_job_per_node(cluster, download)


@pytest.mark.usefixtures("gate")
@pytest.mark.parametrize("seed", [1, 2])
def test_agent_and_downloads_killed_at_random_moments_leave_whole_models_and_nothing_else(
    cluster: Sandbox, seed: int
) -> None:
    """Also while they publish and start, which no gate holds."""
    chance = Random(seed)
    models = [cluster.another() for _ in range(2)]
    for name, repository in models:
        cluster.cache(name, repository)
    spared: set[int] = set()
    for _ in range(10):
        threading.Event().wait(chance.uniform(0.02, 0.5))
        if chance.random() < 0.7:
            with suppress(ProcessLookupError):
                cluster.kill("agent-node-1")
        else:
            # Once each: a Job has two tries more.
            for pid in set(cluster.downloads("node-1")) - spared:
                spared.add(pid)
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                cluster.eventually(lambda pid=pid: not Path(f"/proc/{pid}").exists())
                spared |= set(cluster.downloads("node-1"))
    for name, repository in models:
        cluster.eventually(lambda name=name: cluster.is_available(name), timeout=90)
        assert cluster.problems(repository) == []
        assert cluster.jobs(name) == {"node-1": 1, "node-2": 1}
    folder = cluster.node_models("node-1")
    cluster.eventually(lambda: not list((folder / ".staging").iterdir()))
    cluster.eventually(lambda: not list((folder / ".trash").iterdir()))
