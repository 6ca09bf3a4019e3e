"""`NodeReconciler`: for each Node the LocalModelNode of its name, of which it is the only author.

The whole list of entries is computed and written at once; it never edits what stands there. It is created complete, so
an agent never sees a node with less than it shall have (D-02), and it goes with its Node (D-29). Changes of caches and
groups reach nodes a moment late, so that a burst of them costs each node one write.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import structlog

from localmodel.api import (
    Cache,
    LocalModelCache,
    LocalModelInfo,
    LocalModelNamespaceCache,
    LocalModelNode,
    LocalModelNodeGroup,
)
from localmodel.api.names import status_key
from localmodel.runtime.builder import Builder
from localmodel.runtime.client import Preconditions
from localmodel.runtime.controllerutil import set_controller_reference
from localmodel.runtime.errors import NotFoundError
from localmodel.runtime.handler import EnqueueRequestsFromMapFunc
from localmodel.runtime.objects import Node, ObjectMeta
from localmodel.runtime.predicate import GenerationChanged
from localmodel.runtime.reconcile import Reconciler, Request, Result

from .entries import Membership, desired_entries, group_has_node, membership
from .indexes import BY_MODEL, BY_NODE_GROUP
from .watching import SINCE_START, NodeChanged, SpecChanged, keys_of

log = structlog.get_logger(__name__)

BURST_SECONDS: Final = 0.2
"""How long a change of caches or groups waits for others like it."""


class NodeReconciler(Reconciler):
    """Keeps each node's LocalModelNode. The controller starts it when nodes, groups and both kinds of cache are known.

    An entry comes when its node is ready and stays while the node is not.
    """

    def __init__(self) -> None:
        self._written: dict[str, tuple[bytes, str, int | None]] = {}
        """By node: the object that was written last, and the uid and generation that this gave. Where an older CRD
        prunes fields of ours, what is read never equals what is wanted, and this says that it was written already."""

    def setup(self, builder: Builder) -> None:
        (
            builder.for_(Node, NodeChanged())
            .watches(LocalModelNode, EnqueueRequestsFromMapFunc(lambda node: [node.key]), GenerationChanged())
            .watches(
                LocalModelNodeGroup,
                EnqueueRequestsFromMapFunc(self._all_nodes, delay=BURST_SECONDS),
                SINCE_START,
                GenerationChanged(),
            )
        )
        for kind in (LocalModelCache, LocalModelNamespaceCache):
            builder.watches(
                kind,
                EnqueueRequestsFromMapFunc(self._nodes_of, delay=BURST_SECONDS),
                SINCE_START,
                SpecChanged(),
            )

    def reconcile(self, request: Request) -> Result | None:
        node = self.client.find(Node, request.name)
        existing = self.client.find(LocalModelNode, request.name)
        if node is None or node.is_deleting:
            # Asked live: a cache that is behind, beside another manager's, must not cost a node its reports.
            if self.live.find(Node, request.name) is None or (node is not None and node.is_deleting):
                self._remove(request.name, existing)
            return None
        if existing is not None and existing.is_deleting:
            return None

        groups = membership(node, self.client.list(LocalModelNodeGroup))
        entries = desired_entries(
            groups,
            self._caches_of(groups),
            existing.spec.local_models if existing is not None else (),
            ready=node.is_ready,
        )
        if existing is None:
            if entries:
                self._create(node, LocalModelNode(metadata=ObjectMeta(name=node.name)), entries)
            return None
        self._update(node, existing, entries)
        return None

    def _create(self, node: Node, local_model_node: LocalModelNode, entries: list[LocalModelInfo]) -> None:
        set_controller_reference(node, local_model_node, block_owner_deletion=False)
        local_model_node.spec.local_models = entries
        self._remember(local_model_node, self.client.create(local_model_node))
        log.info("Created LocalModelNode", node=node.name, models=len(entries))

    def _update(self, node: Node, existing: LocalModelNode, entries: list[LocalModelInfo]) -> None:
        """Writes the whole object if that makes a difference; raises ConflictError if it was read too early."""
        wanted = existing.deepcopy()
        wanted.metadata.owner_references = []
        set_controller_reference(node, wanted, block_owner_deletion=False)
        wanted.spec.local_models = entries
        if wanted.to_dict() == existing.to_dict():
            return
        known = (_intent(wanted), existing.metadata.uid, existing.metadata.generation)
        unowned = wanted.metadata.owner_references != existing.metadata.owner_references
        if self._written.get(node.name) == known and not unowned:
            return
        self._remember(wanted, self.client.update(wanted))
        log.info("Updated LocalModelNode", node=node.name, models=len(entries))

    def _remember(self, wanted: LocalModelNode, written: LocalModelNode) -> None:
        self._written[wanted.name] = (_intent(wanted), written.metadata.uid, written.metadata.generation)

    def _remove(self, name: str, existing: LocalModelNode | None) -> None:
        self._written.pop(name, None)
        if existing is None or existing.is_deleting:
            return
        try:
            self.client.delete(existing, preconditions=Preconditions(uid=existing.metadata.uid))
        except NotFoundError:
            return
        log.info("Deleted LocalModelNode", node=name)

    def _caches_of(self, groups: Membership) -> Iterable[Cache]:
        """The caches that name one of the groups."""
        found: dict[Request, Cache] = {}
        for group in sorted(groups.groups | groups.unknown):
            fields = {BY_NODE_GROUP: group}
            found |= {cache.key: cache for cache in self.client.list(LocalModelCache, fields=fields)}
            found |= {cache.key: cache for cache in self.client.list(LocalModelNamespaceCache, fields=fields)}
        return found.values()

    def _nodes_of(self, cache: Cache) -> Iterable[Request]:
        """The nodes of the cache's groups, and those that have its entry."""
        names = set(cache.spec.node_groups)
        groups = [group for group in self.client.list(LocalModelNodeGroup) if group.name in names]
        nodes = [node for node in self.client.list(Node) if any(group_has_node(group, node) for group in groups)]
        entries = self.client.list(LocalModelNode, fields={BY_MODEL: status_key(cache.name, cache.namespace)})
        return dict.fromkeys([*keys_of(nodes), *keys_of(entries)])

    def _all_nodes(self, group: LocalModelNodeGroup) -> Iterable[Request]:  # noqa: ARG002 - any of them may be concerned
        return keys_of(self.client.list(Node))


def _intent(node: LocalModelNode) -> bytes:
    """What we write of the object, without what the server makes of it."""
    metadata = ObjectMeta(name=node.name, owner_references=node.metadata.owner_references)
    return LocalModelNode(metadata=metadata, spec=node.spec).to_json()
