"""The node group of entries that name none (D-38): KServe takes any that matches the node, whichever comes first.

The manager's entries always name theirs; others come from hands, or from another manager. For those alone the agent
reads the groups, live, when its Node's labels have changed and at most once a minute else: the group whose agents the
node has by its label, if that matches the node, else the first by name that does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import structlog

from localmodel.api.names import NODE_GROUP_LABEL, group_label_value
from localmodel.api.node import LocalModelInfo
from localmodel.api.nodegroup import LocalModelNodeGroup
from localmodel.runtime.client import Reader
from localmodel.runtime.clock import Clock
from localmodel.runtime.errors import RuntimeLibraryError
from localmodel.runtime.objects import Node, ObjectMeta

from .ownnode import NodeMetadata

_LOOK_SECONDS: Final = 60.0

log = structlog.get_logger(__name__)


class NodeGroups:
    """Finds the group of one node. Not for use by several threads at once."""

    def __init__(self, client: Reader, live: Reader, clock: Clock, *, node_name: str) -> None:
        """`client` knows the metadata of the Node (`ownnode`), `live` asks the API server."""
        self._client = client
        self._live = live
        self._clock = clock
        self._node_name = node_name
        self.found = ""
        """The group that entries without one were given last."""
        self._looked = float("-inf")
        self._labels: dict[str, str] | None = None
        """The Node's when the groups were read; None: there was no Node, or nothing was read yet."""

    def complete(self, entries: Sequence[LocalModelInfo]) -> list[LocalModelInfo]:
        """The entries, each with a group. Without one that matches, or that can be read, it stays empty."""
        if all(entry.node_group for entry in entries):
            return list(entries)
        group = self._group()
        return [entry if entry.node_group else entry.model_copy(update={"node_group": group}) for entry in entries]

    def _group(self) -> str:
        now = self._clock.monotonic()
        try:
            node = self._client.find(NodeMetadata, self._node_name)
            labels = dict(node.metadata.labels) if node is not None else None
            if labels != self._labels or now - self._looked >= _LOOK_SECONDS:
                self._looked, self._labels = now, labels
                self.found = self._look(labels) if labels is not None else ""
        except RuntimeLibraryError as error:
            # Also where a role of before does not let the Node be read.
            log.warning("cannot look for the node group of this node", node=self._node_name, error=str(error))
            self._looked = now
        return self.found

    def _look(self, labels: dict[str, str]) -> str:
        node = Node(metadata=ObjectMeta(name=self._node_name, labels=labels))
        matching = sorted(group.name for group in self._live.list(LocalModelNodeGroup) if _matches(group, node))
        owner = labels.get(NODE_GROUP_LABEL, "")
        return _first(name for name in matching if owner and group_label_value(name) == owner) or _first(matching)


def _first(names: Iterable[str]) -> str:
    return next(iter(names), "")


def _matches(group: LocalModelNodeGroup, node: Node) -> bool:
    # Imported here: an agent whose entries name their groups never needs it.
    from localmodel.api.affinity import SelectorError, node_matches

    try:
        return node_matches(group.node_affinity, node)
    except SelectorError as error:
        # The manager's condition of the group tells it to its author.
        log.info("the node affinity of a group cannot be read", group=group.name, error=str(error))
        return False
