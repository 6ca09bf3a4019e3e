"""The indexes of the manager's cache, and the kinds it reads by them.

An index is kept by the informer under its own lock, so what belongs to a cache is found without a scan of everything.
`add_indexes` declares them all before the cache starts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from localmodel.api import LocalModelCache, LocalModelNamespaceCache, LocalModelNode
from localmodel.api.names import LOCAL_MODEL_LABEL, LOCAL_MODEL_NAMESPACE_LABEL, status_key
from localmodel.runtime.cache import Cache as ObjectCache
from localmodel.runtime.objects import (
    Node,
    Object,
    ObjectKey,
    PartialObjectMetadata,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    RESTMapping,
)

from .groupmetrics import copies_of
from .known import agent_at_work, known_cache, known_node
from .reported import reported_node
from .reports import disk_of, evictions, reports_of, unfinished_groups, version_of

InferenceService = PartialObjectMetadata.of(RESTMapping.of("serving.kserve.io", "v1beta1", "InferenceService"))
LLMInferenceService = PartialObjectMetadata.of(RESTMapping.of("serving.kserve.io", "v1alpha2", "LLMInferenceService"))
SERVICES: Final = (InferenceService, LLMInferenceService)

CACHE_UID_LABEL: Final = "localmodel.kserve.io/cache-uid"
"""On every volume that the manager makes: the uid of its cache."""
CACHE_ANNOTATION: Final = "localmodel.kserve.io/cache"
"""Beside it: the cache's name, or namespace/name."""

BY_CACHE: Final = "cache"
BY_CACHE_UID: Final = "cacheUID"


def cache_of_service(service: Object) -> ObjectKey | None:
    """The cache that a service's labels name (an empty namespace: a LocalModelCache), or None.

    A LocalModelNamespaceCache serves its own namespace only: labels that name another one's count for nothing. The
    namespace label decides the scope, so a cache of either kind never takes the other's services (D-60).
    """
    name = service.metadata.labels.get(LOCAL_MODEL_LABEL, "")
    namespace = service.metadata.labels.get(LOCAL_MODEL_NAMESPACE_LABEL, "")
    if not name or namespace not in ("", service.namespace):
        return None
    return ObjectKey(namespace, name)


def _service_keys(service: Object) -> Iterable[str]:
    cache = cache_of_service(service)
    return () if cache is None else (status_key(cache.name, cache.namespace),)


def _cache_uids(volume: Object) -> Iterable[str]:
    uid = volume.metadata.labels.get(CACHE_UID_LABEL)
    return (uid,) if uid else ()


def add_indexes(cache: ObjectCache) -> None:
    """Declares every index that the reconcilers list by; before the cache starts."""
    cache.index_parts(LocalModelCache, known_cache)
    cache.index_parts(LocalModelNamespaceCache, known_cache)
    for extract in (reports_of, evictions, unfinished_groups, disk_of, version_of, copies_of):
        cache.index_parts(LocalModelNode, extract, decode=reported_node)
    cache.index_parts(Node, known_node)
    cache.index_parts(Pod, agent_at_work)
    for service in SERVICES:
        cache.index_field(service, BY_CACHE, _service_keys)
    cache.index_field(PersistentVolume, BY_CACHE_UID, _cache_uids)
    cache.index_field(PersistentVolumeClaim, BY_CACHE_UID, _cache_uids)
