"""What a claim shows to the pods that mount it, and of which cache: asked by the pod webhooks.

The volume decides, which names its claim from the start: the claim itself lies in a user's namespace, and so do its
labels. Ours are known from memory. A claim whose volume is not known is ours or not by its name, which follows from the
caches; then the API server is asked, too. Somebody else's claims cost nothing: their names are no cache's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import structlog

from localmodel.api import Cache, LocalModelCache, LocalModelNamespaceCache
from localmodel.api.names import (
    CACHE_ANNOTATION,
    CACHE_UID_LABEL,
    download_pvc_name,
    is_object_name,
    model_pvc_names,
    other_download_pvc_name,
    serving_pvc_name,
    storage_key,
)
from localmodel.runtime.client import Reader
from localmodel.runtime.controllerutil import get_controller_of
from localmodel.runtime.errors import RuntimeLibraryError
from localmodel.runtime.objects import ObjectKey, PersistentVolume, PersistentVolumeClaim

from .indexes import BY_CLAIM, BY_CLAIM_REF

log = structlog.get_logger(__name__)

CacheKind = type[LocalModelCache] | type[LocalModelNamespaceCache]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """What a claim of ours shows."""

    cache: ObjectKey
    """The namespace is empty for a LocalModelCache."""
    key: str = ""
    """The model's storage key; empty where the cache is gone or cannot be read, so that it is not known."""
    single: bool = False
    """It shows the model's folder alone, else all that the group's nodes keep."""
    downloads: bool = False
    """Download jobs mount it, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is known of a claim."""

    exposures: tuple[Exposure, ...] = ()
    """One for each cache that it is, or may come to be, of; none: it is not ours."""
    doubt: str = ""
    """Why that may be wrong."""


class Claims:
    """Looks claims up. Thread-safe."""

    def __init__(self, reader: Reader, live: Reader) -> None:
        self._reader = reader
        self._live = live

    def ask(self, claim: ObjectKey, jobs_namespace: str) -> Answer:
        """Raises nothing that a reader raises: that is the answer's `doubt`."""
        candidates: tuple[Exposure, ...] = ()
        if not is_object_name(claim.name):
            return Answer()
        try:
            volumes = self._reader.list(PersistentVolume, fields={BY_CLAIM_REF: str(claim)})
            if volumes:
                return self._of_volumes(volumes, claim, jobs_namespace)
            candidates = self._by_name(claim, jobs_namespace)
            if not candidates:
                return Answer()
            found = self._live.find(PersistentVolumeClaim, claim.name, namespace=claim.namespace)
            if found is None or not is_object_name(found.spec.volume_name):
                return Answer(exposures=candidates)  # it gets our volume, which names it
            volume = self._live.find(PersistentVolume, found.spec.volume_name)
            if volume is None:
                return Answer(exposures=candidates)
            return self._of_volumes([volume], claim, jobs_namespace)
        except RuntimeLibraryError as error:
            return Answer(exposures=candidates, doubt=f"what PersistentVolumeClaim {claim} shows is not known: {error}")

    def cache(self, key: ObjectKey) -> Cache | None:
        """From memory, else from the API server; None if it is gone, or if no cache can be called so.

        Raises what the readers raise.
        """
        if not is_object_name(key.name):
            return None  # what users write into labels, before the API server has looked at it
        kind: CacheKind = LocalModelNamespaceCache if key.namespace else LocalModelCache
        found: Cache | None = self._reader.find(kind, key.name, namespace=key.namespace)
        return found or self._live.find(kind, key.name, namespace=key.namespace)

    def _of_volumes(self, volumes: Iterable[PersistentVolume], claim: ObjectKey, jobs_namespace: str) -> Answer:
        owners = dict.fromkeys(owner for volume in volumes if (owner := _cache_of(volume)) is not None)
        return Answer(exposures=tuple(self._of_cache(owner, claim, jobs_namespace) for owner in owners))

    def _of_cache(self, key: ObjectKey, claim: ObjectKey, jobs_namespace: str) -> Exposure:
        try:
            cache = self.cache(key)
        except RuntimeLibraryError as error:
            log.debug("A cache cannot be read", cache=str(key), error=str(error))
            cache = None  # its volume is ours all the same
        if cache is None:
            return Exposure(cache=key)
        # That of a group which the cache has no more goes; until then it is taken to show everything.
        going = Exposure(cache=key, key=storage_key(cache.spec.source_model_uri))
        return exposure(cache, claim, jobs_namespace) or going

    def _by_name(self, claim: ObjectKey, jobs_namespace: str) -> tuple[Exposure, ...]:
        fields = {BY_CLAIM: claim.name}
        caches: list[Cache] = [*self._reader.list(LocalModelCache, fields=fields)]
        caches += self._reader.list(LocalModelNamespaceCache, fields=fields)
        shown = (exposure(cache, claim, jobs_namespace) for cache in caches)
        return tuple(it for it in shown if it is not None)


def exposure(cache: Cache, claim: ObjectKey, jobs_namespace: str) -> Exposure | None:
    """What the claim shows if it is one of the cache's; None if no claim of the cache is called so there."""
    uri, scope = cache.spec.source_model_uri, cache.namespace
    in_jobs, serves = claim.namespace == jobs_namespace, scope in ("", claim.namespace)
    groups = cache.spec.node_groups
    single = serves and any(claim.name in model_pvc_names(cache.name, group, uri, scope) for group in groups)
    downloads = in_jobs and any(
        claim.name in (name(cache.name, group, scope) for name in (download_pvc_name, other_download_pvc_name))
        for group in groups
    )
    whole = serves and claim.name in (serving_pvc_name(cache.name, group) for group in groups)
    if not (single or downloads or whole):
        return None
    return Exposure(cache=cache.key, key=storage_key(uri), single=single and not downloads, downloads=downloads)


def group_of(cache: Cache, claim: str) -> str:
    """The group whose serving claim has KServe's name `claim`; empty if there is none."""
    return next((group for group in cache.spec.node_groups if serving_pvc_name(cache.name, group) == claim), "")


def _cache_of(volume: PersistentVolume) -> ObjectKey | None:
    """By what the manager wrote on it, or by its owner, as KServe leaves it; None if it is no cache's."""
    annotated = volume.metadata.annotations.get(CACHE_ANNOTATION, "")
    if CACHE_UID_LABEL in volume.metadata.labels and annotated:
        return ObjectKey.parse(annotated)
    owner, gvk = get_controller_of(volume), LocalModelCache.mapping.gvk
    is_caches = owner is not None and (owner.group, owner.kind) == (gvk.group, gvk.kind)
    return ObjectKey("", owner.name) if owner is not None and is_caches else None
