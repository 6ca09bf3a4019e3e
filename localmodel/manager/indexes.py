"""The indexes of the manager's cache, and the kinds it reads by them.

An index is kept by the informer under its own lock, so what belongs to a cache is found without a scan of everything.
`add_indexes` declares them all before the cache starts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from localmodel.api import Cache, LocalModelCache, LocalModelNamespaceCache, LocalModelNode
from localmodel.api.names import (
    CACHE_UID_LABEL,
    LOCAL_MODEL_LABEL,
    LOCAL_MODEL_NAMESPACE_LABEL,
    download_pvc_name,
    model_pvc_names,
    other_download_pvc_name,
    serving_pvc_name,
    status_key,
)
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
from .known import agent_at_work, known_cache, known_node, named_credentials
from .reported import reported_node
from .reports import disk_of, evictions, reports_of, unfinished_groups, version_of

InferenceService = PartialObjectMetadata.of(RESTMapping.of("serving.kserve.io", "v1beta1", "InferenceService"))
LLMInferenceService = PartialObjectMetadata.of(RESTMapping.of("serving.kserve.io", "v1alpha2", "LLMInferenceService"))
SERVICES: Final = (InferenceService, LLMInferenceService)
CACHE_KINDS: Final[tuple[type[LocalModelCache] | type[LocalModelNamespaceCache], ...]] = (
    LocalModelCache,
    LocalModelNamespaceCache,
)

BY_CACHE: Final = "cache"
BY_CACHE_UID: Final = "cacheUID"
BY_CLAIM: Final = "claim"
BY_CLAIM_REF: Final = "spec.claimRef"


def claim_names(cache: Cache) -> Iterable[str]:
    """What the claims of a cache are called, in whichever namespace they are or will be."""
    uri = cache.spec.source_model_uri
    return {
        name
        for group in cache.spec.node_groups
        for name in (
            serving_pvc_name(cache.name, group),
            *model_pvc_names(cache.name, group, uri, cache.namespace),
            download_pvc_name(cache.name, group, cache.namespace),
            other_download_pvc_name(cache.name, group, cache.namespace),
        )
    }


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


def _claim_refs(volume: PersistentVolume) -> Iterable[str]:
    claim = volume.spec.claim_ref
    return (str(ObjectKey(claim.namespace, claim.name)),) if claim is not None else ()


def _cache_uids(volume: Object) -> Iterable[str]:
    uid = volume.metadata.labels.get(CACHE_UID_LABEL)
    return (uid,) if uid else ()


def add_indexes(cache: ObjectCache) -> None:
    """Declares every index that the reconcilers list by; before the cache starts."""
    cache.index_parts(LocalModelCache, known_cache)
    cache.index_parts(LocalModelNamespaceCache, known_cache)
    for kind in CACHE_KINDS:
        cache.index_parts(kind, named_credentials)
    for extract in (reports_of, evictions, unfinished_groups, disk_of, version_of, copies_of):
        cache.index_parts(LocalModelNode, extract, decode=reported_node)
    cache.index_parts(Node, known_node)
    cache.index_parts(Pod, agent_at_work)
    cache.index_field(LocalModelCache, BY_CLAIM, claim_names)
    cache.index_field(LocalModelNamespaceCache, BY_CLAIM, claim_names)
    for service in SERVICES:
        cache.index_field(service, BY_CACHE, _service_keys)
    cache.index_field(PersistentVolume, BY_CACHE_UID, _cache_uids)
    cache.index_field(PersistentVolume, BY_CLAIM_REF, _claim_refs)
    cache.index_field(PersistentVolumeClaim, BY_CACHE_UID, _cache_uids)
