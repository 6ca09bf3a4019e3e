"""`ClusterStorageContainerReconciler`: tells what is wrong with the containers of download jobs.

The containers are the user's: nothing is written to them, and KServe's schema gives them no status. So a finding is a
Warning event on the container, sent once and again after it went and came back, and a series of the gauge
localmodel_storage_container_problems. What can be found is in `storagecontainers`.

Secrets are neither watched nor cached: those that a container refers to are read one by one, in the job namespace only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Gauge

from localmodel.api import Cache, ClusterStorageContainer, serves_downloads, supports
from localmodel.runtime.builder import Builder
from localmodel.runtime.cache import KindForbiddenError, KindNotServedError
from localmodel.runtime.errors import ForbiddenError
from localmodel.runtime.handler import EnqueueRequestsFromMapFunc
from localmodel.runtime.objects import ConfigMap, ObjectKey, Secret
from localmodel.runtime.predicate import GenerationChanged, ResourceVersionChanged
from localmodel.runtime.reconcile import Reconciler, Request, Result

from .indexes import CACHE_KINDS
from .settings import Settings
from .storagecontainers import (
    ABOUT_SECRETS,
    REASONS,
    Finding,
    SecretReference,
    ignored_mounts,
    invalid_formats,
    missing_secrets,
    overlaps,
    secret_references,
)
from .watching import BURST_SECONDS, SINCE_START, SpecChanged, keys_of

log = structlog.get_logger(__name__)

SECRET_CHECK_SECONDS: Final = 300.0
"""How often it looks again for a Secret that is missing or may not be read."""


class ClusterStorageContainerReconciler(Reconciler):
    """Checks each ClusterStorageContainer that is enabled and has the workload type localModelDownloadJob.

    Its CRD may be absent, and may come at any time.
    """

    def __init__(self, settings: Settings, *, registry: CollectorRegistry | None = None) -> None:
        """With a `registry`, the gauge is in it."""
        self._settings = settings
        self._problems = Gauge(
            "localmodel_storage_container_problems",
            "What is wrong with a ClusterStorageContainer of download jobs, by the reason of its events",
            ("container", "reason"),
            registry=registry,
        )
        self._told: dict[str, tuple[str, frozenset[tuple[str, str]]]] = {}
        """By container: its uid and what is wrong with it at present. One worker at a time touches an entry."""
        self._refused: set[ObjectKey] = set()
        """Secrets that may not be read, which has been logged."""

    def setup(self, builder: Builder) -> None:
        (
            builder.for_(ClusterStorageContainer, GenerationChanged())
            .watches(
                ClusterStorageContainer,
                EnqueueRequestsFromMapFunc(self._later, delay=BURST_SECONDS),
                SINCE_START,
                GenerationChanged(),
            )
            .watches(ConfigMap, EnqueueRequestsFromMapFunc(self._all), SINCE_START, ResourceVersionChanged())
        )
        for kind in CACHE_KINDS:
            builder.watches(
                kind, EnqueueRequestsFromMapFunc(self._losers, delay=BURST_SECONDS), SINCE_START, SpecChanged()
            )

    def reconcile(self, request: Request) -> Result | None:
        container = self.client.find(ClusterStorageContainer, request.name)
        if container is None or not serves_downloads(container):
            self._forget(request.name)
            return None

        references = secret_references(container)
        namespace = self._settings.current(self.client, self.recorder).local_model.jobs_namespace
        secrets = self._read(references, namespace)
        found = [
            *invalid_formats(container),
            *self._overlaps(container),
            *ignored_mounts(container),
            *missing_secrets(references, secrets, namespace),
        ]
        self._tell(container, found)
        unknown = any(reference.name not in secrets for reference in references)
        if unknown or any(finding.reason in ABOUT_SECRETS for finding in found):
            return Result(requeue_after=SECRET_CHECK_SECONDS)
        return None

    # what is looked up ------------------------------------------------------------------------------------------------

    def _overlaps(self, container: ClusterStorageContainer) -> list[Finding]:
        earlier = [other for other in self._containers() if other.name < container.name]
        return overlaps(container, earlier, self._caches()) if earlier else []

    def _containers(self) -> list[ClusterStorageContainer]:
        """Those of download jobs, sorted by name; none while the kind is not served, or may not be read."""
        try:
            return [container for container in self.client.list(ClusterStorageContainer) if serves_downloads(container)]
        except (KindNotServedError, KindForbiddenError):
            return []

    def _caches(self) -> list[Cache]:
        caches: list[Cache] = []
        for kind in CACHE_KINDS:
            try:
                caches += self.client.list(kind)
            except KindNotServedError:
                continue
        return [cache for cache in caches if not cache.is_deleting]

    def _read(self, references: Iterable[SecretReference], namespace: str) -> dict[str, Secret | None]:
        """By name, the Secrets that are referred to, None for one that is missing; without those we may not read."""
        found: dict[str, Secret | None] = {}
        for name in dict.fromkeys(reference.name for reference in references):
            key = ObjectKey(namespace, name)
            try:
                found[name] = self.live.find(Secret, name, namespace=namespace)
            except ForbiddenError as error:
                if key not in self._refused:
                    self._refused.add(key)
                    log.warning("Secret of a storage container cannot be checked", secret=str(key), error=str(error))
            else:
                self._refused.discard(key)
        return found

    # what is told -----------------------------------------------------------------------------------------------------

    def _tell(self, container: ClusterStorageContainer, found: list[Finding]) -> None:
        uid, before = self._told.get(container.name, ("", frozenset()))
        if uid != container.metadata.uid:
            before = frozenset()
        for finding in found:
            if finding.identity not in before:
                self.recorder.event(container, "Warning", finding.reason, finding.message)
        self._told[container.name] = container.metadata.uid, frozenset(finding.identity for finding in found)
        for reason in REASONS:
            self._problems.labels(container.name, reason).set(sum(finding.reason == reason for finding in found))

    def _forget(self, name: str) -> None:
        if self._told.pop(name, None) is not None:
            for reason in REASONS:
                self._problems.remove(name, reason)

    # whom it concerns -------------------------------------------------------------------------------------------------

    def _later(self, container: ClusterStorageContainer) -> Iterable[Request]:
        """The containers that this one could win over."""
        return keys_of(other for other in self._containers() if other.name > container.name)

    def _losers(self, cache: Cache) -> Iterable[Request]:
        """The containers that fit the cache's URI, except for the one that downloads it."""
        return keys_of(other for other in self._containers() if supports(other, cache.spec.source_model_uri))[1:]

    def _all(self, config_map: ConfigMap) -> Iterable[Request]:  # noqa: ARG002 - the job namespace may be another now
        return keys_of(self._containers())
