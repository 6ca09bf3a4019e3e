"""The sides that read one custom resource from a cache, beside what a cache of decoded objects would do: copy it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from localmodel.runtime.cache import Cache
from localmodel.runtime.objects import Object

from .case import Context
from .measure import Lap
from .objects import NAMESPACE, ModelNode, UnstructuredModelNode
from .ours import live_client

NAMES = 100


def untyped(context: Context) -> dict[str, float]:
    return _read(context, UnstructuredModelNode)


def typed(context: Context) -> dict[str, float]:
    return _read(context, ModelNode)


def deepcopy_of_dict(context: Context) -> dict[str, float]:
    """Of what the cache holds, which is without managedFields."""
    cache = _cache(context, UnstructuredModelNode)
    return _copy(context, [cache.get(UnstructuredModelNode, name, namespace=NAMESPACE).to_dict() for name in _names()])


def deepcopy_of_model(context: Context) -> dict[str, float]:
    cache = _cache(context, ModelNode)
    return _copy(context, [cache.get(ModelNode, name, namespace=NAMESPACE) for name in _names()])


def _names() -> list[str]:
    return [f"node-{index:05d}" for index in range(NAMES)]


def _cache(context: Context, kind: type[Object]) -> Cache:
    cache = Cache(live_client(context))
    cache.get_informer(kind)
    cache.start()
    cache.wait_for_sync()
    return cache


def _read(context: Context, kind: type[Object]) -> dict[str, float]:
    cache = _cache(context, kind)
    return _repeat(context, _names(), lambda name: cache.get(kind, name, namespace=NAMESPACE))


def _copy(context: Context, objects: list[Any]) -> dict[str, float]:
    return _repeat(context, objects, copy.deepcopy)


def _repeat(context: Context, arguments: list[Any], call: Callable[[Any], object]) -> dict[str, float]:
    for argument in arguments:
        call(argument)
    lap = Lap()
    for _ in range(context.size // NAMES):
        for argument in arguments:
            call(argument)
    return lap.rates(context.size // NAMES * NAMES)
