"""Informers as metrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support.scripted import ScriptedListerWatcher, bookmark, config_map, event, eventually, page

from localmodel.runtime.cache import Cache, CacheOptions
from localmodel.runtime.metrics import Metrics
from localmodel.runtime.objects import ConfigMap
from localmodel.runtime.reflector import ReflectorOptions

NAME = "localmodel.runtime.objects.core.ConfigMap"
LABELS = {"name": NAME, "group": "", "version": "v1", "resource": "configmaps"}


class Failing:
    """A handler that cannot."""

    def on_add(self, obj: Any, is_in_initial_list: bool) -> None:
        raise ValueError("cannot")

    def on_update(self, old: Any, new: Any) -> None:
        raise ValueError("cannot")

    def on_delete(self, obj: Any, final_state_unknown: bool) -> None:
        raise ValueError("cannot")


@pytest.fixture
def server() -> ScriptedListerWatcher:
    return ScriptedListerWatcher([page(10, config_map("a", 5), config_map("b", 6))])


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def cache(server: ScriptedListerWatcher, metrics: Metrics) -> Iterator[Cache]:
    options = CacheOptions(tune_collector=False, reflector=ReflectorOptions(use_watch_list=False))
    cache = Cache(server, options, metrics=metrics)
    yield cache
    cache.stop()


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, {**LABELS, **labels})


def test_a_scrape_tells_what_an_informer_holds_and_how_far_it_is(
    server: ScriptedListerWatcher, metrics: Metrics, cache: Cache
) -> None:
    informer = cache.get_informer(ConfigMap)
    assert value(metrics, "localmodel_informer_synced") == 0
    assert value(metrics, "store_resource_version", namespace="") is None
    assert value(metrics, "localmodel_informer_phase", namespace="", phase="Listing") == 1
    registration = informer.add_event_handler(Failing())
    cache.start()
    cache.wait_for_sync()
    eventually(lambda: server.streams)
    server.streams[0].send(event("MODIFIED", config_map("a", 11)), bookmark(40))
    assert informer.wait_for_resource_version("40", 5)
    eventually(lambda: registration.failures == 3)
    registration.remove()

    assert value(metrics, "localmodel_informer_synced") == 1
    assert value(metrics, "localmodel_informer_objects") == 2
    assert value(metrics, "informer_queued_items") == 0
    assert value(metrics, "localmodel_informer_handler_failures_total") == 3
    assert value(metrics, "store_resource_version", namespace="") == 40
    assert value(metrics, "localmodel_informer_phase", namespace="", phase="Watching") == 1
    assert value(metrics, "localmodel_informer_phase", namespace="", phase="Listing") == 0
    assert value(metrics, "reflector_lists_total", namespace="") == 1
    assert value(metrics, "reflector_watches_total", namespace="") == 1
    assert value(metrics, "localmodel_reflector_events_total", namespace="") == 2
    assert value(metrics, "localmodel_reflector_failures_total", namespace="") == 0
    assert value(metrics, "localmodel_reflector_dropped_total", namespace="") == 0


def test_two_caches_cannot_share_metrics_unless_the_first_is_gone(
    server: ScriptedListerWatcher, metrics: Metrics
) -> None:
    first = Cache(server, metrics=metrics)
    with pytest.raises(ValueError, match="another cache"):
        Cache(server, metrics=metrics)
    del first
    Cache(server, metrics=metrics)
