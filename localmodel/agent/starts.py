"""Downloads whose pod does not start: what keeps it, and when that is a failure.

The agent's cache has the pods of its own node, so a pod that is on none yet is not in it, nor is the reason why a Job
has no pod at all. A Job that has not started for a minute is therefore looked after live, and then ever more rarely:
its newest pod, and the last warning about that or about the Job. After `jobStartTimeoutSeconds` it counts as failed,
whatever the reason is, so that it holds no other download up for ever; it is tried again like any other. Times are of
the monotonic clock. Another agent process goes on from when the attempt was started, where that is known, but looks at
each download for a minute before it gives one up.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from localmodel.runtime.client import Reader
from localmodel.runtime.clock import Clock
from localmodel.runtime.errors import ForbiddenError, RuntimeLibraryError
from localmodel.runtime.objects import Event, Job, Object, Pod

from .observation import pods_of
from .symptoms import HEALTHY, Symptom, Trouble, advised, bounded, pod_symptom

LOOK_SECONDS: Final = 60.0
"""How long a pod may take to start before it is looked after; each time between two looks is twice the last one."""
LONGEST_LOOK_SECONDS: Final = 300.0
JOB_LABEL: Final = "batch.kubernetes.io/job-name"
_MOUNT_EVENTS: Final = frozenset({"FailedMount", "FailedAttachVolume"})

_LACKS_OBJECT: Final = re.compile('(configmap|secret) ".*" not found|non-existent .*key', re.IGNORECASE)

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Wait:
    job: str
    """Its uid."""
    since: float
    next_look: float
    interval: float = LOOK_SECONDS
    deadline: float = float("inf")
    symptom: Symptom = HEALTHY


@dataclass(frozen=True, slots=True)
class Start:
    """How the start of a download stands. `is_over`: it has taken too long, and counts as failed."""

    symptom: Symptom = HEALTHY
    is_over: bool = False


class Starts:
    """The downloads of one node that have not started. Not for use by several threads at once."""

    def __init__(self, live: Reader, clock: Clock) -> None:
        self._live = live
        self._clock = clock
        self._waits: dict[str, _Wait] = {}
        """By storage key; only of Jobs that wait now."""
        self._known: dict[str, str] = {}
        """By storage key: the uid of the Job that this process has seen last."""

    def observe(
        self, key: str, job: Job | None, pods: Sequence[Pod], *, timeout: int, started: datetime | None = None
    ) -> Start:
        """Looks at a key's Job, whose pods on this node are `pods`, by age. `timeout` in seconds, 0 is never.

        `started`: when the attempt was, by this node's clock. A live look that fails is logged, and repeated in its
        turn.
        """
        if job is None:
            self._known.pop(key, None)
            self.forget(key)
            return Start()
        uid = job.metadata.uid
        is_known, self._known[key] = self._known.get(key) == uid, uid
        if _has_ended(job) or _has_started(job, pods):
            self.forget(key)
            return Start()
        now = self._clock.monotonic()
        wait = self._waits.get(key)
        if wait is None or wait.job != uid:
            before = 0.0 if is_known else min(self._waited(job, pods, started), max(timeout - LOOK_SECONDS, 0.0))
            wait = self._waits[key] = _Wait(uid, since=now - before, next_look=now + LOOK_SECONDS)
        if job.has_condition("Suspended"):
            wait.since, wait.next_look, wait.deadline = now, now + wait.interval, float("inf")
            return Start(Symptom(Trouble.SUSPENDED, f"Job {job.name} is suspended by somebody else; it waits for him"))
        seen = pod_symptom(own[-1]) if (own := pods_of(job, pods)) and not own[-1].is_finished else HEALTHY
        if not seen and now >= wait.next_look:
            wait.interval = min(2 * wait.interval, LONGEST_LOOK_SECONDS)
            wait.next_look, wait.symptom = now + wait.interval, self._look(job)
        symptom = seen or wait.symptom
        wait.deadline = wait.since + timeout if timeout else float("inf")
        if now < wait.deadline:
            return Start(symptom)
        return Start(_given_up(symptom, timeout), is_over=True)

    def forget(self, key: str) -> None:
        """The key's download does not wait any more."""
        self._waits.pop(key, None)

    def next_look(self) -> timedelta | None:
        """When to observe again although nothing has happened; None while nothing waits."""
        now = self._clock.monotonic()
        soonest = min((min(wait.next_look, wait.deadline) for wait in self._waits.values()), default=None)
        return None if soonest is None else timedelta(seconds=max(soonest - now, 0))

    def _waited(self, job: Job, pods: Sequence[Pod], started: datetime | None) -> float:
        """Seconds that a Job has waited for its first pod before this process came; 0 where nobody can say.

        The least that the times of this node and of the API server allow, whose clocks may differ.
        """
        if job.status.failed or any(pod.is_finished for pod in pods_of(job, pods)):
            return 0.0
        times = (started, job.metadata.creation_timestamp, job.status.start_time)
        now = self._clock.now()
        waits = [(now - time).total_seconds() for time in times if time is not None]
        return max(min(waits), 0.0) if started is not None else 0.0

    def _look(self, job: Job) -> Symptom:
        try:
            pods = self._live.list(Pod, namespace=job.namespace, labels={JOB_LABEL: job.name})
            own = sorted(pods_of(job, pods), key=lambda pod: (str(pod.metadata.creation_timestamp), pod.name))
            unfinished = [pod for pod in own if not pod.is_finished]
            if unfinished:
                return pod_symptom(unfinished[-1]) or self._from_events(unfinished[-1])
            warning = self._last_warning(job)
        except RuntimeLibraryError as error:
            log.warning("cannot look after a download that does not start", job=job.name, error=str(error))
            return HEALTHY
        if own and not warning:
            return HEALTHY  # The Job waits before its next pod, as after each that failed.
        said = f"Job {job.name} has no pod: " + (bounded(warning.message) if warning else "its events may say why")
        return Symptom(Trouble.POD_NOT_CREATED, said)

    def _from_events(self, pod: Pod) -> Symptom:
        """Of a pod on its node that says nothing itself: only events tell of volumes that cannot be mounted."""
        warning = self._last_warning(pod)
        if warning is None:
            return HEALTHY
        if warning.reason in _MOUNT_EVENTS:
            if _LACKS_OBJECT.search(warning.message):
                return advised(Trouble.CONTAINER_CONFIG_INVALID, f"{warning.reason}: {warning.message}", pod)
            return advised(Trouble.MOUNT_FAILED, f"{warning.reason}: {warning.message}", pod)
        return Symptom(Trouble.CONTAINER_NOT_STARTED, bounded(f"{warning.reason}: {warning.message}"))

    def _last_warning(self, about: Object) -> Event | None:
        """None also where events may not be read, as under KServe's role."""
        fields = {"involvedObject.uid": about.metadata.uid, "type": "Warning"}
        try:
            events = self._live.list(Event, namespace=about.namespace, fields=fields)
        except ForbiddenError as error:
            log.debug("events may not be read", namespace=about.namespace, error=str(error))
            return None
        return max(events, key=_time_of, default=None)


def _time_of(event: Event) -> tuple[str, str]:
    last = event.series.last_observed_time if event.series is not None else None
    time = last or event.last_timestamp or event.event_time or event.metadata.creation_timestamp
    return (time.isoformat() if time is not None else "", event.name)


def _has_ended(job: Job) -> bool:
    return job.is_complete or job.is_failed or job.is_deleting


def _has_started(job: Job, pods: Sequence[Pod]) -> bool:
    """By its pods too: the Job's own count comes late where its controller is slow."""
    return bool(job.status.ready) or any(pod.status.phase in ("Running", "Succeeded") for pod in pods_of(job, pods))


def _given_up(symptom: Symptom, timeout: int) -> Symptom:
    said = f"the download's pod has not started for {timeout} s"
    message = f"{said}: {symptom.message}" if symptom.message else f"{said}; kubectl describe tells its events"
    return Symptom(symptom.reason or Trouble.NOT_STARTED, message)
