"""Over HTTP: a deletion ends whatever of the cluster goes at the same time, and the manager goes on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from support.eventually import eventually
from support.livemanager import LiveManager
from support.manager import JOBS, agent_pod, cache, group, namespace_cache, node, service

from localmodel.api import LocalModelCache, LocalModelNamespaceCache, LocalModelNode, LocalModelNodeGroup
from localmodel.manager.indexes import InferenceService
from localmodel.runtime.conditions import find_status_condition
from localmodel.runtime.objects import (
    Event,
    Namespace,
    Node,
    Object,
    ObjectMeta,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
)

pytestmark = pytest.mark.embedded_only("removes definitions")


@pytest.fixture
def it() -> Iterator[LiveManager]:
    with LiveManager() as manager:
        manager.with_status(group(), node(), agent_pod(), cache(), cache("rose", sourceModelUri="hf://o/rose"))
        manager.start()
        eventually(lambda: manager.entries("node-1") == ["iris", "rose"])
        eventually(lambda: has_agents(manager))
        manager.say("node-1", "iris", "ModelDownloaded")
        yield manager


def has_agents(it: LiveManager) -> bool:
    """The manager has seen that the agent is ready: it waits for no other."""
    found = find_status_condition(it.client.get(LocalModelNodeGroup, "gpu").status.conditions, "AgentReady")
    return found is not None and found.status == "True"


def delete(it: LiveManager, kind: type[Object] = LocalModelCache, namespace: str = "") -> None:
    """Until the manager says that it waits for node-1."""
    it.client.delete(it.client.get(kind, "iris", namespace=namespace))
    eventually(lambda: waits_for(it, kind, namespace) == "waiting for node node-1 to remove the model")


def waits_for(it: LiveManager, kind: type[Object] = LocalModelCache, namespace: str = "") -> str:
    found = it.client.find(kind, "iris", namespace=namespace)
    assert found is not None
    ready = find_status_condition(found.status.conditions, "Ready")  # type: ignore[attr-defined]
    return ready.message if ready is not None and ready.reason == "Deleting" else ""


def gone(it: LiveManager, kind: type[Object] = LocalModelCache, namespace: str = "") -> None:
    eventually(lambda: it.client.find(kind, "iris", namespace=namespace) is None, timeout=30)


def reasons(it: LiveManager) -> set[str]:
    return {event.reason for event in it.client.list(Event)}


def test_it_waits_for_the_agent_that_removes_the_model(it: LiveManager) -> None:
    delete(it)
    eventually(lambda: it.entries("node-1") == ["rose"])
    it.say("node-1", "iris", "")
    gone(it)


def test_the_group_goes_first_d23(it: LiveManager) -> None:
    it.client.delete(it.client.get(LocalModelNodeGroup, "gpu"))
    eventually(lambda: it.entries("node-1") == [])
    delete(it)
    it.say("node-1", "iris", "")
    gone(it)


def test_the_node_goes_while_it_is_waited_for(it: LiveManager) -> None:
    delete(it)
    it.client.delete(it.client.get(Node, "node-1"))
    gone(it)
    assert it.client.find(LocalModelNode, "node-1") is None


@pytest.mark.parametrize("how", ["not ready", "gone"])
def test_the_agent_dies_while_it_is_waited_for(it: LiveManager, how: str) -> None:
    delete(it)
    if how == "not ready":
        it.agent("node-1", ready=False)
    else:
        it.client.delete(it.client.get(Pod, "agent-node-1", namespace="kserve"), grace_period_seconds=0)
    gone(it)


def test_the_agent_never_says_anything(it: LiveManager) -> None:
    """By the manager's clock the deletion began almost ten minutes ago."""
    it.clock.skew = timedelta(minutes=9, seconds=57)
    it.client.delete(it.client.get(LocalModelCache, "iris"))
    eventually(lambda: waits_for(it) == "waiting for node node-1 to remove the model")
    gone(it)
    eventually(lambda: "CleanUpTimedOut" in reasons(it))


def test_the_definition_of_local_model_nodes_goes_and_comes_back(it: LiveManager) -> None:
    delete(it)
    it.remove_definition(LocalModelNode)
    gone(it)
    eventually(lambda: not it.has_definition(LocalModelNode))
    it.client.delete(it.client.get(LocalModelCache, "rose"))
    eventually(lambda: it.client.find(LocalModelCache, "rose") is None)

    it.client.create(cache("lily"))
    it.install_definitions()
    eventually(lambda: it.entries("node-1") == ["lily"], timeout=60)
    assert it.runs


def test_the_definition_of_groups_goes_and_comes_back(it: LiveManager) -> None:
    delete(it)
    it.remove_definition(LocalModelNodeGroup)
    it.say("node-1", "iris", "")
    gone(it)
    eventually(lambda: not it.has_definition(LocalModelNodeGroup))
    it.install_definitions()
    it.client.create(group())
    eventually(lambda: it.entries("node-1") == ["rose"], timeout=60)
    assert it.runs


@pytest.mark.parametrize("removed", [LocalModelCache, LocalModelNamespaceCache])
def test_the_definition_of_one_kind_of_cache_goes_and_comes_back(it: LiveManager, removed: type[Object]) -> None:
    it.client.create(namespace_cache())
    eventually(lambda: "team-a/iris" in it.entries("node-1"))
    it.say("node-1", "team-a/iris", "ModelDownloaded")
    it.remove_definition(removed)
    namespaced = removed is LocalModelNamespaceCache
    eventually(lambda: it.entries("node-1") == (["iris", "rose"] if namespaced else ["team-a/iris"]))
    it.say("node-1", "team-a/iris" if namespaced else "iris", "")
    eventually(lambda: not it.has_definition(removed), timeout=30)

    other, namespace = (LocalModelCache, "") if namespaced else (LocalModelNamespaceCache, "team-a")
    delete(it, other, namespace)
    it.say("node-1", "iris" if namespaced else "team-a/iris", "")
    gone(it, other, namespace)

    it.install_definitions()
    it.client.create(namespace_cache("lily") if namespaced else cache("lily"))
    eventually(lambda: ("team-a/lily" if namespaced else "lily") in it.entries("node-1"), timeout=60)
    assert it.runs


@pytest.mark.parametrize("removed", [LocalModelNode, LocalModelNodeGroup, LocalModelNamespaceCache])
def test_a_manager_that_starts_without_a_definition_lets_caches_go_and_works_once_it_is_there(
    it: LiveManager, removed: type[Object]
) -> None:
    it.stop()
    it.client.delete(it.client.get(LocalModelCache, "iris"))
    it.remove_definition(removed)
    eventually(lambda: not it.has_definition(removed))
    it.start()
    if removed is not LocalModelNode:
        eventually(lambda: waits_for(it) == "waiting for node node-1 to remove the model")
        it.say("node-1", "iris", "")
    gone(it)
    it.install_definitions()
    if removed is LocalModelNodeGroup:
        it.client.create(group())
    it.client.create(namespace_cache("lily"))
    eventually(lambda: it.entries("node-1") == ["rose", "team-a/lily"], timeout=60)
    assert it.runs


def test_the_definition_of_inference_services_goes(it: LiveManager) -> None:
    it.client.create(service("s", "team-a"))
    eventually(lambda: it.client.find(PersistentVolumeClaim, "iris-gpu", namespace="team-a"))
    it.remove_definition(InferenceService)
    eventually(lambda: not it.has_definition(InferenceService))
    delete(it)
    it.say("node-1", "iris", "")
    gone(it)


def test_the_job_namespace_goes(it: LiveManager) -> None:
    """Without a controller of namespaces it stays as it is while it terminates: nothing can be made in it."""
    it.client.create(namespace_cache())
    eventually(lambda: it.client.find(PersistentVolumeClaim, "iris-gpu-team-a-download", namespace=JOBS))
    it.client.delete(Namespace(metadata=ObjectMeta(name=JOBS)))
    for kind, namespace in ((LocalModelCache, ""), (LocalModelNamespaceCache, "team-a")):
        eventually(lambda: it.entries("node-1"))
        it.client.delete(it.client.get(kind, "iris", namespace=namespace))
    it.say("node-1", "iris", "")
    gone(it)
    gone(it, LocalModelNamespaceCache, "team-a")
    assert [volume.name for volume in it.client.list(PersistentVolume) if "team-a" in volume.name] == []


def test_the_caches_own_namespace_goes(it: LiveManager) -> None:
    it.client.create(namespace_cache())
    it.client.create(service("s", "team-a", of="team-a"))
    eventually(lambda: it.client.find(PersistentVolumeClaim, "iris-gpu", namespace="team-a"))
    it.client.delete(Namespace(metadata=ObjectMeta(name="team-a")))
    for kind in (PersistentVolumeClaim, InferenceService, LocalModelNamespaceCache):
        for obj in it.client.list(kind, namespace="team-a"):
            it.client.delete(obj)
    gone(it, LocalModelNamespaceCache, "team-a")
    eventually(lambda: [v for v in it.client.list(PersistentVolume) if "team-a" in v.name] == [])
