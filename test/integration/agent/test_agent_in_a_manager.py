"""The agent as its program builds it, in a manager with informers, on an API server in memory."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from support.http import answer, scripted_server
from support.rights import AGENT, ActingAs

from localmodel.agent.ownnode import NodeMetadata
from localmodel.agent.program import cache_options, main, wait_for_jobs_namespace
from localmodel.agent.reconciler import LocalModelNodeReconciler
from localmodel.agent.status import ProgressPolicy
from localmodel.agent.store import ModelStore
from localmodel.api import LocalModelCache, LocalModelNode, LocalModelNodeGroup
from localmodel.api.names import storage_key
from localmodel.runtime.backoff import Backoff, BackoffOptions
from localmodel.runtime.client import Reader
from localmodel.runtime.errors import ForbiddenError, ServiceUnavailableError, TransportError
from localmodel.runtime.manager import Manager
from localmodel.runtime.manager_options import ManagerOptions
from localmodel.runtime.objects import ConfigMap, Job, Pod
from localmodel.runtime.testing.fake import FakeClient

URI = "s3://mybucket/mymodel"
JOBS = "kserve-localmodel-jobs"


def wait(what: str, probe: Callable[[], object], deadline: float = 10.0) -> None:
    end = time.monotonic() + deadline
    while not probe():
        assert time.monotonic() < end, f"not within {deadline:.0f} s: {what}"
        threading.Event().wait(0.02)


@pytest.fixture
def client() -> FakeClient:
    return FakeClient(
        ConfigMap.from_dict({
            "metadata": {"name": "inferenceservice-config", "namespace": "kserve"},
            "data": {"localModel": json.dumps({"jobNamespace": JOBS})},
        }),
        LocalModelNodeGroup.from_dict({"metadata": {"name": "gpu1"}, "spec": {"storageLimit": "1Gi"}}),
        LocalModelCache.from_dict({"metadata": {"name": "iris"}, "spec": {"sourceModelUri": URI, "modelSize": "1Mi"}}),
    )  # fmt: skip


@pytest.fixture
def agents(client: FakeClient) -> FakeClient:
    """The agent's client of the same objects: it has the shipped roles."""
    return FakeClient(registry=client.registry, interceptors=[ActingAs(AGENT)])


@pytest.fixture
def running(agents: FakeClient, tmp_path: Path) -> Iterator[Manager]:
    store = ModelStore(tmp_path, owner="node-1")
    options = ManagerOptions(
        metrics_addr="0",
        health_probe_addr="0",
        cache=cache_options("node-1", namespace="kserve", jobs_namespace=JOBS),
    )
    manager = Manager(agents, options)
    agent = LocalModelNodeReconciler(
        node_name="node-1", namespace="kserve", jobs_namespace=JOBS, store=store, progress=ProgressPolicy.every(1)
    )
    manager.add_reconciler(agent)
    stop = threading.Event()
    thread = threading.Thread(target=manager.start, args=(stop,))
    thread.start()
    wait("the store is open, without a LocalModelNode", lambda: store.is_open)
    agent.check_ready()
    yield manager
    stop.set()
    thread.join(10)
    store.close()
    assert not thread.is_alive()


@pytest.mark.usefixtures("running")
def test_events_lead_from_an_entry_to_a_published_model(client: FakeClient, tmp_path: Path) -> None:
    entry = {"modelName": "iris", "sourceModelUri": URI, "nodeGroup": "gpu1", "modelSize": "1Mi"}
    client.create(LocalModelNode.from_dict({"metadata": {"name": "node-1"}, "spec": {"localModels": [entry]}}))
    wait("the job", lambda: client.list(Job))
    (job,) = client.list(Job)
    (tmp_path / "models" / ".staging" / storage_key(URI) / "model.bin").write_bytes(b"weights")
    complete = {"conditions": [{"type": "Complete", "status": "True"}], "succeeded": 1}
    client.status.patch(job, {"status": complete})
    wait(
        "the model is published and reported",
        lambda: client.get(LocalModelNode, "node-1").status.model_status == {"iris": "ModelDownloaded"},
    )
    assert (tmp_path / "models" / storage_key(URI) / "model.bin").read_bytes() == b"weights"
    assert len(client.list(Job)) == 1


@pytest.mark.usefixtures("running")
def test_the_end_of_its_own_download_is_known_at_once(client: FakeClient, tmp_path: Path) -> None:
    """Nothing else would wake the agent for a minute."""
    found = client.get(ConfigMap, "inferenceservice-config", namespace="kserve")
    client.patch(found, {"data": {"localModel": json.dumps({"jobNamespace": JOBS, "downloadMode": "Agent"})}})
    with scripted_server(answer(200, b"weights", {"Content-Type": "application/octet-stream"})) as server:
        uri = f"{server.url}/model.bin"
        cache = {"metadata": {"name": "web"}, "spec": {"sourceModelUri": uri, "modelSize": "1Mi"}}
        client.create(LocalModelCache.from_dict(cache))
        entry = {"modelName": "web", "sourceModelUri": uri, "nodeGroup": "gpu1", "modelSize": "1Mi"}
        client.create(LocalModelNode.from_dict({"metadata": {"name": "node-1"}, "spec": {"localModels": [entry]}}))
        wait(
            "the model is published and reported",
            lambda: client.get(LocalModelNode, "node-1").status.model_status == {"web": "ModelDownloaded"},
            deadline=30.0,
        )
    assert (tmp_path / "models" / storage_key(uri) / "model.bin").read_bytes() == b"weights"
    assert client.list(Job) == []


@pytest.mark.usefixtures("running")
def test_the_agent_watches_only_what_concerns_its_node(agents: FakeClient) -> None:
    watched = {
        action.kind: (action.namespace, action.options.label_selector, action.options.field_selector)
        for action in agents.actions
        if action.verb == "watch"
    }
    assert watched == {
        LocalModelNode: ("", "", "metadata.name=node-1"),
        Job: (JOBS, "node=node-1", ""),
        Pod: ("", "", "spec.nodeName=node-1"),
        NodeMetadata: ("", "", "metadata.name=node-1"),
        ConfigMap: ("kserve", "", "metadata.name=inferenceservice-config"),
    }


class Outage:
    """A reader whose API server comes up after some calls."""

    def __init__(self, client: FakeClient, *failures: Exception) -> None:
        self._client = client
        self._failures = list(failures)

    def find(self, *args: Any, **kwargs: Any) -> Any:
        if self._failures:
            raise self._failures.pop(0)
        return self._client.find(*args, **kwargs)


def test_it_waits_for_an_api_server_that_is_down(client: FakeClient) -> None:
    reader = Outage(client, TransportError("refused"), ServiceUnavailableError({"message": "starting"}))
    backoff = Backoff(options=BackoffOptions(initial=0.001))
    found = wait_for_jobs_namespace(cast(Reader, reader), "kserve", stop=threading.Event(), backoff=backoff)
    assert found == JOBS


def test_told_to_stop_it_waits_no_longer(client: FakeClient) -> None:
    stop = threading.Event()
    reader = Outage(client, *[TransportError("refused")] * 1000)
    waiting = threading.Thread(target=wait_for_jobs_namespace, args=(reader, "kserve"), kwargs={"stop": stop})
    waiting.start()
    stop.set()
    waiting.join(10)
    assert not waiting.is_alive()


def test_what_does_not_pass_by_itself_is_raised(client: FakeClient) -> None:
    reader = Outage(client, ForbiddenError({"message": "no such role"}))
    with pytest.raises(ForbiddenError):
        wait_for_jobs_namespace(cast(Reader, reader), "kserve", stop=threading.Event())


def test_without_its_nodes_name_the_program_says_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], env={}) == 2
    assert "NODE_NAME must be this node's name" in capsys.readouterr().err
