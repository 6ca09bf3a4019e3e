"""The controllers' program on a bare kube-apiserver: nodes, a Job, a DaemonSet, logs over the kubelet's port."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.eventually import eventually
from support.realcluster import RealCluster, missing_binaries

from localmodel.runtime.objects import DaemonSet, Job, Namespace, Node, Pod, ServiceAccount

MISSING = missing_binaries("etcd", "kube-apiserver")
pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)
NODES = ["node-1", "node-2"]


class World:
    def __init__(self, cluster: RealCluster, directory: Path) -> None:
        self.cluster = cluster
        self.client = cluster.client()
        self.log = directory / "controllers.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    str(Path(sys.executable).with_name("localmodel")),
                    "sandbox",
                    "controllers",
                    f"--kubeconfig={cluster.kubeconfig}",
                    "--nodes=2",
                    f"--workdir={directory}",
                    "--job-backoff=0.2",
                ],
                stdout=log,
                stderr=log,
            )
        self.until(lambda: [n.name for n in self.client.list(Node) if n.is_ready] == NODES)
        self.until(lambda: not any(n.to_dict()["spec"].get("taints") for n in self.nodes()))
        self.until(lambda: self.client.find(ServiceAccount, "default", namespace="default"))

    def nodes(self) -> list[Any]:
        return self.client.list(self.client.kind("v1", "Node"))

    def until(self, condition: Any) -> None:
        try:
            eventually(condition, timeout=60)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log.read_text()[-3000:]}") from error

    def close(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0

    def kubectl(self, *arguments: str) -> str:
        done = subprocess.run(
            ["kubectl", *arguments],
            # Over WebSockets kubectl tells no reason when a kubelet refuses.
            env={
                **os.environ,
                "KUBECONFIG": str(self.cluster.kubeconfig),
                "KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "false",
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("real")
    with RealCluster(directory, service_accounts=True) as cluster:
        world = World(cluster, directory)
        yield world
        world.close()


CONTAINER = {"name": "c", "image": "busybox"}


def test_a_job_runs_and_its_log_is_read_through_kube_apiserver(world: World) -> None:
    container = {**CONTAINER, "command": ["sh", "-c", "echo it works"]}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    document = {"metadata": {"name": "job", "namespace": "default"}, "spec": {"template": template}}
    world.client.create(Job.from_dict(document))
    world.until(lambda: world.client.get(Job, "job", namespace="default").is_complete)
    assert world.kubectl("logs", "job/job") == "it works\n"
    assert world.kubectl("logs", "job/job", "-p").endswith("not found\n")


def test_a_daemon_set_runs_on_each_node_and_its_pods_go_with_it(world: World) -> None:
    labels = {"app": "d"}
    container = {**CONTAINER, "command": ["sh", "-c", "echo here; exec sleep 600"]}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    created = world.client.create(
        DaemonSet.from_dict({"metadata": {"name": "d", "namespace": "default"}, "spec": spec})
    )
    world.until(lambda: world.client.get(DaemonSet, "d", namespace="default").status.get("numberAvailable") == 2)
    assert "successfully rolled out" in world.kubectl("rollout", "status", "ds/d", "--timeout=60s")
    assert world.kubectl("logs", "-l", "app=d").splitlines() == ["here", "here"]
    world.client.delete(created)
    world.until(lambda: not world.client.list(Pod, namespace="default", labels=labels))


def test_exec_is_refused_with_the_reason(world: World) -> None:
    pod = {"containers": [{**CONTAINER, "command": ["sleep", "600"]}]}
    world.client.create(Pod.from_dict({"metadata": {"name": "sleeps", "namespace": "default"}, "spec": pod}))
    world.until(lambda: world.client.get(Pod, "sleeps", namespace="default").is_ready)
    assert "containers are plain processes of this machine" in world.kubectl("exec", "sleeps", "--", "ls")


def test_a_namespace_is_emptied_and_goes(world: World) -> None:
    namespace = world.client.create(Namespace.from_dict({"metadata": {"name": "team"}}))
    assert "created" in world.kubectl("-n", "team", "create", "configmap", "c")
    world.client.delete(namespace)
    world.until(lambda: world.client.find(Namespace, "team") is None)


def test_a_pod_talks_to_kube_apiserver_with_its_own_account(world: World) -> None:
    container = {**CONTAINER, "command": ["kubectl", "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"]}
    pod = {"restartPolicy": "Never", "containers": [container]}
    world.client.create(Pod.from_dict({"metadata": {"name": "who", "namespace": "default"}, "spec": pod}))
    world.until(lambda: world.client.get(Pod, "who", namespace="default").is_finished)
    assert world.kubectl("logs", "who") == "system:serviceaccount:default:default"
