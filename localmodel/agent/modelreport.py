"""What is reported of one model: the decision, and what the disk tells beside it."""

from __future__ import annotations

from dataclasses import replace

from localmodel.api.node import ModelStatus

from .context import Pass
from .decisions import Decision, Reason, Wanted
from .manifest import FolderState, KeyRecord
from .requirements import declared_size
from .status import ModelReport
from .store import ModelStore


def bare_report(
    wanted: Wanted, record: KeyRecord, current: Pass, *, status: ModelStatus, reason: str, message: str
) -> ModelReport:
    """The report of a model that is not here, without what a download says of itself."""
    return ModelReport(
        status=status,
        reason=reason,
        message=message,
        storage_key=wanted.key,
        size=declared_size(wanted.leader),
        attempts=record.attempt,
        next_retry_time=record.next_retry_time if status == ModelStatus.MODEL_DOWNLOAD_ERROR else None,
        in_use=wanted.key in current.in_use,
        last_used_time=record.last_used_time,
    )


def report_of(
    store: ModelStore,
    wanted: Wanted,
    record: KeyRecord,
    folder: FolderState,
    decision: Decision,
    current: Pass,
    *,
    is_active: bool,
) -> ModelReport:
    """The report of a model on which the decision changes nothing. `is_active`: its download is under way."""
    report = bare_report(
        wanted, record, current, status=decision.status, reason=decision.reason, message=decision.message
    )
    if folder.is_complete and folder.manifest is not None:
        manifest = folder.manifest
        return replace(
            report,
            size=manifest.total_size,
            downloaded=manifest.total_size,
            digest=manifest.digest,
            revision=manifest.revision,
            downloaded_time=manifest.published_time,
        )
    if record.evicted is not None:
        # The manager asks by it whether a service is newer than the copy that was here.
        past = record.evicted
        report = replace(
            report, size=past.size, digest=past.digest, revision=past.revision, downloaded_time=past.downloaded_time
        )
    return _with_progress(store, report, current) if is_active else report


def _with_progress(store: ModelStore, report: ModelReport, current: Pass) -> ModelReport:
    """What our download says of itself; for a foreign image, the bytes it has written."""
    progress = store.progress(report.storage_key)
    if progress is None:
        return replace(report, downloaded=current.usage.staged.get(report.storage_key) or None)
    verifying = progress.state == "verifying" and report.reason == Reason.DOWNLOADING
    return replace(
        report,
        downloaded=progress.bytes_done,
        size=progress.bytes_total if progress.bytes_total is not None else report.size,
        reason=Reason.VERIFYING if verifying else report.reason,
    )
