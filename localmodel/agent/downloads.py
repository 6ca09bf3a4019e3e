"""Bringing one wanted model to the disk: observe, decide, act, report.

`situations` observes and `decisions.decide` says what to do; this module does it: starts an attempt (`runs`: as a Job
or a process), publishes a finished download, counts a failure. Order matters where a crash may come between: the
attempt is written down before it is started, and a publication before its outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import msgspec
import structlog

from localmodel.api.node import ModelStatus
from localmodel.api.nodegroup import LocalModelNodeGroup
from localmodel.runtime.client import Reader
from localmodel.runtime.clock import Clock
from localmodel.runtime.errors import RuntimeLibraryError
from localmodel.runtime.events import EventRecorder

from .capacity import Capacity
from .context import Pass
from .credentials import selection
from .decisions import Action, Decision, JobState, Reason, Situation, Wanted, decide, entry_key, retry_delay
from .errors import (
    AgentError,
    DownloadSetupError,
    EarlierDownloadError,
    EvictedError,
    InsufficientStorageError,
    NothingDownloadedError,
    PathMismatchError,
    StoreError,
    VerificationError,
)
from .hostpath import HostPath
from .inventory import Situations
from .limits import limit_of
from .manifest import FolderState, KeyRecord
from .metrics import AgentMetrics
from .modelreport import bare_report, report_of
from .outcome import Outcome
from .outdated import tell_outdated
from .ownership import Handover, is_owned_by, with_owners
from .requirements import Requirements
from .runs import Runs
from .sharing import has_rivals
from .shown import shown
from .situations import ACTIVE, Observer, Settled, published
from .status import ModelReport
from .store import ModelStore
from .verification import Publication

log = structlog.get_logger(__name__)

_GIVEN_UP = (*ACTIVE, JobState.STUCK)
"""A Job of an attempt that has failed, if it stands so."""


class Downloads:
    """The downloads of one node."""

    def __init__(
        self,
        *,
        live: Reader,
        store: ModelStore,
        runs: Runs,
        requirements: Requirements,
        capacity: Capacity,
        recorder: EventRecorder,
        metrics: AgentMetrics,
        path: HostPath,
        clock: Clock,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._capacity = capacity
        self._recorder = recorder
        self._path = path
        self._requirements = requirements
        self._runs = runs
        self._observer = Observer(store=store, runs=runs, clock=clock)
        self._handover = Handover(live=live, store=store, runs=runs, clock=clock)
        self._announced: dict[str, str] = {}
        """Storage key -> the reason of the last warning, so that a lasting obstacle is told once."""
        self._differences: set[str] = set()
        """What was told of groups' paths."""
        self._turn_passes = False
        """A download has failed, and it is the turn of another cache's credentials: no event tells."""

    def observe_all(self, groups: Sequence[Wanted], current: Pass, outcome: Outcome) -> Situations:
        """See `Observer.all`."""
        return self._observer.all(groups, current, outcome)

    def next_look(self) -> timedelta | None:
        """When to look again at downloads of which no event tells; None where there are none."""
        passes, self._turn_passes = self._turn_passes, False
        looks = timedelta(0) if passes else None, self._runs.next_look(), self._handover.next_look()
        return min((look for look in looks if look is not None), default=None)

    def ensure(self, wanted: Wanted, situation: Situation, folder: FolderState, current: Pass) -> ModelReport:
        """Takes the next step towards the model on disk. An obstacle becomes a report, not an error.

        Raises StoreError where the disk fails, ApiError and TransportError where the API server does.
        """
        settled = self._observer.settled(wanted.key, situation)
        if settled is not None:
            return self._settled_report(settled, current)
        if not is_owned_by(situation.record, wanted, folder):
            waits = self._handover.run(wanted, situation.record, folder, current)
            if waits is None:
                self._capacity.changed(wanted.key)
            folder = FolderState("absent")
            situation = Situation(folder="absent", record=self._store.record(wanted.key))
            if waits is not None:
                return self._report(wanted, situation, folder, waits, current)
        if situation.record.outcome == "failed" and situation.job in _GIVEN_UP:
            # It was given up, and the agent or the API server failed before its Job was gone.
            self._runs.stop(wanted.key, current)
            situation = replace(situation, job=JobState.TERMINATING)
        decision = decide(situation, current.now)
        if decision.action is Action.START:
            decision = (
                self._capacity.hold(wanted, situation.record) or self._turn(wanted, situation, current) or decision
            )
        handler = self._handlers.get(decision.action)
        if handler is None:
            return self._report(wanted, situation, folder, decision, current)
        return handler(self, wanted, situation, decision, current)

    @staticmethod
    def _turn(wanted: Wanted, situation: Situation, current: Pass) -> Decision | None:
        limit = current.config.local_model.concurrent_downloads
        if not limit or len(current.reserved.keys() - {wanted.key}) < limit:
            return None
        reason = Reason.EVICTED if situation.record.is_evicted else Reason.WAITING
        told = f"waiting for other downloads: {limit} may run at a time on this node (maxConcurrentDownloadsPerNode)"
        return Decision(reason=reason, message=told)

    # actions -----------------------------------------------------------------------------------------------------

    def _start(self, wanted: Wanted, situation: Situation, decision: Decision, current: Pass) -> ModelReport:
        try:
            message = self._begin(wanted, situation.record, decision.attempt, current)
        except EarlierDownloadError as error:
            message = str(error)
        except EvictedError as error:
            return self._report(
                wanted,
                situation,
                FolderState("absent"),
                Decision(reason=Reason.EVICTED, message=str(error)),
                current,
            )
        except InsufficientStorageError as error:
            return self._obstacle(wanted, situation, current, error, ModelStatus.MODEL_DOWNLOAD_PENDING)
        except StoreError:
            raise
        except AgentError as error:
            if has_rivals(wanted):
                # Counted as a failure, so that it is the turn of others: what this cache lacks they may have (D-17).
                record = with_owners(self._store.record(wanted.key), wanted)
                return self._failed(wanted, record, error.reason, str(error), current)
            return self._obstacle(wanted, situation, current, error, ModelStatus.MODEL_DOWNLOAD_ERROR)
        self._announced.pop(wanted.key, None)
        told = f"{decision.message}; {message}" if decision.reason == Reason.REPAIRING else message
        record = msgspec.structs.replace(situation.record, attempt=decision.attempt)
        return bare_report(wanted, record, current, status=decision.status, reason=decision.reason, message=told)

    def _begin(self, wanted: Wanted, record: KeyRecord, attempt: int, current: Pass) -> str:
        """Starts an attempt; what came of it, in words. Raises AgentError where something is in the way."""
        remembered = self._requirements.recall(wanted.leader)
        if not remembered.node_group:
            raise DownloadSetupError(
                f"the entry of {entry_key(remembered)} names no node group, and none matches this node by its "
                "affinity: set nodeGroup, or make a LocalModelNodeGroup for the node"
            )
        group = self._requirements.group(remembered.node_group, current)
        if group is None:
            raise DownloadSetupError(f"LocalModelNodeGroup {remembered.node_group!r} does not exist; create it")
        self._compare_paths(group, current)
        limit_of(group)
        room = self._capacity.plan(wanted, remembered, record)
        # What was remembered is good enough to find no room, not to download by.
        entry = self._requirements.complete(wanted.leader)
        if entry != remembered:
            room = self._capacity.plan(wanted, entry, record)
        prepared = self._runs.prepare(entry, group, attempt, current)
        standing = self._runs.standing(wanted.key, prepared, entry, current)
        if standing is None:
            self._capacity.make_room(wanted, room)
            self._store.prepare_staging(wanted.key, wanted.uri)
        begun = msgspec.structs.replace(
            with_owners(record, wanted),
            selection=selection(entry),
            attempt=attempt if standing is None else standing[0],
            outcome="",
            reason="",
            message="",
            next_retry_time=None,
            promised=room.size,
            started_time=_started(record, attempt) or current.now,
        )
        self._store.write_record(wanted.key, begun)
        current.reserved[wanted.key] = room.size
        return standing[1] if standing is not None else self._runs.start(prepared, entry, current)

    def _publish(self, wanted: Wanted, situation: Situation, _decision: Decision, current: Pass) -> ModelReport:
        record = situation.record
        publication = Publication(
            uri=wanted.uri,
            attempts=record.attempt,
            references=record.references,
            expected_digest=self._requirements.complete(wanted.leader).digest,
            is_by_ours=not self._runs.foreign_image(wanted.key, record.attempt, current),
        )
        try:
            manifest = self._store.publish(wanted.key, publication)
        except VerificationError as error:
            told = str(error)
            if isinstance(error, NothingDownloadedError):
                told += self._other_path(wanted)
            return self._failed(wanted, record, error.reason, told, current)
        record = published(record)
        self._store.write_record(wanted.key, record)
        self._metrics.published(manifest.total_size)
        current.reserved.pop(wanted.key, None)
        self._capacity.changed(wanted.key)
        log.info("model published", model=entry_key(wanted.leader), uri=wanted.uri, bytes=manifest.total_size)
        self._recorder.event(
            current.node, "Normal", "Downloaded", f"{entry_key(wanted.leader)}: {wanted.uri} is on this node"
        )
        if situation.folder == "incomplete":
            tell_outdated(wanted, current, self._recorder)
        folder = FolderState("complete", manifest=manifest)
        done = Situation(folder="complete", record=record)
        return self._report(wanted, done, folder, decide(done, current.now), current)

    def _compare_paths(self, group: LocalModelNodeGroup, current: Pass) -> None:
        difference = self._path.difference(group)
        if difference and difference not in self._differences:
            log.warning("downloads may not come here", group=group.name, difference=difference)
            self._recorder.event(current.node, "Warning", PathMismatchError.reason, difference)
            self._differences.add(difference)

    def _other_path(self, wanted: Wanted) -> str:
        """What may be the cause where a download left nothing here."""
        try:
            group = self._requirements.group(wanted.leader.node_group)
        except RuntimeLibraryError as error:
            log.warning("the node group's path is not known", group=wanted.leader.node_group, error=str(error))
            return ""
        difference = self._path.difference(group) if group is not None else ""
        return f": {difference}" if difference else ""

    def _record_failure(self, wanted: Wanted, situation: Situation, decision: Decision, current: Pass) -> ModelReport:
        report = self._failed(wanted, situation.record, decision.reason, decision.message, current)
        if situation.job is JobState.STUCK:
            # Only now: without its Job an attempt that was not written down as failed would be made again.
            self._runs.stop(wanted.key, current)
        return report

    def _failed(self, wanted: Wanted, record: KeyRecord, reason: str, message: str, current: Pass) -> ModelReport:
        failures, message = record.failures + 1, shown(message)
        record = msgspec.structs.replace(
            record,
            outcome="failed",
            failures=failures,
            reason=reason,
            message=message,
            next_retry_time=current.now + retry_delay(failures),
        )
        self._store.write_record(wanted.key, record)
        self._metrics.failed(reason)
        log.warning("download failed", model=entry_key(wanted.leader), uri=wanted.uri, reason=reason, error=message)
        self._recorder.event(current.node, "Warning", "DownloadFailed", f"{entry_key(wanted.leader)}: {message}")
        current.reserved.pop(wanted.key, None)
        self._turn_passes |= has_rivals(wanted)
        status = ModelStatus.MODEL_DOWNLOAD_ERROR
        return bare_report(wanted, record, current, status=status, reason=reason, message=message)

    _handlers: dict[Action, Callable[[Downloads, Wanted, Situation, Decision, Pass], ModelReport]] = {
        Action.START: _start,
        Action.PUBLISH: _publish,
        Action.RECORD_FAILURE: _record_failure,
    }

    # reports -----------------------------------------------------------------------------------------------------

    def _obstacle(
        self, wanted: Wanted, situation: Situation, current: Pass, error: AgentError, status: ModelStatus
    ) -> ModelReport:
        self._announce(wanted, error.reason, str(error), current)
        if situation.record.promised and situation.record.outcome == "" and situation.job is JobState.NONE:
            # Nothing runs, so others may have the room.
            self._store.write_record(wanted.key, msgspec.structs.replace(situation.record, promised=0))
            current.reserved.pop(wanted.key, None)
        record = msgspec.structs.replace(situation.record, next_retry_time=None)
        return bare_report(wanted, record, current, status=status, reason=error.reason, message=str(error))

    def _announce(self, wanted: Wanted, reason: str, message: str, current: Pass) -> None:
        """Once for each reason."""
        if self._announced.get(wanted.key) != reason:
            self._announced[wanted.key] = reason
            log.warning("download cannot start", model=entry_key(wanted.leader), reason=reason, error=message)
            self._recorder.event(current.node, "Warning", reason, f"{entry_key(wanted.leader)}: {message}")

    def _settled_report(self, settled: Settled, current: Pass) -> ModelReport:
        """The one of before, if that still holds."""
        wanted, (situation, folder) = settled.wanted, settled.observed
        if settled.report is None or settled.report.in_use != (wanted.key in current.in_use):
            settled.report = self._report(wanted, situation, folder, decide(situation, current.now), current)
        return settled.report

    def _report(
        self, wanted: Wanted, situation: Situation, folder: FolderState, decision: Decision, current: Pass
    ) -> ModelReport:
        record = situation.record
        if situation.job is JobState.PENDING and situation.job_reason:
            self._announce(wanted, situation.job_reason, situation.job_message, current)
        is_active = situation.job in ACTIVE
        return report_of(self._store, wanted, record, folder, decision, current, is_active=is_active)


def _started(record: KeyRecord, attempt: int) -> datetime | None:
    """When an attempt was started that is started again, as after a restart of the agent."""
    return record.started_time if record.attempt == attempt and not record.outcome else None
