"""Aggregated ClusterRoles: what their selectors match is written into their rules.

On a real cluster the kube-controller-manager does this (clusterrole-aggregation-controller). Here it is part of the
server, so that a server without controllers has the same rights. Whenever a ClusterRole changes, every aggregated
one is brought up to date, in the order of names, each rule once.
"""

from __future__ import annotations

from typing import Any

import msgspec

from localmodel.runtime.client import WriteOptions
from localmodel.runtime.errors import ConflictError, NotFoundError
from localmodel.runtime.listwatch import ListOptions, WatchEvent, WatchOptions
from localmodel.runtime.selectors import Selector
from localmodel.runtime.testing.definitions import ResourceDefinition
from localmodel.runtime.testing.registry import Registry

Json = dict[str, Any]

FIELD_MANAGER = "clusterrole-aggregation-controller"


class RoleAggregation:
    """Keeps the rules of aggregated roles. Called by the thread that wrote a role, before its request is answered."""

    def __init__(self, registry: Registry, cluster_roles: ResourceDefinition) -> None:
        self._registry = registry
        self._definition = cluster_roles

    def start(self) -> None:
        version = str(self._registry.store.revision)
        options = WatchOptions(resource_version=version, timeout_seconds=2**31, allow_bookmarks=False)
        self._registry.watch(self._definition, options, self._on_event)
        self._update_all()

    def _on_event(self, event: WatchEvent) -> None:
        if event.type in ("ADDED", "MODIFIED", "DELETED"):
            self._update_all()

    def _update_all(self) -> None:
        roles = [msgspec.json.decode(item) for item in self._registry.list(self._definition, ListOptions()).items]
        for role in roles:
            if role.get("aggregationRule"):
                self._update(role, roles)

    def _update(self, role: Json, roles: list[Json]) -> None:
        rules = aggregated(role, roles)
        if rules == (role.get("rules") or []):
            return
        write = WriteOptions(field_manager=FIELD_MANAGER, field_validation="Ignore")
        try:
            self._registry.update(self._definition, "", role["metadata"]["name"], {**role, "rules": rules}, write)
        except (ConflictError, NotFoundError):
            # Somebody changed it meanwhile; the event of that change comes here, too.
            return


def aggregated(role: Json, roles: list[Json]) -> list[Json]:
    """The rules of all roles that a role's selectors match."""
    rules: list[Json] = []
    for selector in role["aggregationRule"].get("clusterRoleSelectors") or ():
        matcher = Selector.of_label_selector(selector)
        for other in roles:
            if other["metadata"]["name"] != role["metadata"]["name"] and matcher.matches(
                other["metadata"].get("labels") or {}
            ):
                rules += [rule for rule in other.get("rules") or () if rule not in rules]
    return rules
