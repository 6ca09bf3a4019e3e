"""The manager as a whole, with its real cache, controllers and queues, on an API server in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.eventually import eventually
from support.manager import JOBS, agent_daemon_set, agent_pod, cache, config_map, group, namespace_cache, node, service
from support.rights import MANAGER, ActingAs, kserves_rights

from localmodel.api import (
    ClusterStorageContainer,
    LocalModelCache,
    LocalModelNamespaceCache,
    LocalModelNode,
    LocalModelNodeGroup,
)
from localmodel.api.names import (
    CACHE_UID_LABEL,
    GROUP_LIMITS_ANNOTATION,
    LOCAL_MODEL_LABEL,
    NODE_GROUP_ANNOTATION,
    WANTED_ANNOTATION,
    ready_label,
    storage_key,
)
from localmodel.manager.indexes import InferenceService, LLMInferenceService
from localmodel.manager.main import add_reconcilers, cache_options
from localmodel.manager.settings import Settings
from localmodel.runtime.conditions import find_status_condition
from localmodel.runtime.errors import ForbiddenError
from localmodel.runtime.manager_options import ManagerOptions
from localmodel.runtime.objects import (
    DaemonSet,
    Event,
    Namespace,
    Node,
    ObjectMeta,
    OwnerReference,
    PersistentVolume,
    PersistentVolumeClaim,
    Secret,
)
from localmodel.runtime.testing import BackgroundManager, FakeClient
from localmodel.runtime.testing.fake import Action, Interceptor


class Stack:
    """A FakeClient, and a manager on another one of the same objects, which has the shipped roles."""

    def __init__(self, *interceptors: Interceptor, rights: Interceptor | None = None) -> None:
        self.client = FakeClient(*(Namespace(metadata=ObjectMeta(name=name)) for name in ("kserve", JOBS, "team-a")))
        limits = [*interceptors, rights or ActingAs(MANAGER)]
        self.managers = FakeClient(registry=self.client.registry, interceptors=limits)
        self.managers.withdraw(LLMInferenceService)
        self._manager: BackgroundManager | None = None

    def start(self) -> None:
        options = ManagerOptions(metrics_addr="0", health_probe_addr="0", cache=cache_options("kserve"))
        self._manager = BackgroundManager(self.managers, options)
        add_reconcilers(self._manager, Settings(live=self.managers), workers=2)
        self._manager.run(20)

    def stop(self) -> None:
        """Raises what ended the manager before."""
        if self._manager is not None:
            self._manager.end()

    def entries(self, name: str) -> list[str]:
        found = self.client.find(LocalModelNode, name)
        return [entry.model_name for entry in found.spec.local_models] if found else []

    def report(self, name: str, **model_status: str) -> None:
        self.client.status.patch(
            LocalModelNode(metadata=ObjectMeta(name=name)), {"status": {"modelStatus": model_status}}
        )

    def agent_ready(self, name: str = "gpu") -> tuple[str, str]:
        found = find_status_condition(self.client.get(LocalModelNodeGroup, name).status.conditions, "AgentReady")
        return (found.status, found.reason) if found else ("", "")

    def again(self, obj: Any) -> Any:
        return self.client.get(type(obj), obj.name, namespace=obj.namespace)

    def status_of(self, name: str = "iris") -> dict[str, str]:
        return self.client.get(LocalModelCache, name).status.node_status


@pytest.fixture
def stack() -> Iterator[Stack]:
    it = Stack()
    it.start()
    yield it
    it.stop()


def test_the_main_job(stack: Stack) -> None:
    client = stack.client
    client.create(cache("iris", "gpu", "late"))
    eventually(lambda: find_status_condition(client.get(LocalModelCache, "iris").status.conditions, "Degraded"))
    client.create(group())
    client.create(node("node-1"))
    client.create(node("node-2", ready=False))
    eventually(lambda: stack.entries("node-1") == ["iris"])
    eventually(lambda: stack.status_of() == {"node-1": "NodeDownloadPending", "node-2": "NodeNotReady"})

    client.status.patch(node("node-2"), {"status": node().status.to_dict()})
    client.create(group("late"))
    client.create(node("node-3", pool="late"))
    eventually(lambda: stack.entries("node-2") == stack.entries("node-3") == ["iris"])

    for name in ("node-1", "node-2", "node-3"):
        stack.report(name, iris="ModelDownloaded")

    def whole() -> bool:
        copies = client.get(LocalModelCache, "iris").status.copies
        return copies is not None and (copies.available, copies.total, copies.failed) == (3, 3, 0)

    eventually(whole)
    eventually(lambda: {event.reason for event in client.list(Event)} >= {"NodeGroupNotFound", "Downloaded"})
    eventually(lambda: client.get(LocalModelNodeGroup, "gpu").status.nodes == 2)

    client.create(service("s", "team-a"))
    eventually(lambda: client.find(PersistentVolumeClaim, "iris-gpu", namespace="team-a"))
    client.delete(client.get(InferenceService, "s", namespace="team-a"))
    eventually(lambda: client.find(PersistentVolumeClaim, "iris-gpu", namespace="team-a") is None)

    client.create(agent_pod("node-1"))
    client.delete(client.get(LocalModelCache, "iris"))
    eventually(lambda: stack.entries("node-1") == stack.entries("node-3") == [])
    stack.report("node-1", iris=None)  # type: ignore[arg-type]
    eventually(lambda: client.find(LocalModelCache, "iris") is None)


def test_a_burst_of_caches_costs_a_node_few_writes_d04(stack: Stack) -> None:
    stack.client.create(group())
    stack.client.create(node())
    for number in range(30):
        made = cache(f"iris-{number}") if number % 2 else namespace_cache(f"iris-{number}")
        stack.client.create(made)
    eventually(lambda: len(stack.entries("node-1")) == 30)
    writes = [action for action in stack.managers.writes if action.kind is LocalModelNode]
    assert len(writes) < 10


def test_a_deleted_local_model_node_and_volume_come_back(stack: Stack) -> None:
    client = stack.client
    client.create(group())
    client.create(node())
    client.create(cache())
    eventually(lambda: stack.entries("node-1") == ["iris"])
    first = client.get(LocalModelNode, "node-1").metadata.uid
    client.delete(client.get(LocalModelNode, "node-1"))
    eventually(lambda: stack.entries("node-1") == ["iris"])
    assert client.get(LocalModelNode, "node-1").metadata.uid != first

    eventually(lambda: client.find(PersistentVolume, "iris-gpu-download"))
    client.delete(client.get(PersistentVolume, "iris-gpu-download"))
    eventually(lambda: client.find(PersistentVolume, "iris-gpu-download"))


def test_a_node_is_labelled_with_what_it_has_d78(stack: Stack) -> None:
    client, label = stack.client, ready_label(storage_key("hf://o/m"))
    client.create(group())
    client.create(cache())
    client.create(node())
    eventually(lambda: stack.entries("node-1") == ["iris"])
    stack.report("node-1", iris="ModelDownloaded")
    eventually(lambda: client.get(Node, "node-1").metadata.labels.get(label) == "ready")


def test_an_evicted_model_is_wanted_when_a_service_comes(stack: Stack) -> None:
    client = stack.client
    client.create(group())
    client.create(cache())
    client.create(node())
    eventually(lambda: stack.entries("node-1") == ["iris"])
    stack.report("node-1", iris="ModelDownloadPending")
    evicted = {"status": {"models": {"iris": {"reason": "Evicted"}}}}
    client.status.patch(LocalModelNode(metadata=ObjectMeta(name="node-1")), evicted)
    client.create(service("s", "team-a"))
    key = storage_key("hf://o/m")
    eventually(lambda: client.get(LocalModelNode, "node-1").metadata.annotations.get(WANTED_ANNOTATION) == key)


def test_a_changed_limit_of_a_group_is_told_to_its_nodes(stack: Stack) -> None:
    client = stack.client
    made = client.create(group())
    client.create(cache())
    client.create(node())
    eventually(lambda: stack.entries("node-1") == ["iris"])

    def told() -> str:
        return client.get(LocalModelNode, "node-1").metadata.annotations[GROUP_LIMITS_ANNOTATION]

    before = told()
    client.patch(made, {"spec": {"storageLimit": "20Gi"}})
    eventually(lambda: told() != before)


def test_nodes_take_turns_without_waiting_for_the_clock(stack: Stack) -> None:
    client, names = stack.client, [f"node-{number}" for number in range(6)]
    client.create(group(maxConcurrentDownloads=2))
    client.create(cache())
    for name in names:
        client.create(node(name))
        pod = client.create(agent_pod(name))
        client.status.patch(pod, {"status": agent_pod(name).status.to_dict()})
    done: set[str] = set()
    while len(done) < len(names):
        eventually(lambda: len([name for name in names if stack.entries(name)]) == min(len(done) + 2, len(names)))
        name = next(name for name in names if stack.entries(name) and name not in done)
        stack.report(name, iris="ModelDownloaded")
        done.add(name)


def test_a_restarted_manager_carries_on() -> None:
    stack = Stack()
    stack.client.create(group())
    stack.client.create(node())
    stack.client.create(cache("a"))
    stack.start()
    eventually(lambda: stack.entries("node-1") == ["a"])
    stack.stop()
    stack.client.create(cache("b"))
    stack.client.delete(stack.client.get(LocalModelCache, "a"))
    stack.start()
    eventually(lambda: stack.entries("node-1") == ["b"])
    eventually(lambda: stack.client.find(LocalModelCache, "a") is None)
    stack.stop()


def test_an_unchanged_cluster_is_left_alone_d64(stack: Stack) -> None:
    client = stack.client
    client.create(group())
    client.create(node())
    client.create(namespace_cache())
    for name in ("a", "b", "c"):
        client.create(service(name, "team-a", of="team-a"))
    eventually(lambda: len(_consumers(client)) == 3)
    eventually(lambda: stack.entries("node-1") == ["iris"])
    stack.stop()
    quiet = _writes(stack.managers)
    stack.start()
    eventually(lambda: len([a for a in stack.managers.actions if a.verb == "watch" and a.kind is LocalModelNode]) >= 2)
    client.create(cache("probe"))
    eventually(lambda: "probe" in stack.entries("node-1"))
    eventually(lambda: client.get(LocalModelCache, "probe").status.copies is not None)
    assert _writes(stack.managers) == quiet


def test_a_service_that_moves_to_another_cache_or_group_is_noticed_d61(stack: Stack) -> None:
    client = stack.client
    for obj in (group(), group("big"), namespace_cache("a", "gpu", "big"), namespace_cache("b", "gpu", "big")):
        client.create(obj)
    moving = client.create(service("s", "team-a", "a", of="team-a"))
    eventually(lambda: client.find(PersistentVolumeClaim, "a-gpu", namespace="team-a"))

    client.patch(moving, {"metadata": {"labels": {LOCAL_MODEL_LABEL: "b"}}})
    eventually(lambda: client.find(PersistentVolumeClaim, "b-gpu", namespace="team-a"))
    eventually(lambda: client.find(PersistentVolumeClaim, "a-gpu", namespace="team-a") is None)

    client.patch(moving, {"metadata": {"annotations": {NODE_GROUP_ANNOTATION: "big"}}})
    eventually(lambda: client.find(PersistentVolumeClaim, "b-big", namespace="team-a"))
    eventually(lambda: client.find(PersistentVolumeClaim, "b-gpu", namespace="team-a") is None)


def test_services_of_a_kind_that_is_installed_later_need_no_restart_d73(stack: Stack) -> None:
    client = stack.client
    client.create(group())
    client.create(cache())
    eventually(lambda: client.get(LocalModelCache, "iris").status.conditions)
    stack.managers.serve(LLMInferenceService)
    labels = {LOCAL_MODEL_LABEL: "iris"}
    client.create(LLMInferenceService(metadata=ObjectMeta(name="llm", namespace="team-a", labels=labels)))
    eventually(lambda: client.find(PersistentVolumeClaim, "iris-gpu", namespace="team-a"), timeout=30)


def _consumers(client: FakeClient) -> list[str]:
    found = client.get(LocalModelNamespaceCache, "iris", namespace="team-a")
    return [service.name for service in found.status.inference_services]


def _writes(client: FakeClient) -> int:
    return len([action for action in client.writes if action.kind is LocalModelNamespaceCache])


def test_what_kserve_made_is_taken_over_though_it_lacks_our_label() -> None:
    stack = Stack()
    made = stack.client.create(cache())
    controller = OwnerReference(
        api_version="serving.kserve.io/v1alpha1",
        kind="LocalModelCache",
        name="iris",
        uid=made.metadata.uid,
        controller=True,
        block_owner_deletion=True,
    )
    spec = group().spec
    owned = {"owner_references": [controller]}
    volume = PersistentVolume(metadata=ObjectMeta(name="iris-gpu-download", **owned))
    volume.spec = type(volume.spec).from_dict(spec.persistent_volume_spec)
    claim = PersistentVolumeClaim(metadata=ObjectMeta(name="iris-gpu", namespace=JOBS, **owned))
    claim.spec = type(claim.spec).from_dict({**spec.persistent_volume_claim_spec, "volumeName": "iris-gpu-download"})
    kept = [stack.client.create(volume), stack.client.create(claim)]
    local_model_node = LocalModelNode.from_dict(
        {
            "metadata": {"name": "node-1"},
            "spec": {"localModels": [{"modelName": "iris", "sourceModelUri": "hf://o/m", "nodeGroup": "gpu"}]},
        }
    )
    stack.client.create(local_model_node)
    stack.report("node-1", iris="ModelDownloaded")
    stack.client.create(group())
    stack.client.create(node())
    stack.client.status.patch(node(), {"status": node().status.to_dict()})

    stack.start()
    try:
        eventually(lambda: stack.status_of() == {"node-1": "NodeDownloaded"})
        labels = {CACHE_UID_LABEL: made.metadata.uid}
        eventually(lambda: all(stack.again(obj).metadata.labels == labels for obj in kept))
        found = [stack.again(obj) for obj in kept]
        assert [(obj.metadata.uid, obj.spec) for obj in found] == [(obj.metadata.uid, obj.spec) for obj in kept]
    finally:
        stack.stop()


def test_the_containers_crd_may_come_late() -> None:
    stack = Stack()
    stack.managers.withdraw(ClusterStorageContainer)
    stack.start()
    try:
        stack.client.create(group())
        stack.client.create(cache())
        eventually(lambda: stack.client.find(PersistentVolume, "iris-gpu-download"))
        secret = {"secretKeyRef": {"name": "hf-secret", "key": "HF_TOKEN"}}
        stack.client.create(storage_container("a", env=[{"name": "HF_TOKEN", "valueFrom": secret}]))
        stack.client.create(storage_container("b"))
        stack.managers.serve(ClusterStorageContainer)
        eventually(lambda: _told(stack) >= {("a", "SecretNotFound"), ("b", "ContainersOverlap")}, timeout=60)
    finally:
        stack.stop()


def test_a_container_without_the_right_to_read_secrets_stops_nothing() -> None:
    stack = Stack()
    stack.managers.faults.fail(ForbiddenError.of("secrets is forbidden"), kind=Secret, times=None)
    stack.start()
    try:
        stack.client.create(storage_container("a", envFrom=[{"secretRef": {"name": "hf-secret"}}]))
        stack.client.create(storage_container("b"))
        eventually(lambda: ("b", "ContainersOverlap") in _told(stack))
        assert ("a", "SecretNotFound") not in _told(stack)
    finally:
        stack.stop()


def test_an_overlap_that_only_a_cache_shows_is_told_when_it_comes(stack: Stack) -> None:
    stack.client.create(storage_container("a", {"regex": "o/m"}))
    stack.client.create(storage_container("b"))
    stack.client.create(cache())
    eventually(lambda: ("b", "ContainersOverlap") in _told(stack))


def test_a_wrong_value_is_shown_on_every_cache_until_it_is_mended(stack: Stack) -> None:
    client = stack.client
    configuration = client.create(config_map('{"fsGroup": 1000}'))
    client.create(group())
    client.create(cache())
    client.create(namespace_cache())
    eventually(lambda: _degraded(client) == ["AsExpected", "AsExpected"])
    client.patch(configuration, {"data": {"localModel": '{"fsGroup": -1}'}})
    eventually(lambda: _degraded(client) == ["InvalidConfiguration", "InvalidConfiguration"])
    eventually(lambda: ("inferenceservice-config", "InvalidConfiguration") in _told(stack))
    client.patch(configuration, {"data": {"localModel": "{}"}})
    eventually(lambda: _degraded(client) == ["AsExpected", "AsExpected"])


def storage_container(name: str, *formats: dict[str, str], **of: Any) -> ClusterStorageContainer:
    spec = {
        "container": {"image": "x", **of},
        "supportedUriFormats": list(formats or ({"prefix": "hf://"},)),
        "workloadType": "localModelDownloadJob",
    }
    return ClusterStorageContainer.from_dict({"metadata": {"name": name}, "spec": spec})


def _told(stack: Stack) -> set[tuple[str, str]]:
    return {(event.involved_object.name, event.reason) for event in stack.client.list(Event)}


def _degraded(client: FakeClient) -> list[str]:
    found = [client.get(LocalModelCache, "iris"), client.get(LocalModelNamespaceCache, "iris", namespace="team-a")]
    conditions = [find_status_condition(cache.status.conditions, "Degraded") for cache in found]
    return [condition.reason if condition else "" for condition in conditions]


# agents -----------------------------------------------------------------------------------------------------------


def asking() -> LocalModelNodeGroup:
    document = group().to_dict()
    document["spec"]["agent"] = {"image": "agent:1"}
    return LocalModelNodeGroup.from_dict(document)


def test_agents_that_come_and_go_reach_the_group_and_the_cache_d39(stack: Stack) -> None:
    client = stack.client
    for obj in (group(), node(), cache()):
        client.create(obj)
    client.status.patch(node(), {"status": node().status.to_dict()})

    def reasons() -> list[str]:
        return [condition.reason for condition in client.get(LocalModelCache, "iris").status.conditions]

    eventually(lambda: stack.agent_ready() == ("False", "NoAgentOnNode"))
    eventually(lambda: "NoAgentOnNode" in reasons())
    client.create(agent_pod())
    client.status.patch(agent_pod(), {"status": agent_pod().status.to_dict()})
    eventually(lambda: stack.agent_ready() == ("True", "AgentsReady"))
    eventually(lambda: "NoAgentOnNode" not in reasons())


def test_a_hand_installed_daemon_set_that_comes_or_changes_is_compared_d12(stack: Stack) -> None:
    client = stack.client
    for obj in (group(), node(), cache(), agent_daemon_set("/models")):
        client.create(obj)

    def degraded() -> bool:
        found = find_status_condition(client.get(LocalModelCache, "iris").status.conditions, "Degraded")
        return found is not None and found.reason == "AgentPathMismatch"

    eventually(lambda: stack.agent_ready() == ("False", "AgentPathMismatch"))
    eventually(degraded)
    client.patch(agent_daemon_set(), {"spec": agent_daemon_set().spec})
    eventually(lambda: stack.agent_ready() == ("False", "NoAgentOnNode"))
    eventually(lambda: not degraded())


def test_a_groups_own_daemon_set_comes_comes_back_and_goes(stack: Stack) -> None:
    client = stack.client
    client.create(asking())
    client.create(node())

    def made() -> DaemonSet | None:
        return client.find(DaemonSet, "gpu-agent", namespace="kserve")

    eventually(made)
    client.delete(client.get(DaemonSet, "gpu-agent", namespace="kserve"))
    eventually(made)
    client.patch(group(), {"spec": {"agent": None}})
    eventually(lambda: made() is None)
    client.create(config_map('{"localModelAgentImage": "configured"}'))
    eventually(made)


def test_under_kserves_own_role_it_does_what_kserves_manager_does() -> None:
    """A user swaps the images and the definitions, nothing else (design.md section 1)."""
    stack = Stack(rights=ActingAs(MANAGER, kserves_rights()))
    client = stack.client
    for obj in (config_map('{"jobNamespace": "team-a"}'), group(), node(), agent_pod(), cache()):
        client.create(obj)
    client.status.patch(node(), {"status": node().status.to_dict()})
    stack.start()
    try:
        eventually(lambda: stack.entries("node-1") == ["iris"])
        eventually(lambda: stack.status_of() == {"node-1": "NodeDownloadPending"})
        eventually(lambda: client.find(PersistentVolumeClaim, "iris-gpu", namespace="team-a"))
        stack.report("node-1", iris="ModelDownloaded")
        eventually(lambda: stack.status_of() == {"node-1": "NodeDownloaded"})
        client.delete(client.get(LocalModelCache, "iris"))
        eventually(lambda: client.find(LocalModelCache, "iris") is None)
    finally:
        stack.stop()


def test_a_manager_that_may_not_read_daemon_sets_does_the_rest_and_begins_once_it_may() -> None:
    refused = threading.Event()
    refused.set()

    def as_kserves_role(action: Action, proceed: Callable[[], Any]) -> Any:
        if action.kind is DaemonSet and refused.is_set():
            raise ForbiddenError.of("daemonsets.apps is forbidden")
        return proceed()

    stack = Stack(as_kserves_role)
    stack.client.create(asking())
    stack.client.create(node())
    stack.client.create(agent_pod())
    stack.client.status.patch(node(), {"status": node().status.to_dict()})
    stack.client.status.patch(agent_pod(), {"status": agent_pod().status.to_dict()})
    stack.client.create(cache())
    stack.start()
    try:
        eventually(lambda: stack.entries("node-1") == ["iris"])
        eventually(lambda: stack.agent_ready() == ("Unknown", "DaemonSetsForbidden"))
        eventually(lambda: stack.status_of() == {"node-1": "NodeDownloadPending"})
        refused.clear()
        stack.client.create(agent_daemon_set("/models", selector={"pool": "other"}))
        eventually(lambda: stack.client.find(DaemonSet, "gpu-agent", namespace="kserve"), timeout=60)
    finally:
        stack.stop()
