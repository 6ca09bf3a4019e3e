"""Over HTTP, whatever happens to the writes of the manager, everything ends in the same state.

A scenario in which caches, nodes and services come, change and go is played once undisturbed. The API server's audit
log tells which writes that took, and the state after each step is kept. Then it is played again with every one of those
writes failing once in one way, and with the program killed after each write that it makes. `test_crash_points` does
the same in memory, one call at a time.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.eventually import eventually
from support.livemanager import WRITES, LiveManager, kubeconfig_of
from support.manager import agent_pod, cache, group, namespace_cache, node, service
from support.programs import QUIET
from support.rights import MANAGER
from support.states import state_of

from localmodel.api import LocalModelCache, LocalModelNamespaceCache, LocalModelNode, LocalModelNodeGroup
from localmodel.api.names import ready_label, storage_key
from localmodel.manager.indexes import InferenceService
from localmodel.runtime.objects import Node, Object, PersistentVolume, PersistentVolumeClaim, Pod
from localmodel.runtime.testing.faults import Target
from localmodel.sandbox.apiserver.audit import AuditRecord
from localmodel.sandbox.apiserver.faults import ServerFault, request_target, status_error
from localmodel.sandbox.apiserver.messages import Answer, Request, Response, WatchResponse
from localmodel.sandbox.apiserver.routing import parse

pytestmark = pytest.mark.embedded_only("injects faults into the server")

KINDS: tuple[type[Object], ...] = (
    Node, LocalModelNode, LocalModelNodeGroup, LocalModelCache, LocalModelNamespaceCache, PersistentVolume,
    PersistentVolumeClaim,
)  # fmt: skip
NEVER = threading.Event()
LABEL = ready_label(storage_key("hf://o/m"))


# the scenario -------------------------------------------------------------------------------------------------------


def everything_comes(it: LiveManager) -> None:
    it.with_status(
        group(), node("node-1"), node("node-2"), agent_pod("node-1"), agent_pod("node-2"), cache(),
        namespace_cache("rose", sourceModelUri="hf://o/rose"), service("s", "team-b"),
        service("t", "team-a", "rose", of="team-a"),
    )  # fmt: skip


def agents_report(it: LiveManager) -> None:
    it.say("node-1", "iris", "ModelDownloaded")
    it.say("node-1", "team-a/rose", "ModelDownloadError")


def things_go(it: LiveManager) -> None:
    """A node, a service, and a namespace's cache whose model is on no node."""
    it.client.delete(it.client.get(Node, "node-2"))
    it.client.delete(it.client.get(InferenceService, "s", namespace="team-b"))
    it.say("node-1", "team-a/rose", "")
    it.client.delete(it.client.get(Pod, "agent-node-2", namespace="kserve"), grace_period_seconds=0)
    it.client.delete(it.client.get(LocalModelNamespaceCache, "rose", namespace="team-a"))


def the_cache_goes(it: LiveManager) -> None:
    it.client.delete(it.client.get(LocalModelCache, "iris"))
    eventually(lambda: it.entries("node-1") == [], timeout=60)
    it.say("node-1", "iris", "")


def _ready(it: LiveManager) -> list[str]:
    return [found.name for found in it.client.list(Node, labels={LABEL: "ready"})]


STEPS: tuple[tuple[Callable[[LiveManager], None], Callable[[LiveManager], bool]], ...] = (
    (everything_comes, lambda it: len(it.client.list(PersistentVolumeClaim)) == 4),
    (agents_report, lambda it: _ready(it) == ["node-1"]),
    (things_go, lambda it: len(it.client.list(PersistentVolume)) == 1),
    (the_cache_goes, lambda it: it.client.find(LocalModelCache, "iris") is None and not _ready(it)),
)
"""What is done, and what is seen of the manager after it, in an undisturbed run, when little is left to do."""


# the runs -----------------------------------------------------------------------------------------------------------


@dataclass
class Undisturbed:
    states: list[Any] = field(default_factory=list)
    """After each step."""
    writes: list[AuditRecord] = field(default_factory=list)


def state(it: LiveManager) -> list[Any]:
    it.collect_garbage()
    return state_of(it.client, KINDS)


def quiet(it: LiveManager) -> list[Any]:
    """The state once the manager has written nothing for longer than it ever waits."""
    before = -1
    while before != (before := len(it.writes())):
        NEVER.wait(1.6)
    return state(it)


def same_as(it: LiveManager, undisturbed: Undisturbed) -> None:
    """Plays the scenario; each step has to end in the state in which it ended undisturbed."""
    for (step, _), expected in zip(STEPS, undisturbed.states, strict=True):
        step(it)
        differing: list[Any] = []

        def ends(expected: list[Any] = expected, differing: list[Any] = differing) -> bool:
            NEVER.wait(0.2)  # a look takes longer than what it waits for
            found = state(it)
            differing[:] = [obj for obj in found if obj not in expected], [obj for obj in expected if obj not in found]
            return found == expected

        try:
            eventually(ends, timeout=60)
        except AssertionError:
            pytest.fail(f"after {step.__name__}, not expected and missing: {json.dumps(differing, indent=1)}")


@pytest.fixture(scope="module", autouse=True)
def quick_labels() -> Iterator[None]:
    """The labels of a node are patched once in ten seconds, which is long for a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("localmodel.manager.nodes.LABEL_SECONDS", 1.0)
        yield


@pytest.fixture(scope="module")
def undisturbed() -> Undisturbed:
    found = Undisturbed()
    with LiveManager(("team-a", "team-b")) as it:
        it.start()
        for step, seen in STEPS:
            step(it)
            eventually(lambda seen=seen: seen(it), timeout=30)  # type: ignore[misc]
            found.states.append(quiet(it))
        found.writes = it.writes()
    return found


def target_of(record: AuditRecord) -> Target:
    path, _, query = record.path.partition("?")
    info = parse(Request(method="GET", path=path, raw_query=query))
    target = request_target(info, record.user, "")
    return Target(
        verb=record.verb, resource=target.resource, subresource=target.subresource, namespace=target.namespace,
        name=target.name, user=MANAGER,
    )  # fmt: skip


FATES = {
    "500": {"error": status_error(500)},
    "429": {"error": status_error(429, retry_after=1)},
    "409": {"error": status_error(409)},
    "done, and said to have failed": {"drop_answer": True},
}


def test_the_scenario_takes_the_writes_that_it_is_about(undisturbed: Undisturbed) -> None:
    kinds = {(target.verb, target.resource, target.subresource) for target in map(target_of, undisturbed.writes)}
    own = "serving.kserve.io"
    assert kinds >= {
        ("create", f"localmodelnodes.{own}", ""), ("update", f"localmodelnodes.{own}", ""),
        ("delete", f"localmodelnodes.{own}", ""), ("update", f"localmodelcaches.{own}", ""),
        ("update", f"localmodelcaches.{own}", "status"), ("update", f"localmodelnamespacecaches.{own}", ""),
        ("update", f"localmodelnamespacecaches.{own}", "status"), ("update", f"localmodelnodegroups.{own}", "status"),
        ("create", "persistentvolumes", ""), ("delete", "persistentvolumes", ""),
        ("create", "persistentvolumeclaims", ""), ("delete", "persistentvolumeclaims", ""), ("patch", "nodes", ""),
    }  # fmt: skip
    assert all(record.code < 300 or record.code == 409 for record in undisturbed.writes)


@pytest.mark.parametrize("fate", FATES)
def test_every_write_may_fail_once(undisturbed: Undisturbed, fate: str) -> None:
    """As often as a write of an object was made undisturbed, so often it fails."""
    times = Counter(map(target_of, undisturbed.writes))
    with LiveManager(("team-a", "team-b")) as it:
        rules = [ServerFault(target=target, remaining=count, **FATES[fate]) for target, count in times.items()]
        for rule in rules:
            it.environment.server.faults.add(rule)
        it.start()
        same_as(it, undisturbed)
        # A status that was written twice, a moment apart, may be written once after a failure: not every rule is
        # used up. But each write met its fate.
        assert [rule.target for rule in rules if not rule.hits] == []


FORKS = """
import os, sys
from localmodel.manager.main import main
for _ in sys.stdin:
    pid = os.fork()
    if pid == 0:
        os._exit(main(sys.argv[1:]))
    print(pid, flush=True)
    print(os.waitpid(pid, 0)[1], flush=True)
"""
"""A process with everything imported that becomes the program again and again: each takes a second less to start. For
each line it says the pid of the next one, and then how that ended."""


class Killed:
    """The program, killed right after each of its writes has been done, before it hears of it, and started again."""

    def __init__(self, it: LiveManager, home: Path) -> None:
        arguments = ["--kubeconfig", str(kubeconfig_of(it, home)), *QUIET, "--webhook-port", "0"]
        self._log = (home / "log").open("w")
        self._parent = subprocess.Popen(
            [sys.executable, "-c", FORKS, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True, bufsize=1,
        )  # fmt: skip
        self._lock = threading.Lock()
        self._pid = self._next()
        self.kills: Counter[Target] = Counter()
        faults = it.environment.server.faults
        faults.add(ServerFault(target=Target(user=MANAGER)))  # does nothing, but has the server ask `after`
        self._after = faults.after
        faults.after = self._kill  # type: ignore[method-assign]

    def _next(self) -> int:
        assert self._parent.stdin is not None
        self._parent.stdin.write("\n")
        return self._said()

    def _said(self) -> int:
        assert self._parent.stdout is not None
        return int(self._parent.stdout.readline())

    def _kill(self, taken: Any, request: Target, answer: Response | WatchResponse) -> Answer:
        if request.user == MANAGER and request.verb in WRITES and not request.resource.startswith("events"):
            with self._lock:
                self._end()
                self._pid = self._next()
                self.kills[request] += 1
        return self._after(taken, request, answer)

    def _end(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        assert self._said() == signal.SIGKILL, "it had ended by itself"

    def stop(self) -> None:
        with self._lock:
            self._end()
            self._parent.communicate(timeout=10)
            self._log.close()


def test_the_program_may_be_killed_after_every_write(undisturbed: Undisturbed, tmp_path: Path) -> None:
    with LiveManager(("team-a", "team-b")) as it:
        killed = Killed(it, tmp_path)
        try:
            same_as(it, undisturbed)
        finally:
            killed.stop()
        died_after = {(target.verb, target.resource, target.subresource) for target in killed.kills}
        expected = {(it.verb, it.resource, it.subresource) for it in map(target_of, undisturbed.writes)}
        # The collector of garbage may be there first: a LocalModelNode is owned by its Node.
        expected.remove(("delete", LocalModelNode.mapping.group_resource, ""))
        assert expected <= died_after
