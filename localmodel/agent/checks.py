"""Proving a cache's credentials for a model that another's have brought here (`storageIsolation: verified`).

A Job with localmodel's own image asks the source for one byte with the cache's credentials (`localmodel-download
--check`), and mounts no model. Once it succeeds the cache shares the folder like one with the same credentials; what
was proved is in the key's record, for these credentials only (`proofs`: for how long). A check that fails is repeated
as a download is. A few run at a time: a namespace may have any number of caches.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Final

import msgspec
import structlog

from localmodel.api.node import LocalModelInfo, ModelStatus
from localmodel.runtime.client import Client, Reader
from localmodel.runtime.controllerutil import get_controller_of
from localmodel.runtime.errors import AlreadyExistsError, BadRequestError, ForbiddenError, InvalidError, NotFoundError
from localmodel.runtime.events import EventRecorder
from localmodel.runtime.objects import Job

from .additions import escaped
from .context import Pass
from .credentials import fingerprint
from .decisions import JobState, Reason, Wanted, entry_key, is_before, retry_delay
from .errors import AgentError, CheckImpossibleError, DownloadSetupError, JobConflictError, JobRejectedError
from .images import is_our_image
from .jobruns import JobRuns
from .jobs import (
    ATTEMPT_ANNOTATION,
    CREDENTIALS_ANNOTATION,
    MOUNT_PATH,
    STORAGE_KEY_LABEL,
    VOLUME_NAME,
    job_name,
)
from .manifest import Check, KeyRecord
from .observation import attempt_of, cache_of, is_unfinished, job_state
from .requirements import Requirements
from .sharing import tries_of
from .status import ModelReport
from .store import ModelStore
from .symptoms import symptom_of

CHECK_LABEL: Final = "localmodel.kserve.io/check"
"""On Jobs and their pods: the storage key of the model that credentials are proved for."""
_DEADLINE_SECONDS: Final = 600
"""A check reads one byte; it has this long to be scheduled, to pull its image and to try again by itself."""
MOST_AT_A_TIME: Final = 10
"""How many checks of a node run at a time. They do not count as downloads, which may take hours."""
MOST_OF_A_NAMESPACE: Final = 2
"""How many of them are for caches of one namespace, or for those without: those that hang hold up no other tenant's."""
_UNDER_WAY: Final = frozenset({Reason.WAITING, Reason.REPAIRING})
"""Reasons of a pending model that is about to come."""

log = structlog.get_logger(__name__)


def is_check(job: Job, node_uid: str) -> bool:
    """The Job is a check of the LocalModelNode of this uid."""
    owner = get_controller_of(job)
    return owner is not None and owner.uid == node_uid and CHECK_LABEL in job.metadata.labels


class Checks:
    """The checks of one node. Methods raise StoreError, ApiError and TransportError."""

    def __init__(
        self,
        *,
        client: Client,
        live: Reader,
        store: ModelStore,
        runs: JobRuns,
        requirements: Requirements,
        recorder: EventRecorder,
    ) -> None:
        self._client = client
        self._live = live
        self._store = store
        self._runs = runs
        self._requirements = requirements
        self._recorder = recorder

    def report(self, wanted: Wanted, entry: LocalModelInfo, leader: ModelReport, current: Pass) -> ModelReport:
        """What the status says of a claimant, beside the report of those who share; makes its check when it is due."""
        record = self._store.record(wanted.key)
        if leader.status != ModelStatus.MODEL_DOWNLOADED:
            return _until_downloaded(wanted, entry, record, leader, current.now)
        check = _check_of(record, wanted, entry, current)
        if check.proved and check.absent_since is None:
            return leader  # It has come back in time, which this pass has found out; from the next one on it shares.
        if is_before(current.now, check.next_retry_time):
            return _rejected(wanted, check)
        try:
            return self._advance(wanted, entry, check, leader, current)
        except AgentError as error:
            log.warning("credentials cannot be checked", model=entry_key(entry), reason=error.reason, error=str(error))
            return _pending(wanted, error.reason, str(error))

    def _advance(
        self, wanted: Wanted, entry: LocalModelInfo, check: Check, leader: ModelReport, current: Pass
    ) -> ModelReport:
        name = _name(wanted, entry, check, current)
        job = next((job for job in current.checks if job.name == name), None)
        if job is None:
            if waits := _turn(entry, current):
                return _pending(wanted, Reason.CHECKING_CREDENTIALS, waits)
            self._start(wanted, entry, check, name, current)
        else:
            _require_same(job, wanted, check, current)
        state = job_state(job)
        if state is JobState.SUCCEEDED:
            self._write(wanted, msgspec.structs.replace(check, proved=True, failures=0, message=""))
            log.info("credentials proved", model=entry_key(entry), uri=wanted.uri)
            message = f"{entry_key(entry)}: its credentials can read {wanted.uri}, which is on this node"
            self._recorder.event(current.node, "Normal", "CredentialsProved", message)
            return leader
        said = symptom_of(job, [pod for pod in current.pods if pod.metadata.labels.get(CHECK_LABEL) == wanted.key])
        if state is JobState.FAILED:
            return self._failed(wanted, entry, check, said.message or "the check failed", current)
        message = f"another cache has {wanted.uri} here with other credentials: Job {name} tries those of this one"
        return _pending(wanted, Reason.CHECKING_CREDENTIALS, f"{message}; {said.message}" if said.message else message)

    def _start(self, wanted: Wanted, entry: LocalModelInfo, check: Check, name: str, current: Pass) -> None:
        if not is_our_image(current.config.download_image, current.config):
            raise CheckImpossibleError(
                f"another cache has {wanted.uri} on this node with other credentials, and only localmodel's own image "
                f"can prove those of this one, not {current.config.download_image}: set downloadImage, give both the "
                "same credentials, or see storageIsolation"
            )
        complete = self._requirements.complete(entry)
        group = self._requirements.group(complete.node_group)
        if group is None:
            raise DownloadSetupError(f"LocalModelNodeGroup {complete.node_group!r} does not exist; create it")
        job = _as_check(self._runs.prepare(complete, group, check.attempt, current), wanted, name, current)
        self._write(wanted, check)
        try:
            made = self._client.create(job)
        except AlreadyExistsError:
            made = self._live.get(Job, name, namespace=job.namespace)
            _require_same(made, wanted, check, current)
        except (InvalidError, ForbiddenError, BadRequestError, NotFoundError) as error:
            raise JobRejectedError(f"the Job {job.key} was refused: {error}") from error
        # What is made in one pass counts in it; the cache shows it to the next.
        current.checks = [*current.checks, made]

    def _failed(self, wanted: Wanted, entry: LocalModelInfo, check: Check, message: str, current: Pass) -> ModelReport:
        failures = check.failures + 1
        failed = msgspec.structs.replace(
            check,
            attempt=check.attempt + 1,
            failures=failures,
            message=message,
            next_retry_time=current.now + retry_delay(failures),
        )
        self._write(wanted, failed)
        log.warning("credentials rejected", model=entry_key(entry), uri=wanted.uri, error=message)
        self._recorder.event(current.node, "Warning", Reason.CREDENTIALS_REJECTED, f"{entry_key(entry)}: {message}")
        return _rejected(wanted, failed)

    def _write(self, wanted: Wanted, check: Check) -> None:
        """In the record, beside those of other entries."""
        record = self._store.record(wanted.key)
        kept = [it for it in record.checks if it.entry != check.entry]
        checks = tuple(sorted([*kept, check], key=lambda it: it.entry))
        self._store.write_record(wanted.key, msgspec.structs.replace(record, checks=checks))


def _check_of(record: KeyRecord, wanted: Wanted, entry: LocalModelInfo, current: Pass) -> Check:
    """The entry's check; of other credentials only the count of attempts goes on.

    Where nothing is written down, Jobs of checks that are forgotten may still stand, and prove nothing any more.
    """
    name, print_ = entry_key(entry), fingerprint(entry)
    found = next((it for it in record.checks if it.entry == name), None)
    if found is None:
        fresh = Check(entry=name, credentials=print_)
        before = (attempt_of(job) for job in current.checks if _told(job) == _identity(wanted, fresh))
        return msgspec.structs.replace(fresh, attempt=max(before, default=0) + 1)
    return found if found.credentials == print_ else Check(entry=name, credentials=print_, attempt=found.attempt + 1)


def _identity(wanted: Wanted, check: Check) -> tuple[str, str, str]:
    """What of a check stands in its Job beside the name."""
    return wanted.key, check.entry, check.credentials


def _told(job: Job) -> tuple[str, str, str]:
    """What a Job says of the check that it is, if it is one: its `_identity`."""
    metadata = job.metadata
    key, print_ = metadata.labels.get(CHECK_LABEL, ""), metadata.annotations.get(CREDENTIALS_ANNOTATION, "")
    return key, str(cache_of(job)), print_


def _require_same(job: Job, wanted: Wanted, check: Check, current: Pass) -> None:
    """Raises JobConflictError for a Job that is not this check: a name has a hash of no more than 40 bits, so whoever
    may name caches can make two come to one, and what one proves is not the other's (D-16)."""
    told = _told(job)
    if told != _identity(wanted, check) or not is_check(job, current.node.metadata.uid):
        raise JobConflictError(str(job.key), f"storage key {told[0] or 'none'}, cache {told[1] or 'none'}")


def _turn(entry: LocalModelInfo, current: Pass) -> str:
    """What the entry's check waits for before it starts; empty where it may."""
    running = [cache_of(job).namespace for job in current.checks if is_unfinished(job)]
    if len(running) < MOST_AT_A_TIME and running.count(entry.namespace) < MOST_OF_A_NAMESPACE:
        return ""
    return (
        f"waiting for other checks of credentials: {MOST_AT_A_TIME} run at a time on this node, {MOST_OF_A_NAMESPACE} "
        "of them for the caches of one namespace"
    )


def _until_downloaded(
    wanted: Wanted, entry: LocalModelInfo, record: KeyRecord, leader: ModelReport, now: datetime
) -> ModelReport:
    tried = tries_of(record).get(fingerprint(entry))
    if leader.status == ModelStatus.MODEL_DOWNLOAD_PENDING and leader.reason not in _UNDER_WAY:
        # Room, or a workload that wants it: what the leader waits for, the others wait for, too.
        return replace(
            _pending(wanted, leader.reason, leader.message),
            downloaded_time=leader.downloaded_time,
            in_use=leader.in_use,
        )
    if tried is not None:
        return ModelReport(
            status=ModelStatus.MODEL_DOWNLOAD_ERROR,
            reason=tried.reason,
            message=tried.message,
            storage_key=wanted.key,
            attempts=leader.attempts,
            # One that is due already waits for its turn.
            next_retry_time=tried.next_retry_time if is_before(now, tried.next_retry_time) else None,
        )
    message = (
        f"it is the turn of {entry_key(wanted.leader)}, which has other credentials for {wanted.uri}; those of this "
        "cache are tried if that fails, and checked when it is done"
    )
    return _pending(wanted, Reason.WAITING, message)


def _pending(wanted: Wanted, reason: str, message: str) -> ModelReport:
    return ModelReport(
        status=ModelStatus.MODEL_DOWNLOAD_PENDING, reason=reason, message=message, storage_key=wanted.key
    )


def _rejected(wanted: Wanted, check: Check) -> ModelReport:
    return ModelReport(
        status=ModelStatus.MODEL_DOWNLOAD_ERROR,
        reason=Reason.CREDENTIALS_REJECTED,
        message=f"{wanted.uri} is on this node with other credentials, and those of this cache failed: {check.message}",
        storage_key=wanted.key,
        attempts=check.failures,
        next_retry_time=check.next_retry_time,
    )


def _name(wanted: Wanted, entry: LocalModelInfo, check: Check, current: Pass) -> str:
    return job_name(
        model=entry.model_name,
        namespace=entry.namespace,
        node=current.node.name,
        node_uid=current.node.metadata.uid,
        uri=f"check {check.credentials} {wanted.key}",
        attempt=check.attempt,
    )


def _as_check(job: Job, wanted: Wanted, name: str, current: Pass) -> Job:
    """The Job of a download turned into one that only asks: without the model's volume, with our program."""
    job.metadata.name = name
    template = job.spec.template
    for labels in (job.metadata.labels, template["metadata"]["labels"]):
        labels.pop(STORAGE_KEY_LABEL, None)
        labels[CHECK_LABEL] = wanted.key
    template["metadata"]["annotations"].pop(ATTEMPT_ANNOTATION, None)
    job.spec.backoff_limit = 0
    job.spec.active_deadline_seconds = _DEADLINE_SECONDS
    spec = template["spec"]
    spec["volumes"] = [volume for volume in spec["volumes"] if volume["name"] != VOLUME_NAME]
    container = spec["containers"][0]
    container["image"] = current.config.download_image
    container["args"] = ["--check", escaped(wanted.uri)]
    container.pop("command", None)
    container["volumeMounts"] = [it for it in container["volumeMounts"] if it["mountPath"] != MOUNT_PATH]
    return job
