"""One agent, one node: in no request and no event does the agent meet what is another's (issue 6, point 1; D-69)."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from support.live import QUICK
from support.liveagent import AGENT, LiveAgent, config_text, entry

from localmodel.agent.program import cache_options
from localmodel.agent.reconciler import LocalModelNodeReconciler
from localmodel.agent.store import ModelStore
from localmodel.api.names import CONFIG_MAP_NAME
from localmodel.runtime.kubeconfig import load_config
from localmodel.runtime.listwatch import ListOptions, ListPage, WatchEvent, WatchOptions, WatchStream
from localmodel.runtime.manager import Manager
from localmodel.runtime.manager_options import ManagerOptions
from localmodel.runtime.objects import ConfigMap, Job, Node, Object, ObjectMeta, Pod
from localmodel.runtime.rest import LiveClient
from localmodel.sandbox import install

pytestmark = pytest.mark.own_server("its nodes would be the cluster's")

Json = dict[str, Any]

OTHERS = ("node-2", "node-3", "node-10")
JOBS = install.JOB_NAMESPACE


@pytest.fixture
def it(tmp_path: Path) -> Iterator[LiveAgent]:
    """Other nodes with their pods, Jobs and LocalModelNodes; the agent of node-1 has not started."""
    with LiveAgent(tmp_path, audit=True) as made:
        for name in OTHERS:
            made.add_node(name)
            made.want(entry(), node=name)
            made.client.create(job_of(name))
        yield made


def job_of(node: str) -> Job:
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}
    metadata = {"name": f"iris-{node}", "namespace": JOBS, "labels": {"node": node, "model": "iris"}}
    return Job.from_dict({"metadata": metadata, "spec": {"template": {"spec": pod}}})


def live_through(it: LiveAgent, step: int) -> None:
    """All that belongs to other nodes changes: status, annotations, labels; pods come and go."""
    for name in OTHERS:
        node = it.node(name)
        node.status.model_status = {"iris": ("ModelDownloading", "ModelDownloaded")[step % 2]}
        it.client.status.update(node)
        it.client.patch(node, {"metadata": {"annotations": {"localmodel.kserve.io/wanted": str(step)}}})
        it.client.patch(node, {"spec": {"localModels": [entry(), entry(f"m{step}", f"s3://b/m{step}")]}})
        it.client.patch(it.client.get(Node, name), {"metadata": {"labels": {"step": str(step)}}})
        job = it.client.get(Job, f"iris-{name}", namespace=JOBS)
        it.client.status.patch(job, {"status": {"active": step % 2}})
        spec = {"nodeName": name, "volumes": [{"name": "m", "persistentVolumeClaim": {"claimName": "iris-gpu1"}}]}
        pod = {"metadata": {"name": f"s-{name}-{step}", "namespace": "default"}, "spec": spec}
        pod["spec"]["containers"] = [{"name": "c", "image": "i"}]
        it.client.delete(it.client.create(Pod.from_dict(pod)))


def test_what_happens_on_other_nodes_reaches_the_agent_in_no_request_and_no_event_d69(it: LiveAgent) -> None:
    it.start()
    it.want(entry())
    it.until("the download starts", lambda: len(it.jobs()) > len(OTHERS))
    it.until("it has told so", it.status)
    reconciles, events = it.until_quiet(), it.metric("localmodel_reflector_events_total")
    asked = len(it.environment.audit(AGENT))
    for step in range(5):
        live_through(it, step)
    # One change of its own comes after all those: when it has come, they would have, too.
    it.client.patch(it.node(), {"metadata": {"annotations": {"localmodel.kserve.io/wanted": "now"}}})
    it.until("an annotation reconciles", lambda: it.reconciles() > reconciles)
    assert it.until_quiet() == reconciles + 1
    assert it.metric("localmodel_reflector_events_total") == events + 1
    assert len(it.environment.audit(AGENT)) == asked
    it.stop()
    check_requests(it)


def check_requests(it: LiveAgent) -> None:
    """Every request of the agent, by path and selectors: it names, lists and watches its own only."""
    selectors = {
        "localmodelnodes": ("fieldSelector", "metadata.name=node-1"),
        "nodes": ("fieldSelector", "metadata.name=node-1"),
        "pods": ("fieldSelector", "spec.nodeName=node-1"),
        "jobs": ("labelSelector", "node=node-1"),
        "configmaps": ("fieldSelector", f"metadata.name={CONFIG_MAP_NAME}"),
    }
    small = {"clusterstoragecontainers", "localmodelnodegroups"}
    seen = set()
    for record in it.environment.audit(AGENT):
        assert not any(name in record.path for name in OTHERS), record
        if record.verb not in ("list", "watch"):
            continue
        path, query = urlsplit(record.path).path, parse_qs(urlsplit(record.path).query)
        resource = path.rpartition("/")[2]
        if resource in small and record.verb == "list":
            continue  # the cluster's configuration, of which each node needs all
        name, value = selectors[resource]
        assert value in query[name][0].split(","), record
        seen.add(resource)
    assert seen == set(selectors)


class Recording(LiveClient):
    """Keeps what its watches and lists carry."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.carried: list[Json] = []

    def list_page(self, kind: type[Object], options: ListOptions) -> ListPage:
        page = super().list_page(kind, options)
        page.items = self._kept(page.items)
        return page

    def _kept(self, items: Any) -> Iterator[Any]:
        for item in items:
            self.carried.append(json.loads(bytes(item)))
            yield item

    def watch(self, kind: type[Object], options: WatchOptions) -> WatchStream:
        return Tapped(super().watch(kind, options), self.carried)


class Tapped(WatchStream):
    """A stream of a watch, whose objects are kept."""

    def __init__(self, stream: WatchStream, carried: list[Json]) -> None:
        self._stream = stream
        self._carried = carried

    def __iter__(self) -> Iterator[WatchEvent]:
        for event in self._stream:
            if event.type != "BOOKMARK":
                self._carried.append(json.loads(bytes(event.object)))
            yield event

    def limit_silence(self, seconds: float) -> None:
        self._stream.limit_silence(seconds)

    def close(self) -> None:
        self._stream.close()


def is_own(obj: Json) -> bool:
    metadata = obj["metadata"]
    return (
        metadata["name"] in ("node-1", CONFIG_MAP_NAME)
        or obj.get("spec", {}).get("nodeName") == "node-1"
        or metadata.get("labels", {}).get("node") == "node-1"
    )


def test_its_streams_carry_no_object_of_another_node_d69(it: LiveAgent) -> None:
    config = load_config(it.environment.kubeconfig("agent", token=it.token), user_agent=AGENT)
    client = Recording(config)
    store = ModelStore(it.root, owner="node-1")
    options = cache_options("node-1", namespace=install.NAMESPACE, jobs_namespace=JOBS)
    options = replace(options, reflector=QUICK, tune_collector=False)
    manager = Manager(client, ManagerOptions(metrics_addr="0", health_probe_addr="0", cache=options))
    agent = LocalModelNodeReconciler(node_name="node-1", namespace=install.NAMESPACE, jobs_namespace=JOBS, store=store)
    manager.add_reconciler(agent)
    stop = threading.Event()
    thread = threading.Thread(target=manager.start, args=(stop,))
    thread.start()
    try:
        it.want(entry())
        for step in range(3):
            live_through(it, step)
        it.until("the download starts", lambda: len(it.jobs()) > len(OTHERS))
        it.until("the Job has come back", lambda: "Job" in kinds(client.carried))
    finally:
        stop.set()
        thread.join(20)
        store.close()
        client.close()
    assert not thread.is_alive()
    assert [obj for obj in client.carried if not is_own(obj)] == []
    assert kinds(client.carried) >= {"LocalModelNode", "PartialObjectMetadata", "Pod", "Job", "ConfigMap"}


def kinds(objects: Sequence[Json]) -> set[str]:
    return {obj.get("kind", "") for obj in list(objects)}


def test_heartbeats_of_its_node_do_not_wake_it_and_labels_do(it: LiveAgent) -> None:
    it.start()
    it.want(entry())
    it.until("it has told of the model", it.status)
    before = it.until_quiet()
    node = it.client.get(Node, "node-1")
    for beat in range(5):
        ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": f"2026-01-01T00:00:0{beat}Z"}
        it.client.status.patch(node, {"status": {"conditions": [ready]}})
    assert it.until_quiet() == before
    it.client.patch(node, {"metadata": {"labels": {"pool": "other"}}})
    it.until("the label reconciles", lambda: it.reconciles() == before + 1)


def test_an_interval_that_changes_in_kserves_configuration_counts_at_once(it: LiveAgent) -> None:
    it.start()
    it.want(entry())
    it.until("it has told of the model", it.status)
    before = it.until_quiet()
    config = ConfigMap(metadata=ObjectMeta(name=CONFIG_MAP_NAME, namespace=install.NAMESPACE))
    it.client.patch(config, {"data": {"localModel": config_text(reconcilationFrequencyInSecs=1)}})
    it.until("passes follow each other", lambda: it.reconciles() >= before + 3)
