"""`NodeReconciler`: for each Node the LocalModelNode of its name and our labels, of which it is the only author.

The whole list of entries is computed and written at once; it never edits what stands there. It is created complete, so
an agent never sees a node with less than it shall have (D-02), and it goes with its Node (D-29). Changes of caches and
groups reach nodes a moment late, so that a burst of them costs each node one write. The labels are patched at most
once in ten seconds.

What is written is decided by `entries` (which models), `waves` (which of them now), `wanted` (which evicted ones
again), `grouplimits` (what tells of limits) and `labels`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from functools import partial
from hashlib import sha256
from typing import Final

import structlog

from localmodel.api import (
    Cache,
    LocalModelInfo,
    LocalModelNode,
    LocalModelNodeGroup,
)
from localmodel.api.config import LocalModelConfig
from localmodel.api.names import (
    GROUP_LIMITS_ANNOTATION,
    WANTED_ANNOTATION,
    is_ready_label,
    ready_label,
    status_key,
    storage_keys,
)
from localmodel.runtime.builder import Builder
from localmodel.runtime.cache import KindNotServedError
from localmodel.runtime.controllerutil import delete_exactly, set_controller_reference
from localmodel.runtime.errors import BadRequestError, ForbiddenError, InvalidError, NotFoundError
from localmodel.runtime.handler import EnqueueRequestsFromMapFunc
from localmodel.runtime.objects import (
    ConfigMap,
    DaemonSet,
    Node,
    Object,
    ObjectMeta,
    OwnerReference,
    PartialObjectMetadata,
    Pod,
)
from localmodel.runtime.predicate import AnnotationChanged, GenerationChanged, LabelChanged, ResourceVersionChanged
from localmodel.runtime.reconcile import Reconciler, Request, Result

from .entries import Membership, desired_entries, key_of, membership, new_entries, with_unknown
from .grouplimits import group_limits_value
from .indexes import CACHE_KINDS, SERVICES, cache_of_service
from .known import Members, known_cache, known_nodes, reports_about
from .labels import label_patch, owning_group, ready_keys
from .pacing import Pacer
from .placement import agent_daemon_sets, covers, hand_installed
from .reports import evictions
from .scheduling import ServiceConstraints
from .served import if_served
from .settings import Settings
from .status import listed
from .turns import EnqueueNextInLine, EnqueueNodeReported
from .wanted import newly_wanted, wanted_value
from .watching import AGENT_CHANGED, BURST_SECONDS, NODE_CHANGED, SINCE_START, DaemonSetChanged, SpecChanged, keys_of
from .waves import TURN_CHECK_SECONDS, Waves

log = structlog.get_logger(__name__)

LABEL_SECONDS: Final = 10.0
"""The least time between two patches of one node's labels."""
UNKNOWN_CHECK_SECONDS: Final = 30.0
"""How often a node looks again for groups or a kind of cache that are not served."""
REFUSALS: Final = (BadRequestError, ForbiddenError, InvalidError, NotFoundError)
"""Errors of a write that say that it was not done. After any other, a conflict too, an earlier try may have succeeded
unseen."""


class NodeReconciler(Reconciler):
    """Keeps each node's LocalModelNode. The controller starts it when nodes, groups and both kinds of cache are known.

    An entry comes when its node is ready and stays while the node is not. While the kind of groups or a kind of caches
    is not served, nothing comes of it and nothing goes for want of it.
    """

    def __init__(self, settings: Settings, members: Members | None = None) -> None:
        self._settings = settings
        self._waves = Waves(settings.namespace)
        self._constraints = ServiceConstraints()
        self._members = members or Members()
        self._pacer = Pacer()
        """When the labels of each node were patched last."""
        self._may_not_label = False
        """The last patch was refused for want of the right, which has been logged."""
        self._written: dict[str, tuple[bytes, str, int | None]] = {}
        """By node: a digest of what was written last, and the uid and generation that this gave. Where an older CRD
        prunes fields of ours, what is read never equals what is wanted, and this says that it was written already."""

    def setup(self, builder: Builder) -> None:
        next_in_line = EnqueueNextInLine(self._waves, self)
        (
            builder.for_(Node, NODE_CHANGED | LabelChanged())
            .watches(Node, next_in_line, SINCE_START, NODE_CHANGED)
            .watches(LocalModelNode, EnqueueNodeReported(next_in_line, self._until_labelled))
            .watches(Pod, next_in_line, SINCE_START, AGENT_CHANGED)
            # Also what is there when the right to read them comes, which may be late.
            .watches(DaemonSet, EnqueueRequestsFromMapFunc(self._all_nodes, delay=BURST_SECONDS), DaemonSetChanged())
            .watches(
                LocalModelNodeGroup,
                EnqueueRequestsFromMapFunc(self._all_nodes, delay=BURST_SECONDS),
                SINCE_START,
                GenerationChanged(),
            )
            .watches(
                ConfigMap,
                EnqueueRequestsFromMapFunc(self._all_nodes, delay=BURST_SECONDS),
                SINCE_START,
                ResourceVersionChanged(),
            )
        )
        for kind in CACHE_KINDS:
            builder.watches(
                kind,
                EnqueueRequestsFromMapFunc(self._nodes_of, delay=BURST_SECONDS),
                SINCE_START,
                SpecChanged(),
            )
        for service in SERVICES:
            builder.watches(
                service,
                EnqueueRequestsFromMapFunc(self._nodes_without_model_of, delay=BURST_SECONDS),
                LabelChanged() | AnnotationChanged(),
            )

    def reconcile(self, request: Request) -> Result | None:
        node = self.client.find(Node, request.name)
        existing = self.client.find(LocalModelNode, request.name)
        if node is None or node.is_deleting:
            # Asked live: a cache that is behind, beside another manager's, must not cost a node its reports.
            if self.live.find(Node, request.name) is None or (node is not None and node.is_deleting):
                self._remove(request.name, existing)
            return None

        try:
            groups = {group.name: group for group in self.client.list(LocalModelNodeGroup)}
        except KindNotServedError:
            return self._without_groups(node, existing)
        member_of = membership(node, groups.values())
        config = self._config()
        has_default = bool(config.local_model_agent_image) and not self._is_covered(node)
        owner = owning_group(node, member_of, groups, has_default=has_default)
        if existing is not None and existing.is_deleting:
            return Result(requeue_after=self._label(node, frozenset(), owner))
        wished, caches, unknown = self._wished(node, existing, member_of, config)
        entries = self._admitted(node, existing, wished, groups)
        if existing is not None or not unknown:  # created complete, or not at all
            self._write(node, existing, entries, caches, groups)
        waits = [TURN_CHECK_SECONDS] if len(entries) < len(wished) else []
        waits += [UNKNOWN_CHECK_SECONDS] if unknown else []
        keys = ready_keys(existing, entries) if existing is not None else frozenset()
        waits += [wait] if (wait := self._label(node, keys, owner)) else []
        return Result(requeue_after=min(waits, default=0.0))

    # entries ----------------------------------------------------------------------------------------------------------

    def _wished(
        self, node: Node, existing: LocalModelNode | None, groups: Membership, config: LocalModelConfig
    ) -> tuple[list[LocalModelInfo], dict[str, Cache], frozenset[bool]]:
        """The entries that the node shall have, with what `_caches_of` returns."""
        caches, unknown = self._caches_of(groups)
        present = existing.spec.local_models if existing is not None else []
        wished = desired_entries(groups, caches.values(), present, ready=node.is_ready, config=config)
        return with_unknown(wished, present, unknown), caches, unknown

    def _without_groups(self, node: Node, existing: LocalModelNode | None) -> Result:
        """Nobody knows which groups the node is in. Its entries stay where they are, until their caches go."""
        if existing is not None and not existing.is_deleting:
            groups = Membership(unknown=frozenset(entry.node_group for entry in existing.spec.local_models))
            entries, caches, _ = self._wished(node, existing, groups, self._config())
            self._write(node, existing, entries, caches, None)
        return Result(requeue_after=UNKNOWN_CHECK_SECONDS)

    def _admitted(
        self,
        node: Node,
        existing: LocalModelNode | None,
        wished: list[LocalModelInfo],
        groups: Mapping[str, LocalModelNodeGroup],
    ) -> list[LocalModelInfo]:
        """The entries without the new ones of groups in which it is not this node's turn (see `waves`)."""
        new = new_entries(wished, existing.spec.local_models if existing is not None else ())
        if existing is None:
            # A lost LocalModelNode comes back with what the node has, in no wave: its agent would miss them (D-02).
            has = {name for name in node.metadata.labels if is_ready_label(name)}
            new = [e for e in new if has.isdisjoint(map(ready_label, storage_keys(e.source_model_uri, e.namespace)))]
        found = {entry.node_group: groups.get(entry.node_group) for entry in new}
        limits = {name: group.spec.max_concurrent_downloads for name, group in found.items() if group is not None}
        limits = {name: limit for name, limit in limits.items() if limit > 0}
        refusing = self._waves.admit(node.name, limits, reader=self.client, live=self.live, clock=self.clock)
        refused = {key_of(entry) for entry in new if entry.node_group in refusing}
        return [entry for entry in wished if key_of(entry) not in refused]

    def _is_chosen(self, node: Node, service: PartialObjectMetadata) -> bool:
        constraints = self._constraints.of(self.live, service)
        return bool(constraints) and constraints.admit(node)

    def _write(
        self,
        node: Node,
        existing: LocalModelNode | None,
        entries: list[LocalModelInfo],
        caches: Mapping[str, Cache],
        groups: Mapping[str, LocalModelNodeGroup] | None,
    ) -> None:
        """`groups` are all groups by name; None where nobody knows them."""
        annotations = {} if groups is None else {GROUP_LIMITS_ANNOTATION: group_limits_value(entries, groups)}
        try:
            if existing is not None:
                admits = partial(self._is_chosen, node)
                annotations[WANTED_ANNOTATION] = wanted_value(existing, entries, caches, self.client, admits)
                self._update(node, existing, entries, annotations)
            elif entries:
                said = {name: value for name, value in annotations.items() if value}
                self._create(node, LocalModelNode(metadata=ObjectMeta(name=node.name, annotations=said)), entries)
        except REFUSALS:
            self._waves.forget(node.name)
            raise

    def _create(self, node: Node, local_model_node: LocalModelNode, entries: list[LocalModelInfo]) -> None:
        set_controller_reference(node, local_model_node, block_owner_deletion=False)
        local_model_node.spec.local_models = entries
        self._remember(local_model_node, self.client.create(local_model_node))
        log.info("Created LocalModelNode", node=node.name, models=len(entries))

    def _update(
        self, node: Node, existing: LocalModelNode, entries: list[LocalModelInfo], annotations: Mapping[str, str]
    ) -> None:
        """Writes the whole object if that makes a difference; raises ConflictError if it was read too early.

        An annotation of which nothing is said stays, one without a value goes.
        """
        wanted = existing.model_copy(
            update={"metadata": deepcopy(existing.metadata), "spec": existing.spec.model_copy()}
        )
        wanted.metadata.owner_references = []
        set_controller_reference(node, wanted, block_owner_deletion=False)
        for name, value in annotations.items():
            if value:
                wanted.metadata.annotations[name] = value
            else:
                wanted.metadata.annotations.pop(name, None)
        wanted.spec.local_models = entries
        if wanted == existing or wanted.to_dict() == existing.to_dict():
            return
        known = (_intent(wanted), existing.metadata.uid, existing.metadata.generation)
        if self._written.get(node.name) == known and _described(wanted) == _described(existing):
            return
        self._remember(wanted, self.client.update(wanted))
        evicted_and_wanted = annotations[WANTED_ANNOTATION]
        log.info("Updated LocalModelNode", node=node.name, models=len(entries), wanted=evicted_and_wanted)
        if names := newly_wanted(existing, evicted_and_wanted):
            message = f"A service wants {listed('evicted model', names)} on this node again"
            self.recorder.event(existing, "Normal", "ModelWanted", message)

    def _remember(self, wanted: LocalModelNode, written: LocalModelNode) -> None:
        self._written[wanted.name] = (_intent(wanted), written.metadata.uid, written.metadata.generation)
        self._waves.wrote(written, self.clock)

    def _remove(self, name: str, existing: LocalModelNode | None) -> None:
        self._written.pop(name, None)
        self._waves.forget(name)
        self._pacer.forget(name)
        if existing is not None and not existing.is_deleting and delete_exactly(self.client, existing):
            log.info("Deleted LocalModelNode", node=name)

    # labels -----------------------------------------------------------------------------------------------------------

    def _label(self, node: Node, keys: frozenset[str], group: str) -> float:
        """Patches the node's labels if they are wrong. Seconds to wait if it is too early for that, else 0."""
        patch = label_patch(node.metadata.labels, keys, group)
        if not patch:
            return 0.0
        wait = self._pacer.delay(node.name, self.clock)
        if wait > 0:
            return wait
        try:
            self.client.patch(node, {"metadata": {"labels": patch}})
        except NotFoundError:
            return 0.0
        except ForbiddenError as error:  # as with KServe's roles
            if not self._may_not_label:
                log.warning("Nodes may not be labelled, going on without", error=str(error))
            self._may_not_label = True
            self._pacer.wrote(node.name, LABEL_SECONDS, self.clock)
            return 0.0
        self._may_not_label = False
        self._pacer.wrote(node.name, LABEL_SECONDS, self.clock)
        log.info("Labelled node", node=node.name, models=len(keys), group=group)
        return 0.0

    # what concerns a node ---------------------------------------------------------------------------------------------

    def _config(self) -> LocalModelConfig:
        return self._settings.current(self.client, self.recorder).local_model

    def _is_covered(self, node: Node) -> bool:
        """Whether agents that were installed by hand run there."""
        daemon_sets = agent_daemon_sets(self.client, self._settings.namespace) or ()
        return any(covers(daemon_set, node) for daemon_set in hand_installed(daemon_sets))

    def _until_labelled(self, name: str) -> float:
        """Seconds until the node's labels may be patched, 0 for now: no sooner is a new copy of interest."""
        return self._pacer.delay(name, self.clock)

    def _caches_of(self, groups: Membership) -> tuple[dict[str, Cache], frozenset[bool]]:
        """By status key, the caches that name one of the groups; and whether a kind that is not served is namespaced,
        for each such kind."""
        found: dict[str, Cache] = {}
        unknown: set[bool] = set()
        for kind in CACHE_KINDS:
            try:
                for group in sorted(groups.groups | groups.unknown):
                    caches = self.client.parts(kind, known_cache, group)
                    found |= {status_key(key.name, key.namespace): cache for key, cache in caches.items()}
            except KindNotServedError:
                unknown.add(kind.mapping.namespaced)
        return found, frozenset(unknown)

    @if_served
    def _nodes_of(self, cache: Cache) -> Iterable[Request]:
        """The nodes of the cache's groups, and those that have its entry."""
        names = set(cache.spec.node_groups)
        nodes = known_nodes(self.client)
        groups = [group for group in self.client.list(LocalModelNodeGroup) if group.name in names]
        members = [key for group in groups for key in keys_of(self._members.of(group, nodes))]
        entries = [Request("", name) for name in sorted(reports_about(self.client, cache))]
        return dict.fromkeys([*members, *entries])

    @if_served
    def _nodes_without_model_of(self, service: Object) -> Iterable[Request]:
        """The nodes that have evicted the model of the service's cache."""
        cache = cache_of_service(service)
        if cache is None:
            return ()
        return sorted(self.client.parts(LocalModelNode, evictions, status_key(cache.name, cache.namespace)))

    def _all_nodes(self, _: Object) -> Iterable[Request]:
        """Whatever of a group or the configuration changed may concern any of them."""
        return keys_of(known_nodes(self.client))


def _intent(node: LocalModelNode) -> bytes:
    """A digest of what we write of the object, without what the server makes of it: kept for each of many nodes."""
    metadata = ObjectMeta(
        name=node.name, owner_references=node.metadata.owner_references, annotations=_described(node)[1]
    )
    return sha256(LocalModelNode(metadata=metadata, spec=node.spec).to_json()).digest()


def _described(node: LocalModelNode) -> tuple[list[OwnerReference], dict[str, str]]:
    """What we write of the metadata: a change of it gives no new generation."""
    annotations = node.metadata.annotations
    ours = (WANTED_ANNOTATION, GROUP_LIMITS_ANNOTATION)
    return node.metadata.owner_references, {name: annotations[name] for name in ours if name in annotations}
