"""The reconcilers of both kinds of cache: finalizer, volumes, status and events.

`LocalModelCacheReconciler` and `LocalModelNamespaceCacheReconciler` differ in their kind, their finalizer, and in who
removes the volumes: what a LocalModelCache owns goes by garbage collection, a LocalModelNamespaceCache cannot own what
lies outside its namespace. Which node shall have the model is `NodeReconciler`'s business; here it is only told.

Status comes out of one pure function; it is written if it differs, at most once a second per cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, Final

import structlog

from localmodel.api import (
    Cache,
    LocalModelCache,
    LocalModelCacheStatus,
    LocalModelNamespaceCache,
    LocalModelNode,
    LocalModelNodeGroup,
    ModelStatus,
    NodeStatus,
)
from localmodel.api.config import InferenceServiceConfig
from localmodel.api.names import CACHE_ANNOTATION, CACHE_FINALIZER, NAMESPACE_CACHE_FINALIZER
from localmodel.runtime.builder import Builder
from localmodel.runtime.cache import KindNotServedError
from localmodel.runtime.controllerutil import add_finalizer, contains_finalizer, remove_finalizer
from localmodel.runtime.errors import NotFoundError
from localmodel.runtime.handler import EnqueueRequestsFromMapFunc
from localmodel.runtime.objects import (
    ConfigMap,
    DaemonSet,
    Node,
    Object,
    PartialObjectMetadata,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
)
from localmodel.runtime.predicate import AnnotationChanged, GenerationChanged, LabelChanged, ResourceVersionChanged
from localmodel.runtime.reconcile import Reconciler, Request, Result

from .agentstatus import mismatch_problem
from .cachevolumes import CacheVolumes, every_pair
from .consumers import Consumers, consumers_of
from .credentialcopies import CredentialCopies, Outcome
from .deletion import CLEAN_UP_CHECK_SECONDS, Deletions
from .entries import group_has_node
from .indexes import CACHE_KINDS, SERVICES, cache_of_service
from .isolation import same_uri
from .known import Members, known_cache, known_nodes, nodes_with_agent, reports_about
from .metrics import CacheMetrics
from .pacing import Pacer, interval_for
from .placement import agent_daemon_sets, path_mismatches
from .readiness import cache_events
from .reports import reports_of
from .scheduling import ServiceConstraints, first_admitting
from .served import if_served
from .settings import Settings
from .status import Observation, Problem, cache_status, listed, missing_groups, observe, size_problems, transitions
from .volumes import Volumes
from .watching import (
    AGENT_CHANGED,
    BURST_SECONDS,
    NODE_CHANGED,
    SINCE_START,
    DaemonSetChanged,
    EnqueueChangedModels,
    OurVolumeChanged,
    SpecChanged,
    keys_of,
)
from .waves import waits_in

log = structlog.get_logger(__name__)

STARTED: Final = frozenset(ModelStatus) - {ModelStatus.MODEL_DOWNLOAD_PENDING}
"""States of a model for which it does not matter whether the node has an agent."""
VOLUME_CHECK_SECONDS: Final = 60.0
"""How often it looks again at a volume that stands in the way: what is not ours is not watched."""


class CacheReconciler(Reconciler):
    """What both scopes share."""

    kind: ClassVar[type[LocalModelCache] | type[LocalModelNamespaceCache]]
    finalizer: ClassVar[str]

    def __init__(self, settings: Settings, metrics: CacheMetrics | None = None, members: Members | None = None) -> None:
        self._settings = settings
        self._metrics = metrics or CacheMetrics()
        self._pacer = Pacer()
        self._written: dict[Request, tuple[str, LocalModelCacheStatus]] = {}
        """By cache: its uid and the status that was written last. What is read may be older, and under KServe's CRDs
        lacks our fields for good. One worker at a time touches an entry."""
        self._constraints = ServiceConstraints()
        self._credentials = CredentialCopies()
        self._volumes = CacheVolumes()
        self._members = members or Members()
        self._deletions = Deletions(settings.namespace)

    def setup(self, builder: Builder) -> None:
        reports = EnqueueChangedModels(namespaced=self.kind.mapping.namespaced, until_due=self._until_due)
        (
            builder.for_(self.kind, SpecChanged())
            .watches(LocalModelNodeGroup, EnqueueRequestsFromMapFunc(self._of_group), SINCE_START, GenerationChanged())
            .watches(Node, EnqueueRequestsFromMapFunc(self._of_node, delay=self._until_due), SINCE_START, NODE_CHANGED)
            .watches(LocalModelNode, reports, SINCE_START)
            .watches(ConfigMap, EnqueueRequestsFromMapFunc(self._all), SINCE_START, ResourceVersionChanged())
            .watches(Pod, EnqueueRequestsFromMapFunc(self._of_agent, delay=BURST_SECONDS), SINCE_START, AGENT_CHANGED)
            # Also what is there when the right to read them comes, which may be late.
            .watches(DaemonSet, EnqueueRequestsFromMapFunc(self._all, delay=BURST_SECONDS), DaemonSetChanged())
        )
        for kind in CACHE_KINDS:
            builder.watches(kind, EnqueueRequestsFromMapFunc(self._of_same_uri), SINCE_START, SpecChanged())
        for service in SERVICES:
            # Not since the start only: the kind may be installed later, and then what is listed first is news.
            builder.watches(
                service,
                EnqueueRequestsFromMapFunc(self._of_service),
                LabelChanged() | AnnotationChanged() | GenerationChanged(),
            )
        for volume in (PersistentVolume, PersistentVolumeClaim):
            builder.watches(volume, EnqueueRequestsFromMapFunc(self._of_volume), OurVolumeChanged())

    def reconcile(self, request: Request) -> Result | None:
        cache: Cache | None = self.client.find(self.kind, request.name, namespace=request.namespace)
        if cache is None:
            self._pacer.forget(request)
            self._metrics.forget(request)
            self._written.pop(request, None)
            self._volumes.forget(request)
            self._deletions.forget(request)
            self._credentials.forget(request, client=self.client, live=self.live)
            return None
        if cache.is_deleting:
            return self._finalize(cache)
        self._deletions.forget(request)  # one of an earlier cache of the name
        if add_finalizer(cache, self.finalizer):
            cache = self.client.update(cache)

        config = self._settings.current(self.client, self.recorder)
        groups, missing = self._groups_of(cache)
        consumers = consumers_of(self.client, cache, lambda service: self._admitted_group(service, groups))
        credentials = self._copy_credentials(cache, config)
        volumes = self._volumes.ensure(
            cache,
            groups,
            consumers,
            config.local_model,
            prune=credentials.is_settled,
            guards_pods=self._settings.guards_pods,
            client=self.client,
            live=self.live,
            recorder=self.recorder,
            clock=self.clock,
        )
        check, problems = 0.0 if volumes.is_settled else VOLUME_CHECK_SECONDS, list(volumes.problems)
        if missing:
            problems.insert(0, missing_groups(missing))
        problems += [*size_problems(cache.spec), *credentials.problems, *consumers.problems, *self._settings.problems()]
        wait = self._write_status(cache, lambda: self._observe(cache, groups.values(), consumers, problems))
        failure = volumes.failure or credentials.failure
        if failure and not wait:  # the next try may be a minute off: first the status
            raise failure
        return Result(requeue_after=wait or min(filter(None, (check, credentials.wait)), default=0.0))

    def _copy_credentials(self, cache: Cache, config: InferenceServiceConfig) -> Outcome:
        return self._credentials.ensure(
            cache, config, client=self.client, live=self.live, recorder=self.recorder, clock=self.clock
        )

    # volumes ----------------------------------------------------------------------------------------------------------

    def _admitted_group(self, service: PartialObjectMetadata, groups: dict[str, LocalModelNodeGroup]) -> str:
        if not (constraints := self._constraints.of(self.live, service)):
            return ""
        nodes = known_nodes(self.client)
        return first_admitting(constraints, ((name, self._members.of(it, nodes)) for name, it in groups.items()))

    def _release_volumes(self, cache: Cache) -> None:
        """Removes, before the cache goes, what nothing else would remove."""

    # status -----------------------------------------------------------------------------------------------------------

    def _observe(
        self,
        cache: Cache,
        groups: Iterable[LocalModelNodeGroup],
        consumers: Consumers,
        problems: Sequence[Problem] = (),
        waiting_for: Sequence[str] | None = None,
    ) -> Observation:
        nodes = known_nodes(self.client)
        groups = list(groups)
        nodes_of = {group.name: self._members.of(group, nodes) for group in groups}
        members: dict[str, tuple[bool, LocalModelNodeGroup]] = {}
        for group in groups:
            for node in nodes_of[group.name]:
                members.setdefault(node.name, (node.is_ready, group))
        views = observe(
            cache.spec.source_model_uri,
            [(name, ready) for name, (ready, _) in members.items()],
            reports_about(self.client, cache),
            {name: message for name, (ready, group) in members.items() if ready and (message := waits_in(group))},
        )
        agents = nodes_with_agent(self.client, self._settings.namespace)
        pending = [view.node for view in views if view.status == NodeStatus.NODE_DOWNLOAD_PENDING]
        return Observation(
            nodes=views,
            without_agent=[node for node in pending if agents is not None and node not in agents],
            model_size=cache.spec.model_size,
            node_groups=cache.spec.node_groups,
            problems=[*problems, *self._mismatches((group, nodes_of[group.name]) for group in groups)],
            inference_services=consumers.inference_services,
            llm_inference_services=consumers.llm_inference_services,
            generation=cache.metadata.generation,
            waiting_for=waiting_for,
        )

    def _mismatches(self, groups: Iterable[tuple[LocalModelNodeGroup, list[Node]]]) -> list[Problem]:
        """The model would be downloaded to where no agent looks (D-12)."""
        daemon_sets = agent_daemon_sets(self.client, self._settings.namespace) or ()
        return [
            mismatch_problem(group, mismatch)
            for group, nodes in groups
            for mismatch in path_mismatches(group, nodes, daemon_sets)
        ]

    def _write_status(self, cache: Cache, observe_now: Callable[[], Observation]) -> float:
        """Writes the status if it differs from the last one. Seconds to wait if it is too early for that, else 0.

        While it is too early nothing is looked at, so a burst of reports costs little.
        """
        wait = self._pacer.delay(cache.key, self.clock)
        if wait > 0:
            return wait
        seen = observe_now()
        uid, last = self._written.get(cache.key, ("", cache.status))
        old = last if uid == cache.metadata.uid else cache.status
        new = cache_status(seen, old, clock=self.clock)
        self._metrics.show(cache.key, new)
        if new == old and _core(new) == _core(cache.status):
            return 0.0

        cache.status = new
        self.client.status.update(cache)
        self._pacer.wrote(cache.key, interval_for(len(new.node_status)), self.clock)
        self._metrics.wrote(cache, old, new, self.clock.now())
        self._written[cache.key] = (cache.metadata.uid, new)
        for type_, reason, message in (*transitions(old, new, seen.problems), *cache_events(old, new)):
            self.recorder.event(cache, type_, reason, message)
        return 0.0

    # deletion ---------------------------------------------------------------------------------------------------------

    def _finalize(self, cache: Cache) -> Result | None:
        """Lets the cache go when no agent that is alive has the model any more, or after the limit.

        Needs no group and no kind but its own: a missing one never holds a deletion up (D-23).
        """
        if not contains_finalizer(cache, self.finalizer):
            return None
        credentials = self._copy_credentials(cache, self._settings.current(self.client, self.recorder))
        if credentials.failure is not None:
            raise credentials.failure
        left = self._deletions.time_left(cache, self.clock)  # first: from here on no news wait for the status
        waiting = self._deletions.waiting_for(cache, reader=self.client, live=self.live, clock=self.clock)
        if waiting and left > 0:
            groups, consumers = self._known_groups_of(cache).values(), consumers_of(self.client, cache)
            wait = self._write_status(cache, lambda: self._observe(cache, groups, consumers, waiting_for=waiting))
            return Result(requeue_after=wait or min(left, CLEAN_UP_CHECK_SECONDS))
        if waiting:
            message = f"Gave up waiting for {listed('node', waiting)} to remove the model: the agents clean up later"
            self.recorder.event(cache, "Warning", "CleanUpTimedOut", message)

        for problem in credentials.problems:
            self.recorder.event(cache, "Warning", problem.reason, problem.message)
        self._release_volumes(cache)
        remove_finalizer(cache, self.finalizer)
        try:
            self.client.update(cache)
        except NotFoundError:
            return None
        log.info("Released cache", cache=str(cache))
        return None

    # what concerns a cache --------------------------------------------------------------------------------------------

    def _until_due(self, cache: Request) -> float:
        """Seconds until news of nodes can change the status. A deletion waits for nothing but them, from all nodes."""
        return BURST_SECONDS if cache in self._deletions else self._pacer.delay(cache, self.clock)

    def _groups_of(self, cache: Cache) -> tuple[dict[str, LocalModelNodeGroup], list[str]]:
        """The cache's groups that exist, and the names of those that do not."""
        found = {name: self.client.find(LocalModelNodeGroup, name) for name in dict.fromkeys(cache.spec.node_groups)}
        groups = {name: group for name, group in found.items() if group is not None}
        return groups, [name for name in found if name not in groups]

    def _known_groups_of(self, cache: Cache) -> dict[str, LocalModelNodeGroup]:
        try:
            return self._groups_of(cache)[0]
        except KindNotServedError:
            return {}

    @if_served
    def _of_group(self, group: LocalModelNodeGroup) -> Iterable[Request]:
        return self.client.parts(self.kind, known_cache, group.name)

    @if_served
    def _of_node(self, node: Node) -> Iterable[Request]:
        groups = [group for group in self.client.list(LocalModelNodeGroup) if group_has_node(group, node)]
        return dict.fromkeys(request for group in groups for request in self._of_group(group))

    @if_served
    def _of_agent(self, pod: Pod) -> Iterable[Request]:
        """The caches that wait for the agent's node to start, or to remove what is no entry any more."""
        node = self.client.find(LocalModelNode, pod.spec.node_name) if pod.spec.node_name else None
        reports = reports_of(node) if node is not None else {}
        waiting = [key for key, said in reports.items() if not said.uri or said.status not in STARTED]
        return [request for key in waiting for request in self._in_scope(Request.parse(key))]

    @if_served
    def _of_same_uri(self, cache: Cache) -> Iterable[Request]:
        return same_uri(self.kind, cache, self.client)

    def _of_service(self, service: Object) -> Iterable[Request]:
        return self._in_scope(cache_of_service(service))

    def _of_volume(self, volume: Object) -> Iterable[Request]:
        annotated = volume.metadata.annotations.get(CACHE_ANNOTATION)
        return self._in_scope(Request.parse(annotated) if annotated else None)

    def _in_scope(self, cache: Request | None) -> Iterable[Request]:
        return [cache] if cache is not None and bool(cache.namespace) == self.kind.mapping.namespaced else []

    @if_served
    def _all(self, changed: Object) -> Iterable[Request]:  # noqa: ARG002 - whatever it says now
        return keys_of(self.client.list(self.kind))


class LocalModelCacheReconciler(CacheReconciler):
    """Reconciles LocalModelCaches."""

    kind = LocalModelCache
    finalizer = CACHE_FINALIZER


class LocalModelNamespaceCacheReconciler(CacheReconciler):
    """Reconciles LocalModelNamespaceCaches."""

    kind = LocalModelNamespaceCache
    finalizer = NAMESPACE_CACHE_FINALIZER

    def _release_volumes(self, cache: Cache) -> None:
        namespace = self._settings.current(self.client, self.recorder).local_model.jobs_namespace
        pairs = every_pair(cache, namespace)
        Volumes(cache, client=self.client, live=self.live, recorder=self.recorder).remove(pairs)


def _core(status: LocalModelCacheStatus) -> object:
    """What KServe's CRDs keep of a status, in a form that compares."""
    copies = status.copies
    return (
        status.node_status,
        (copies.available or 0, copies.total or 0, copies.failed or 0) if copies else None,
        [(service.namespace, service.name) for service in status.inference_services],
        [(service.namespace, service.name) for service in status.llm_inference_services],
    )
