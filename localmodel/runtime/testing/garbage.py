"""Garbage collection on request: what a cluster's garbage collector would have done by now, done at once.

A fake API server has no controllers beside it, so deleting an owner leaves its dependents alone until a test asks for
`collect_garbage`. The rules are those of Kubernetes: an object whose owners are all gone is deleted; references to
owners that are gone are dropped from an object that has another one; an owner that is deleted in the foreground goes
after the dependents that block it, one that orphans goes after they have forgotten it.
https://kubernetes.io/docs/concepts/architecture/garbage-collection/
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from localmodel.runtime.client import MERGE_PATCH, Preconditions

from .definitions import Json, ResourceDefinition
from .registry import Registry

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


@dataclass(frozen=True, slots=True)
class _Node:
    """One object as it is in this round."""

    definition: ResourceDefinition
    metadata: Json

    @property
    def uid(self) -> str:
        return str(self.metadata["uid"])

    @property
    def namespace(self) -> str:
        return str(self.metadata.get("namespace") or "")

    @property
    def owners(self) -> list[Json]:
        return self.metadata.get("ownerReferences") or []

    @property
    def finalizers(self) -> list[str]:
        return self.metadata.get("finalizers") or []

    def waits_for(self, finalizer: str) -> bool:
        return "deletionTimestamp" in self.metadata and finalizer in self.finalizers

    def __str__(self) -> str:
        key = "/".join(part for part in (self.namespace, self.metadata["name"]) if part)
        return f"{self.definition.group_resource} {key}"


def collect_garbage(registry: Registry) -> list[str]:
    """Collects until nothing is left to do; the objects that were deleted, as "plural.group namespace/name"."""
    deleted: list[str] = []
    while _Round(registry, deleted).run():
        pass
    return deleted


class _Round:
    """One look at the whole graph and one step for each of its objects."""

    def __init__(self, registry: Registry, deleted: list[str]) -> None:
        self._registry = registry
        self._deleted = deleted
        definitions = {definition.resource: definition for definition in registry.definitions()}
        self._kinds = {(d.mapping.gvk.group, d.mapping.gvk.kind) for d in registry.definitions()}
        self._nodes = {
            node.uid: node
            for definition in definitions.values()
            for entry in registry.store.list(definition.resource)[1]
            for node in (_Node(definition, definition.decode(entry.value)["metadata"]),)
        }
        self._changed = False

    def run(self) -> bool:
        """Whether anything was done."""
        for node in self._nodes.values():
            if node.waits_for(ORPHAN):
                self._orphan(node)
            elif node.waits_for(FOREGROUND):
                self._finish_foreground(node)
            elif node.owners:
                self._check_owners(node)
            if self._changed:
                return True
        return False

    def _check_owners(self, node: _Node) -> None:
        solid = [reference for reference in node.owners if self._is_solid(reference, node)]
        waiting = [r for r in node.owners if (owner := self._owner(r, node)) and owner.waits_for(FOREGROUND)]
        if not solid:
            if "deletionTimestamp" not in node.metadata:
                self._delete(node, "Foreground" if waiting and self._dependents(node) else "Background")
        elif len(solid) < len(node.owners):
            self._patch(node, {"ownerReferences": solid})

    def _is_solid(self, reference: Json, node: _Node) -> bool:
        """The owner is there and does not wait for its dependents; one of a kind nobody serves counts as there."""
        group = str(reference["apiVersion"]).rpartition("/")[0]
        if (group, reference["kind"]) not in self._kinds:
            return True
        owner = self._owner(reference, node)
        return owner is not None and not owner.waits_for(FOREGROUND)

    def _owner(self, reference: Json, node: _Node) -> _Node | None:
        owner = self._nodes.get(reference["uid"])
        return owner if owner is not None and owner.namespace in ("", node.namespace) else None

    def _dependents(self, owner: _Node) -> list[_Node]:
        return [node for node in self._nodes.values() if any(r["uid"] == owner.uid for r in node.owners)]

    def _orphan(self, owner: _Node) -> None:
        for node in self._dependents(owner):
            self._patch(node, {"ownerReferences": [r for r in node.owners if r["uid"] != owner.uid] or None})
        self._remove_finalizer(owner, ORPHAN)

    def _finish_foreground(self, owner: _Node) -> None:
        blocking = [
            node
            for node in self._dependents(owner)
            if any(r["uid"] == owner.uid and r.get("blockOwnerDeletion") for r in node.owners)
        ]
        if not blocking:
            self._remove_finalizer(owner, FOREGROUND)

    def _remove_finalizer(self, node: _Node, finalizer: str) -> None:
        self._patch(node, {"finalizers": [name for name in node.finalizers if name != finalizer] or None})

    def _patch(self, node: _Node, metadata: dict[str, Any]) -> None:
        name = node.metadata["name"]
        self._registry.patch(node.definition, node.namespace, name, {"metadata": metadata}, MERGE_PATCH)
        self._changed = True

    def _delete(self, node: _Node, propagation: Any) -> None:
        name, same = node.metadata["name"], Preconditions(uid=node.uid)
        self._registry.delete(node.definition, node.namespace, name, preconditions=same, propagation=propagation)
        self._deleted.append(str(node))
        self._changed = True
