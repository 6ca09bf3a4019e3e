"""Kill -9 of any one process in the middle of a download: it still ends whole, with one Job per node.

The hub holds every download at a share of its bytes, so that the process to be killed is there at each moment.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from support.gate import Gate
from support.sandbox import Sandbox, sandbox

from localmodel.runtime.errors import TransportError
from localmodel.runtime.objects import Node

_numbers = count()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with sandbox(tmp_path_factory.mktemp("killed"), size=12 << 20) as it:
        yield it


@pytest.fixture
def gate(cluster: Sandbox) -> Iterator[Gate]:
    gate = cluster.hub.throttle = Gate()
    yield gate
    gate.open()


class Download:
    """A cache whose download is held on every node at a share of the model."""

    def __init__(self, cluster: Sandbox, gate: Gate, share: float) -> None:
        number = next(_numbers)
        self.name, self.repository = f"killed-{number}", f"org/model-{number}"
        self._cluster = cluster
        self._gate = gate
        gate.close_at(int(share * cluster.model.size))
        cluster.cache(self.name, self.repository)
        cluster.eventually(lambda: gate.held == len(cluster.cluster.nodes))
        (self.pid,) = cluster.downloads("node-1")

    def ends_verified_with_one_job_per_node(self) -> None:
        self._gate.open()
        self._cluster.eventually(lambda: answers(self._cluster) and self._cluster.is_available(self.name), timeout=60)
        assert self._cluster.problems(self.repository) == []
        assert self._cluster.jobs(self.name) == {"node-1": 1, "node-2": 1}


@pytest.mark.parametrize("share", [0, 0.3, 0.8])
@pytest.mark.parametrize("victim", ["manager", "agent-node-1"])
def test_a_killed_program_is_started_again(cluster: Sandbox, gate: Gate, victim: str, share: float) -> None:
    download = Download(cluster, gate, share)
    child = cluster.cluster.supervisor[victim]
    restarts = child.restarts
    cluster.kill(victim)
    cluster.eventually(lambda: child.restarts > restarts)
    download.ends_verified_with_one_job_per_node()


@pytest.mark.parametrize("share", [0, 0.3, 0.8])
def test_a_killed_download_is_tried_again_by_its_job(cluster: Sandbox, gate: Gate, share: float) -> None:
    download = Download(cluster, gate, share)
    os.kill(download.pid, signal.SIGKILL)
    cluster.eventually(lambda: set(cluster.downloads("node-1")) - {download.pid})
    download.ends_verified_with_one_job_per_node()


@pytest.mark.parametrize("part", ["controllers", "apiserver"])
def test_a_killed_part_of_the_cluster_is_survived_too(cluster: Sandbox, gate: Gate, part: str) -> None:
    """Containers die with the controllers: the kubelet that follows finds the pod lost, and the Job makes another."""
    download = Download(cluster, gate, 0.3)
    cluster.kill(part)
    if part == "controllers":
        cluster.eventually(lambda: not Path(f"/proc/{download.pid}").exists(), timeout=5)
    download.ends_verified_with_one_job_per_node()


def answers(cluster: Sandbox) -> bool:
    try:
        cluster.cluster.client.list(Node)
    except TransportError:
        return False
    return True
