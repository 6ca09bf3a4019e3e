"""What one pass found out about the entries: the reports that make the status, and what is wrong with the disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from localmodel.api.node import LocalModelInfo, LocalModelNode, ModelStatus
from localmodel.runtime.errors import RuntimeLibraryError

from .decisions import Reason, Wanted, entry_key
from .errors import AgentError, NothingDownloadedError, PathMismatchError, StoreError
from .status import ModelReport

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Outcome:
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
        for name in wanted.names:
            self.reports[name] = report
        for entry in wanted.refused:
            self.reports[entry_key(entry)] = ModelReport(
                status=ModelStatus.MODEL_DOWNLOAD_PENDING,
                reason=Reason.SELECTION_DIFFERS,
                message=f"{wanted.uri} is on this node for {entry_key(wanted.leader)} with another revision, digest or "
                "other patterns; use the same to share it",
                storage_key=wanted.key,
            )

    def failed(
        self, wanted: Wanted, node: LocalModelNode, error: Exception, entries: Sequence[LocalModelInfo] = ()
    ) -> None:
        """Nothing is known of the model but that looking at it failed: its last status stays. Of all its entries, if
        none are given."""
        self.try_again = True
        if isinstance(error, StoreError):
            self.storage = self.storage or error
        expected = isinstance(error, AgentError | RuntimeLibraryError)
        log.error("model not handled", uri=wanted.uri, error=str(error), exc_info=None if expected else error)
        reason = error.reason if isinstance(error, AgentError) else Reason.WAITING
        for entry in entries or (*wanted.sharing, *wanted.claimants, *wanted.refused):
            last = node.status.model_status.get(entry_key(entry), "")
            status = ModelStatus(last) if last in set(ModelStatus) else ModelStatus.MODEL_DOWNLOAD_PENDING
            self.reports[entry_key(entry)] = ModelReport(
                status=status, reason=reason, message=str(error), storage_key=wanted.key
            )


def lingering(key: str, node: LocalModelNode) -> ModelReport:
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
