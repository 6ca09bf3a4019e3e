"""The configuration of the manager: what a wrong value costs, and whom it is told."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry
from support.manager import Cluster, cache, config_map, group, node

from localmodel.api import InferenceServiceConfig, LocalModelCache
from localmodel.manager.settings import ConfigurationReconciler, Settings
from localmodel.runtime.cache import KindForbiddenError
from localmodel.runtime.conditions import find_status_condition
from localmodel.runtime.objects import ConfigMap, Object, ObjectMeta, T
from localmodel.runtime.reconcile import Request
from localmodel.runtime.testing import FakeClient, FakeClock, FakeRecorder

GOOD = '{"jobNamespace": "jobs"}'
BAD = '{"jobNamespace": "jobs", "fsGroup": -1}'
SAID = "localModel: fsGroup is -1: give at least 0"


class World(Cluster):
    """A cluster whose configuration changes, and the metrics."""

    def __init__(self, *objects: Object) -> None:
        super().__init__(*objects)
        self.registry = CollectorRegistry()
        self.settings = Settings(registry=self.registry)
        self.caches._settings = self.settings
        self.configuration = self.wired(ConfigurationReconciler(self.settings))

    def configure(self, **data: str) -> None:
        """Changes keys of the ConfigMap, and lets the reconciler see it."""
        found = self.client.get(ConfigMap, "inferenceservice-config", namespace="kserve")
        found.data |= data
        self.client.update(found)
        self.read()

    def read(self) -> InferenceServiceConfig:
        self.configuration.reconcile(Request("kserve", "inferenceservice-config"))
        return self.settings.current(self.client, self.recorder)

    def invalid(self) -> dict[str, float]:
        keys = ("localModel", "storageInitializer", "credentials")
        found = {key: self.registry.get_sample_value("localmodel_config_invalid", {"key": key}) for key in keys}
        return {key: value for key, value in found.items() if value != 0}

    def settle(self) -> None:
        """A second later, so that the status may be written again."""
        self.clock.advance(1.0)
        self.reconcile_cache()

    def condition(self, type_: str) -> tuple[str, str, str]:
        found = find_status_condition(self.cache().status.conditions, type_)
        assert found is not None
        return found.status, found.reason, found.message

    def cache_writes(self) -> int:
        return len([action for action in self.client.writes if action.kind is LocalModelCache])


def available() -> World:
    """A cache that is on its only node, with a good configuration."""
    world = World(node(), group(), cache(), config_map(GOOD))
    world.reconcile_cache()
    world.reconcile_node()
    world.report(iris="ModelDownloaded")
    world.settle()
    assert world.condition("Ready")[0] == "True"
    assert world.condition("Degraded")[0] == "False"
    return world


def test_a_wrong_value_is_told_on_the_config_map_and_by_the_metric() -> None:
    world = World(config_map(GOOD))
    world.read()
    world.configure(localModel=BAD)
    event = world.recorder.expect("InvalidConfiguration", type_="Warning")
    assert isinstance(event.object, ConfigMap)
    assert event.message == f"{SAID}; what was good before stays"
    assert world.invalid() == {"localModel": 1}


def test_each_section_keeps_its_own_last_good_state() -> None:
    world = World(config_map(GOOD))
    world.configure(storageInitializer='{"image": "first"}')
    world.configure(localModel="{", storageInitializer='{"image": "second"}')
    config = world.read()
    assert config.local_model.jobs_namespace == "jobs"
    assert config.storage_initializer.image == "second"
    world.configure(localModel='{"jobNamespace": "others"}', storageInitializer='{"image": " "}')
    config = world.read()
    assert config.local_model.jobs_namespace == "others"
    assert config.storage_initializer.image == "second"
    assert world.invalid() == {"storageInitializer": 1}


def test_a_configuration_that_is_bad_at_the_start_means_defaults() -> None:
    world = World(config_map("{"))
    assert world.read() == InferenceServiceConfig()
    assert world.recorder.reasons == ["InvalidConfiguration"]
    assert world.invalid() == {"localModel": 1}


def test_a_restart_beside_a_wrong_value_does_not_move_the_job_namespace() -> None:
    assert World(config_map(BAD)).read().local_model.jobs_namespace == "jobs"


def test_a_missing_config_map_means_defaults_and_nothing_is_invalid() -> None:
    world = World(config_map(BAD))
    world.read()
    world.client.delete(world.client.get(ConfigMap, "inferenceservice-config", namespace="kserve"))
    assert world.read() == InferenceServiceConfig()
    assert world.invalid() == {}
    assert world.settings.problems() == []


def test_the_same_wrong_value_is_told_once_whatever_else_changes() -> None:
    world = World(config_map(BAD))
    world.read()
    world.configure(ingress="{}")
    assert world.recorder.reasons == ["InvalidConfiguration"]
    world.configure(localModel='{"fsGroup": -2}')
    assert world.recorder.reasons == ["InvalidConfiguration"] * 2


def test_a_mended_configuration_is_told_too() -> None:
    world = World(config_map(BAD))
    world.read()
    world.configure(localModel=GOOD)
    assert world.recorder.reasons == ["InvalidConfiguration", "ConfigurationMended"]
    assert world.invalid() == {}


def test_other_config_maps_are_not_read() -> None:
    world = World(ConfigMap(metadata=ObjectMeta(name="other", namespace="kserve"), data={"localModel": "{"}))
    world.configuration.reconcile(Request("kserve", "other"))
    assert world.recorder.reasons == []


# on caches ------------------------------------------------------------------------------------------------------------


def test_caches_are_degraded_with_one_write_and_stay_ready() -> None:
    world = available()
    world.configure(localModel=BAD)
    before = world.cache_writes()
    for _ in range(3):
        world.settle()
    assert world.cache_writes() == before + 1
    assert world.condition("Degraded") == (
        "True",
        "InvalidConfiguration",
        f"ConfigMap kserve/inferenceservice-config: {SAID}",
    )
    assert world.condition("Ready")[:2] == ("True", "AllCopiesAvailable")


def test_caches_are_mended_with_the_configuration() -> None:
    world = available()
    world.configure(localModel=BAD)
    world.settle()
    world.configure(localModel=GOOD)
    before = world.cache_writes()
    for _ in range(2):
        world.settle()
    assert world.cache_writes() == before + 1
    assert world.condition("Degraded")[:2] == ("False", "AsExpected")


def test_the_event_is_on_the_config_map_alone() -> None:
    world = available()
    world.configure(localModel=BAD)
    world.settle()
    told = [event.object for event in world.recorder.events if event.reason == "InvalidConfiguration"]
    assert [type(obj) for obj in told] == [ConfigMap]


def test_what_is_the_caches_own_comes_first() -> None:
    world = World(cache(), config_map(BAD))
    world.reconcile_cache()
    status, reason, message = world.condition("Degraded")
    assert (status, reason) == ("True", "NodeGroupNotFound")
    assert SAID in message
    assert world.condition("Ready") == ("False", "NodeGroupNotFound", "LocalModelNodeGroup gpu not found")


@pytest.mark.parametrize("bad", ["{", "[]", BAD])
def test_a_cache_that_is_deleted_goes_beside_a_bad_configuration(bad: str) -> None:
    world = World(group(), cache(), config_map(bad))
    world.reconcile_cache()
    world.client.delete(world.cache())
    world.reconcile_cache()
    assert world.client.find(LocalModelCache, "iris") is None


class Unwatched(FakeClient):
    """The cache of a manager that may not watch ConfigMaps."""

    def find(self, kind: type[T], name: str, *, namespace: str = "") -> T | None:
        raise KindForbiddenError(f"{kind.__name__} {namespace}/{name} may not be watched")


def test_where_the_config_map_may_not_be_watched_it_is_read_once_a_minute() -> None:
    live, clock = FakeClient(config_map(GOOD)), FakeClock()
    settings, recorder = Settings(live=live, clock=clock), FakeRecorder()

    def job_namespace() -> str:
        return settings.current(Unwatched(), recorder).local_model.jobs_namespace

    assert [job_namespace() for _ in range(3)] == ["jobs"] * 3
    live.patch(config_map(GOOD), {"data": {"localModel": '{"jobNamespace": "others"}'}})
    clock.advance(59)
    assert job_namespace() == "jobs"
    clock.advance(1)
    assert job_namespace() == "others"
    assert len([action for action in live.actions if action.verb == "get"]) == 2
