"""Kill -9 of any one process in the middle of a download: it still ends whole, with one Job per node."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from support.sandbox import Sandbox, sandbox

from localmodel.runtime.errors import TransportError
from localmodel.runtime.objects import Node

BANDWIDTH = 8_000_000
_numbers = count()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with sandbox(tmp_path_factory.mktemp("killed"), size=12 << 20, bandwidth=BANDWIDTH) as it:
        yield it


def kill(cluster: Sandbox, victim: str) -> None:
    """The victim is killed; a download may have ended by itself just before."""
    if victim != "download":
        cluster.kill(victim)
        return
    for pid in cluster.downloads("node-1"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def reached(cluster: Sandbox, name: str, share: float) -> bool:
    """Node 1 has this share of the model. At 0 its download has just begun."""
    if share == 0:
        return bool(cluster.downloads("node-1"))
    return cluster.downloaded(name)[0] >= share


@pytest.mark.parametrize("share", [0, 0.3, 0.8])
@pytest.mark.parametrize("victim", ["manager", "agent-node-1", "download"])
def test_it_still_ends_verified_with_one_job_per_node(cluster: Sandbox, victim: str, share: float) -> None:
    number = next(_numbers)
    name, repository = f"killed-{number}", f"org/model-{number}"
    cluster.cache(name, repository)
    cluster.eventually(lambda: reached(cluster, name, share))
    kill(cluster, victim)
    cluster.eventually(lambda: cluster.is_available(name), timeout=60)
    assert cluster.problems(repository) == []
    assert cluster.jobs(name) == {"node-1": 1, "node-2": 1}


@pytest.mark.parametrize("part", ["controllers", "apiserver"])
def test_a_killed_part_of_the_cluster_is_survived_too(cluster: Sandbox, part: str) -> None:
    """Containers die with the controllers: the kubelet that follows finds the pod lost, and the Job makes another."""
    number = next(_numbers)
    name, repository = f"killed-{number}", f"org/model-{number}"
    cluster.cache(name, repository)
    cluster.eventually(lambda: reached(cluster, name, 0.3))
    pids = cluster.downloads("node-1")
    cluster.kill(part)
    if part == "controllers":
        cluster.eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), timeout=5)
    cluster.eventually(lambda: answers(cluster) and cluster.is_available(name), timeout=60)
    assert cluster.problems(repository) == []
    assert cluster.jobs(name) == {"node-1": 1, "node-2": 1}


def answers(cluster: Sandbox) -> bool:
    try:
        cluster.cluster.client.list(Node)
    except TransportError:
        return False
    return True
