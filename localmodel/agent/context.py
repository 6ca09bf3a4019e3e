"""What one pass of the reconciler works with: read once at its start, so that all its parts see the same world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from localmodel.api.config import InferenceServiceConfig
from localmodel.api.node import LocalModelNode
from localmodel.api.nodegroup import LocalModelNodeGroup
from localmodel.runtime.objects import Job, Pod

from .inuse import InUse
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

    @property
    def jobs_namespace(self) -> str:
        return self.config.local_model.jobs_namespace
