"""Which models a node shall have: a pure function of the node's labels, the configuration, all groups and all caches.

`NodeReconciler` writes what this says and nothing else, so the list has one author and no history (D-02, D-04, D-35).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from localmodel.api import Cache, LocalModelConfig, LocalModelInfo, LocalModelNodeGroup, SelectorError, node_matches
from localmodel.api.names import status_key
from localmodel.runtime.objects import Node

from .credentials import entry_credentials
from .sizes import size_fault


def group_has_node(group: LocalModelNodeGroup, node: Node) -> bool:
    """Whether the node belongs to the group; a group whose affinity cannot be read has no nodes, as in KServe."""
    try:
        return node_matches(group.node_affinity, node)
    except SelectorError:
        return False


@dataclass(frozen=True, slots=True)
class Membership:
    """How the groups stand to one node."""

    groups: frozenset[str] = frozenset()
    """The groups that the node belongs to."""
    unknown: frozenset[str] = field(default=frozenset())
    """The groups whose affinity cannot be read, so that nobody can say."""


def membership(node: Node, groups: Iterable[LocalModelNodeGroup]) -> Membership:
    """Sorts the groups into those that have the node and those that cannot be read."""
    members, unknown = set(), set()
    for group in groups:
        try:
            if node_matches(group.node_affinity, node):
                members.add(group.name)
        except SelectorError:
            unknown.add(group.name)
    return Membership(frozenset(members), frozenset(unknown))


def key_of(entry: LocalModelInfo) -> str:
    """The entry's key in the status maps."""
    return status_key(entry.model_name, entry.namespace)


def entry_for(cache: Cache, group: str, config: LocalModelConfig) -> LocalModelInfo:
    """The whole entry of a cache on the nodes of one of its groups."""
    spec = cache.spec
    service_account_name, storage = entry_credentials(cache, config)
    return LocalModelInfo(
        source_model_uri=spec.source_model_uri,
        model_name=cache.name,
        namespace=cache.namespace,
        node_group=group,
        service_account_name=service_account_name,
        storage=storage,
        model_size=spec.model_size,
        cache_uid=cache.metadata.uid,
        priority=spec.priority,
        eviction_policy=spec.eviction_policy,
        revision=spec.revision,
        include=spec.include,
        exclude=spec.exclude,
        digest=spec.digest,
        ttl_seconds_after_last_use=spec.ttl_seconds_after_last_use,
    )


def desired_entries(
    node_groups: Membership,
    caches: Iterable[Cache],
    existing: Iterable[LocalModelInfo],
    *,
    ready: bool,
    config: LocalModelConfig,
) -> list[LocalModelInfo]:
    """The entries that the node shall have, sorted by key.

    Of several groups that a cache and the node share, the first in the cache's list counts (D-36). An entry that came
    from a group which cannot be read now stays, and so does one whose cache has become too large (see `sizes`). A node
    that is not ready gets no new entry, and keeps those it has.
    """
    present: Mapping[str, LocalModelInfo] = {key_of(entry): entry for entry in existing}
    wanted: dict[str, LocalModelInfo] = {}
    for cache in caches:
        if cache.is_deleting:
            continue
        key = status_key(cache.name, cache.namespace)
        known = present.get(key)
        group = _group_for(cache, node_groups, known)
        if group and (ready or known is not None):
            entry = entry_for(cache, group, config) if not size_fault(cache.spec) else known
            if entry is not None:
                wanted[key] = entry
    return [wanted[key] for key in sorted(wanted)]


def with_unknown(
    entries: Iterable[LocalModelInfo], existing: Iterable[LocalModelInfo], scopes: Collection[bool]
) -> list[LocalModelInfo]:
    """The entries, and those that exist of caches of which nothing is known because their kind is not served.

    `scopes`: whether such a kind is namespaced.
    """
    kept = [entry for entry in existing if bool(entry.namespace) in scopes]
    return sorted([*entries, *kept], key=key_of)


def new_entries(entries: Iterable[LocalModelInfo], existing: Iterable[LocalModelInfo]) -> list[LocalModelInfo]:
    """Those of the entries that ask the node for something else than what it has: another key, or another URI."""
    present = {key_of(entry): entry.source_model_uri for entry in existing}
    return [entry for entry in entries if present.get(key_of(entry)) != entry.source_model_uri]


def _group_for(cache: Cache, node_groups: Membership, known: LocalModelInfo | None) -> str:
    """The group that brings the cache to the node, or nothing."""
    for group in cache.spec.node_groups:
        if group in node_groups.groups:
            return group
        if group in node_groups.unknown and known is not None and known.node_group == group:
            return group
    return ""
