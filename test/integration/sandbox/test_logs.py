"""kubectl logs: the API server asks the kubelet, which reads what it wrote."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.eventually import eventually

from localmodel.runtime.kubeconfig import load_config
from localmodel.runtime.objects import Job, Pod
from localmodel.runtime.rest import LiveClient
from localmodel.sandbox.apiserver.kubeletclient import unverified_context
from localmodel.sandbox.apiserver.server import ApiServer, ApiServerOptions
from localmodel.sandbox.controllers.jobs import JobOptions
from localmodel.sandbox.controllers.kubelet import KubeletOptions
from localmodel.sandbox.controllers.main import build_manager
from localmodel.sandbox.controllers.nodes import NodeOptions

NODE = "node-1"


class World:
    """An API server with the controllers, and kubectl."""

    def __init__(self, directory: Path) -> None:
        self.kubeconfig = directory / "kubeconfig"
        self.server = ApiServer(ApiServerOptions())
        self.server.start()
        self.server.write_kubeconfig(self.kubeconfig)
        self.client = LiveClient(load_config(self.kubeconfig, user_agent="test/1"))
        manager = build_manager(
            self.client,
            nodes=NodeOptions(names=[NODE]),
            kubelet=KubeletOptions(nodes=[NODE], directory=directory / "nodes"),
            jobs=JobOptions(first_delay=0.1),
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=manager.start, args=(self._stop,))
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(20)
        self.client.close()
        self.server.stop()

    def run(self, name: str, *scripts: str, policy: str = "Never", labels: dict[str, str] | None = None) -> None:
        """A pod with a container c0, c1, ... for each script."""
        containers = [
            {"name": f"c{number}", "image": "busybox", "command": ["sh", "-c", script]}
            for number, script in enumerate(scripts)
        ]
        metadata = {"name": name, "namespace": "default", "labels": labels or {}}
        self.client.create(
            Pod.from_dict({"metadata": metadata, "spec": {"restartPolicy": policy, "containers": containers}})
        )

    def pod(self, name: str) -> Pod:
        return self.client.get(Pod, name, namespace="default")

    def finished(self, name: str) -> None:
        eventually(lambda: self.pod(name).is_finished, timeout=20)

    def popen(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["kubectl", *arguments],
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def kubectl(self, *arguments: str) -> str:
        """What kubectl says, on either stream."""
        with self.popen(*arguments) as process:
            out, err = process.communicate(timeout=20)
        return out + err


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("logs"))
    yield world
    world.close()


@pytest.fixture(scope="module")
def said(world: World) -> str:
    """A pod that said three lines and ended."""
    world.run("said", "echo one; echo two >&2; echo three")
    world.finished("said")
    return "said"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "one\ntwo\nthree\n"),
        (["--tail=2"], "two\nthree\n"),
        (["--tail=0"], ""),
        (["--tail=9"], "one\ntwo\nthree\n"),
        (["--limit-bytes=5"], "one\nt"),
        (["--since=1h"], "one\ntwo\nthree\n"),
        (["--since-time=2020-01-01T00:00:00Z"], "one\ntwo\nthree\n"),
        (["--since-time=2199-01-01T00:00:00Z"], ""),
        (["-f"], "one\ntwo\nthree\n"),
    ],
    ids=str,
)
def test_the_log_of_a_pod_that_ended(world: World, said: str, options: list[str], expected: str) -> None:
    assert world.kubectl("logs", said, *options) == expected


def test_each_line_has_its_time(world: World, said: str) -> None:
    lines = world.kubectl("logs", said, "--timestamps").splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == ["one", "two", "three"]
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z ", line) for line in lines)


def test_a_log_is_followed_until_the_container_ends(world: World, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    world.run("talks", f"echo first; while test ! -e {gate}; do sleep 0.05; done; echo last")
    eventually(lambda: world.kubectl("logs", "talks") == "first\n", timeout=20)
    with world.popen("logs", "-f", "talks") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "first\n"
        gate.touch()
        assert process.communicate(timeout=20) == ("last\n", "")


def test_a_reader_that_goes_away_ends_the_following(world: World) -> None:
    world.run("endless", "echo here; exec sleep 600")
    eventually(lambda: world.kubectl("logs", "endless") == "here\n", timeout=20)
    with world.popen("logs", "-f", "endless") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        process.kill()
    eventually(lambda: not [t for t in threading.enumerate() if t.name == "pod-log"], timeout=20)


def test_a_long_log_comes_whole(world: World) -> None:
    world.run("long", "seq 1 400000")
    world.finished("long")
    assert world.kubectl("logs", "long").splitlines() == [str(number) for number in range(1, 400001)]


def test_the_log_of_the_run_before(world: World, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    script = f"test -e {mark} && echo again && exec sleep 600; touch {mark}; echo before; exit 1"
    world.run("restarts", script, policy="OnFailure")
    eventually(lambda: world.kubectl("logs", "restarts") == "again\n", timeout=20)
    assert world.kubectl("logs", "restarts", "-p") == "before\n"


def test_there_may_be_no_run_before(world: World, said: str) -> None:
    answer = world.kubectl("logs", said, "-p")
    assert answer == ('Error from server (BadRequest): previous terminated container "c0" in pod "said" not found\n')


def test_a_container_is_named_or_all_are(world: World) -> None:
    world.run("two", "echo from zero", "echo from one")
    world.finished("two")
    assert world.kubectl("logs", "two", "-c", "c1") == "from one\n"
    assert sorted(world.kubectl("logs", "two", "--all-containers").splitlines()) == ["from one", "from zero"]
    assert world.kubectl("get", "--raw", "/api/v1/namespaces/default/pods/two/log") == (
        "Error from server (BadRequest): a container name must be specified for pod two, choose one of: [c0 c1]\n"
    )
    assert world.kubectl("get", "--raw", "/api/v1/namespaces/default/pods/two/log?container=c9") == (
        "Error from server (BadRequest): container c9 is not valid for pod two\n"
    )


def test_by_selector_and_by_job(world: World) -> None:
    for name in ("x", "y"):
        world.run(name, f"echo i am {name}", labels={"set": "xy"})
        world.finished(name)
    assert sorted(world.kubectl("logs", "-l", "set=xy").splitlines()) == ["i am x", "i am y"]
    template: dict[str, Any] = {
        "spec": {
            "restartPolicy": "Never",
            "containers": [{"name": "c", "image": "busybox", "command": ["echo", "of a job"]}],
        }
    }
    job = Job.from_dict({"metadata": {"name": "j", "namespace": "default"}, "spec": {"template": template}})
    world.client.create(job)
    eventually(lambda: world.client.get(Job, "j", namespace="default").is_complete, timeout=20)
    assert world.kubectl("logs", "job/j") == "of a job\n"


def test_a_container_that_cannot_start_says_why(world: World) -> None:
    pod = {"containers": [{"name": "c", "image": "nginx"}]}
    world.client.create(Pod.from_dict({"metadata": {"name": "unknown", "namespace": "default"}, "spec": pod}))
    eventually(lambda: world.pod("unknown").status.container_statuses, timeout=20)
    assert world.kubectl("logs", "unknown") == (
        'Error from server (BadRequest): container "c" in pod "unknown" is waiting to start: image can\'t be pulled\n'
    )


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("tailLines=-1", "tailLines: Invalid value: -1: must be greater than or equal to 0"),
        ("limitBytes=0", "limitBytes: Invalid value: 0: must be greater than 0"),
        ("sinceSeconds=0", "sinceSeconds: Invalid value: 0: must be greater than 0"),
        ("tailLines=abc", 'strconv.ParseInt: parsing "abc": invalid syntax'),
        (
            "sinceSeconds=3&sinceTime=2026-01-01T00:00:00Z",
            "[]: Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified",
        ),
        ("sinceTime=xx", 'parsing time "xx" as "2006-01-02T15:04:05Z07:00": cannot parse "xx" as "2006"'),
    ],
)
def test_bad_options_are_refused_as_kube_apiserver_does(world: World, said: str, query: str, message: str) -> None:
    assert message in world.kubectl("get", "--raw", f"/api/v1/namespaces/default/pods/{said}/log?{query}")


def test_a_pod_without_a_node_has_no_log(world: World) -> None:
    spec = {"nodeSelector": {"no": "where"}, "containers": [{"name": "c", "image": "busybox"}]}
    world.client.create(Pod.from_dict({"metadata": {"name": "homeless", "namespace": "default"}, "spec": spec}))
    assert world.kubectl("logs", "homeless") == ""


@pytest.mark.parametrize(
    "command", [["exec", "said", "--", "ls"], ["attach", "said"], ["cp", "said:/x", "x"]], ids=lambda c: c[0]
)
def test_what_needs_a_connection_into_a_container_is_refused(world: World, said: str, command: list[str]) -> None:
    world.run(f"for-{command[0]}", "exec sleep 600")
    eventually(lambda: world.pod(f"for-{command[0]}").is_ready, timeout=20)
    answer = world.kubectl(*[part.replace(said, f"for-{command[0]}") for part in command])
    assert "containers are plain processes of this machine" in answer


def test_port_forward_is_refused(world: World) -> None:
    world.run("listens", "exec sleep 600")
    eventually(lambda: world.pod("listens").is_ready, timeout=20)
    assert "the sandbox has no pods/portforward" in world.kubectl("port-forward", "pod/listens", "18080:80")


def test_a_stranger_is_not_answered_by_the_kubelet(world: World, said: str) -> None:
    node = world.client.kind("v1", "Node")
    port = world.client.get(node, NODE).to_dict()["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"]
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=unverified_context())
    with contextlib.closing(connection):
        connection.request("GET", f"/containerLogs/default/{said}/c0")
        assert connection.getresponse().status == 401


def test_a_user_without_the_right_is_not_answered_by_the_kubelet(world: World, said: str, tmp_path: Path) -> None:
    node = world.client.kind("v1", "Node")
    port = world.client.get(node, NODE).to_dict()["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"]
    context = unverified_context()
    pair = world.server.client_certificate("alice")
    pair.write(tmp_path / "alice.crt", tmp_path / "alice.key")
    context.load_cert_chain(tmp_path / "alice.crt", tmp_path / "alice.key")
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=context)
    with contextlib.closing(connection):
        connection.request("GET", f"/containerLogs/default/{said}/c0")
        assert connection.getresponse().status == 403
