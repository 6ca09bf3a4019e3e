"""Both ways of downloading, and which one a download takes: a Job (`jobruns`) or a process of the agent (`childruns`).

`downloadMode` says how a download is started. What runs in the other mode, after a change of the configuration, goes on
and counts until it has ended, so two never write into one staging directory.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from localmodel.api.node import LocalModelInfo
from localmodel.api.nodegroup import LocalModelNodeGroup
from localmodel.runtime.objects import Job

from .childplan import ChildPlan
from .context import Pass
from .decisions import JobState
from .jobruns import JobRuns, Run

Prepared = Job | ChildPlan
"""All that an attempt needs, in the mode that it is going to run in."""
P = TypeVar("P")


class Mode(Protocol[P]):
    """One way of downloading. Methods raise ApiError and TransportError where the API server fails."""

    def observe(self, key: str, attempt: int, current: Pass) -> Run:
        """How that attempt stands."""

    def prepare(self, entry: LocalModelInfo, group: LocalModelNodeGroup, attempt: int, current: Pass) -> P:
        """All that an attempt needs; nothing has happened yet. Raises AgentError where something is missing."""

    def standing(self, key: str, prepared: P | None, entry: LocalModelInfo, current: Pass) -> tuple[int, str] | None:
        """The attempt that stands for the key in this mode already, and what to say of it; None where there is none.

        `prepared` is what is about to start in this mode, for `entry`. Raises EarlierDownloadError where something has
        to end first, as a download with other credentials than the entry's.
        """

    def start(self, prepared: P, entry: LocalModelInfo, current: Pass) -> str:
        """Starts the attempt; what came of it, in words. Raises AgentError."""

    def end(self, key: str, current: Pass, *, keeps_ended: bool = False) -> bool:
        """Ends all downloads of a key in this mode; whether nothing of them runs any more.

        `keeps_ended`: what has ended already stays for its time, with its logs.
        """

    def caches(self, key: str, current: Pass) -> set[str]:
        """Status keys of the caches that downloads under way were started for."""

    def under_way(self, current: Pass) -> set[str]:
        """The storage keys of all downloads that have not ended, whoever asks for them."""


class Runs:
    """The downloads of one node, in whichever mode."""

    def __init__(self, *, jobs: JobRuns, children: Mode[ChildPlan]) -> None:
        self._jobs = jobs
        self._children = children

    def observe(self, key: str, attempt: int, current: Pass, started: datetime | None = None) -> Run:
        """How an attempt stands, in the mode in which it was started, which was at `started`."""
        child = self._children.observe(key, attempt, current)
        job = self._jobs.observe(key, attempt, current, started)
        if child.state is not JobState.NONE:
            return child
        if current.config.local_model.downloads_in_agent and job.state in _WAITING and not job.is_busy:
            # Its claim goes with the mode, so it may never start. The attempt goes on as a process once it is gone.
            self._jobs.end(key, current, keeps_ended=True)
            return Run(state=JobState.TERMINATING, is_busy=child.is_busy)
        return job

    def prepare(self, entry: LocalModelInfo, group: LocalModelNodeGroup, attempt: int, current: Pass) -> Prepared:
        """See `Mode.prepare`; in the mode that is configured."""
        in_agent = current.config.local_model.downloads_in_agent
        mode: Mode[Job] | Mode[ChildPlan] = self._children if in_agent else self._jobs
        return mode.prepare(entry, group, attempt, current)

    def standing(self, key: str, prepared: Prepared, entry: LocalModelInfo, current: Pass) -> tuple[int, str] | None:
        """See `Mode.standing`; in either mode."""
        child, job = (prepared, None) if isinstance(prepared, ChildPlan) else (None, prepared)
        running = self._children.standing(key, child, entry, current)
        return running or self._jobs.standing(key, job, entry, current)

    def start(self, prepared: Prepared, entry: LocalModelInfo, current: Pass) -> str:
        """See `Mode.start`."""
        if isinstance(prepared, ChildPlan):
            return self._children.start(prepared, entry, current)
        return self._jobs.start(prepared, entry, current)

    def end(self, key: str, current: Pass) -> bool:
        """Ends all downloads of a key, and removes what is left of them; whether nothing of them runs any more."""
        ended = self._children.end(key, current), self._jobs.end(key, current)
        return all(ended)

    def stop(self, key: str, current: Pass) -> bool:
        """The same, for a key that is still wanted: what has ended stays for its time, so that its logs can be read."""
        ended = self._children.end(key, current), self._jobs.end(key, current, keeps_ended=True)
        return all(ended)

    def foreign_image(self, key: str, attempt: int, current: Pass) -> str:
        """The image, if it is not ours, that an attempt runs or has run; a process is always ours."""
        return self._jobs.foreign_image(key, attempt, current)

    def caches(self, key: str, current: Pass) -> set[str]:
        """See `Mode.caches`."""
        return self._children.caches(key, current) | self._jobs.caches(key, current)

    def under_way(self, current: Pass) -> set[str]:
        """See `Mode.under_way`."""
        return self._children.under_way(current) | self._jobs.under_way(current)

    def next_look(self) -> timedelta | None:
        """When to observe Jobs again although no event comes; None where that is not needed. Processes tell."""
        return self._jobs.next_look()


_WAITING = (JobState.PENDING, JobState.RETRYING)
