"""Whatever a proxy does to lists and watches, an informer over HTTP ends with what the server has.

Two views of the same promise: a state machine, whose failing sequences hypothesis shrinks to the shortest, and a minute
of everything at once.
"""

from __future__ import annotations

import os
import random
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from support.chaos import ChaosProxy, RequestFault, StreamFault
from support.eventually import eventually
from support.folding import Folding
from support.live import Live

from localmodel.runtime.backoff import BackoffOptions
from localmodel.runtime.informer import InformerOptions, SharedInformer
from localmodel.runtime.objects import ConfigMap, ObjectKey
from localmodel.runtime.reflector import ReflectorOptions
from localmodel.runtime.rest import LiveClient
from localmodel.runtime.testing import watching

CHAOS_SECONDS = float(os.environ.get("CHAOS_SECONDS", "60"))
OBJECTS = 2000
SILENCE = 1.0
SETTLED = 30.0

Faults = st.sampled_from([*StreamFault])
RequestFaults = st.sampled_from([*RequestFault])


pytestmark = pytest.mark.embedded_only("seeds the store, sets the bookmarks' period, and makes the server forget")


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    """With bookmarks so often that a silent stream is noticed within a test's patience."""
    patch = pytest.MonkeyPatch()
    patch.setattr(watching, "BOOKMARK_INTERVAL", 0.2)
    with tempfile.TemporaryDirectory() as directory:
        live = Live(Path(directory))
        yield live
        live.stop()
    patch.undo()


class Scene:
    """One namespace of the server, a proxy before it, and an informer that sees it through the proxy only."""

    def __init__(self, live: Live, namespace: str) -> None:
        self.live, self.namespace = live, namespace
        self.threads = set(threading.enumerate())
        self.server = live.environment.server.registry
        definition = self.server.lookup("", "v1", "configmaps")
        assert definition is not None
        self.definition = definition
        upstream = live.client().config
        self.proxy = ChaosProxy(upstream)
        self.client = LiveClient(self.proxy.config)
        reflector = ReflectorOptions(silence_seconds=SILENCE, backoff=BackoffOptions(initial=0.02, maximum=0.2))
        options = InformerOptions(namespaces=(namespace,), reflector=reflector)
        self.informer = SharedInformer(ConfigMap, self.client, options)
        self.handler = Folding()
        self.registration = self.informer.add_event_handler(self.handler)
        self.informer.start()

    def write(self, name: str, value: str) -> None:
        obj = {"metadata": {"name": name, "namespace": self.namespace}, "data": {"value": value}}
        self.server.seed(self.definition, obj)

    def delete(self, name: str) -> None:
        if self.server.store.get(self.definition.resource, self.namespace, name) is not None:
            self.server.delete(self.definition, self.namespace, name)

    def truth(self) -> dict[ObjectKey, int]:
        _, entries = self.server.store.list(self.definition.resource, namespace=self.namespace)
        return {ObjectKey(entry.namespace, entry.name): entry.revision for entry in entries}

    def check_settled(self) -> None:
        """Store and handler come to what the server has."""
        self.proxy.calm()
        truth = self.truth()
        eventually(
            lambda: (
                self.informer.has_synced
                and {stored.key: int(stored.resource_version) for stored in self.informer.store.list()} == truth
            ),
            timeout=SETTLED,
            message=f"the store is not the server's state; the informer says {self.informer.last_error!r}",
        )
        eventually(lambda: self.handler.versions == truth, message="the handler has not heard all")
        assert self.handler.contradictions == []
        assert self.registration.failures == 0

    def end(self) -> None:
        self.informer.stop()
        self.client.close()
        self.proxy.stop()
        eventually(lambda: set(threading.enumerate()) <= self.threads, message="a thread is left over")


def chaos_machine(live: Live) -> Callable[[], RuleBasedStateMachine]:
    """Each example has a namespace of its own on one server."""
    numbers = iter(range(10_000))

    class Chaos(RuleBasedStateMachine):
        scene: Scene

        @initialize(seed=st.integers(0, 2**16))
        def begin(self, seed: int) -> None:
            self.rng = random.Random(seed)
            self.scene = Scene(live, f"chaos-{next(numbers)}")

        @rule(names=st.lists(st.integers(0, 8), min_size=1, max_size=12))
        def write(self, names: list[int]) -> None:
            for name in names:
                self.scene.write(f"c{name}", str(self.rng.random()))

        @rule(name=st.integers(0, 8))
        def delete(self, name: int) -> None:
            self.scene.delete(f"c{name}")

        @rule(name=st.integers(0, 8))
        def recreate(self, name: int) -> None:
            self.scene.delete(f"c{name}")
            self.scene.write(f"c{name}", "again")

        @rule(fault=Faults)
        def disturb(self, fault: StreamFault) -> None:
            self.scene.proxy.disturb(fault, self.rng)

        @rule(fault=RequestFaults)
        def fail_next(self, fault: RequestFault) -> None:
            self.scene.proxy.fail_next(fault)

        @rule()
        def forget_history(self) -> None:
            """What a watch resumes from is gone: 410 from the server itself."""
            self.scene.server.store.compact(self.scene.definition.resource)

        @rule()
        def settle(self) -> None:
            self.scene.check_settled()

        def teardown(self) -> None:
            if hasattr(self, "scene"):
                try:
                    self.scene.check_settled()
                finally:
                    self.scene.end()

    return Chaos


def test_any_sequence_of_writes_and_faults_ends_with_the_servers_state(live: Live) -> None:
    run_state_machine_as_test(
        chaos_machine(live),
        settings=settings(
            max_examples=40,
            stateful_step_count=15,
            deadline=None,
            derandomize=True,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )


def test_a_minute_of_chaos_while_2000_objects_change(live: Live) -> None:
    scene = Scene(live, "minute")
    rng = random.Random(3)
    over = threading.Event()
    timer = threading.Timer(CHAOS_SECONDS, over.set)
    names = [f"c{number}" for number in range(OBJECTS)]
    for name in names:
        scene.write(name, "0")
    timer.start()
    changes = 0
    try:
        while not over.is_set():
            for name in rng.sample(names, 40):
                if rng.random() < 0.2:
                    scene.delete(name)
                else:
                    scene.write(name, str(changes))
                changes += 1
            # Between two faults there is time to get going again: a server that always fails is another test.
            if rng.random() < 0.1:
                scene.proxy.disturb(rng.choice([*StreamFault]), rng)
            elif rng.random() < 0.03:
                scene.proxy.fail_next(rng.choice([*RequestFault]))
            over.wait(rng.random() * 0.05)
        scene.check_settled()
        assert {*StreamFault, *RequestFault} - {*scene.proxy.applied} == set(), "a fault that was never applied"
        assert changes > OBJECTS
    finally:
        timer.cancel()
        scene.end()
