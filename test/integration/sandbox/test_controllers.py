"""The cluster controllers together, on the embedded API server: what no single one of them shows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from support.eventually import eventually

from localmodel.runtime.errors import NotFoundError
from localmodel.runtime.manager import Manager
from localmodel.runtime.objects import (
    ConfigMap,
    CustomResourceDefinition,
    Job,
    Namespace,
    ObjectMeta,
    OwnerReference,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    RESTMapping,
    Unstructured,
)
from localmodel.runtime.rest import LiveClient
from localmodel.sandbox.controllers.jobs import JobOptions
from localmodel.sandbox.controllers.kinds import Node, served_kinds
from localmodel.sandbox.controllers.kubelet import KubeletOptions
from localmodel.sandbox.controllers.main import build_manager
from localmodel.sandbox.controllers.nodes import NodeOptions
from localmodel.sandbox.envtest import Environment, unique

pytestmark = pytest.mark.own_server("the controllers would work on all of the cluster, with nodes that are none")

NODES = ("node-1", "node-2")
NS = unique("play")
LABEL = "play"
"""Of all that the tests create."""


class World:
    """An API server, a client, and the controllers, which can be stopped and started again."""

    def __init__(self, directory: Path, client: LiveClient) -> None:
        self.directory = directory
        self.client = client
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._stop = threading.Event()
        manager: Manager = build_manager(
            self.client,
            nodes=NodeOptions(names=NODES),
            kubelet=KubeletOptions(nodes=NODES, directory=self.directory),
            jobs=JobOptions(first_delay=0.1),
        )
        self._thread = threading.Thread(target=manager.start, args=(self._stop,))
        self._thread.start()
        eventually(lambda: {node.name for node in self.client.list(Node) if node.is_ready} >= {*NODES}, timeout=20)

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(20)

    def clear(self) -> None:
        """Removes what the next test makes anew, in case that it is on the same server."""
        with suppress(NotFoundError):
            self.client.delete(Namespace(metadata=ObjectMeta(name=NS)))
        for volume in self.client.list(PersistentVolume):
            self.client.patch(volume, {"metadata": {"finalizers": None}})
            self.client.delete(volume)
        self.client.delete_all_of(CustomResourceDefinition, labels=LABEL)
        eventually(lambda: self.client.find(Namespace, NS) is None, timeout=20)
        self.stop()
        self.client.delete_all_of(Node)

    def create(self, kind: type[Any], name: str, spec: dict[str, Any]) -> Any:
        metadata = {"name": name, "labels": {LABEL: ""}, **({"namespace": NS} if kind.mapping.namespaced else {})}
        return self.client.create(kind.from_dict({"metadata": metadata, "spec": spec}))

    def job(self, script: str, name: str = "job", **spec: Any) -> Job:
        template = {"spec": {"restartPolicy": "Never", "containers": [container(script)]}}
        return self.create(Job, name, {"template": template, **spec})  # type: ignore[no-any-return]

    def pods(self) -> list[Pod]:
        return self.client.list(Pod, namespace=NS)

    def until(self, kind: type[Any], name: str, condition: Callable[[Any], object]) -> Any:
        def holds() -> bool:
            found = self.client.find(kind, name, namespace=NS)
            return found is not None and bool(condition(found))

        eventually(holds, timeout=20)
        return self.client.find(kind, name, namespace=NS)

    def gone(self, kind: type[Any], name: str) -> None:
        eventually(lambda: self.client.find(kind, name, namespace=NS) is None, timeout=20)


def container(script: str, **more: Any) -> dict[str, Any]:
    return {"name": "c", "image": "busybox", "command": ["sh", "-c", script], **more}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with Environment() as environment:
        client = environment.client()
        world = World(tmp_path / "nodes", client)
        eventually(lambda: client.find(Namespace, NS) is None, timeout=20)
        client.create(Namespace(metadata=ObjectMeta(name=NS)))
        try:
            world.start()
            yield world
            world.clear()
        finally:
            world.stop()


def test_a_deleted_node_registers_again(world: World) -> None:
    world.client.delete(world.client.get(Node, "node-1"))
    eventually(lambda: (node := world.client.find(Node, "node-1")) is not None and node.is_ready)


def test_a_job_runs_on_the_node_it_is_pinned_to(world: World) -> None:
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-2"]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    template = {
        "spec": {
            "restartPolicy": "Never",
            "affinity": {"nodeAffinity": required},
            "containers": [container("exit 0")],
        }
    }
    world.create(Job, "job", {"template": template})
    world.until(Job, "job", lambda job: job.is_complete)
    (pod,) = world.pods()
    assert (pod.spec.node_name, pod.status.phase) == ("node-2", "Succeeded")


def test_a_job_that_fails_has_tried_as_often_as_it_may(world: World) -> None:
    world.job("exit 1", backoffLimit=2)
    job = world.until(Job, "job", lambda job: job.is_failed)
    assert (job.status.failed, len(world.pods())) == (3, 3)


def test_deleting_a_job_takes_its_running_pod_along(world: World) -> None:
    job = world.job("sleep 100")
    world.until(Job, "job", lambda job: job.status.ready)
    world.client.delete(job)
    eventually(lambda: world.pods() == [], timeout=20)


def test_a_finished_job_goes_with_its_pods_after_its_ttl(world: World) -> None:
    world.job("exit 0", ttlSecondsAfterFinished=1)
    world.gone(Job, "job")
    assert world.pods() == []


def test_a_namespace_goes_with_everything_in_it(world: World) -> None:
    world.job("sleep 100")
    world.until(Job, "job", lambda job: job.status.ready)
    world.client.delete(world.client.get(Namespace, NS))
    eventually(lambda: world.client.find(Namespace, NS) is None, timeout=20)
    assert world.pods() == []


def test_objects_of_a_kind_defined_later_are_collected_too(world: World) -> None:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    versions = [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}]
    names = {"kind": "Widget", "plural": "widgets"}
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": versions}
    world.create(CustomResourceDefinition, "widgets.example.com", spec)
    widget = Unstructured.of(RESTMapping.of("example.com", "v1", "Widget"))
    crds = CustomResourceDefinition
    eventually(lambda: served_kinds(world.client.get(crds, "widgets.example.com")), timeout=20)
    owner = world.client.create(ConfigMap(metadata=ObjectMeta(name="owner", namespace=NS)))
    reference = OwnerReference(api_version="v1", kind="ConfigMap", name="owner", uid=owner.metadata.uid)
    metadata = ObjectMeta(name="owned", namespace=NS, owner_references=[reference])
    world.client.create(widget(metadata=metadata))
    world.client.delete(owner)
    world.gone(widget, "owned")


def claim_on_node_2(world: World) -> None:
    term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["node-2"]}]}
    common = {"accessModes": ["ReadWriteOnce"], "storageClassName": "local-storage"}
    volume = {
        **common,
        "capacity": {"storage": "1Gi"},
        "local": {"path": "/mnt/models"},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}},
        "claimRef": {"namespace": NS, "name": "claim"},
    }
    world.create(PersistentVolume, "volume", volume)
    claim = {**common, "resources": {"requests": {"storage": "1Gi"}}, "volumeName": "volume"}
    world.create(PersistentVolumeClaim, "claim", claim)


def test_a_pod_writes_through_its_claim_into_the_sub_path_on_its_node(world: World) -> None:
    (world.directory / "node-2" / "mnt" / "models").mkdir(parents=True)
    claim_on_node_2(world)
    mount = {"name": "v", "mountPath": "/data", "subPath": "models/abc"}
    spec = {
        "restartPolicy": "Never",
        "containers": [
            container('echo x > "$FILE"', env=[{"name": "FILE", "value": "/data/file"}], volumeMounts=[mount])
        ],
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "claim"}}],
    }
    world.create(Pod, "writer", spec)
    pod = world.until(Pod, "writer", lambda pod: pod.is_finished)
    assert (pod.spec.node_name, pod.status.phase) == ("node-2", "Succeeded")
    assert (world.directory / "node-2/mnt/models/models/abc/file").read_text() == "x\n"


def test_a_pod_waits_for_a_directory_that_is_not_there_yet(world: World) -> None:
    claim_on_node_2(world)
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "claim"}}]
    mount = {"name": "v", "mountPath": "/data"}
    spec = {"restartPolicy": "Never", "containers": [container("exit 0", volumeMounts=[mount])], "volumes": volumes}
    world.create(Pod, "reader", spec)
    world.until(Pod, "reader", lambda pod: pod.status.container_statuses)
    (world.directory / "node-2" / "mnt" / "models").mkdir(parents=True)
    world.until(Pod, "reader", lambda pod: pod.status.phase == "Succeeded")


def test_controllers_that_start_again_go_on_where_they_were(world: World) -> None:
    """The first attempt's process died with them; there is one pod per attempt, before and after."""
    marker = world.directory / "again"
    world.job(f"test -e {marker} && exit 0; touch {marker}; sleep 100")
    world.until(Job, "job", lambda job: job.status.ready and marker.exists())
    world.stop()
    world.start()
    job = world.until(Job, "job", lambda job: job.is_complete or job.is_failed)
    assert (job.status.failed, len(world.pods())) == (1, 2)


def test_a_pod_that_fits_no_node_says_so_until_one_fits(world: World) -> None:
    world.create(Pod, "picky", {"nodeSelector": {"gpu": "yes"}, "containers": [container("sleep 100")]})
    # At first the nodes may not be ready, which is another reason.
    reason = "didn't match Pod's node affinity/selector"
    world.until(Pod, "picky", lambda pod: any(reason in c.get("message", "") for c in pod.status.conditions))
    world.client.patch(world.client.get(Node, "node-1"), {"metadata": {"labels": {"gpu": "yes"}}})
    world.until(Pod, "picky", lambda pod: pod.is_ready)


def test_a_pod_deleted_by_force_is_gone_at_once(world: World) -> None:
    pod = world.create(Pod, "pod", {"containers": [container("sleep 100")]})
    world.until(Pod, "pod", lambda pod: pod.is_ready)
    world.client.delete(pod, grace_period_seconds=0)
    with pytest.raises(NotFoundError):
        world.client.get(Pod, "pod", namespace=NS)
