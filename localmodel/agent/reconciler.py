"""`LocalModelNodeReconciler`: one node's models, from what the manager wants to what lies on the disk.

One request, this node's name; every event leads to the same full pass, which is cheap: open the store, look at each
wanted model, remove what is not wanted, write the status. The parts are `downloads`, `removal`, `status`; this module
puts them in order and keeps the failure of one from stopping the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import structlog

from localmodel.api.config import LocalModelConfig
from localmodel.api.names import JOB_NODE_LABEL, storage_key
from localmodel.api.node import LocalModelNode, LocalModelNodeStatus, ModelStatus
from localmodel.runtime.builder import Builder
from localmodel.runtime.cache import KindForbiddenError
from localmodel.runtime.errors import ForbiddenError, RuntimeLibraryError
from localmodel.runtime.event import GenericEvent
from localmodel.runtime.handler import EnqueueRequestForObject, EnqueueRequestsFromMapFunc
from localmodel.runtime.objects import ConfigMap, Job, Object, ObjectMeta, Pod
from localmodel.runtime.predicate import AnnotationChanged, GenerationChanged, LabelChanged, Or, new_predicate_funcs
from localmodel.runtime.reconcile import Reconciler, Request, Result
from localmodel.runtime.source import Channel

from .capacity import Capacity
from .checks import Checks, is_check
from .children import Children
from .configuration import Configuration
from .context import Pass
from .decisions import Situation, Wanted, entry_key
from .diskpressure import tell_pressure
from .downloads import Downloads
from .errors import StoreError, StoreLockedError
from .hostpath import HostPath
from .inuse import find_in_use
from .inventory import Situations
from .jobs import label_value
from .manifest import FolderState, Reference
from .metrics import AgentMetrics
from .observation import is_ours
from .outcome import Outcome, lingering
from .ownnode import NodeMetadata
from .parts import Parts
from .probe import DiskProbe
from .removal import Removed
from .scratch import Scratch
from .scrub import Damage
from .shown import ShownEvents, shown
from .status import ProgressPolicy, build_status
from .store import ModelStore

log = structlog.get_logger(__name__)

_COALESCE_SECONDS = 0.05
_RETRY = timedelta(seconds=5)
_SHORTEST = timedelta(seconds=0.5)
_LONGEST_SECONDS = 86400


class LocalModelNodeReconciler(Reconciler):
    """Reconciles the one LocalModelNode that carries this node's name, and only it."""

    def __init__(
        self,
        *,
        node_name: str,
        namespace: str,
        jobs_namespace: str,
        store: ModelStore,
        probe: DiskProbe | None = None,
        pod_name: str = "",
        progress: ProgressPolicy | None = None,
        children: Children | None = None,
        metrics: AgentMetrics | None = None,
    ) -> None:
        """`namespace` is KServe's, where the ConfigMap lies; `jobs_namespace` is the one whose Jobs are watched.
        `pod_name` is the agent's own Pod in `namespace`, by which it knows its host path. `children` are the download
        processes of `downloadMode: Agent`; whoever made them closes them.
        """
        self._node_name = node_name
        self._namespace = namespace
        self._jobs_namespace = jobs_namespace
        self._store = store
        self._probe = probe or DiskProbe(store)
        self._pod_name = pod_name
        self._progress = progress or ProgressPolicy()
        self._children = children or Children(store.notes, Scratch(store.root))
        self._metrics = metrics or AgentMetrics()
        self._configuration = Configuration(namespace=namespace, jobs_namespace=jobs_namespace)
        self._is_blind = False
        """The pods of this node may not be read."""
        self._parts: Parts | None = None
        self._wake = Channel(EnqueueRequestForObject(), name="wake")

    def setup(self, builder: Builder) -> None:
        """Which objects of a kind are watched is said by `program.cache_options`."""
        request = Request("", self._node_name)
        to_node: EnqueueRequestsFromMapFunc[Object] = EnqueueRequestsFromMapFunc(
            lambda _: [request], delay=_COALESCE_SECONDS
        )
        # The first pass opens the store also where the manager has not made a LocalModelNode yet.
        self.wake()
        self._children.on_change = self.wake
        builder.for_(LocalModelNode, Or(GenerationChanged(), AnnotationChanged()))
        builder.watches(Job, to_node)
        builder.watches(Pod, to_node, new_predicate_funcs(_mounts_a_claim))
        builder.watches(NodeMetadata, to_node, LabelChanged())
        builder.watches(ConfigMap, to_node)
        builder.watches_source(self._wake)
        self._probe.on_recovery = self.wake

    @property
    def config(self) -> LocalModelConfig:
        """The configuration of the last pass. For any thread."""
        return self._configuration.current.local_model

    def wake(self) -> None:
        """Asks for a pass. For any thread."""
        self._wake.send(GenericEvent(LocalModelNode(metadata=ObjectMeta(name=self._node_name))))

    def observed(self) -> tuple[LocalModelNode, LocalModelNodeStatus] | None:
        """The node, and the status that it shall have as far as the last pass has found. For any thread."""
        node = self.client.find(LocalModelNode, self._node_name)
        if node is None:
            return None
        return node, self._parts.writer.latest(node) if self._parts is not None else node.status

    def tell_damage(self, damage: Damage) -> None:
        """A scrub found a model altered: an event, and a pass that downloads it again. For any thread."""
        node = self.client.find(LocalModelNode, self._node_name)
        if node is not None:
            told = shown(f"{damage.uri} ({damage.key}): {damage.detail}")
            self.recorder.event(node, "Warning", "ModelDamaged", told)
        self.wake()

    def check_ready(self) -> None:
        """A readiness check: raises StoreError while the models root is not usable. Waits for no disk."""
        self._probe.check_alive()
        if not self._store.is_open:
            raise StoreError(f"the models root {self._store.root} is not open yet")

    def reconcile(self, request: Request) -> Result | None:
        if request.name != self._node_name:
            return None
        node = self.client.find(LocalModelNode, self._node_name)
        self._configuration.read(node, reader=self.client, live=self.live, recorder=self.recorder, clock=self.clock)
        frequency = timedelta(seconds=min(max(self.config.reconcilation_frequency_in_secs, 1), _LONGEST_SECONDS))
        if node is None or node.is_deleting:
            # Nothing is known of what is wanted, so nothing is deleted.
            return self._prepare_store(frequency)
        try:
            unwritable = self._probe.check()
            self._tell_adopted(node, self._store.open(_downloaded(node)))
            wait = self._pass(node, frequency, unwritable or self._store.problem())
        except StoreError as error:
            self._report_storage_failure(node, error)
            wait = frequency
        return Result(requeue_after=wait.total_seconds())

    def _prepare_store(self, frequency: timedelta) -> Result | None:
        try:
            self._probe.check()
            self._store.open()
        except StoreError as error:
            log.warning("models root cannot be used", reason=error.reason, error=str(error))
            return Result(requeue_after=frequency.total_seconds())
        return None

    # one pass ----------------------------------------------------------------------------------------------------

    def _pass(self, node: LocalModelNode, frequency: timedelta, problem: StoreError | None) -> timedelta:
        """Everything that is due for the node; how long until the next look. `problem`: what forbids to write."""
        parts = self._components()
        groups = self._group(parts, node)
        keys = {wanted.key for wanted in groups}
        current = self._observe(node)
        outcome = Outcome(storage=problem)
        situations = parts.downloads.observe_all(groups, current, outcome)
        self._find_in_use(current)
        # First what nobody wants any more: that may be all the room that is needed.
        removed = parts.removal.run(current, keys)
        outcome.storage = outcome.storage or removed.storage
        holders = parts.look.holders(current)
        if self._store.empty_trash(holders):
            current.usage = self._store.usage()
        self._keep_room(parts.capacity, groups, situations, current, outcome)
        order = parts.capacity.order(groups, situations, current)
        for wanted in order:
            self._ensure(parts.downloads, wanted, situations[wanted.key], current, outcome)
        displaced = parts.capacity.take_displaced()
        for wanted in order:
            if wanted.key in displaced:  # by a download that came later in this pass than what was said of it
                self._ensure(parts.downloads, wanted, situations[wanted.key], current, outcome)
            self._prove(parts.checks, wanted, current, outcome)
        for key in removed.lingering - outcome.reports.keys():
            outcome.reports[key] = lingering(key, node)
        self._store.empty_trash(holders)

        status = build_status(
            parts.writer.latest(node),
            outcome.reports,
            usage=current.usage,
            limit=parts.capacity.bounds(current).limit,
            models=parts.writer.models,
        )
        foreign, leftovers = self._store.unknown_directories(keys), self._store.leftovers
        parts.condition.set(node, status, outcome.storage_error(), foreign=foreign, leftovers=leftovers)
        self._tell_pressure(parts.capacity, node, status, groups, current)
        parts.writer.write(node, status)
        self._metrics.observed(outcome.reports.values(), current.usage, running=len(current.reserved))
        return self._next_look(frequency, outcome, removed, current)

    def _group(self, parts: Parts, node: LocalModelNode) -> list[Wanted]:
        entries = parts.groups.complete(node.spec.local_models)
        uid, generation = node.metadata.uid, node.metadata.generation
        return parts.grouping.of(
            entries,
            now=self.clock.now(),
            isolation=self.config.storage_isolation,
            version=(uid, generation, parts.groups.found) if generation else None,
        )

    def _keep_room(
        self, capacity: Capacity, groups: Sequence[Wanted], situations: Situations, current: Pass, outcome: Outcome
    ) -> None:
        try:
            capacity.begin(groups, situations, current)
        except (StoreError, RuntimeLibraryError) as error:
            outcome.try_again = True
            log.warning("not all that is due was removed, trying again later", error=str(error))
            if isinstance(error, StoreError):
                outcome.storage = outcome.storage or error

    def _tell_pressure(
        self,
        capacity: Capacity,
        node: LocalModelNode,
        status: LocalModelNodeStatus,
        groups: Sequence[Wanted],
        current: Pass,
    ) -> None:
        disk = capacity.disk(current)
        if disk.is_under_pressure:
            disk = capacity.disk(current, with_items=True)
        names = {wanted.key: wanted.names[0] for wanted in groups}
        tell_pressure(node, status, disk, names, recorder=self.recorder, clock=self.clock)

    def _tell_adopted(self, node: LocalModelNode, keys: list[str]) -> None:
        if keys:
            told = f"{len(keys)} models that an earlier agent had downloaded were found on the disk and are kept"
            self.recorder.event(node, "Normal", "Adopted", told)

    def _components(self) -> Parts:
        """Made at the first pass, when the controller has set the clients."""
        if self._parts is None:
            self._parts = Parts.of(
                client=self.client,
                live=self.live,
                store=self._store,
                recorder=ShownEvents(self.recorder),
                clock=self.clock,
                path=HostPath(self.live, namespace=self._namespace, pod_name=self._pod_name, root=self._store.root),
                progress=self._progress,
                node_name=self._node_name,
                children=self._children,
                metrics=self._metrics,
                find_in_use=self._find_in_use,
            )
        return self._parts

    def _observe(self, node: LocalModelNode) -> Pass:
        namespace = self.config.jobs_namespace
        jobs = self.client.list(Job, namespace=namespace, labels={JOB_NODE_LABEL: label_value(self._node_name)})
        return Pass(
            node=node,
            config=self._configuration.current,
            jobs=[job for job in jobs if is_ours(job, node.metadata.uid)],
            checks=[job for job in jobs if is_check(job, node.metadata.uid)],
            pods=self._pods(),
            usage=self._store.usage(),
            now=self.clock.now(),
        )

    def _pods(self) -> list[Pod]:
        """The pods of this node; none where they may not be read, as under KServe's role."""
        try:
            pods, is_blind = self.client.list(Pod), False
        except (KindForbiddenError, ForbiddenError):
            pods, is_blind = [], True
        if is_blind and not self._is_blind:
            log.warning(
                "pods may not be read: nothing is evicted, and models that nobody wants go after a while, in use "
                "or not; apply config/rbac/agent.yaml"
            )
        self._is_blind = is_blind
        return pods

    def _ensure(
        self,
        downloads: Downloads,
        wanted: Wanted,
        observed: tuple[Situation, FolderState],
        current: Pass,
        outcome: Outcome,
    ) -> None:
        try:
            outcome.add(wanted, downloads.ensure(wanted, *observed, current))
        except Exception as error:  # noqa: BLE001 - one entry's failure never stops the others
            outcome.failed(wanted, current.node, error)

    def _prove(self, checks: Checks, wanted: Wanted, current: Pass, outcome: Outcome) -> None:
        leader = outcome.reports[wanted.names[0]]
        for entry in wanted.claimants:
            try:
                outcome.reports[entry_key(entry)] = checks.report(wanted, entry, leader, current)
            except Exception as error:  # noqa: BLE001 - one entry's failure never stops the others
                outcome.failed(wanted, current.node, error, (entry,))

    def _find_in_use(self, current: Pass) -> None:
        found = find_in_use(current.pods, self._references, jobs_namespace=current.jobs_namespace)
        if self._is_blind:
            grace = timedelta(seconds=self.config.unreferenced_grace_seconds)
            found = replace(found, unseen_since=current.now - grace)
        current.in_use = found

    def _references(self) -> dict[str, tuple[Reference, ...]]:
        return {key: self._store.references(key) for key in self._store.known_keys()}

    def _next_look(self, frequency: timedelta, outcome: Outcome, removed: Removed, current: Pass) -> timedelta:
        parts = self._components()
        looks = (parts.downloads.next_look(), parts.capacity.look_again)
        waits = [frequency, *(look for look in looks if look is not None)]
        if outcome.try_again or removed.failed:
            waits.append(_RETRY)
        if removed.look_again is not None:
            waits.append(removed.look_again)
        if any(report.status == ModelStatus.MODEL_DOWNLOADING for report in outcome.reports.values()):
            waits.append(timedelta(seconds=self._progress.interval))
        waits += [r.next_retry_time - current.now for r in outcome.reports.values() if r.next_retry_time is not None]
        return max(min(waits), _SHORTEST)

    # the storage condition ---------------------------------------------------------------------------------------

    def _report_storage_failure(self, node: LocalModelNode, error: StoreError) -> None:
        """Says that nothing can be done, and leaves what is said about the models as it is."""
        log.error("models root cannot be used", reason=error.reason, error=str(error))
        if isinstance(error, StoreLockedError) and error.holder == self._node_name:
            return  # This node's other agent, which is about to end, writes the status.
        parts = self._components()
        status = parts.writer.latest(node).model_copy(deep=True)
        parts.condition.set(node, status, error)
        parts.writer.write(node, status)


def _downloaded(node: LocalModelNode) -> dict[str, str]:
    """Storage key -> URI of what the status calls downloaded. The URI is empty for an entry that has vanished."""
    uris = {entry_key(entry): entry.source_model_uri for entry in node.spec.local_models}
    found = {}
    for key, status in node.status.model_status.items():
        if status != ModelStatus.MODEL_DOWNLOADED:
            continue
        known = node.status.models[key].storage_key if key in node.status.models else ""
        if key in uris:
            found[known or storage_key(uris[key])] = uris[key]
        elif known:
            found.setdefault(known, "")
    return found


def _mounts_a_claim(obj: Object) -> bool:
    """Other pods have no part in models."""
    return isinstance(obj, Pod) and any(volume.persistent_volume_claim for volume in obj.spec.volumes)
