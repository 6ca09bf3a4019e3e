"""The decision table, row by row."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from localmodel.agent.decisions import Action, JobState, Situation, decide, retry_delay
from localmodel.agent.manifest import KeyRecord
from localmodel.api.node import ModelStatus

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER, EARLIER = NOW + timedelta(seconds=1), NOW - timedelta(seconds=1)
PENDING, DOWNLOADING = ModelStatus.MODEL_DOWNLOAD_PENDING, ModelStatus.MODEL_DOWNLOADING
NONE, START, J = Action.NONE, Action.START, JobState
DOWNLOADED, ERROR = ModelStatus.MODEL_DOWNLOADED, ModelStatus.MODEL_DOWNLOAD_ERROR


def failed(retry: datetime) -> KeyRecord:
    return KeyRecord(
        attempt=1, outcome="failed", failures=1, reason="DownloadFailed", message="404", next_retry_time=retry
    )


FIRST = KeyRecord(attempt=1)
PUBLISHED = KeyRecord(attempt=3, outcome="published")

ROWS: list[tuple[str, dict[str, Any], Action, ModelStatus, str, int]] = [
    ("a whole folder needs nothing", {"folder": "complete", "record": PUBLISHED}, NONE, DOWNLOADED, "Published", 0),
    ("a whole folder outweighs a failed job", {"folder": "complete", "job": J.FAILED, "record": FIRST},
     NONE, DOWNLOADED, "Published", 0),
    ("nothing there: first attempt", {}, START, PENDING, "Waiting", 1),
    ("a folder without proof is downloaded", {"folder": "incomplete"}, START, PENDING, "Waiting", 1),
    ("an attempt without a job keeps its number", {"record": KeyRecord(attempt=4)}, START, PENDING, "Waiting", 4),
    ("a pending job", {"job": J.PENDING, "record": FIRST}, NONE, PENDING, "Waiting", 0),
    ("a running job", {"job": J.RUNNING, "record": FIRST}, NONE, DOWNLOADING, "Downloading", 0),
    ("a job with a failed pod is still downloading", {"job": J.RETRYING, "record": FIRST},
     NONE, DOWNLOADING, "Retrying", 0),
    ("a job in deletion is waited for", {"job": J.TERMINATING, "record": FIRST}, NONE, PENDING, "Waiting", 0),
    ("a success is published", {"job": J.SUCCEEDED, "record": FIRST}, Action.PUBLISH, DOWNLOADING, "Verifying", 0),
    ("a success whose pod still runs is not", {"job": J.SUCCEEDED, "pod_runs": True, "record": FIRST},
     NONE, DOWNLOADING, "Verifying", 0),
    ("a failure is counted once", {"job": J.FAILED, "record": FIRST},
     Action.RECORD_FAILURE, ERROR, "DownloadFailed", 0),
    ("a counted failure waits", {"job": J.FAILED, "record": failed(LATER)}, NONE, ERROR, "DownloadFailed", 0),
    ("it waits without its job too", {"record": failed(LATER)}, NONE, ERROR, "DownloadFailed", 0),
    ("then comes the next attempt", {"job": J.FAILED, "record": failed(EARLIER)}, START, PENDING, "Waiting", 2),
    ("but not beside a pod", {"record": failed(EARLIER), "pod_runs": True}, NONE, PENDING, "Waiting", 0),
    ("a success that was no success is a failure", {"job": J.SUCCEEDED, "record": failed(LATER)},
     NONE, ERROR, "DownloadFailed", 0),
    ("a lost folder is downloaded again", {"job": J.SUCCEEDED, "record": PUBLISHED},
     START, PENDING, "Repairing", 4),
    ("a damaged folder is downloaded again", {"folder": "incomplete", "record": PUBLISHED},
     START, PENDING, "Repairing", 4),
]  # fmt: skip


@pytest.mark.parametrize(
    ("facts", "action", "status", "reason", "attempt"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_decision(facts: dict[str, Any], action: Action, status: ModelStatus, reason: str, attempt: int) -> None:
    decision = decide(Situation(**{"folder": "absent", **facts}), NOW)
    assert (decision.action, decision.status, decision.reason, decision.attempt) == (action, status, reason, attempt)


def test_the_jobs_own_words_are_passed_on() -> None:
    situation = Situation(folder="absent", job=JobState.FAILED, job_message="401 Unauthorized", record=FIRST)
    assert decide(situation, NOW).message == "401 Unauthorized"
    assert decide(Situation(folder="absent", record=failed(LATER)), NOW).message == "404"


def test_retries_wait_30_seconds_doubling_to_30_minutes() -> None:
    assert [retry_delay(n).total_seconds() for n in (1, 2, 3, 6, 7, 1000)] == [30, 60, 120, 960, 1800, 1800]
