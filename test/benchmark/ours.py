"""The sides that use localmodel.runtime against the stand-in server."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from localmodel.runtime.cache import Cache, CacheOptions
from localmodel.runtime.kubeconfig import RestConfig
from localmodel.runtime.objects import Node, Object, ObjectMeta
from localmodel.runtime.reflector import ReflectorOptions
from localmodel.runtime.rest import LiveClient
from localmodel.runtime.store import Stored

from .case import Context
from .measure import MIB, Arrivals, Lap, memory_mib, request_events
from .objects import NAMESPACE, SENT, ModelNode, UnstructuredModelNode, UnstructuredNode

WORKERS = 4
MORE = 4
"""Times as many events as the official client gets: else there would be too little to time."""


def live_client(context: Context) -> LiveClient:
    def no_credentials(*, refresh: bool = False) -> None:
        return None

    return LiveClient(RestConfig(server=context.server, authorization=no_credentials, user_agent="benchmark/1"))


# lists ----------------------------------------------------------------------------------------------------------


def sync_nodes(context: Context) -> dict[str, float]:
    return _sync(context, Node, use_watch_list=True)


def sync_nodes_by_list(context: Context) -> dict[str, float]:
    return _sync(context, Node, use_watch_list=False)


def sync_unstructured_nodes(context: Context) -> dict[str, float]:
    return _sync(context, UnstructuredNode, use_watch_list=True)


def _sync(context: Context, kind: type[Object], *, use_watch_list: bool) -> dict[str, float]:
    """A cache of one kind, from its start until it has synced."""
    client = live_client(context)
    client.list(kind, limit=1)
    gc.collect()
    before = memory_mib()
    cache = Cache(client, CacheOptions(reflector=ReflectorOptions(use_watch_list=use_watch_list)))
    informer = cache.get_informer(kind)
    lap = Lap()
    cache.start()
    cache.wait_for_sync()
    numbers = lap.rates(context.size)
    assert len(informer.store) == context.size
    assert informer.stats[0].lists == 1, "the informer fell back from one way of listing to the other"
    return numbers | {
        "kept_bytes": (memory_mib() - before) * MIB / context.size,
        "base_mib": before,
        "peak_growth_mib": memory_mib("VmHWM") - before,
    }


# watches --------------------------------------------------------------------------------------------------------


class Reading:
    """A handler that decodes the object of every event."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals

    def on_add(self, obj: Stored[Any], is_in_initial_list: bool) -> None:
        pass

    def on_update(self, old: Stored[Any], new: Stored[Any]) -> None:
        self._arrivals.see(new.object().metadata.annotations[SENT])

    def on_delete(self, obj: Stored[Any], final_state_unknown: bool) -> None:
        pass


def flood_nodes(context: Context) -> dict[str, float]:
    return _receive(context, Node, context.size * MORE).rates()


def flood_unstructured_nodes(context: Context) -> dict[str, float]:
    return _receive(context, UnstructuredNode, context.size * MORE).rates()


def flood_unstructured(context: Context) -> dict[str, float]:
    return _receive(context, UnstructuredModelNode, context.size * MORE).rates()


def flood_typed(context: Context) -> dict[str, float]:
    return _receive(context, ModelNode, context.size * MORE).rates()


def pace_nodes_1000(context: Context) -> dict[str, float]:
    return _pace(context, Node, 1000)


def pace_nodes_5000(context: Context) -> dict[str, float]:
    return _pace(context, Node, 5000)


def pace_typed_1000(context: Context) -> dict[str, float]:
    return _pace(context, ModelNode, 1000)


def pace_typed_5000(context: Context) -> dict[str, float]:
    return _pace(context, ModelNode, 5000)


def _pace(context: Context, kind: type[Object], rate: int) -> dict[str, float]:
    arrivals = _receive(context, kind, context.size * rate // 1000, rate)
    return arrivals.latencies() | {"share_of_rate": arrivals.rates()["per_second"] / rate}


def _receive(context: Context, kind: type[Object], count: int, rate: int = 0) -> Arrivals:
    """Events through a synced informer to a handler."""
    cache = Cache(live_client(context))
    arrivals = Arrivals(count)
    registration = cache.get_informer(kind).add_event_handler(Reading(arrivals))
    cache.start()
    cache.wait_for_sync()
    assert registration.wait_for_sync(30)
    request_events(context.server, kind.mapping.plural, count, rate)
    arrivals.wait()
    return arrivals


# writes ---------------------------------------------------------------------------------------------------------


def patch_unstructured(context: Context) -> dict[str, float]:
    return _patch(context, UnstructuredModelNode)


def patch_typed(context: Context) -> dict[str, float]:
    return _patch(context, ModelNode)


def _patch(context: Context, kind: type[Object]) -> dict[str, float]:
    """Status patches from some threads; each answer is decoded."""
    client = live_client(context)
    nodes = [kind(metadata=ObjectMeta(name=f"node-{index:05d}", namespace=NAMESPACE)) for index in range(WORKERS)]

    def work(node: Object, count: int) -> None:
        for number in range(count):
            answer = client.status.patch(node, {"status": {"modelStatus": {"model-a": str(number)}}})
            assert answer.metadata.resource_version

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(lambda node: work(node, 10), nodes))
        lap = Lap()
        list(pool.map(lambda node: work(node, context.size // WORKERS), nodes))
        return lap.rates(context.size)
