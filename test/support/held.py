"""A download that is held on every node at a share of its bytes, so that what is to be killed is there to be killed."""

from __future__ import annotations

from .gate import Gate
from .sandbox import Sandbox


class HeldDownload:
    """A cache of its own, whose downloads stand still when this is made."""

    def __init__(self, cluster: Sandbox, gate: Gate, share: float) -> None:
        self.name, self.repository = cluster.another()
        self._cluster = cluster
        self._gate = gate
        gate.close_at(int(share * cluster.model.size))
        cluster.cache(self.name, self.repository)
        cluster.eventually(lambda: gate.held == len(cluster.cluster.nodes))
        (self.pid,) = cluster.downloads("node-1")
        """Of the program on the first node."""

    def ends_verified(self) -> None:
        """Lets it go on, and waits until every node has the model."""
        self._gate.open()
        # Its API server may be the one that was killed.
        self._cluster.eventually(lambda: self._cluster.answers() and self._cluster.is_available(self.name), timeout=60)
        assert self._cluster.problems(self.repository) == []
