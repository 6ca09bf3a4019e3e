"""`LocalModelNodeReconciler`: one node's models, from what the manager wants to what lies on the disk.

One request, this node's name; every event leads to the same full pass, which is cheap: open the store, look at each
wanted model, remove what is not wanted, write the status. The parts are `downloads`, `removal`, `status`; this module
puts them in order and keeps the failure of one from stopping the others.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta

import structlog

from localmodel.api.config import InferenceServiceConfig, LocalModelConfig
from localmodel.api.names import CONFIG_MAP_NAME, JOB_NODE_LABEL, storage_key
from localmodel.api.node import LocalModelNode, ModelStatus
from localmodel.runtime.builder import Builder
from localmodel.runtime.errors import RuntimeLibraryError
from localmodel.runtime.event import GenericEvent
from localmodel.runtime.handler import EnqueueRequestForObject, EnqueueRequestsFromMapFunc
from localmodel.runtime.objects import ConfigMap, Job, Object, ObjectMeta, Pod
from localmodel.runtime.predicate import AnnotationChanged, GenerationChanged, LabelChanged, Or, new_predicate_funcs
from localmodel.runtime.reconcile import Reconciler, Request, Result
from localmodel.runtime.source import Channel

from .context import Pass
from .decisions import Reason, Situation, Wanted, entry_key, group_entries
from .downloads import Downloads
from .errors import AgentError, NothingDownloadedError, PathMismatchError, StoreError, StoreLockedError
from .hostpath import HostPath
from .inuse import find_in_use
from .jobruns import JobRuns
from .jobs import label_value
from .manifest import FolderState, KeyRecord, Reference
from .nodegroups import NodeGroups
from .observation import is_ours
from .ownnode import NodeMetadata
from .probe import DiskProbe
from .removal import Removal, Removed
from .requirements import Requirements
from .scrub import Damage
from .status import ModelReport, NodeStatusWriter, ProgressPolicy, build_status
from .storagecondition import StorageCondition
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
    ) -> None:
        """`namespace` is KServe's, where the ConfigMap lies; `jobs_namespace` is the one whose Jobs are watched.
        `pod_name` is the agent's own Pod in `namespace`, by which it knows its host path."""
        self._node_name = node_name
        self._namespace = namespace
        self._jobs_namespace = jobs_namespace
        self._store = store
        self._probe = probe or DiskProbe(store)
        self._pod_name = pod_name
        self._progress = progress or ProgressPolicy()
        self._config = InferenceServiceConfig()
        self._config_read = False
        self._config_problem = ""
        self._parts: tuple[Downloads, Removal, NodeStatusWriter, StorageCondition] | None = None
        self._wake = Channel(EnqueueRequestForObject(), name="wake")
        self._groups: NodeGroups
        """Made with the parts."""

    def setup(self, builder: Builder) -> None:
        """Which objects of a kind are watched is said by `main.cache_options`."""
        request = Request("", self._node_name)
        to_node: EnqueueRequestsFromMapFunc[Object] = EnqueueRequestsFromMapFunc(
            lambda _: [request], delay=_COALESCE_SECONDS
        )
        # The first pass opens the store also where the manager has not made a LocalModelNode yet.
        self.wake()
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
        return self._config.local_model

    def wake(self) -> None:
        """Asks for a pass. For any thread."""
        self._wake.send(GenericEvent(LocalModelNode(metadata=ObjectMeta(name=self._node_name))))

    def tell_damage(self, damage: Damage) -> None:
        """A scrub found a model altered: an event, and a pass that downloads it again. For any thread."""
        node = self.client.find(LocalModelNode, self._node_name)
        if node is not None:
            self.recorder.event(node, "Warning", "ModelDamaged", f"{damage.uri} ({damage.key}): {damage.detail}")
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
        self._read_config(node)
        frequency = timedelta(
            seconds=min(max(self._config.local_model.reconcilation_frequency_in_secs, 1), _LONGEST_SECONDS)
        )
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

    def _read_config(self, node: LocalModelNode | None) -> None:
        """What is broken of the configuration is reported once, and its last good state stays."""
        config_map = self.client.find(ConfigMap, CONFIG_MAP_NAME, namespace=self._namespace)
        if not self._config_read:
            self._config_read, self._config = True, InferenceServiceConfig.salvaged(config_map)
        config, bad = self._config.updated(config_map)
        problem = ""
        if bad:
            problem = f"what cannot be used stays as it was: {'; '.join(map(str, bad.values()))}"
        elif config.local_model.jobs_namespace != self._jobs_namespace:
            problem = f"jobNamespace is {config.local_model.jobs_namespace} now: restart the agents to use it"
        pinned = config.local_model.model_copy(update={"job_namespace": self._jobs_namespace})
        self._config = replace(config, local_model=pinned)
        if problem and problem != self._config_problem:
            log.error("configuration problem", config_map=CONFIG_MAP_NAME, problem=problem)
            if node is not None:
                self.recorder.event(node, "Warning", "InvalidConfig", f"ConfigMap {CONFIG_MAP_NAME}: {problem}")
        self._config_problem = problem

    # one pass ----------------------------------------------------------------------------------------------------

    def _pass(self, node: LocalModelNode, frequency: timedelta, problem: StoreError | None) -> timedelta:
        """Everything that is due for the node; how long until the next look. `problem`: what forbids to write."""
        downloads, removal, writer, condition = self._components()
        entries = self._groups.complete(node.spec.local_models)
        groups = group_entries(entries, self._recorded)
        keys = {wanted.key for wanted in groups}
        current = self._observe(node)
        outcome = _Outcome(storage=problem)
        situations = self._observe_all(downloads, groups, current, outcome)
        self._find_in_use(current)
        for wanted in groups:
            if wanted.key in situations:
                self._ensure(downloads, wanted, situations[wanted.key], current, outcome)
        removed = removal.run(current, keys)
        outcome.storage = outcome.storage or removed.storage
        for key in removed.lingering - outcome.reports.keys():
            outcome.reports[key] = _lingering(key, node)
        self._store.empty_trash(current.in_use.is_mounted)

        status = build_status(
            writer.latest(node),
            outcome.reports,
            usage=current.usage,
            limit=downloads.storage_limit(entries),
            now=current.now,
        )
        foreign, leftovers = self._store.unknown_directories(keys), self._store.leftovers
        condition.set(node, status, outcome.storage_error(), foreign=foreign, leftovers=leftovers)
        writer.write(node, status)
        return self._next_look(frequency, outcome, removed, current)

    def _tell_adopted(self, node: LocalModelNode, keys: list[str]) -> None:
        if keys:
            told = f"{len(keys)} models that an earlier agent had downloaded were found on the disk and are kept"
            self.recorder.event(node, "Normal", "Adopted", told)

    def _components(self) -> tuple[Downloads, Removal, NodeStatusWriter, StorageCondition]:
        """Made at the first pass, when the controller has set the clients."""
        if self._parts is None:
            requirements = Requirements(self.live)
            self._groups = NodeGroups(self.client, self.live, self.clock, node_name=self._node_name)
            runs = JobRuns(
                client=self.client,
                live=self.live,
                recorder=self.recorder,
                requirements=requirements,
                clock=self.clock,
            )
            self._parts = (
                Downloads(
                    live=self.live,
                    store=self._store,
                    runs=runs,
                    requirements=requirements,
                    recorder=self.recorder,
                    path=HostPath(self.live, namespace=self._namespace, pod_name=self._pod_name, root=self._store.root),
                    clock=self.clock,
                ),
                Removal(live=self.live, store=self._store, runs=runs, clock=self.clock),
                NodeStatusWriter(self.client, self.live, policy=self._progress, clock=self.clock),
                StorageCondition(self._store.models, recorder=self.recorder, clock=self.clock),
            )
        return self._parts

    def _observe(self, node: LocalModelNode) -> Pass:
        namespace = self._config.local_model.jobs_namespace
        jobs = self.client.list(Job, namespace=namespace, labels={JOB_NODE_LABEL: label_value(self._node_name)})
        return Pass(
            node=node,
            config=self._config,
            jobs=[job for job in jobs if is_ours(job, node.metadata.uid)],
            pods=self.client.list(Pod),
            usage=self._store.usage(),
            now=self.clock.now(),
        )

    def _observe_all(
        self, downloads: Downloads, groups: list[Wanted], current: Pass, outcome: _Outcome
    ) -> dict[str, tuple[Situation, FolderState]]:
        """All of them before any acts: what is under way has its room reserved before another starts."""
        situations = {}
        # Also those that no entry asks for any more, until they have ended.
        for key in downloads.under_way(current) - {wanted.key for wanted in groups}:
            current.reserved[key] = self._recorded(key).promised
        for wanted in groups:
            try:
                situations[wanted.key] = downloads.observe(wanted, current)
            except Exception as error:  # noqa: BLE001 - one entry's failure never stops the others
                outcome.failed(wanted, current.node, error)
        return situations

    def _ensure(
        self,
        downloads: Downloads,
        wanted: Wanted,
        observed: tuple[Situation, FolderState],
        current: Pass,
        outcome: _Outcome,
    ) -> None:
        try:
            outcome.add(wanted, downloads.ensure(wanted, *observed, current))
        except Exception as error:  # noqa: BLE001 - one entry's failure never stops the others
            outcome.failed(wanted, current.node, error)

    def _find_in_use(self, current: Pass) -> None:
        references = {}
        for key in self._store.known_keys():
            references[key] = self._references(key)
        current.in_use = find_in_use(current.pods, references, jobs_namespace=current.jobs_namespace)

    def _recorded(self, key: str) -> KeyRecord:
        """The key's record; an empty one where it cannot be read, which is told when the key's turn comes."""
        try:
            return self._store.record(key)
        except StoreError as error:
            log.debug("a record cannot be read", storage_key=key, error=str(error))
            return KeyRecord()

    def _references(self, key: str) -> tuple[Reference, ...]:
        try:
            manifest = self._store.manifest(key)
        except StoreError as error:
            log.debug("a manifest cannot be read", storage_key=key, error=str(error))
            manifest = None
        return (*self._recorded(key).references, *(manifest.references if manifest else ()))

    def _next_look(self, frequency: timedelta, outcome: _Outcome, removed: Removed, current: Pass) -> timedelta:
        look = self._components()[0].next_look()
        waits = [frequency] if look is None else [frequency, look]
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
        _, _, writer, condition = self._components()
        status = writer.latest(node).model_copy(deep=True)
        condition.set(node, status, error)
        writer.write(node, status)


@dataclass(slots=True)
class _Outcome:
    """What a pass found out, by status key."""

    reports: dict[str, ModelReport] = field(default_factory=dict)
    storage: StoreError | None = None
    """What forbids to write to the disk, else the first failure of it."""
    try_again: bool = False
    """Something failed that may go better soon."""

    def storage_error(self) -> StoreError | None:
        """What the condition says: also that downloads end well and leave nothing here."""
        lost = (r for r in self.reports.values() if r.reason == NothingDownloadedError.reason)
        return self.storage or next((PathMismatchError(report.message) for report in lost), None)

    def add(self, wanted: Wanted, report: ModelReport) -> None:
        """The report stands for every entry that shares the download."""
        for entry in wanted.sharing:
            self.reports[entry_key(entry)] = report
        for entry in wanted.refused:
            self.reports[entry_key(entry)] = ModelReport(
                status=ModelStatus.MODEL_DOWNLOAD_PENDING,
                reason=Reason.CREDENTIALS_DIFFER,
                message=f"{wanted.uri} is on this node for {entry_key(wanted.leader)} with other credentials, revision "
                "or patterns; use the same to share it",
                storage_key=wanted.key,
            )

    def failed(self, wanted: Wanted, node: LocalModelNode, error: Exception) -> None:
        """Nothing is known of the model but that looking at it failed: its last status stays."""
        self.try_again = True
        if isinstance(error, StoreError):
            self.storage = self.storage or error
        expected = isinstance(error, AgentError | RuntimeLibraryError)
        log.error("model not handled", uri=wanted.uri, error=str(error), exc_info=None if expected else error)
        reason = error.reason if isinstance(error, AgentError) else Reason.WAITING
        last = node.status.model_status.get(entry_key(wanted.leader), "")
        status = ModelStatus(last) if last in set(ModelStatus) else ModelStatus.MODEL_DOWNLOAD_PENDING
        self.add(wanted, ModelReport(status=status, reason=reason, message=str(error), storage_key=wanted.key))


def _lingering(key: str, node: LocalModelNode) -> ModelReport:
    """An entry that is gone but whose Job is not: its key stays until then."""
    last = node.status.model_status.get(key, "")
    status = ModelStatus(last) if last in set(ModelStatus) else ModelStatus.MODEL_DOWNLOAD_PENDING
    known = node.status.models.get(key)
    return ModelReport(
        status=status,
        reason=Reason.WAITING,
        message="no longer wanted; its download Job is still there",
        storage_key=known.storage_key if known is not None else "",
    )


def _downloaded(node: LocalModelNode) -> dict[str, str]:
    """Storage key -> URI of what the status calls downloaded. The URI is empty for an entry that has vanished."""
    uris = {entry_key(entry): entry.source_model_uri for entry in node.spec.local_models}
    found = {}
    for key, status in node.status.model_status.items():
        if status != ModelStatus.MODEL_DOWNLOADED:
            continue
        if key in uris:
            found[storage_key(uris[key])] = uris[key]
        elif key in node.status.models and node.status.models[key].storage_key:
            found.setdefault(node.status.models[key].storage_key, "")
    return found


def _mounts_a_claim(obj: Object) -> bool:
    """Other pods have no part in models."""
    return isinstance(obj, Pod) and any(volume.persistent_volume_claim for volume in obj.spec.volumes)
