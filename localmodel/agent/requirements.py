"""What a download must know of the cluster, read live when it is about to start: nothing here is watched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from localmodel.api.names import (
    CACHE_ANNOTATION,
    download_pvc_name,
    other_download_pvc_name,
    status_key,
)
from localmodel.api.node import LocalModelInfo
from localmodel.api.nodegroup import LocalModelNodeGroup
from localmodel.runtime.client import Reader
from localmodel.runtime.clock import Clock, RealClock
from localmodel.runtime.errors import ForbiddenError, NotFoundError
from localmodel.runtime.objects import PersistentVolumeClaim, parse_quantity

from .cachefields import CacheFields
from .context import Pass
from .decisions import entry_key
from .errors import DownloadSetupError
from .limits import GroupLimits

if TYPE_CHECKING:
    from localmodel.api.container import ClusterStorageContainer

MOST_BYTES: Final = 1 << 62


class Requirements:
    """Looks things up for downloads; see the module. Raises ApiError and TransportError where reading fails."""

    def __init__(self, live: Reader, clock: Clock | None = None) -> None:
        self._live = live
        self.fields = CacheFields(live, clock or RealClock())
        self.limits = GroupLimits(live, clock or RealClock())

    def complete(self, entry: LocalModelInfo) -> LocalModelInfo:
        """The entry with what KServe's CRD prunes from it, as its cache says now."""
        return self.fields.read(entry)

    def recall(self, entry: LocalModelInfo) -> LocalModelInfo:
        """The same as it is remembered, which costs nothing while the memory is fresh."""
        return self.fields.recall(entry) if self.fields.is_fresh(entry) else self.fields.read(entry)

    def group(self, name: str, current: Pass | None = None) -> LocalModelNodeGroup | None:
        """Read live, once in a pass; None where there is none."""
        if current is None:
            return self.limits.group(name)
        if name not in current.groups:
            current.groups[name] = self.limits.group(name)
        return current.groups[name]

    def claim_for(self, entry: LocalModelInfo, namespace: str) -> str:
        """The name of the claim, in the job namespace, that the entry's Jobs mount.

        It is the plain one, unless another cache has that: then the manager gives ours a hash, by the same rule (D-59).
        Where claims may not be read, as under KServe's role, it is the plain one.
        """
        plain = download_pvc_name(entry.model_name, entry.node_group, entry.namespace)
        other = other_download_pvc_name(entry.model_name, entry.node_group, entry.namespace)
        try:
            owner = self._owner_of(plain, namespace)
            if owner == status_key(entry.model_name, entry.namespace):
                return plain
            is_other = bool(owner) or self._owner_of(other, namespace) is not None
        except ForbiddenError:
            return plain
        return other if is_other else plain

    def _owner_of(self, claim: str, namespace: str) -> str | None:
        """The status key of the claim's cache, empty if it is not said; None where there is no such claim."""
        found = self._live.find(PersistentVolumeClaim, claim, namespace=namespace)
        return None if found is None else found.metadata.annotations.get(CACHE_ANNOTATION, "")

    def container_for(self, uri: str) -> ClusterStorageContainer | None:
        """The download container for the URI, None for ours."""
        # Imported here: an idle agent never needs it.
        from localmodel.api.container import ClusterStorageContainer, find_download_container

        try:
            return find_download_container(self._live.list(ClusterStorageContainer), uri)
        except NotFoundError:
            return None  # KServe's CRD for it is not installed here.


def declared_size(entry: LocalModelInfo) -> int | None:
    """The declared size in bytes; None where it is missing or cannot be read, or is less than nothing. No more than a
    status can say: an integer of 64 bits."""
    try:
        size = parse_quantity(entry.model_size) if entry.model_size else None
    except ValueError:
        return None
    return None if size is None or size < 0 else min(size, MOST_BYTES)


def required_size(entry: LocalModelInfo) -> int:
    """The declared size in bytes, 0 where none is; raises DownloadSetupError for one that cannot be read."""
    size = declared_size(entry)
    if size is None and entry.model_size:
        raise DownloadSetupError(f"modelSize {entry.model_size!r} of {entry_key(entry)} is not a quantity")
    return size or 0
