"""Downloads as processes of the agent (`downloadMode: Agent`): how they stand, how they start, how they end.

`jobruns` is the same for Jobs. There is no Job, no claim and no pod here: what a download needs of the cluster is read
when it starts, and its result is known to this agent alone. One that an agent did not live to see is started again as
the same attempt, and goes on with what lies in the staging directory. There are no tries within an attempt beside those
of `localmodel-download` itself: a process that fails is a failed attempt, and the next follows by the usual back-off.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Final

import structlog

from localmodel.api.credentials import ROLE_ANNOTATION
from localmodel.api.node import LocalModelInfo
from localmodel.api.nodegroup import LocalModelNodeGroup
from localmodel.runtime.client import Reader
from localmodel.runtime.events import EventRecorder
from localmodel.runtime.objects import ServiceAccount

from .additions import Credentials, selection_variables
from .certificates import trust
from .childcredentials import Materialiser
from .childenv import own_variables
from .childplan import ChildPlan
from .childprocess import Child, ChildExit
from .children import Children
from .context import Pass
from .credentials import CredentialsBuilder
from .decisions import JobState, entry_key
from .errors import DownloadModeError, DownloadSetupError, EarlierDownloadError
from .identity import AZURE_CLIENT_ANNOTATION
from .jobruns import Run
from .requirements import Requirements
from .sharing import storage_key_of
from .space import human
from .store import ModelStore
from .symptoms import Trouble, advised, bounded

if TYPE_CHECKING:
    from localmodel.api.container import ClusterStorageContainer

log = structlog.get_logger(__name__)

_NO_MEMORY_STATUS: Final = 128 + signal.SIGKILL
"""What `localmodel-download` ends with when its memory limit has refused it more."""
_CLOUD_IDENTITIES: Final = (ROLE_ANNOTATION, "iam.gke.io/gcp-service-account", AZURE_CLIENT_ANNOTATION)
"""Annotations of a ServiceAccount that give its pods, and nothing else, rights in a cloud."""
_USE_JOBS: Final = "use downloadMode: Job"


class ChildRuns:
    """The download processes of one node. Methods raise ApiError and TransportError where the API server fails."""

    def __init__(
        self,
        *,
        children: Children,
        live: Reader,
        store: ModelStore,
        recorder: EventRecorder,
        requirements: Requirements,
    ) -> None:
        self._children = children
        self._live = live
        self._store = store
        self._recorder = recorder
        self._requirements = requirements
        self._told: set[str] = set()
        """ClusterStorageContainers whose image was said to be of no use."""

    def observe(self, key: str, attempt: int, _current: Pass) -> Run:
        """The process of that attempt, as this agent knows it."""
        child = self._children.find(key)
        if child is None or child.plan.attempt != attempt:
            runs = child is not None and child.exit is None
            return Run(is_busy=runs, is_writing=runs)
        ended = child.exit
        if ended is None:
            return Run(state=JobState.RUNNING, is_busy=True, is_writing=True)
        if ended.was_ended:
            return Run()
        if ended.code == 0:
            return Run(state=JobState.SUCCEEDED)
        reason, message = _failure(ended, child)
        return Run(state=JobState.FAILED, reason=reason, message=message)

    def prepare(self, entry: LocalModelInfo, group: LocalModelNodeGroup, attempt: int, current: Pass) -> ChildPlan:  # noqa: ARG002 - what a group says is about pods
        """All that a process needs, its credentials included. Raises AgentError where something is missing."""
        uri = entry.source_model_uri
        container = self._requirements.container_for(uri)
        _check_uri(uri, container)
        credentials = CredentialsBuilder(self._live, current.jobs_namespace, current.config.credentials).build(entry)
        self._check_identity(credentials, current)
        own = container.spec.container if container is not None else {}
        env, sources = _items(own, "env", container), _items(own, "envFrom", container)
        settings, namespace = current.config.storage_initializer, current.jobs_namespace
        credentials += trust(self._live, namespace, settings, [*env, *credentials.env])
        found = Materialiser(self._live, namespace).materialise(credentials, before=env, sources=sources)
        if container is not None:
            self._tell_of_image(container, current)
        key = storage_key_of(entry, current.config.local_model.storage_isolation)
        return ChildPlan(
            key=key,
            attempt=attempt,
            uri=uri,
            destination=self._store.staging / key,
            cache=entry_key(entry),
            env={**own_variables(found.env), **selection_variables(entry)},
            files=found.files,
            secrets=found.secrets,
            memory_bytes=current.config.download_memory,
            deadline_seconds=current.config.local_model.job_active_deadline_seconds or None,
        )

    def standing(
        self, key: str, _prepared: ChildPlan | None, _entry: LocalModelInfo, _current: Pass
    ) -> tuple[int, str] | None:
        """The attempt whose process runs. Raises EarlierDownloadError while one of an earlier agent does."""
        child = self._children.find(key)
        if child is not None and child.exit is None:
            return child.plan.attempt, f"the download process {child.pid} runs"
        if not self._children.is_free(key):
            raise EarlierDownloadError("waiting for a download process of an earlier agent to end")
        return None

    def start(self, prepared: ChildPlan, entry: LocalModelInfo, current: Pass) -> str:
        """Starts the process; what came of it, in words. Raises AgentError, StoreError among them."""
        child = self._children.start(prepared)
        name, uri = entry_key(entry), entry.source_model_uri
        log.info("download started", model=name, uri=uri, pid=child.pid)
        self._recorder.event(current.node, "Normal", "Downloading", f"{name}: downloading {uri} in the agent")
        return "the agent has started to download"

    def end(self, key: str, _current: Pass, *, keeps_ended: bool = False) -> bool:  # noqa: ARG002 - nothing is left
        """Ends the download of a key; whether nothing of it runs any more. Raises StoreError."""
        return self._children.end(key)

    def caches(self, key: str, _current: Pass) -> set[str]:
        """The status key of the cache whose process runs."""
        child = self._children.find(key)
        return {child.plan.cache} if child is not None and child.exit is None else set()

    def under_way(self, _current: Pass) -> set[str]:
        """The storage keys of all processes that run."""
        return self._children.under_way()

    # what it needs -----------------------------------------------------------------------------------------------

    def _check_identity(self, credentials: Credentials, current: Pass) -> None:
        """A process cannot be another account than its agent. Where Secrets come with the account, they are enough."""
        has_secrets = credentials.volumes or any("valueFrom" in item for item in credentials.env)
        if not credentials.service_account or has_secrets:
            return
        name = credentials.service_account
        account = self._live.find(ServiceAccount, name, namespace=current.jobs_namespace)
        found = [name for name in _CLOUD_IDENTITIES if account is not None and name in account.metadata.annotations]
        if found:
            raise DownloadModeError(
                f"ServiceAccount {current.jobs_namespace}/{name} has its rights by {found[0]}, which only a pod that "
                f"runs as it can use, and with downloadMode: Agent the agent downloads: give the account a Secret with "
                f"credentials, or {_USE_JOBS}"
            )

    def _tell_of_image(self, container: ClusterStorageContainer, current: Pass) -> None:
        image = container.spec.container.get("image")
        if image and container.name not in self._told:
            self._told.add(container.name)
            self._recorder.event(
                current.node,
                "Normal",
                "ImageNotUsed",
                f"ClusterStorageContainer {container.name}: the agent downloads itself (downloadMode: Agent) and takes "
                f"its env alone, not its image {image}",
            )


def _check_uri(uri: str, container: ClusterStorageContainer | None) -> None:
    """Raises DownloadModeError for what a process of the agent cannot or must not download."""
    # Imported here: an idle agent never needs it.
    from localmodel.download.errors import redact_uri
    from localmodel.download.sources import is_local, is_supported

    shown = redact_uri(uri)
    if is_local(uri):
        # Its files are the agent's: its token, and the models of everybody.
        raise DownloadModeError(
            f"{shown} names files of whatever downloads it, and with downloadMode: Agent that is the agent: serve them "
            f"over HTTP, or {_USE_JOBS}"
        )
    if is_supported(uri):
        return
    if container is not None:
        raise DownloadModeError(
            f"{shown} is downloaded by the image of ClusterStorageContainer {container.name}, which cannot run in the "
            f"agent (downloadMode: Agent): {_USE_JOBS}"
        )
    raise DownloadModeError(
        f"the agent cannot download {shown} itself (downloadMode: Agent): it knows hf://, http:// and https://; for "
        f"others {_USE_JOBS} and an image that knows them"
    )


def _items(own: dict[str, object], name: str, container: ClusterStorageContainer | None) -> list[dict[str, object]]:
    """A list of a container's own; raises DownloadSetupError where it is none, as KServe's minimal CRD lets it be."""
    items = own.get(name) or []
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        whose = container.name if container is not None else ""
        raise DownloadSetupError(f"ClusterStorageContainer {whose}: {name} must be a list of objects")
    return items


def _failure(ended: ChildExit, child: Child) -> tuple[str, str]:
    """Reason (empty for the usual one) and message of a process that failed."""
    if ended.is_late:
        said = f"the download took longer than {child.plan.deadline_seconds:.0f} s and was ended"
        return Trouble.DEADLINE_EXCEEDED, advised(Trouble.DEADLINE_EXCEEDED, said).message
    if ended.out_of_memory or ended.code == _NO_MEMORY_STATUS or _was_killed(ended):
        limit = human(child.plan.memory_bytes)
        what = "ran out of memory" if not _was_killed(ended) else "was killed, as the kernel does when memory runs out"
        return Trouble.OOM_KILLED, (
            f"the download {what}: raise storageInitializer.memoryLimit of the configuration (it may take {limit} now) "
            "and the memory limit of the agent's pods, which is for the agent and all its downloads together"
        )
    return "", bounded(ended.message) or _ending(ended.code)


def _was_killed(ended: ChildExit) -> bool:
    """By the kernel, as far as anybody can tell: nobody else ends a download so."""
    return ended.code == -signal.SIGKILL and ended.out_of_memory is not False


def _ending(code: int) -> str:
    return f"the download was ended by {signal.Signals(-code).name}" if code < 0 else f"the download ended with {code}"
