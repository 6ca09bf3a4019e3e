"""`Folding`: an event handler that rebuilds the collection from what it hears."""

from __future__ import annotations

from typing import Any

from localmodel.runtime.objects import ObjectKey
from localmodel.runtime.store import Stored


class Folding:
    """An event handler that folds what it hears into the collection as it must be, and notes what cannot be."""

    def __init__(self) -> None:
        self.versions: dict[ObjectKey, int] = {}
        self.contradictions: list[str] = []

    def on_add(self, obj: Stored[Any], is_in_initial_list: bool) -> None:
        if obj.key in self.versions:
            self.contradictions.append(f"{obj.key} was added twice")
        self.versions[obj.key] = int(obj.resource_version)

    def on_update(self, old: Stored[Any], new: Stored[Any]) -> None:
        known = self.versions.get(new.key)
        if known != int(old.resource_version):
            self.contradictions.append(f"{new.key} was updated from {old.resource_version}, but {known} is known")
        if int(new.resource_version) < int(old.resource_version):
            self.contradictions.append(f"{new.key} went back from {old.resource_version} to {new.resource_version}")
        self.versions[new.key] = int(new.resource_version)

    def on_delete(self, obj: Stored[Any], final_state_unknown: bool) -> None:
        if self.versions.pop(obj.key, None) is None:
            self.contradictions.append(f"{obj.key} was deleted unknown")
