"""Which changes concern whom."""

from __future__ import annotations

from typing import Any

import pytest
from support.manager import agent_daemon_set, agent_pod, cache, node

from localmodel.api import LocalModelNode
from localmodel.manager.watching import (
    AGENT_CHANGED,
    NODE_CHANGED,
    SINCE_START,
    DaemonSetChanged,
    EnqueueChangedModels,
    OurVolumeChanged,
    SpecChanged,
)
from localmodel.runtime.event import CreateEvent, DeleteEvent, UpdateEvent
from localmodel.runtime.objects import ObjectMeta, OwnerReference, PersistentVolume


class Queue:
    """Keeps what is added, and with what delay."""

    def __init__(self) -> None:
        self.added: list[str] = []
        self.delays: list[float] = []

    def add_after(self, request: object, delay: float) -> None:
        self.added.append(str(request))
        self.delays.append(delay)


def reports(*entries: str, models: dict[str, Any] | None = None, **model_status: str) -> LocalModelNode:
    local_models = [dict(zip(("modelName", "namespace"), reversed(e.split("/")), strict=False)) for e in entries]
    keys = {key.replace("__", "/"): value for key, value in model_status.items()}
    return LocalModelNode.from_dict(
        {
            "metadata": {"name": "node-1"},
            "spec": {"localModels": local_models},
            "status": {"modelStatus": keys, "models": models or {}},
        }
    )


def queued(event: Any, *, namespaced: bool = False) -> list[str]:
    queue = Queue()
    EnqueueChangedModels(namespaced=namespaced).handle(event, queue)  # type: ignore[arg-type]
    return queue.added


def test_a_report_concerns_the_models_that_changed() -> None:
    old = reports("a", "b", "c", a="ModelDownloading", b="ModelDownloading")
    new = reports("a", "b", "c", a="ModelDownloaded", b="ModelDownloading")
    assert queued(UpdateEvent(old, new)) == ["a"]


def test_progress_entries_and_lost_reports_count_as_change() -> None:
    old = reports("a", "b", models={"a": {"bytesDownloaded": 1}}, c="ModelDownloaded")
    new = reports("a", "d", models={"a": {"bytesDownloaded": 2}})
    assert queued(UpdateEvent(old, new)) == ["a", "b", "c", "d"]


def test_news_of_a_cache_wait_until_it_has_a_use_for_them() -> None:
    queue = Queue()
    handler = EnqueueChangedModels(namespaced=False, until_due=lambda cache: 3.0 if cache.name == "a" else 0.0)
    handler.handle(CreateEvent(reports("a", "b")), queue)  # type: ignore[arg-type]
    assert (queue.added, queue.delays) == (["a", "b"], [3.0, 0.0])


def test_what_an_agent_says_of_uses_concerns_no_cache() -> None:
    old, new = (reports("a", models={"a": {"inUse": used}}) for used in (False, True))
    assert queued(UpdateEvent(old, new)) == []


def test_each_scope_sees_its_own() -> None:
    everything = CreateEvent(reports("a", "team/b", team__c="ModelDownloaded"))
    assert queued(everything) == ["a"]
    assert queued(everything, namespaced=True) == ["team/b", "team/c"]


def test_a_deleted_node_concerns_all_its_models() -> None:
    assert queued(DeleteEvent(reports("a", b="ModelDownloaded"))) == ["a", "b"]


def test_heartbeats_of_a_node_are_dropped() -> None:
    assert not NODE_CHANGED.matches(UpdateEvent(node(), node()))
    assert NODE_CHANGED.matches(UpdateEvent(node(), node(ready=False)))
    assert NODE_CHANGED.matches(UpdateEvent(node(), node(pool="b")))


def test_what_existed_at_the_start_is_dropped() -> None:
    assert not SINCE_START.matches(CreateEvent(node(), True))
    assert SINCE_START.matches(CreateEvent(node(), False))
    assert SINCE_START.matches(DeleteEvent(node()))


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"generation": 1}, False),
        ({"generation": 1, "resourceVersion": "9"}, False),
        ({"generation": 2}, True),
        ({"generation": 1, "finalizers": ["x"]}, True),
        ({"generation": 1, "deletionTimestamp": "2026-01-01T00:00:00Z"}, True),
    ],
)
def test_a_cache_counts_when_its_intent_changes(metadata: dict[str, Any], expected: bool) -> None:
    old, new = cache(), cache()
    old.metadata = ObjectMeta.from_dict({"name": "iris", "generation": 1})
    new.metadata = ObjectMeta.from_dict({"name": "iris", **metadata})
    assert SpecChanged().matches(UpdateEvent(old, new)) is expected


def test_a_volume_counts_when_it_is_released_or_goes() -> None:
    def volume(phase: str) -> PersistentVolume:
        return PersistentVolume.from_dict({"metadata": {"name": "v"}, "status": {"phase": phase}})

    assert not OurVolumeChanged().matches(UpdateEvent(volume("Available"), volume("Bound")))
    assert OurVolumeChanged().matches(UpdateEvent(volume("Bound"), volume("Released")))
    assert OurVolumeChanged().matches(DeleteEvent(volume("Bound")))
    assert not OurVolumeChanged().matches(CreateEvent(volume("Bound")))


def test_agents_count_when_they_come_go_or_change_their_readiness() -> None:
    pod, unready = agent_pod(), agent_pod(ready=False)
    heartbeat = agent_pod()
    heartbeat.status.phase = "Running"
    assert AGENT_CHANGED.update(UpdateEvent(unready, pod))
    assert AGENT_CHANGED.update(UpdateEvent(pod, agent_pod("node-2")))
    assert not AGENT_CHANGED.update(UpdateEvent(pod, heartbeat))


def test_daemon_sets_count_when_they_are_changed_and_not_when_their_counts_are() -> None:
    old = agent_daemon_set()
    counted, changed, freed = (agent_daemon_set() for _ in range(3))
    counted.status = {"numberReady": 1}
    changed.metadata.generation = 2
    freed.metadata.owner_references = [OwnerReference(api_version="v1", kind="X", name="x", uid="u")]
    assert not DaemonSetChanged().update(UpdateEvent(old, counted))
    assert DaemonSetChanged().update(UpdateEvent(old, changed))
    assert DaemonSetChanged().update(UpdateEvent(old, freed))
