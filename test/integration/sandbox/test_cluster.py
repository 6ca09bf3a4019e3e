"""A whole cluster on an API server that was there before."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.eventually import eventually

from localmodel.runtime.errors import RuntimeLibraryError
from localmodel.runtime.objects import Pod
from localmodel.sandbox import cluster as cluster_module
from localmodel.sandbox.apiserver.server import ApiServer, ApiServerOptions
from localmodel.sandbox.cluster import AGENT_LABEL, Cluster, ClusterError, ClusterOptions


def test_it_runs_on_an_api_server_that_it_did_not_start(tmp_path: Path) -> None:
    server = ApiServer(ApiServerOptions())
    server.start()
    try:
        kubeconfig = tmp_path / "external"
        server.write_kubeconfig(kubeconfig)
        options = ClusterOptions(workdir=tmp_path / "work", nodes=1, external_kubeconfig=kubeconfig)
        with Cluster(options) as cluster:
            assert [child.program.name for child in cluster.supervisor.children] == [
                "controllers",
                "manager",
                "agent-node-1",
            ]

            def agents() -> list[bool]:
                pods = cluster.client.list(Pod, namespace="kserve", labels=AGENT_LABEL)
                return [
                    pod.is_ready
                    and pod.spec.node_name == "node-1"
                    and all(container.ready for container in pod.status.container_statuses)
                    and len(pod.status.container_statuses) == 1
                    for pod in pods
                ]

            eventually(lambda: agents() == [True])
            children = cluster.supervisor.children
        assert not any(child.is_running for child in children)
    finally:
        server.stop()


UNREACHABLE = """
apiVersion: v1
kind: Config
clusters: [{name: a, cluster: {server: "http://127.0.0.1:9"}}]
users: [{name: a, user: {}}]
contexts: [{name: a, context: {cluster: a, user: a}}]
current-context: a
"""


def test_an_api_server_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "START_TIMEOUT", 0.2)
    kubeconfig = tmp_path / "external"
    kubeconfig.write_text(UNREACHABLE)
    cluster = Cluster(ClusterOptions(workdir=tmp_path / "work", external_kubeconfig=kubeconfig))
    with pytest.raises(ClusterError, match=r"http://127\.0\.0\.1:9"):
        cluster.start()


def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path) -> None:
    cluster = Cluster(ClusterOptions(workdir=tmp_path / "work", external_kubeconfig=tmp_path / "none"))
    with pytest.raises(RuntimeLibraryError, match="none"):
        cluster.start()
