"""Whatever happens to any one call of the API server, the manager ends in the same state.

A scenario in which caches, groups, nodes and services come, change and go is played once, and its calls are counted.
Then it is played again for each of them: with that call failing, with its answer lost after it took effect, and with
the manager dying right after it and starting anew. What is there at the end must be the same each time: nothing
missing, nothing twice, nothing left behind.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

import pytest
from support.manager import JOBS, Cluster, agent_pod, cache, config_map, group, namespace_cache, node, service
from support.states import state_of

from localmodel.api import LocalModelCache, LocalModelNamespaceCache, LocalModelNode, LocalModelNodeGroup
from localmodel.manager.indexes import InferenceService
from localmodel.runtime.errors import ApiError, ServiceUnavailableError, TransportError
from localmodel.runtime.objects import (
    ConfigMap,
    Node,
    Object,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    Secret,
    ServiceAccount,
)
from localmodel.runtime.reconcile import Reconciler, Request
from localmodel.runtime.testing import FakeClient
from localmodel.runtime.testing.fake import Action
from localmodel.runtime.testing.garbage import collect_garbage

ROUNDS = 20
KINDS: tuple[type[Object], ...] = (
    Node, LocalModelNode, LocalModelNodeGroup, LocalModelCache, LocalModelNamespaceCache, PersistentVolume,
    PersistentVolumeClaim, Secret,
)  # fmt: skip


class Fate(Enum):
    """What becomes of one call."""

    FAILS = "fails"
    ANSWER_LOST = "takes effect, but its answer is lost"
    LAST = "is the manager's last"


class DeathError(BaseException):
    """The manager is gone."""


class World(Cluster):
    """A cluster whose manager meets its fate at one of its calls: its writes, and its reads that no cache serves."""

    def __init__(self, fate: Fate | None = None, at: int = -1) -> None:
        super().__init__(interceptors=[self._meets_writes])
        self.live = FakeClient(registry=self.client.registry, interceptors=[self._meets])
        self.calls: list[str] = []
        self._fate, self._at, self._is_working = fate, at, False
        self._start()

    def _start(self) -> None:
        """The manager begins, and knows nothing of what it did before."""
        fresh = Cluster()
        self.settings = fresh.settings
        for name in ("nodes", "caches", "namespace_caches", "groups"):
            setattr(self, name, self.wired(getattr(fresh, name)))
            getattr(self, name).live = self.live

    def _meets_writes(self, action: Action, proceed: Callable[[], Any]) -> Any:
        return self._meets(action, proceed) if action.is_write else proceed()

    def _meets(self, action: Action, proceed: Callable[[], Any]) -> Any:
        if not self._is_working:
            return proceed()
        fate = self._fate if len(self.calls) == self._at else None
        self.calls.append(str(action))
        if fate is Fate.FAILS:
            raise ServiceUnavailableError.of("told to fail")
        answer = proceed()
        if fate is Fate.ANSWER_LOST:
            raise TransportError("told to lose the answer")
        if fate is Fate.LAST:
            raise DeathError
        return answer

    def settle(self) -> None:
        """Runs every reconciler for every object until nothing is written any more."""
        for _ in range(ROUNDS):
            self.clock.advance(61)
            before = len(self.client.writes)
            is_quiet = self._round()
            collect_garbage(self.client.registry)
            if is_quiet and len(self.client.writes) == before:
                return
        raise AssertionError(f"still writing after {ROUNDS} rounds: {self.client.writes[-5:]}")

    def _round(self) -> bool:
        """Whether all went well."""
        is_quiet = True
        for reconciler, kinds in (
            (self.nodes, (Node, LocalModelNode)),
            (self.caches, (LocalModelCache,)),
            (self.namespace_caches, (LocalModelNamespaceCache,)),
            (self.groups, (LocalModelNodeGroup,)),
        ):
            for key in sorted({obj.key for kind in kinds for obj in self.client.list(kind)}):
                is_quiet &= self._run(reconciler, Request(key.namespace, key.name))
        return is_quiet

    def _run(self, reconciler: Reconciler, request: Request) -> bool:
        self._is_working = True
        try:
            reconciler.reconcile(request)
        except (ApiError, TransportError):
            return False
        except DeathError:
            self._start()
            return False
        finally:
            self._is_working = False
        return True

    def state(self) -> list[Any]:
        return state_of(self.client, KINDS)


def everything_comes(it: World) -> None:
    for obj in (
        *(node(f"node-{number}") for number in range(1, 4)),
        node("node-4", pool="big"),
        *(agent_pod(f"node-{number}") for number in range(1, 5)),
        group(),
        group("big"),
        cache("iris", "gpu", "big"),
        cache("rose", "gpu", sourceModelUri="hf://o/rose"),
        namespace_cache("iris"),
        service("s", "team-a"),
        service("t", "team-a", of="team-a"),
        service("u", "team-b", "rose"),
    ):
        it.client.create(obj)


def agents_report(it: World) -> None:
    for number in range(1, 4):
        it.report(f"node-{number}", iris="ModelDownloaded", rose="ModelDownloading", team_a__iris="ModelDownloadError")
    it.report("node-4", iris="ModelDownloaded")


def things_change(it: World) -> None:
    """A group leaves a cache, a node changes groups, another goes, a service moves to another namespace."""
    iris = it.cache("iris")
    iris.spec.node_groups = ["gpu"]
    it.client.update(iris)
    it.client.patch(node("node-2"), {"metadata": {"labels": {"pool": "big"}}})
    it.client.delete(node("node-3"))
    it.client.delete(it.client.get(InferenceService, "u", namespace="team-b"))
    it.client.create(service("u", "team-c", "rose"))


def caches_go(it: World) -> None:
    for name in ("s", "t"):
        it.client.delete(it.client.get(InferenceService, name, namespace="team-a"))
    it.client.delete(it.cache("iris"))
    it.client.delete(it.namespace_cache("iris"))


def agents_clean_up(it: World) -> None:
    for one in it.client.list(LocalModelNode):
        it.report(one.name, rose="ModelDownloaded")


def a_group_goes(it: World) -> None:
    it.client.delete(group())
    for pod in it.client.list(Pod):
        it.client.delete(pod)


EVERYTHING = (everything_comes, agents_report, things_change, caches_go, agents_clean_up, a_group_goes)


def a_cache_comes(it: World) -> None:
    """With a service that gets a claim of one model."""
    config = config_map('{"servingVolumeScope": "model"}')
    for obj in (group("c"), group("b-c"), cache("a-b", "c"), service("s", "team-a", "a-b"), config):
        it.client.create(obj)


def names_run_together(it: World) -> None:
    """Another one comes whose claims would have the same names."""
    it.client.create(cache("a", "b-c", sourceModelUri="hf://o/n"))
    it.client.create(service("t", "team-b", "a"))


def scope_changes(it: World) -> None:
    it.client.update(config_map("{}"))


def a_minute_goes_by(it: World) -> None:
    it.clock.advance(61)


SCOPES = (a_cache_comes, names_run_together, scope_changes, a_minute_goes_by, a_minute_goes_by)


# credentials ----------------------------------------------------------------------------------------------------------


def configured(**local_model: str) -> ConfigMap:
    return config_map(json.dumps(local_model))


def secret(name: str, **data: str) -> Secret:
    return Secret.from_dict({"metadata": {"name": name, "namespace": "team-a"}, "type": "Opaque", "data": data})


def account(*secrets: str) -> ServiceAccount:
    metadata = {"name": "reader", "namespace": "team-a"}
    return ServiceAccount.from_dict({"metadata": metadata, "secrets": [{"name": name} for name in secrets]})


def a_cache_with_credentials_comes(it: World) -> None:
    for obj in (
        group(),
        configured(credentialNamespace="own"),
        account("hf"),
        secret("hf", HF_TOKEN="MQ=="),
        secret("storage-config", k="e30="),
        namespace_cache("iris", serviceAccountName="reader"),
    ):
        it.client.create(obj)


def its_credentials_are_rotated(it: World) -> None:
    it.client.patch(secret("hf"), {"data": {"HF_TOKEN": "Mg=="}})
    it.clock.advance(300)


def its_copy_is_made_immutable(it: World) -> None:
    for copy in it.client.list(Secret, namespace=JOBS):
        it.client.patch(copy, {"immutable": True})
    it.client.patch(secret("hf"), {"data": {"HF_TOKEN": "Mw=="}})
    it.clock.advance(300)


def the_job_namespace_moves(it: World) -> None:
    it.client.patch(configured(), {"data": configured(credentialNamespace="own", jobNamespace="elsewhere").data})


def its_credentials_are_deleted(it: World) -> None:
    it.client.delete(secret("hf"))
    it.clock.advance(300)


def it_names_a_storage_key(it: World) -> None:
    it.client.patch(it.namespace_cache(), {"spec": {"storage": {"key": "k"}}})


def it_names_nothing(it: World) -> None:
    it.client.patch(it.namespace_cache(), {"spec": {"storage": None, "serviceAccountName": None}})


def the_setting_goes_back(it: World) -> None:
    it_names_a_storage_key(it)
    it.settle()
    it.client.patch(configured(), {"data": configured(jobNamespace="elsewhere").data})


def the_setting_comes_again(it: World) -> None:
    it.client.patch(configured(), {"data": configured(credentialNamespace="own").data})


def the_cache_goes(it: World) -> None:
    it.client.delete(it.namespace_cache("iris"))


CREDENTIALS = (
    a_cache_with_credentials_comes, its_credentials_are_rotated, its_copy_is_made_immutable, the_job_namespace_moves,
    its_credentials_are_deleted, it_names_a_storage_key, it_names_nothing, the_setting_goes_back,
    the_setting_comes_again, the_cache_goes,
)  # fmt: skip


# the driver -----------------------------------------------------------------------------------------------------------

Scenario = Sequence[Callable[[World], None]]


def played(scenario: Scenario, fate: Fate | None = None, at: int = -1) -> tuple[World, list[Any]]:
    """The world at the end, and the state after each step."""
    it, states = World(fate, at), []
    for step in scenario:
        step(it)
        it.settle()
        states.append(it.state())
    return it, states


@pytest.fixture(scope="module")
def undisturbed() -> tuple[World, list[Any]]:
    return played(EVERYTHING)


@pytest.fixture(scope="module")
def with_credentials() -> tuple[World, list[Any]]:
    return played(CREDENTIALS)


def test_the_scenario_takes_the_calls_that_it_is_about(undisturbed: tuple[World, list[Any]]) -> None:
    verbs = {call.rpartition(" ")[0] for call in undisturbed[0].calls}
    assert {
        "create localmodelnodes.serving.kserve.io", "update localmodelnodes.serving.kserve.io",
        "delete localmodelnodes.serving.kserve.io", "update localmodelcaches.serving.kserve.io",
        "update localmodelcaches.serving.kserve.io/status", "create persistentvolumes", "delete persistentvolumes",
        "create persistentvolumeclaims", "delete persistentvolumeclaims",
        "update localmodelnamespacecaches.serving.kserve.io", "update localmodelnodegroups.serving.kserve.io/status",
    } <= verbs  # fmt: skip


def test_the_scenario_of_credentials_has_copies_come_change_and_go(with_credentials: tuple[World, list[Any]]) -> None:
    world, states = with_credentials
    assert {f"{verb} secrets" for verb in ("get", "create", "update", "delete")} <= {
        call.rpartition(" ")[0] for call in world.calls
    }
    copies = [[obj["data"] for obj in state if "cache-uid" in str(obj) and "data" in obj] for state in states]
    assert [len(found) for found in copies] == [1, 1, 1, 1, 0, 1, 0, 0, 1, 0]
    assert [found.metadata.namespace for found in world.client.list(Secret)] == ["team-a"]


@pytest.mark.parametrize("fate", Fate)
def test_whatever_becomes_of_a_call_the_end_is_the_same(undisturbed: tuple[World, list[Any]], fate: Fate) -> None:
    world, expected = undisturbed
    for at, call in enumerate(world.calls):
        assert played(EVERYTHING, fate, at)[1][-1] == expected[-1], f"call {at}, {call}, {fate.value}"


@pytest.mark.parametrize("fate", Fate)
def test_whatever_becomes_of_a_call_no_copy_of_credentials_is_lost_or_left(
    with_credentials: tuple[World, list[Any]], fate: Fate
) -> None:
    world, expected = with_credentials
    for at, call in enumerate(world.calls):
        if "volume" in call:
            continue  # as in the other scenario
        assert played(CREDENTIALS, fate, at)[1] == expected, f"call {at}, {call}, {fate.value}"


def pairs(it: World) -> list[tuple[str, str, str]]:
    """Claim, owner and path of each volume; all claims have one, and all volumes a claim. A hash may differ."""
    claims = {claim.spec.volume_name: str(claim.key) for claim in it.client.list(PersistentVolumeClaim)}
    volumes = it.client.list(PersistentVolume)
    assert claims.keys() == {volume.name for volume in volumes}
    return sorted(
        (claims[volume.name], volume.metadata.owner_references[0].name, str(volume.spec.local)) for volume in volumes
    )


@pytest.mark.parametrize("fate", Fate)
def test_whatever_becomes_of_a_call_volumes_change_their_scope_d59(fate: Fate) -> None:
    undisturbed, _ = played(SCOPES)
    expected = pairs(undisturbed)
    assert len(expected) == 4
    for at, call in enumerate(undisturbed.calls):
        assert pairs(played(SCOPES, fate, at)[0]) == expected, f"call {at}, {call}, {fate.value}"
