"""How a group's DaemonSet of agents comes about: made, kept as it is wanted, removed.

It is wholly ours, so it is written by server-side apply under a field manager of its own, and only if it differs from
what is wanted now. What merely has the name is never taken over: that is a `Problem` of the group. With its group it
goes by garbage collection.
"""

from __future__ import annotations

from typing import Final

import structlog

from localmodel.api import LocalModelNodeGroup
from localmodel.api.names import agent_daemon_set_name
from localmodel.runtime.client import Client, Reader
from localmodel.runtime.controllerutil import delete_exactly, get_controller_of
from localmodel.runtime.errors import ForbiddenError, InvalidError
from localmodel.runtime.objects import DaemonSet

from .agents import APPLIED_ANNOTATION, has_what_is_wanted
from .status import Problem

log = structlog.get_logger(__name__)

FIELD_OWNER: Final = "localmodel-manager"


class AgentSets:
    """Makes and removes the DaemonSets of groups. One for all groups; one worker at a time touches a group."""

    def __init__(self) -> None:
        self._applied: dict[str, tuple[str, int | None, str]] = {}
        """By group: uid, generation and hash of what was applied last. Where somebody else has a hand in what is
        applied (a webhook), what is read never equals what is wanted, and this says that it was written already."""

    def forget(self, group: str) -> None:
        """The group is gone."""
        self._applied.pop(group, None)

    def ensure(
        self, group: LocalModelNodeGroup, wanted: DaemonSet, *, client: Client, live: Reader
    ) -> tuple[Problem | None, ForbiddenError | None]:
        """Makes the DaemonSet as it is wanted.

        What stands in the way is returned to be shown, with an error if it is to be tried again. Raises what else the
        client raises.
        """
        try:
            return self._ensure(group, wanted, client, live), None
        except InvalidError as error:
            return Problem(reason="AgentInvalid", message=f"{wanted}: {error}"), None
        except ForbiddenError as error:
            return Problem(reason="AgentForbidden", message=str(error)), error

    def remove(self, group: LocalModelNodeGroup, *, client: Client, namespace: str) -> None:
        """Removes the group's DaemonSet if there is one, which is then wanted no more."""
        self.forget(group.name)
        existing = client.find(DaemonSet, agent_daemon_set_name(group.name), namespace=namespace)
        if existing is None or existing.is_deleting or not is_of(existing, group):
            return
        if delete_exactly(client, existing):
            log.info("Deleted DaemonSet of agents", daemon_set=str(existing.key), node_group=group.name)

    def _ensure(self, group: LocalModelNodeGroup, wanted: DaemonSet, client: Client, live: Reader) -> Problem | None:
        existing = client.find(DaemonSet, wanted.name, namespace=wanted.namespace)
        if existing is None:
            # Not in our cache: just made by us, or somebody else's without the label by which agents are watched.
            existing = live.find(DaemonSet, wanted.name, namespace=wanted.namespace)
        if existing is not None:
            if not is_of(existing, group):
                return _conflict(existing, group)
            if existing.is_deleting or self._is_done(group, existing, wanted):
                return None  # its end queues the group again
            # An apply to another object than the one that was looked at is refused.
            wanted.metadata.uid = existing.metadata.uid
        # Made anew without force: if somebody else's came in between, the server says so.
        applied = client.apply(wanted, field_owner=FIELD_OWNER, force=existing is not None)
        log.info("Applied DaemonSet of agents", daemon_set=str(applied.key), node_group=group.name)
        self._applied[group.name] = _written(applied, wanted)
        return None

    def _is_done(self, group: LocalModelNodeGroup, existing: DaemonSet, wanted: DaemonSet) -> bool:
        if has_what_is_wanted(existing, wanted):
            return True
        applied = existing.metadata.annotations.get(APPLIED_ANNOTATION)
        return applied is not None and self._applied.get(group.name) == _written(existing, wanted)


def is_of(daemon_set: DaemonSet, group: LocalModelNodeGroup) -> bool:
    """Whether this very group controls it, not an earlier one of the name."""
    controller = get_controller_of(daemon_set)
    return controller is not None and controller.uid == group.metadata.uid


def _written(stored: DaemonSet, wanted: DaemonSet) -> tuple[str, int | None, str]:
    return stored.metadata.uid, stored.metadata.generation, wanted.metadata.annotations[APPLIED_ANNOTATION]


def _conflict(existing: DaemonSet, group: LocalModelNodeGroup) -> Problem:
    controller = get_controller_of(existing)
    if controller is not None and (controller.kind, controller.name) == (group.mapping.gvk.kind, group.name):
        message = f"DaemonSet {existing.key} belongs to an earlier group of this name: waiting until it is gone"
        return Problem(reason="AgentTerminating", message=message)
    whose = f"{controller.kind} {controller.name}" if controller is not None else "somebody else"
    message = f"DaemonSet {existing.key} exists already and belongs to {whose}: remove it, or rename the group"
    return Problem(reason="AgentConflict", message=message)
