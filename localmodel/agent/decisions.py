"""What to do about one storage key: a pure function of what is on disk, what its Job says, and the clock.

It replaces KServe's decision table (kserve-behaviour.md 7.2). The differences that matter: a folder counts only if it
is whole, a success only once it is published, and an attempt is used up only when its outcome was written down. So a
stale cache, a restart or a lost Job can make the agent look again, but never download one thing twice at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Literal

from localmodel.api.names import status_key
from localmodel.api.node import LocalModelInfo, ModelStatus

from .manifest import KeyRecord

RETRY_SECONDS: Final = 30.0
MAX_RETRY_SECONDS: Final = 1800.0


class JobState(StrEnum):
    """The Job of the current attempt. RETRYING: a pod has failed and the Job goes on with another. STUCK: it would go
    on, but has taken too long to start, or has written nothing for too long."""

    NONE = "none"
    TERMINATING = "terminating"
    PENDING = "pending"
    RUNNING = "running"
    RETRYING = "retrying"
    STUCK = "stuck"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Action(StrEnum):
    """NONE: wait. START: make the Job of `Decision.attempt`. PUBLISH and RECORD_FAILURE: end the current attempt."""

    NONE = "none"
    START = "start"
    PUBLISH = "publish"
    RECORD_FAILURE = "record failure"


class Reason(StrEnum):
    """`status.models[].reason`."""

    PUBLISHED = "Published"
    WAITING = "Waiting"
    DOWNLOADING = "Downloading"
    RETRYING = "Retrying"
    VERIFYING = "Verifying"
    REPAIRING = "Repairing"
    DOWNLOAD_FAILED = "DownloadFailed"
    CREDENTIALS_DIFFER = "CredentialsDiffer"
    EVICTED = "Evicted"
    SELECTION_DIFFERS = "SelectionDiffers"
    CHECKING_CREDENTIALS = "CheckingCredentials"
    CREDENTIALS_REJECTED = "CredentialsRejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What is known of one storage key.

    `folder_detail` says why the folder is not whole, `job_reason` and `job_message` what the Job, its pod or the
    process last said; `pod_runs`: a pod or process of some download of this key has not ended.
    """

    folder: Literal["complete", "incomplete", "absent"]
    folder_detail: str = ""
    job: JobState = JobState.NONE
    job_reason: str = ""
    job_message: str = ""
    pod_runs: bool = False
    record: KeyRecord = field(default_factory=KeyRecord)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do, and what the status says if doing it changes nothing. `attempt` belongs to START."""

    action: Action = Action.NONE
    status: ModelStatus = ModelStatus.MODEL_DOWNLOAD_PENDING
    reason: str = Reason.WAITING
    message: str = ""
    attempt: int = 0


_PENDING, _DOWNLOADING = ModelStatus.MODEL_DOWNLOAD_PENDING, ModelStatus.MODEL_DOWNLOADING
_DOWNLOADED, _ERROR = ModelStatus.MODEL_DOWNLOADED, ModelStatus.MODEL_DOWNLOAD_ERROR


def decide(situation: Situation, now: datetime) -> Decision:
    """The decision; see the module."""
    if situation.folder == "complete":
        return Decision(status=_DOWNLOADED, reason=Reason.PUBLISHED)
    if situation.job in _UNDER_WAY and not _has_failed(situation, now):
        return _UNDER_WAY[situation.job](situation)
    if not situation.record.outcome and situation.job is JobState.SUCCEEDED:
        if situation.pod_runs:
            return Decision(
                status=_DOWNLOADING, reason=Reason.VERIFYING, message="waiting for the download's pod to end"
            )
        return Decision(action=Action.PUBLISH, status=_DOWNLOADING, reason=Reason.VERIFYING)
    if not situation.record.outcome and situation.job in (JobState.FAILED, JobState.STUCK):
        return Decision(
            action=Action.RECORD_FAILURE,
            status=_ERROR,
            reason=situation.job_reason or Reason.DOWNLOAD_FAILED,
            message=situation.job_message or "the download Job failed",
        )
    return _next_attempt(situation, now)


def _has_failed(situation: Situation, now: datetime) -> bool:
    """The attempt was given up and waits for the next one, whether or not its Job is gone yet."""
    return situation.record.outcome == "failed" and is_before(now, situation.record.next_retry_time)


_NOT_STARTED = "the download's pod has not started yet; if that lasts, its events say why"
_UNDER_WAY: Mapping[JobState, Callable[[Situation], Decision]] = {
    JobState.TERMINATING: lambda _: Decision(message="an earlier download Job is still being deleted"),
    JobState.PENDING: lambda s: Decision(reason=s.job_reason or Reason.WAITING, message=s.job_message or _NOT_STARTED),
    JobState.RUNNING: lambda s: Decision(status=_DOWNLOADING, reason=Reason.DOWNLOADING, message=s.job_message),
    JobState.RETRYING: lambda s: Decision(
        status=_DOWNLOADING, reason=s.job_reason or Reason.RETRYING, message=s.job_message
    ),
}


def _next_attempt(situation: Situation, now: datetime) -> Decision:
    """No Job is under way and no result is waiting: start a download, or say why not yet."""
    record = situation.record
    if record.outcome == "failed" and is_before(now, record.next_retry_time):
        return Decision(status=_ERROR, reason=record.reason or Reason.DOWNLOAD_FAILED, message=record.message)
    if situation.pod_runs:
        return Decision(message="a pod of an earlier download is still running")
    if record.outcome == "published":
        found = situation.folder_detail or "the folder is gone"
        return Decision(
            action=Action.START,
            reason=Reason.REPAIRING,
            message=f"downloading again: {found}",
            attempt=record.attempt + 1,
        )
    # Without an outcome the attempt still stands: its Job is made again, or was made and is not seen yet.
    attempt = record.attempt + 1 if record.outcome else max(record.attempt, 1)
    return Decision(action=Action.START, attempt=attempt, message="the download is about to start")


def is_before(now: datetime, retry: datetime | None) -> bool:
    """A retry that is further away than any is planned shows that the clock went back: it is due."""
    return retry is not None and timedelta(0) < retry - now <= timedelta(seconds=MAX_RETRY_SECONDS)


def retry_delay(failures: int) -> timedelta:
    """How long to wait after so many failures in a row: 30 s, doubling to 30 min."""
    return timedelta(seconds=min(RETRY_SECONDS * 2 ** min(failures - 1, 16), MAX_RETRY_SECONDS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The entries of one storage key. The first of `sharing` downloads for all of them.

    `claimants` want the same files with other credentials, which are to be proved first; `refused` want other files.
    """

    key: str
    uri: str
    sharing: tuple[LocalModelInfo, ...]
    claimants: tuple[LocalModelInfo, ...] = ()
    refused: tuple[LocalModelInfo, ...] = ()
    priority: int = field(init=False)
    """The highest of those that share it."""
    names: tuple[str, ...] = field(init=False)
    """The status keys of those that share it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "priority", max(entry.priority for entry in self.sharing))
        object.__setattr__(self, "names", tuple(map(entry_key, self.sharing)))

    @property
    def leader(self) -> LocalModelInfo:
        return self.sharing[0]


def entry_key(entry: LocalModelInfo) -> str:
    """The entry's key in the status maps."""
    return status_key(entry.model_name, entry.namespace)
