"""Programs of a manager as real processes: who leads, who takes over, and how fast they end, come what may."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.apiserver import Program
from support.eventually import eventually
from support.greeter import GREETED_BY, LABEL
from support.hanging import hanging_server
from support.live import Live

from localmodel.runtime.objects import ConfigMap, Lease
from localmodel.runtime.rest import LiveClient

TEST = Path(__file__).parents[2]
STOP_SECONDS = 2.0


class Greeter:
    """One running `support.greeter`."""

    def __init__(self, kubeconfig: Path, identity: str, *arguments: str) -> None:
        command = [sys.executable, "-m", "support.greeter", "--kubeconfig", str(kubeconfig), "--identity", identity]
        self.log = kubeconfig.with_name(f"{identity}.log")
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*command, *arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "PYTHONPATH": str(TEST)},
            )
        assert self.process.stdout is not None
        self._output = self.process.stdout
        self.probe_url = self._output.readline().strip()

    def logged(self, text: str) -> bool:
        return text in self.log.read_text()

    def readyz(self) -> int:
        try:
            with urllib.request.urlopen(f"{self.probe_url}/readyz", timeout=5) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    def end(self) -> tuple[int, list[str], float]:
        """Exit status, threads that were left, and seconds, after SIGTERM."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(20)
        seconds = time.monotonic() - began
        lines = self._output.read().splitlines()
        return status, json.loads(lines[-1]) if lines else [], seconds

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait(10)
        self._output.close()


Start = Callable[..., Greeter]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[Greeter] = []

    def start(kubeconfig: Path, identity: str, *arguments: str) -> Greeter:
        greeter = Greeter(kubeconfig, identity, *arguments)
        started.append(greeter)
        return greeter

    yield start
    for greeter in started:
        greeter.kill()


def make(live: Live, client: LiveClient, name: str) -> None:
    obj = live.config_map(name)
    obj.metadata.labels = {LABEL: ""}
    client.create(obj)


def greeted_by(live: Live, client: LiveClient, name: str) -> str:
    return client.get(ConfigMap, name, namespace=live.namespace).data.get(GREETED_BY, "")


def assert_clean(ended: tuple[int, list[str], float], greeter: Greeter) -> None:
    status, threads, seconds = ended
    assert status == 0, greeter.log.read_text()[-3000:]
    assert threads == ["MainThread"]
    assert seconds < STOP_SECONDS


@pytest.mark.own_server("a cluster does not tell what it was asked")
def test_one_of_two_managers_works_and_the_other_takes_over(live: Live, client: LiveClient, start: Start) -> None:
    def holder() -> str:
        lease = client.find(Lease, "greeter", namespace=live.namespace)
        return (lease.spec.holder_identity or "") if lease else ""

    arguments = ("--leader-elect", "--namespace", live.namespace)
    first = start(live.kubeconfig(), "first", *arguments)
    second = start(live.kubeconfig(), "second", *arguments)
    eventually(holder)
    leader, follower = (first, second) if holder() == "first" else (second, first)
    names = {first: "first", second: "second"}
    make(live, client, "a")
    eventually(lambda: greeted_by(live, client, "a") == names[leader])
    eventually(lambda: follower.logged("Another process leads"))
    assert not [
        line for line in live.audit_lines(f"{names[follower]}/1") if line.verb not in ("get", "list", "watch", "create")
    ]

    leader.process.kill()
    eventually(lambda: greeted_by(live, client, "a") == names[follower], timeout=15)
    assert client.get(Lease, "greeter", namespace=live.namespace).spec.lease_transitions == 1

    assert_clean(follower.end(), follower)
    assert holder() == "", "a leader that stops in order gives its lease up at once"
    third = start(live.kubeconfig(), "third", *arguments)
    eventually(lambda: greeted_by(live, client, "a") == "third")
    assert_clean(third.end(), third)


def test_a_manager_without_rights_is_not_ready_and_says_why(live: Live, start: Start) -> None:
    live.client("jane", groups=())
    greeter = start(live.kubeconfig("jane"), "jane", "--namespace", live.namespace)

    def reasons() -> list[str]:
        lines = map(json.loads, greeter.log.read_text().splitlines())
        return [line["error"] for line in lines if line.get("check") == "cache-sync"]

    eventually(
        lambda: (
            greeter.readyz() == 500 and any('User "jane" cannot watch resource "configmaps"' in r for r in reasons())
        )
    )
    assert_clean(greeter.end(), greeter)


@pytest.mark.embedded_only("stops the server")
def test_a_manager_ends_at_once_while_the_server_cannot_be_reached(live: Live, start: Start) -> None:
    live.client()
    greeter = start(live.kubeconfig(), "greeter", "--leader-elect")
    eventually(lambda: greeter.logged("Leadership acquired"))
    live.stop()
    eventually(lambda: greeter.logged("A reflector failed"))
    assert_clean(greeter.end(), greeter)


def test_a_manager_ends_at_once_while_it_waits_for_a_server_that_never_answers(tmp_path: Path, start: Start) -> None:
    with hanging_server() as server:
        kubeconfig = tmp_path / "kubeconfig"
        cluster = {"server": f"https://127.0.0.1:{server.port}", "insecure-skip-tls-verify": True}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "c",
        }
        kubeconfig.write_text(json.dumps(content))
        greeter = start(kubeconfig, "greeter")
        server.wait_for_connection()
        assert_clean(greeter.end(), greeter)


@pytest.mark.embedded_only("stops the server")
def test_a_leader_ends_at_once_while_the_server_hangs(tmp_path: Path, start: Start) -> None:
    """A stopped server process: the kernel accepts, connections stay open, and nobody answers."""
    server = Program(tmp_path, ("--audit-log", str(tmp_path / "audit.jsonl")))
    try:
        status, _ = server.request("POST", "/api/v1/namespaces/default/configmaps", labelled("a"))
        assert status == 201
        greeter = start(server.kubeconfig, "greeter", "--leader-elect")
        eventually(lambda: GREETED_BY in str(server.request("GET", "/api/v1/namespaces/default/configmaps/a")[1]))
        for number in range(20):
            server.request("POST", "/api/v1/namespaces/default/configmaps", labelled(f"b{number}"))
        server.process.send_signal(signal.SIGSTOP)
        assert_clean(greeter.end(), greeter)
    finally:
        server.process.send_signal(signal.SIGCONT)
        server.stop()


def labelled(name: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {LABEL: ""}}}
