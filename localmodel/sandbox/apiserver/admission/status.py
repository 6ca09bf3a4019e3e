"""The status of ValidatingAdmissionPolicies: the generation that was looked at, and that its types were checked.

On a real server a controller writes it a moment after the policy. It also compiles expressions against the schemas of
the kinds that a policy matches, and lists what does not fit as warnings; that is not done here, the list stays empty.
"""

from __future__ import annotations

from typing import Any

import msgspec
import structlog

from localmodel.runtime.errors import ConflictError, NotFoundError
from localmodel.runtime.listwatch import WatchEvent, WatchOptions
from localmodel.runtime.testing.definitions import ResourceDefinition
from localmodel.runtime.testing.registry import Registry

log = structlog.get_logger(__name__)

Json = dict[str, Any]


class PolicyStatus:
    """Writes `observedGeneration` and an empty `typeChecking` right after the write of a policy."""

    def __init__(self, registry: Registry, policies: ResourceDefinition) -> None:
        self._registry = registry
        self._policies = policies
        registry.watch(policies, WatchOptions(timeout_seconds=2**31, allow_bookmarks=False), self._on_event)

    def _on_event(self, event: WatchEvent) -> None:
        if event.type == "DELETED":
            return
        policy: Json = msgspec.json.decode(event.object)
        wanted = {**(policy.get("status") or {}), "observedGeneration": policy["metadata"].get("generation", 1)}
        wanted.setdefault("typeChecking", {})
        if wanted == policy.get("status"):
            return
        name = policy["metadata"]["name"]
        try:
            self._registry.update(self._policies, "", name, {**policy, "status": wanted}, subresource="status")
        except (ConflictError, NotFoundError):
            # Somebody wrote it meanwhile: that write's event comes here too.
            log.debug("policy changed while its status was written", name=name)
