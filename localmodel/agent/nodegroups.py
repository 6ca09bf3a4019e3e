"""The node group of entries that name none (D-38): KServe takes any that matches the node, whichever comes first.

The manager's entries always name theirs; others come from hands, or from another manager. For those alone the agent
reads its own Node and the groups, live and at most once a minute: the group whose agents the node has by its label, if
that matches the node, else the first by name that does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import structlog

from localmodel.api.affinity import SelectorError, node_matches
from localmodel.api.names import NODE_GROUP_LABEL, group_label_value
from localmodel.api.node import LocalModelInfo
from localmodel.api.nodegroup import LocalModelNodeGroup
from localmodel.runtime.client import Reader
from localmodel.runtime.clock import Clock
from localmodel.runtime.errors import RuntimeLibraryError
from localmodel.runtime.objects import Node

_LOOK_SECONDS: Final = 60.0

log = structlog.get_logger(__name__)


class NodeGroups:
    """Finds the group of one node. Not for use by several threads at once."""

    def __init__(self, live: Reader, clock: Clock, *, node_name: str) -> None:
        self._live = live
        self._clock = clock
        self._node_name = node_name
        self._found = ""
        self._looked = float("-inf")

    def complete(self, entries: Sequence[LocalModelInfo]) -> list[LocalModelInfo]:
        """The entries, each with a group. Without one that matches, or that can be read, it stays empty."""
        if all(entry.node_group for entry in entries):
            return list(entries)
        group = self._group()
        return [entry if entry.node_group else entry.model_copy(update={"node_group": group}) for entry in entries]

    def _group(self) -> str:
        now = self._clock.monotonic()
        if now - self._looked >= _LOOK_SECONDS:
            try:
                self._found = self._look()
            except RuntimeLibraryError as error:
                log.warning("cannot look for the node group of this node", node=self._node_name, error=str(error))
            self._looked = now
        return self._found

    def _look(self) -> str:
        node = self._live.find(Node, self._node_name)
        if node is None:
            return ""
        matching = sorted(group.name for group in self._live.list(LocalModelNodeGroup) if _matches(group, node))
        owner = node.metadata.labels.get(NODE_GROUP_LABEL, "")
        return _first(name for name in matching if owner and group_label_value(name) == owner) or _first(matching)


def _first(names: Iterable[str]) -> str:
    return next(iter(names), "")


def _matches(group: LocalModelNodeGroup, node: Node) -> bool:
    try:
        return node_matches(group.node_affinity, node)
    except SelectorError as error:
        # The manager's condition of the group tells it to its author.
        log.info("the node affinity of a group cannot be read", group=group.name, error=str(error))
        return False
