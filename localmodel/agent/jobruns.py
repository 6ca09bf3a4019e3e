"""Downloads as Jobs (design.md section 4, "Idempotent jobs"): how they stand, how they start, how they end.

`Downloads` decides what is to be downloaded and keeps the books; this module makes the Job of an attempt once all that
it needs is there, and finds the one that stands already. Nothing here touches the disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from localmodel.api.names import JOB_NODE_LABEL, status_key
from localmodel.api.node import LocalModelInfo
from localmodel.api.nodegroup import LocalModelNodeGroup
from localmodel.runtime.client import Client, Reader
from localmodel.runtime.clock import Clock
from localmodel.runtime.controllerutil import get_controller_of
from localmodel.runtime.errors import AlreadyExistsError, BadRequestError, ForbiddenError, InvalidError, NotFoundError
from localmodel.runtime.events import EventRecorder
from localmodel.runtime.objects import Job

from .certificates import trust
from .containers import base_container, image_of
from .context import Pass
from .credentials import CredentialsBuilder, fingerprint
from .decisions import JobState, entry_key
from .errors import DownloadSetupError, EarlierDownloadError, JobConflictError, JobRejectedError
from .identity import pull_secrets
from .images import is_our_image
from .jobs import CREDENTIALS_ANNOTATION, STORAGE_KEY_LABEL, DownloadRequest, build_job, delete_job, label_value
from .observation import (
    attempt_of,
    cache_of,
    find_job,
    is_ours,
    is_unfinished,
    job_state,
    running_since,
    storage_key_of,
)
from .requirements import Requirements
from .starts import Starts
from .symptoms import symptom_of

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """How the download of one attempt stands. `is_busy`: some download of the key may still write to the disk;
    `is_writing`: one does."""

    state: JobState = JobState.NONE
    reason: str = ""
    message: str = ""
    is_busy: bool = False
    is_writing: bool = False
    writing_since: datetime | None = None
    """Of a pod that an earlier agent process may have seen."""


class JobRuns:
    """The download Jobs of one node. Methods raise ApiError and TransportError where the API server fails."""

    def __init__(
        self, *, client: Client, live: Reader, recorder: EventRecorder, requirements: Requirements, clock: Clock
    ) -> None:
        self._client = client
        self._live = live
        self._recorder = recorder
        self._requirements = requirements
        self._starts = Starts(live, clock)

    def observe(self, key: str, attempt: int, current: Pass, started: datetime | None = None) -> Run:
        """The Job of that attempt, as the cache shows it; one that does not start is looked after live.

        `started`: when the attempt was, by this node's clock.
        """
        job, pods = find_job(current.jobs_of(key), attempt), current.pods_of(key)
        timeout = current.config.local_model.job_start_timeout_seconds
        start = self._starts.observe(key, job, pods, timeout=timeout, started=started)
        symptom = start.symptom or symptom_of(job, pods)
        return Run(
            state=JobState.STUCK if start.is_over else job_state(job, pods),
            reason=symptom.reason,
            message=symptom.message,
            is_busy=any(not pod.is_finished for pod in pods),
            is_writing=any(pod.status.phase == "Running" for pod in pods),
            writing_since=running_since(pods),
        )

    def foreign_image(self, key: str, attempt: int, current: Pass) -> str:
        """The image of that attempt's Job, if it is not ours; empty where there is no Job."""
        job = find_job(current.jobs_of(key), attempt)
        containers = job.spec.template.get("spec", {}).get("containers") or [{}] if job is not None else [{}]
        image = str(containers[0].get("image") or "")
        return "" if job is None or is_our_image(image, current.config) else image or "unknown"

    def under_way(self, current: Pass) -> set[str]:
        """The storage keys of all downloads on the node that have not ended: of Jobs that go on, and of pods that run
        although their Job is gone."""
        jobs = {storage_key_of(job) for job in current.jobs if is_unfinished(job) and not job.is_deleting}
        pods = (p for p in current.pods if p.namespace == current.jobs_namespace and p.status.phase == "Running")
        return jobs | {key for pod in pods if (key := pod.metadata.labels.get(STORAGE_KEY_LABEL, ""))}

    def next_look(self) -> timedelta | None:
        """When to observe again although no event comes; None where that is not needed."""
        return self._starts.next_look()

    def prepare(self, entry: LocalModelInfo, group: LocalModelNodeGroup, attempt: int, current: Pass) -> Job:
        """The Job of an attempt, not made yet. Raises AgentError where the cluster lacks what it needs."""
        config, namespace = current.config, current.jobs_namespace
        container = self._requirements.container_for(entry.source_model_uri)
        image = image_of(container, config)
        foreign = "" if is_our_image(image, config) else image
        credentials = CredentialsBuilder(self._live, namespace, config.credentials, foreign_image=foreign).build(entry)
        env = [*base_container(container, entry, config)["env"], *credentials.env]
        credentials += trust(self._live, namespace, config.storage_initializer, env)
        return build_job(
            DownloadRequest(
                node=current.node,
                entry=entry,
                attempt=attempt,
                config=config,
                container=container,
                credentials=credentials,
                tolerations=group.spec.tolerations,
                claim=self._requirements.claim_for(entry, namespace),
                image_pull_secrets=pull_secrets(self._live, config.local_model, credentials),
            )
        )

    def standing(self, key: str, prepared: Job | None, entry: LocalModelInfo, current: Pass) -> tuple[int, str] | None:
        """The attempt that stands for this download already, and what to say of it; None where it can start.

        That can be the same Job, or one for another cache that shares the download, or of an attempt that the disk has
        forgotten. One of an earlier LocalModelNode of this node, or with other credentials (D-16), is deleted, and
        holds the download up until it is gone. Asked live, before the disk is touched: a Job that the cache does not
        show yet may be writing there.
        `prepared` is the Job that is to be made, if any. Raises DownloadSetupError, JobConflictError for another's Job
        of that name, which has a hash of no more than 40 bits, and EarlierDownloadError.
        """
        labels = {STORAGE_KEY_LABEL: key, JOB_NODE_LABEL: label_value(current.node.name)}
        name, namespace = prepared.name if prepared is not None else "", current.jobs_namespace
        found = self._live.find(Job, name, namespace=namespace) if name else None
        if found is not None and storage_key_of(found) != key:
            whose = f"storage key {storage_key_of(found) or 'none'}, cache {cache_of(found) or 'none'}"
            raise JobConflictError(str(found.key), whose)
        others = self._live.list(Job, namespace=namespace, labels=labels)
        running = [other for other in others if other.name != name and is_unfinished(other)]
        for other in [*([found] if found is not None else []), *running]:
            if is_ours(other, current.node.metadata.uid):
                if other.metadata.annotations.get(CREDENTIALS_ANNOTATION) != fingerprint(entry):
                    delete_job(self._client, other)
                    raise EarlierDownloadError(f"waiting for Job {other.name} with other credentials to end")
                said = f"an earlier Job {other.name} is still being deleted" if other.is_deleting else _exists(other)
                return attempt_of(other), said
            owner = get_controller_of(other)
            if owner is None or (owner.kind, owner.name) != ("LocalModelNode", current.node.name):
                raise DownloadSetupError(f"Job {other.key} exists and does not belong to this node; delete it")
            delete_job(self._client, other)
            raise EarlierDownloadError(f"waiting for Job {other.name} of an earlier LocalModelNode to end")
        return None

    def start(self, prepared: Job, entry: LocalModelInfo, current: Pass) -> str:
        """Makes the Job; what came of it, in words. Raises JobRejectedError."""
        job = prepared
        try:
            self._client.create(job)
        except AlreadyExistsError:
            # Made a moment ago by a request whose answer was lost; the cache will show it.
            return _exists(job)
        except (InvalidError, ForbiddenError, BadRequestError, NotFoundError) as error:
            raise JobRejectedError(f"the download Job {job.key} was refused: {error}") from error
        name, uri = entry_key(entry), entry.source_model_uri
        log.info("download started", model=name, uri=uri, job=job.name)
        self._recorder.event(current.node, "Normal", "Downloading", f"{name}: downloading {uri}, Job {job.name}")
        return f"Job {job.name} was created"

    def end(self, key: str, current: Pass, *, keeps_ended: bool = False) -> bool:
        """Ends all downloads of a key; whether nothing of them runs any more. See `Mode.end`."""
        self._starts.forget(key)
        jobs = current.jobs_of(key)
        for job in jobs:
            if is_unfinished(job) or not keeps_ended:
                delete_job(self._client, job)
        return not any(map(is_unfinished, jobs)) and all(pod.is_finished for pod in current.pods_of(key))

    def caches(self, key: str, current: Pass) -> set[str]:
        """Status keys of the caches whose Jobs may still run."""
        caches = (cache_of(job) for job in current.jobs_of(key) if is_unfinished(job))
        return {status_key(cache.name, cache.namespace) for cache in caches}


def _exists(job: Job) -> str:
    return f"Job {job.name} exists"
