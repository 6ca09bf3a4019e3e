"""A whole cluster on an API server that was there before."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.eventually import eventually

from localmodel.api.crd import crds
from localmodel.runtime.errors import RuntimeLibraryError
from localmodel.runtime.objects import CustomResourceDefinition, Node, ObjectMeta, Pod
from localmodel.sandbox import cluster as cluster_module
from localmodel.sandbox.cluster import AGENT_LABEL, Cluster, ClusterError, ClusterOptions
from localmodel.sandbox.envtest import Environment
from localmodel.sandbox.install import inference_service_crd


@pytest.mark.own_server("the cluster would get nodes that are none, and definitions that stay")
def test_it_runs_on_an_api_server_that_it_did_not_start(tmp_path: Path) -> None:
    with Environment() as environment:
        kubeconfig = environment.kubeconfig()
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
        client = environment.client()
        for crd in [*crds(), inference_service_crd()]:  # for the next test on the same server
            client.delete(CustomResourceDefinition(metadata=ObjectMeta(name=crd["metadata"]["name"])))
        client.delete_all_of(Node)


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
