"""What a download must know of the cluster, read live when it is about to start: nothing here is watched."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import structlog

from localmodel.api.names import (
    CACHE_ANNOTATION,
    download_pvc_name,
    is_object_name,
    other_download_pvc_name,
    status_key,
)
from localmodel.api.node import LocalModelInfo
from localmodel.api.nodegroup import LocalModelNodeGroup
from localmodel.runtime.client import Reader
from localmodel.runtime.errors import ForbiddenError, NotFoundError, RuntimeLibraryError
from localmodel.runtime.objects import PersistentVolumeClaim, parse_quantity

from .caches import find_cache
from .decisions import entry_key
from .errors import DownloadSetupError

if TYPE_CHECKING:
    from localmodel.api.container import ClusterStorageContainer

log = structlog.get_logger(__name__)


class Requirements:
    """Looks things up for downloads; see the module. Raises ApiError and TransportError where reading fails."""

    def __init__(self, live: Reader) -> None:
        self._live = live
        self._limits: dict[str, int | None] = {}
        """Node group -> its storage limit in bytes, as it was last read: at the start, then with each download."""

    def complete(self, entry: LocalModelInfo) -> LocalModelInfo:
        """The entry with what KServe's CRD prunes from it, read from its cache."""
        if entry.model_size:
            return entry
        cache = find_cache(self._live, name=entry.model_name, namespace=entry.namespace)
        if cache is None or cache.spec.source_model_uri != entry.source_model_uri:
            return entry
        found = cache.spec
        return entry.model_copy(
            update={
                "model_size": found.model_size,
                "cache_uid": cache.metadata.uid,
                "revision": found.revision,
                "include": found.include,
                "exclude": found.exclude,
                "digest": found.digest,
            }
        )

    def group(self, name: str) -> LocalModelNodeGroup | None:
        """None where there is none, which goes without asking for what is no name."""
        return self._live.find(LocalModelNodeGroup, name) if is_object_name(name) else None

    def limit_of(self, group: LocalModelNodeGroup) -> int | None:
        """The group's storageLimit in bytes; raises DownloadSetupError for one that cannot be read."""
        try:
            limit = parse_quantity(group.spec.storage_limit) if group.spec.storage_limit else None
        except ValueError as error:
            raise DownloadSetupError(f"storageLimit of LocalModelNodeGroup {group.name}: {error}") from error
        self._limits[group.name] = limit
        return limit

    def storage_limit(self, entries: Iterable[LocalModelInfo]) -> int | None:
        """The largest limit of the groups that the entries come from, for the status; None where none sets one."""
        groups = {entry.node_group for entry in entries if entry.node_group}
        for name in sorted(groups - self._limits.keys()):
            try:
                group = self.group(name)
                self._limits[name] = self.limit_of(group) if group is not None else None
            except (DownloadSetupError, RuntimeLibraryError) as error:
                log.warning("storage limit of a node group is not known", group=name, error=str(error))
        known = (self._limits.get(name) for name in groups)
        return max((limit for limit in known if limit is not None), default=None)

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
    """The declared size in bytes; None where it is missing or cannot be read."""
    try:
        return parse_quantity(entry.model_size) if entry.model_size else None
    except ValueError:
        return None


def required_size(entry: LocalModelInfo) -> int:
    """The declared size in bytes, 0 where none is; raises DownloadSetupError for one that cannot be read."""
    size = declared_size(entry)
    if size is None and entry.model_size:
        raise DownloadSetupError(f"modelSize {entry.model_size!r} of {entry_key(entry)} is not a quantity")
    return size or 0
