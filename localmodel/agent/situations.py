"""What is known of each wanted model in a pass: its folder, its record, its download.

A node may have a thousand models of which none has changed since the last pass. Of those only the disk is asked: what
follows from the same folder, record and entries is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

import msgspec
import structlog

from localmodel.runtime.clock import Clock

from .context import Pass
from .decisions import JobState, Situation, Wanted
from .errors import StoreError
from .inventory import Situations
from .jobruns import Run
from .manifest import FolderState, KeyRecord
from .outcome import Outcome
from .ownership import is_owned_by, with_owners
from .proofs import noted
from .requirements import declared_size
from .runs import Runs
from .sharing import references_of
from .stalls import Stalls
from .status import ModelReport
from .store import ModelStore

ACTIVE: Final = (JobState.PENDING, JobState.RUNNING, JobState.RETRYING)

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Settled:
    """A whole model of its caches, without any download: nothing is to be done while its parts are these objects."""

    wanted: Wanted
    record: KeyRecord
    observed: tuple[Situation, FolderState]
    report: ModelReport | None = None
    """What was reported of it last."""

    def holds(self, wanted: Wanted, record: KeyRecord, folder: FolderState) -> bool:
        """Whether these are the same still."""
        return self.wanted is wanted and self.record is record and self.observed[1] is folder


class Observer:
    """Looks at the models of one node. Not for use by several threads at once."""

    def __init__(self, *, store: ModelStore, runs: Runs, clock: Clock) -> None:
        self._store = store
        self._runs = runs
        self._stalls = Stalls(store.staging, clock)
        self._settled: dict[str, Settled] = {}
        """By storage key, of the last pass."""

    def all(self, groups: Sequence[Wanted], current: Pass, outcome: Outcome) -> Situations:
        """All of them before any acts: what is under way has its room reserved before another starts."""
        situations: Situations = {}
        running = self._runs.under_way(current)
        # Also those that no entry asks for any more, until they have ended.
        for key in running - {wanted.key for wanted in groups}:
            current.reserved[key] = self._store.recorded(key).promised
        before, self._settled = self._settled, {}
        for wanted in groups:
            try:
                is_quiet = wanted.key not in running and not current.has_downloads(wanted.key)
                situations[wanted.key] = self._one(wanted, before.get(wanted.key), current, is_quiet=is_quiet)
            except Exception as error:  # noqa: BLE001 - one entry's failure never stops the others
                outcome.failed(wanted, current.node, error)
        return situations

    def settled(self, key: str, situation: Situation) -> Settled | None:
        """The key's, if that is its situation still."""
        settled = self._settled.get(key)
        return settled if settled is not None and settled.observed[0] is situation else None

    def _one(
        self, wanted: Wanted, before: Settled | None, current: Pass, *, is_quiet: bool
    ) -> tuple[Situation, FolderState]:
        """`is_quiet`: there is no Job or pod of the key, and no process that runs."""
        key = wanted.key
        record, folder = self._store.record(key), self._store.check(key)
        if is_quiet and before is not None and before.holds(wanted, record, folder):
            self._settled[key] = before
            return before.observed
        record, is_owned = self._told(wanted, record, folder, current)
        is_noted = self._note(key, record, folder)
        run = self._with_stall(key, self._runs.observe(key, record.attempt, current, record.started_time), current)
        situation = Situation(
            folder=folder.kind,
            folder_detail=folder.detail,
            job=run.state,
            job_reason=run.reason,
            job_message=run.message,
            pod_runs=run.is_busy,
            record=record,
        )
        _reserve(wanted, situation, run, current)
        if folder.is_complete and is_owned and is_noted and is_quiet:
            self._settled[key] = Settled(wanted, self._store.record(key), (situation, folder))
        return situation, folder

    def _told(self, wanted: Wanted, record: KeyRecord, folder: FolderState, current: Pass) -> tuple[KeyRecord, bool]:
        """The record with what entries and folder say of it, and whether it is about the entries' own model."""
        record = msgspec.structs.replace(
            record, uri=wanted.uri, references=references_of(wanted), unreferenced_since=None
        )
        is_owned = is_owned_by(record, wanted, folder)
        if is_owned:
            if folder.is_complete and record.outcome != "published":
                record = published(record)
            if folder.is_complete or record.owners:
                record = with_owners(record, wanted)
        grace = timedelta(seconds=current.config.local_model.unreferenced_grace_seconds)
        record = noted(record, wanted, current.now, grace)
        if not folder.is_complete and record.evicted is None and record.wanted_time is None:
            record = msgspec.structs.replace(record, wanted_time=current.now)
        return record, is_owned

    def _note(self, key: str, record: KeyRecord, folder: FolderState) -> bool:
        """A disk that cannot be written does not make a whole model less whole."""
        try:
            self._store.write_record(key, record)
        except StoreError as error:
            if not folder.is_complete:
                raise
            log.warning("cannot note who wants a model", storage_key=key, error=str(error))
            return False
        return True

    def _with_stall(self, key: str, run: Run, current: Pass) -> Run:
        if not run.is_writing:
            self._stalls.forget(key)
            return run
        timeout = current.config.local_model.download_stall_seconds
        written = current.usage.staged.get(key, 0)
        symptom = self._stalls.observe(key, written, timeout=timeout, started=run.writing_since)
        if symptom is None or run.state not in ACTIVE:
            return run
        return replace(run, state=JobState.STUCK, reason=symptom.reason, message=symptom.message)


def _reserve(wanted: Wanted, situation: Situation, run: Run, current: Pass) -> None:
    """Keeps the room that a download still needs."""
    record = situation.record
    is_given_up = record.outcome == "failed" or situation.job is JobState.STUCK
    # What was begun holds its room also while its Job is not seen, as after a restart.
    is_begun = bool(record.outcome == "" and record.promised) and not is_given_up
    is_active = situation.job in ACTIVE and not is_given_up
    if situation.folder != "complete" and (run.is_writing or is_begun or is_active):
        current.reserved[wanted.key] = record.promised or declared_size(wanted.leader) or 0


def published(record: KeyRecord) -> KeyRecord:
    """The record of a model that is whole."""
    return msgspec.structs.replace(
        record,
        outcome="published",
        failures=0,
        reason="",
        message="",
        next_retry_time=None,
        tries=(),
        promised=0,
        wanted_time=None,
        evicted=None,
    )
