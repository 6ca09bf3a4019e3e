"""Whatever happens to nodes, agents, reports, caches and groups, and however far the manager's cache is behind: once it
has seen everything and a while has passed, all is as another manager makes it that reads everything anew.

A hypothesis state machine drives the manager's reconcilers over its own cache with its indexes of parts (`Pumped`). The
judge reads whole objects from the API server, and has nothing to write.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from support.manager import Cluster, agent_pod, cache, detailed, group, namespace_cache, node
from support.pumped import Pumped

from localmodel.api import (
    LocalModelCache,
    LocalModelNamespaceCache,
    LocalModelNode,
    LocalModelNodeGroup,
    NodeDisk,
)
from localmodel.api.names import storage_key
from localmodel.manager.groupmetrics import copies_of
from localmodel.runtime.errors import TransportError
from localmodel.runtime.objects import Node, Object, ObjectMeta, Pod

GROUPS = ("gpu", "cpu")
KINDS = (Node, Pod, LocalModelNode, LocalModelNodeGroup, LocalModelCache, LocalModelNamespaceCache)
SETTLED_SECONDS = 75.0
"""Longer than any pace, retry, or look at the own turn."""

names = st.sampled_from(["node-1", "node-2", "node-3"])
pools = st.sampled_from(GROUPS)
uris = st.sampled_from(["hf://o/m", "hf://o/other"])
keys = st.sampled_from(["iris", "rose", "team-a/iris"])
states = st.sampled_from(
    [
        ("ModelDownloaded", {"reason": "Published", "sizeBytes": 9}),
        ("ModelDownloading", {"bytesDownloaded": 4}),
        ("ModelDownloadPending", {"reason": "Evicted", "downloadedTime": "2026-01-01T00:00:00Z"}),
        ("ModelDownloadPending", {"reason": "InsufficientStorage", "message": "no room"}),
        ("ModelDownloadError", {"attempts": 2, "message": "no such model"}),
        ("", {}),
    ]
)


class Histories(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.judge = Cluster(
            node(), node("node-2", pool="cpu"), *map(agent_pod, ("node-1", "node-2")), *map(group, GROUPS)
        )
        self.server = self.judge.client
        self.put(cache())
        self.manager = Pumped(self.server, self.judge.clock)
        self.manager.settle(2.0)

    # what happens -----------------------------------------------------------------------------------------------------

    def put(self, wanted: Object) -> None:
        """Makes it, or changes it into this."""
        found = self.server.find(type(wanted), wanted.name, namespace=wanted.namespace)
        if found is None:
            found = self.server.create(wanted)
        elif not found.is_deleting and hasattr(wanted, "spec"):
            found.spec = wanted.spec  # type: ignore[attr-defined]
            found = self.server.update(found)
        if isinstance(wanted, Node | Pod):
            self.server.status.patch(found, {"status": wanted.status.to_dict()})
        if isinstance(wanted, Node):
            self.server.patch(found, {"metadata": {"labels": wanted.metadata.labels}})

    def remove(self, wanted: Object) -> None:
        if self.server.find(type(wanted), wanted.name, namespace=wanted.namespace) is not None:
            self.server.delete(wanted)

    @rule(name=names, pool=pools, ready=st.booleans())
    def node(self, name: str, pool: str, ready: bool) -> None:
        self.put(node(name, pool=pool, ready=ready))

    @rule(name=names)
    def no_node(self, name: str) -> None:
        self.remove(node(name))

    @rule(name=names, ready=st.booleans())
    def agent(self, name: str, ready: bool) -> None:
        self.put(agent_pod(name, ready=ready))

    @rule(name=names)
    def no_agent(self, name: str) -> None:
        self.remove(agent_pod(name))

    @rule(name=st.sampled_from(["iris", "rose"]), groups=st.sets(pools, min_size=1), uri=uris)
    def cluster_cache(self, name: str, groups: set[str], uri: str) -> None:
        self.put(cache(name, *sorted(groups), sourceModelUri=uri))

    @rule(groups=st.sets(pools, min_size=1))
    def namespaced_cache(self, groups: set[str]) -> None:
        self.put(namespace_cache("iris", *sorted(groups)))

    @rule(name=st.sampled_from(["iris", "rose"]))
    def no_cluster_cache(self, name: str) -> None:
        self.remove(cache(name))

    @rule()
    def no_namespaced_cache(self) -> None:
        self.remove(namespace_cache("iris"))

    @rule(name=pools, limit=st.sampled_from([0, 1]))
    def group(self, name: str, limit: int) -> None:
        self.put(group(name, maxConcurrentDownloads=limit))

    @rule(name=pools)
    def no_group(self, name: str) -> None:
        self.remove(group(name))

    @rule(name=names, key=keys, uri=uris, state=states)
    def report(self, name: str, key: str, uri: str, state: tuple[str, dict[str, Any]]) -> None:
        found = self.server.find(LocalModelNode, name)
        if found is None:
            return
        status, fields = state
        if status:
            detailed(found, key, status, storageKey=storage_key(uri), **fields)
        else:
            found.status.model_status.pop(key, None)
            found.status.models.pop(key, None)
        self.server.status.update(found)

    @rule(name=names, used=st.integers(1, 3))
    def disk(self, name: str, used: int) -> None:
        if (found := self.server.find(LocalModelNode, name)) is not None:
            found.status.disk = NodeDisk(used=f"{used}Gi", available=f"{9 - used}Gi")
            self.server.status.update(found)

    @rule(name=names)
    def all_that_an_agent_can_do_at_once(self, name: str) -> None:
        """Every entry is there, and nothing else."""
        if (found := self.server.find(LocalModelNode, name)) is not None:
            found.status.model_status, found.status.models = {}, {}
            for entry in found.spec.local_models:
                key = f"{entry.namespace}/{entry.model_name}".lstrip("/")
                detailed(found, key, "ModelDownloaded", storageKey=storage_key(entry.source_model_uri))
            self.server.status.update(found)

    @rule(name=names, key=keys, of=st.permutations(["ModelDownloaded", "ModelDownloading"]))
    def two_reports_in_a_second(self, name: str, key: str, of: list[str]) -> None:
        """The second comes when the status has just been written."""
        for status in of:
            self.report(name, key, "hf://o/m", (status, {}))
            self.manager.settle(0.2)
        self.judge_it()

    @rule(name=names, again=st.booleans())
    def reports_are_lost(self, name: str, again: bool) -> None:
        """Somebody deletes the LocalModelNode, and perhaps makes another one."""
        self.remove(LocalModelNode(metadata=ObjectMeta(name=name)))
        if again:
            entries = [{"modelName": "rose", "sourceModelUri": "hf://o/m", "nodeGroup": "gpu"}]
            self.server.create(LocalModelNode.from_dict({"metadata": {"name": name}, "spec": {"localModels": entries}}))

    # what the manager does --------------------------------------------------------------------------------------------

    @rule(kind=st.sampled_from(KINDS))
    def see(self, kind: type[Object]) -> None:
        self.manager.see(kind)

    @rule(kind=st.sampled_from(KINDS))
    def relist(self, kind: type[Object]) -> None:
        self.manager.relist(kind)

    @rule()
    def work(self) -> None:
        self.manager.work()

    @rule(seconds=st.sampled_from([0.3, 1.0, 11.0]))
    def wait(self, seconds: float) -> None:
        self.judge.clock.advance(seconds)

    @rule(seconds=st.sampled_from([0.5, 2.0]))
    def all_goes_on(self, seconds: float) -> None:
        self.manager.settle(seconds)

    @rule(done=st.booleans(), status=st.booleans())
    def a_write_fails(self, done: bool, status: bool) -> None:
        """Of what is to be done now, the first update."""
        subresource = "status" if status else ""
        if done:
            self.server.faults.drop_answer(verb="update", subresource=subresource)
        else:
            self.server.faults.fail(TransportError("refused"), verb="update", subresource=subresource)
        self.manager.work()
        self.server.faults.clear()

    @rule()
    def restart(self) -> None:
        self.manager = Pumped(self.server, self.judge.clock)

    # the end ----------------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        self.judge_it()

    def judge_it(self) -> None:
        self.manager.settle(SETTLED_SECONDS)
        self.server.actions.clear()
        for kind, run in (
            (Node, lambda obj: self.judge.reconcile_node(obj.name)),
            (LocalModelCache, lambda obj: self.judge.reconcile_cache(obj.name)),
            (LocalModelNamespaceCache, lambda obj: self.judge.reconcile_cache(obj.name, obj.namespace)),
            (LocalModelNodeGroup, lambda obj: self.judge.groups.reconcile(obj.key)),
            (LocalModelNode, lambda obj: self.judge.reconcile_node(obj.name)),
        ):
            for obj in self.server.list(kind):
                run(obj)
        assert [str(write) for write in self.server.writes] == []
        assert self.manager.lost == 0
        copies: Counter[tuple[str, str]] = Counter()
        for found in self.server.list(LocalModelNode):
            copies.update(copies_of(found)[found.name])
        assert +self.manager.metrics._totals == copies


SETTINGS = settings(max_examples=20, stateful_step_count=30, deadline=None, derandomize=True)
"""Always the same histories; for others, give more examples and take `derandomize` away."""


def test_whatever_happened_a_manager_that_reads_everything_anew_has_nothing_to_write() -> None:
    run_state_machine_as_test(Histories, settings=SETTINGS)
