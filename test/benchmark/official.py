"""The sides that use the official client against the stand-in server, as its own examples do."""

from __future__ import annotations

import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from kubernetes import client as official
from kubernetes.informer import MODIFIED, SharedInformer
from kubernetes.watch import Watch

from .case import Context
from .measure import DEADLINE, MIB, Arrivals, Lap, memory_mib, request_events
from .objects import CUSTOM_PLURAL, GROUP, NAMESPACE, SENT, VERSION

WORKERS = 4
FROM_NOW = "1"
"""A resource version for watches; the stand-in server sends what changes from now on to any."""


def core_api(context: Context) -> Any:
    return official.CoreV1Api(_api_client(context))


def custom_api(context: Context) -> Any:
    return official.CustomObjectsApi(_api_client(context))


def _api_client(context: Context) -> Any:
    configuration = official.Configuration()
    configuration.host = context.server
    return official.ApiClient(configuration)


# lists ----------------------------------------------------------------------------------------------------------


def list_nodes(context: Context) -> dict[str, float]:
    """All pages of 500."""
    api = core_api(context)
    api.list_node(limit=1)  # builds the models
    gc.collect()
    before = memory_mib()
    items: list[Any] = []
    lap = Lap()
    page = api.list_node(limit=500)
    items += page.items
    while page.metadata._continue:
        page = api.list_node(limit=500, _continue=page.metadata._continue)
        items += page.items
    numbers = lap.rates(len(items))
    assert len(items) == context.size
    return numbers | {"kept_bytes": (memory_mib() - before) * MIB / context.size}


def sync_nodes(context: Context) -> dict[str, float]:
    """From the informer's start until its cache is full."""
    api = core_api(context)
    api.list_node(limit=1)
    gc.collect()
    before = memory_mib()
    filled = threading.Event()
    seen: list[int] = []

    def added(obj: Any) -> None:
        seen.append(1)
        if len(seen) == context.size:
            filled.set()

    informer = SharedInformer(api.list_node)
    informer.add_event_handler("ADDED", added)
    lap = Lap()
    informer.start()
    assert filled.wait(DEADLINE)
    numbers = lap.rates(context.size)
    return numbers | {"kept_bytes": (memory_mib() - before) * MIB / context.size}


# watches --------------------------------------------------------------------------------------------------------


def watch_nodes(context: Context) -> dict[str, float]:
    """The watch that yields models."""
    api = core_api(context)
    api.list_node(limit=1)
    arrivals = Arrivals(context.size)
    _request_soon(context, "nodes")
    for event in Watch().stream(api.list_node, resource_version=FROM_NOW):
        if arrivals.see(event["object"].metadata.annotations[SENT]):
            break
    return arrivals.rates()


def watch_custom_objects(context: Context) -> dict[str, float]:
    """The same for custom resources, for which it yields dicts."""
    api = custom_api(context)
    arrivals = Arrivals(context.size)
    _request_soon(context, CUSTOM_PLURAL)
    events = Watch().stream(
        api.list_cluster_custom_object,
        group=GROUP,
        version=VERSION,
        plural=CUSTOM_PLURAL,
        resource_version=FROM_NOW,
    )
    for event in events:
        if arrivals.see(event["object"]["metadata"]["annotations"][SENT]):
            break
    return arrivals.rates()


def inform_nodes(context: Context) -> dict[str, float]:
    api = core_api(context)
    api.list_node(limit=1)
    arrivals = Arrivals(context.size)
    informer = SharedInformer(api.list_node)
    informer.add_event_handler(MODIFIED, lambda obj: arrivals.see(obj.metadata.annotations[SENT]))
    informer.start()
    request_events(context.server, "nodes", context.size)
    arrivals.wait()
    return arrivals.rates()


def _request_soon(context: Context, plural: str) -> None:
    """The server sends once somebody watches."""
    threading.Thread(target=request_events, args=(context.server, plural, context.size), daemon=True).start()


# writes ---------------------------------------------------------------------------------------------------------


def patch_status(context: Context) -> dict[str, float]:
    """Status patches from some threads that share a client, as its pool is made for."""
    api = custom_api(context)

    def work(index: int, count: int) -> None:
        for number in range(count):
            answer = api.patch_namespaced_custom_object_status(
                GROUP,
                VERSION,
                NAMESPACE,
                CUSTOM_PLURAL,
                f"node-{index:05d}",
                {"status": {"modelStatus": {"model-a": str(number)}}},
            )
            assert answer["metadata"]["resourceVersion"]

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(lambda index: work(index, 10), range(WORKERS)))
        lap = Lap()
        list(pool.map(lambda index: work(index, context.size // WORKERS), range(WORKERS)))
        return lap.rates(context.size)
