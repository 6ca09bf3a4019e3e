"""What one pass of the reconciler works with: read once at its start, so that all its parts see the same world."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from localmodel.api.config import InferenceServiceConfig
from localmodel.api.node import LocalModelNode
from localmodel.api.nodegroup import LocalModelNodeGroup
from localmodel.runtime.objects import Job, Pod

from .inuse import InUse
from .observation import pods_by_key, storage_key_of
from .usage import DiskUsage


@dataclass(slots=True, kw_only=True)
class Pass:
    """`jobs` are this agent's own downloads, `checks` its proofs of credentials, `pods` those of its node.

    `reserved` grows as the pass starts downloads.
    """

    node: LocalModelNode
    config: InferenceServiceConfig
    jobs: Sequence[Job]
    pods: Sequence[Pod]
    usage: DiskUsage
    now: datetime
    checks: Sequence[Job] = ()
    in_use: InUse = field(default_factory=InUse)
    """Known once all wanted models were observed: that tells which claims expose them."""
    has_looked: bool = False
    """The pods were read live in this pass, since something was about to be removed (`podlook`)."""
    is_blind: bool = False
    """They could not be."""
    must_wait: bool = False
    """They could not be, but may be soon."""
    reserved: dict[str, int] = field(default_factory=dict)
    """Storage key -> bytes promised to a download that is under way."""

    groups: dict[str, LocalModelNodeGroup | None] = field(default_factory=dict)
    """The node groups that were read live in this pass."""

    _jobs_by_key: Mapping[str, Sequence[Job]] | None = None
    _pods_by_key: tuple[Sequence[Pod], Mapping[str, Sequence[Pod]]] | None = None
    """With the pods that it was made of: they may be read anew in a pass."""

    def jobs_of(self, key: str) -> Sequence[Job]:
        """The download Jobs of a storage key."""
        if self._jobs_by_key is None:
            found: dict[str, list[Job]] = {}
            for job in self.jobs:
                found.setdefault(storage_key_of(job), []).append(job)
            self._jobs_by_key = found
        return self._jobs_by_key.get(key, ())

    def pods_of(self, key: str) -> Sequence[Pod]:
        """The pods of all downloads of a storage key, oldest first."""
        if self._pods_by_key is None or self._pods_by_key[0] is not self.pods:
            self._pods_by_key = self.pods, pods_by_key(self.pods, self.jobs_namespace)
        return self._pods_by_key[1].get(key, ())

    def has_downloads(self, key: str) -> bool:
        """Whether there is a Job or pod of a download, ended or not."""
        return bool(self.jobs_of(key) or self.pods_of(key))

    @property
    def jobs_namespace(self) -> str:
        return self.config.local_model.jobs_namespace
