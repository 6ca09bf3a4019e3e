"""Waves under random caches, reports, losses, limits, a cache that is behind, and writes whose answer is lost.

Promises: a node is admitted only while fewer other nodes hold a slot than the limit says, and once all is well
everything is admitted without a look at the clock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from support.manager import Cluster, Queue, agent_pod, cache, group, node

from localmodel.api import LocalModelCache, LocalModelNode, LocalModelNodeGroup
from localmodel.manager.entries import key_of
from localmodel.manager.turns import EnqueueNextInLine, EnqueueNodeReported
from localmodel.runtime.client import Reader
from localmodel.runtime.delegating_client import DelegatingClient
from localmodel.runtime.errors import ApiError, NotFoundError, TransportError
from localmodel.runtime.event import CreateEvent, DeleteEvent, Event, UpdateEvent
from localmodel.runtime.objects import Node, Pod
from localmodel.runtime.testing.fake import Action

NODES = [f"node-{number}" for number in range(5)]
CACHES = ["x", "y", "z"]
GROUPS = ["even", "odd"]
REPORTS = [
    ("ModelDownloadPending", "Waiting"),
    ("ModelDownloading", "Downloading"),
    ("ModelDownloadPending", "InsufficientStorage"),
    ("ModelDownloadPending", "Evicted"),
    ("ModelDownloadError", "DownloadFailed"),
    ("ModelDownloaded", "Published"),
]
OPERATIONS = ["reconcile", "see", "report", "ready", "agent", "node", "cache", "limit", "fail", "lose"]
AT_WORK = {"", "Waiting", "Downloading"}


def group_of(name: str) -> str:
    return GROUPS[NODES.index(name) % 2]


def is_held(found: LocalModelNode | None) -> bool:
    """By this model's own rule: an entry that the agent has not spoken of, or is at work on."""
    if found is None:
        return False
    models = found.status.models
    keys = [key_of(entry) for entry in found.spec.local_models]
    return any(models[key].reason in AT_WORK if key in models else True for key in keys)


class Lagging(DelegatingClient):
    """Shows of each LocalModelNode what was seen of it last."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.shown: dict[str, LocalModelNode] = {}

    def get(self, kind: Any, name: str, *, namespace: str = "") -> Any:
        if kind is not LocalModelNode:
            return self.inner.get(kind, name, namespace=namespace)
        if name not in self.shown:
            raise NotFoundError.of(name)
        return self.shown[name].deepcopy()

    def list(self, kind: Any, **options: Any) -> Any:
        if kind is not LocalModelNode:
            return self.inner.list(kind, **options)
        return [found.deepcopy() for found in self.shown.values()]

    def parts(self, kind: Any, extract: Any, value: str) -> Any:
        return Reader.parts(self, kind, extract, value)


class World:
    """The reconciler with its handlers, on objects in memory. Groups, nodes and Pods are seen at once."""

    def __init__(self, limits: list[int]) -> None:
        self.faults: list[str] = []
        self.violations: list[str] = []
        self.cluster = Cluster(
            *(group(name, maxConcurrentDownloads=limit) for name, limit in zip(GROUPS, limits, strict=True)),
            interceptors=[self._write],
        )
        self.client = self.cluster.client
        self.reconciler = self.cluster.nodes
        self.lagging = self.reconciler.client = Lagging(self.client)
        self.queue = Queue()
        self.line = EnqueueNextInLine(self.reconciler._waves, self.reconciler)
        self.reports = EnqueueNodeReported(self.line, lambda _: 0.0)
        for name in NODES:
            self.node(name)
            self.agent(name)

    # what is promised

    def _write(self, action: Action, proceed: Callable[[], Any]) -> Any:
        """Looks at each write of the manager, and has it fail before or after it is done."""
        if action.kind is not LocalModelNode or action.subresource or action.verb not in ("create", "update"):
            return proceed()
        fault = self.faults.pop() if self.faults else ""
        if fault == "fail":
            raise TransportError("refused before it was sent")
        before = self.client.find(LocalModelNode, action.name)
        limit = self._limit(group_of(action.name))
        others = [name for name in NODES if name != action.name and self._holds(name, group_of(action.name))]
        answer = proceed()
        added = {key_of(e) for e in action.object.spec.local_models} - {
            key_of(e) for e in (before.spec.local_models if before else ())
        }
        if added and not is_held(before) and len(others) >= limit:
            self.violations.append(f"{action.name} got {added} beside {others}, limit {limit}")
        if fault == "lose":
            raise TransportError("the answer was lost")
        return answer

    def _holds(self, name: str, group: str) -> bool:
        """What the manager may know: what it has seen, and what it wrote itself."""
        if group_of(name) != group or not self._is_able(name):
            return False
        live, shown = self.client.find(LocalModelNode, name), self.lagging.shown.get(name)
        unseen = live is not None and (
            shown is None
            or shown.metadata.uid != live.metadata.uid
            or shown.metadata.generation != live.metadata.generation
        )
        return is_held(live) if unseen else is_held(shown)

    def _is_able(self, name: str) -> bool:
        found = self.client.find(Node, name)
        pod = self.client.find(Pod, f"agent-{name}", namespace="kserve")
        return found is not None and found.is_ready and pod is not None

    def _limit(self, name: str) -> int:
        return self.client.get(LocalModelNodeGroup, name).spec.max_concurrent_downloads

    # what happens

    def reconcile(self, name: str) -> None:
        self.queue.added.pop(name, None)
        try:
            self.cluster.reconcile_node(name)
        except (ApiError, TransportError):
            self.queue.added.setdefault(name, 0.0)

    def see(self, name: str) -> None:
        """The cache catches up with one LocalModelNode, and its handlers hear of it."""
        old, new = self.lagging.shown.pop(name, None), self.client.find(LocalModelNode, name)
        if new is not None:
            self.lagging.shown[name] = new
        if old is not None and new is not None:
            self._tell(self.reports, UpdateEvent(old, new))
        elif old is not None or new is not None:
            self._tell(self.reports, CreateEvent(new) if new is not None else DeleteEvent(old))

    def report(self, name: str, which: tuple[str, str], entry: int = 0) -> None:
        found = self.client.find(LocalModelNode, name)
        if found is not None and found.spec.local_models:
            key = key_of(found.spec.local_models[entry % len(found.spec.local_models)])
            self.cluster.say(key, which[0], node=name, reason=which[1])

    def ready(self, name: str) -> None:
        old = self.client.find(Node, name)
        if old is not None:
            new = self.client.status.patch(old, {"status": node(ready=not old.is_ready).status.to_dict()})
            self._tell(self.line, UpdateEvent(old, new))
            self.queue.added.setdefault(name, 0.0)

    def agent(self, name: str) -> None:
        pod = self.client.find(Pod, f"agent-{name}", namespace="kserve")
        if pod is not None:
            self.client.delete(pod, grace_period_seconds=0)
            self._tell(self.line, DeleteEvent(pod))
        else:
            self.cluster.start_agent(name)
            self._tell(self.line, CreateEvent(agent_pod(name)))

    def node(self, name: str) -> None:
        found = self.client.find(Node, name)
        if found is not None:
            self.client.delete(found)
            self._tell(self.line, DeleteEvent(found))
        else:
            made = node(name, pool=group_of(name))
            self.client.create(made)
            self.client.status.patch(made, {"status": made.status.to_dict()})
        self.queue.added.setdefault(name, 0.0)

    def cache(self, name: str) -> None:
        found = self.client.find(LocalModelCache, name)
        if found is not None:
            self.client.delete(found)
        else:
            self.client.create(cache(name, *GROUPS, sourceModelUri=f"hf://o/{name}"))
        self._all()

    def limit(self, name: str, limit: int) -> None:
        changed = self.client.get(LocalModelNodeGroup, name)
        changed.spec.max_concurrent_downloads = limit
        self.client.update(changed)
        self._all()

    def _all(self) -> None:
        for name in NODES:
            self.queue.added.setdefault(name, 0.0)

    def _tell(self, handler: Any, event: Event[Any]) -> None:
        handler.handle(event, self.queue)

    def step(self, operation: str, first: int, second: int) -> None:
        name = NODES[first % len(NODES)]
        match operation:
            case "report":
                self.report(name, REPORTS[second % len(REPORTS)], second)
            case "cache":
                self.cache(CACHES[first % len(CACHES)])
            case "limit":
                self.limit(GROUPS[first % 2], 1 + second % 3)
            case "fail" | "lose":
                self.faults = [operation]
            case _:
                getattr(self, operation)(name)

    # how it ends

    def heal(self) -> None:
        self.faults = []
        for name in NODES:
            if self.client.find(Node, name) is None:
                self.node(name)
            if not self.client.get(Node, name).is_ready:
                self.ready(name)
            if self.client.find(Pod, f"agent-{name}", namespace="kserve") is None:
                self.agent(name)
        for name in CACHES:
            if self.client.find(LocalModelCache, name) is None:
                self.cache(name)

    def work(self) -> None:
        """Everything that is queued is run, then everything is seen, then every agent finishes one entry."""
        for name in sorted(self.queue.added):
            self.reconcile(name)
        for name in NODES:
            self.see(name)
            found = self.client.find(LocalModelNode, name)
            unfinished = [
                number
                for number, entry in enumerate(found.spec.local_models if found else ())
                if found and found.status.model_status.get(key_of(entry)) != "ModelDownloaded"
            ]
            if unfinished:
                self.report(name, REPORTS[-1], unfinished[0])
                self.see(name)

    def is_done(self) -> bool:
        return all(
            set(self.cluster.entries(name)) == set(CACHES)
            and set(self.cluster.local_model_node(name).status.model_status.values()) == {"ModelDownloaded"}
            for name in NODES
        )


STEPS = st.lists(st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 5), st.integers(0, 5)), max_size=60)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 2), min_size=2, max_size=2), STEPS)
def test_admissions_keep_the_limit_and_all_get_their_turn(limits: list[int], steps: list[tuple[str, int, int]]) -> None:
    world = World(limits)
    for step in steps:
        world.step(*step)
    assert world.violations == []
    world.heal()
    rounds = 0
    while not world.is_done():
        world.work()
        rounds += 1
        assert rounds < 100, {name: world.cluster.entries(name) for name in NODES}
    assert world.violations == []
